// Lookups by ids. Where an id names nothing, the result is NaN (device_kernels.h).
#include <ATen/ops/arange.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/index_select.h>
#include <ATen/ops/where.h>

#include <limits>

#include "runtime/aten_device/call.h"
#include "runtime/aten_device/kernels.h"

namespace zo2::aten_device {

// A part holds rows [begin, begin + rows of W) and serves the ids in that range. The first part writes every row of the
// output, NaN where the id is not its own; what is NaN after the last part had no row.
Status Embedding(const KernelCall& call) {
  const TensorView &ids = call.inputs[0], &w = call.inputs[1], &y = call.outputs[0];
  if (!aten::IsDense(ids) || !aten::IsDense(y)) return Internal("embedding: ids and output must be dense");
  if (y.dtype != w.dtype && (w.dtype != DType::kBF16 || y.dtype != DType::kF32))
    return Internal("embedding: there is no kernel from ", aten::ToString(w), " to ", aten::ToString(y));
  ZO2_ASSIGN(const aten::Rows table, aten::AsRows(w));
  const int64_t n = NumElements(ids.shape), columns = table.columns;
  if (n * columns == 0) return Status();
  const at::Tensor from = Matrix(w, table);
  at::Tensor to = Reshaped(y, {n, columns});
  const Positions p = ToPositions(Reshaped(ids, {n}), call.part_begin, table.rows, /*wraps=*/false);
  const at::Tensor outside = p.outside.unsqueeze(1);
  if (table.rows == 0) {
    if (call.first_part) to.fill_(std::numeric_limits<double>::quiet_NaN());
    return Status();
  }
  if (call.first_part && y.dtype == w.dtype) {
    at::index_select_out(to, from, 0, p.index);
    PutNan(to, outside);
    return Status();
  }
  const int64_t each = device::RowsAtOnce(n, columns * SizeOf(w.dtype));
  for (int64_t at = 0; at < n; at += each) {
    const WorkspaceFrame frame;
    const int64_t rows = std::min(each, n - at);
    at::Tensor found = Temporary({rows, columns}, from.scalar_type()), into = to.narrow(0, at, rows);
    at::index_select_out(found, from, 0, p.index.narrow(0, at, rows));
    if (call.first_part) {
      into.copy_(found);
      PutNan(into, outside.narrow(0, at, rows));
    } else {
      at::where_out(into, outside.narrow(0, at, rows), into, found);
    }
  }
  return Status();
}

namespace {

// Nothing can be found in an axis without elements.
void FillMissing(const at::Tensor& y) {
  if (y.is_floating_point())
    y.fill_(std::numeric_limits<double>::quiet_NaN());
  else
    y.zero_();
}

}  // namespace

Status Gather(const KernelCall& call) {
  ZO2_TRY(aten::NeedDense(call));
  const TensorView &x = call.inputs[0], &ids = call.inputs[1], &y = call.outputs[0];
  const auto axis = static_cast<size_t>(aten::AttrAxis(*call.attrs, "axis", 0, x.shape.size()));
  const int64_t outer = aten::Product(x.shape, 0, axis), size = x.shape[axis], n = NumElements(ids.shape),
                inner = aten::Product(x.shape, axis + 1, x.shape.size());
  at::Tensor to = Reshaped(y, {outer, n, inner});
  if (to.numel() == 0) return Status();
  if (size == 0) {
    FillMissing(to);
    return Status();
  }
  const Positions p = ToPositions(Reshaped(ids, {n}), 0, size, /*wraps=*/true);
  at::index_select_out(to, Reshaped(x, {outer, size, inner}), 1, p.index);
  PutNan(to, p.outside.view({1, n, 1}));
  return Status();
}

// ids[batch..., m..., depth]: each row of `depth` ids names a slice of its batch entry.
Status GatherNd(const KernelCall& call) {
  ZO2_TRY(aten::NeedDense(call));
  const TensorView &x = call.inputs[0], &ids = call.inputs[1];
  const Shape &xs = x.shape, &is = ids.shape;
  const auto batch = static_cast<size_t>(AttrInt(*call.attrs, "batch_dims", 0)),
             depth = static_cast<size_t>(is.back());
  const int64_t batches = aten::Product(xs, 0, batch), each = aten::Product(is, batch, is.size() - 1),
                of_batch = aten::Product(xs, batch, batch + depth),
                slice = aten::Product(xs, batch + depth, xs.size());
  at::Tensor to = Reshaped(call.outputs[0], {batches * each, slice});
  if (to.numel() == 0) return Status();
  if (batches * of_batch == 0) {
    FillMissing(to);
    return Status();
  }
  const at::Tensor all = Reshaped(ids, {batches, each, is.back()});
  // Slices are numbered from 0 through all batch entries.
  at::Tensor number = Temporary({batches, each}, at::kLong), outside = Temporary({batches, each}, at::kBool),
             entry = Temporary({batches}, at::kLong);
  at::arange_out(entry, batches);
  number.copy_(entry.unsqueeze(1));
  outside.zero_();
  for (size_t k = 0; k < depth; ++k) {
    const WorkspaceFrame frame;
    const Positions p = ToPositions(all.select(2, static_cast<int64_t>(k)), 0, xs[batch + k], /*wraps=*/true);
    number.mul_(xs[batch + k]).add_(p.index);
    outside.logical_or_(p.outside);
  }
  at::index_select_out(to, Reshaped(x, {batches * of_batch, slice}), 0, number.view({batches * each}));
  PutNan(to, outside.view({batches * each, 1}));
  return Status();
}

Status GatherElements(const KernelCall& call) {
  ZO2_TRY(aten::NeedDense(call));
  const TensorView &x = call.inputs[0], &ids = call.inputs[1];
  const auto axis = aten::AttrAxis(*call.attrs, "axis", 0, x.shape.size());
  const int64_t size = x.shape[static_cast<size_t>(axis)];
  at::Tensor y = ToTensor(call.outputs[0]);
  if (y.numel() == 0) return Status();
  if (size == 0) {
    FillMissing(y);
    return Status();
  }
  const Positions p = ToPositions(ToTensor(ids), 0, size, /*wraps=*/true);
  at::gather_out(y, ToTensor(x), axis, p.index);
  PutNan(y, p.outside);
  return Status();
}

}  // namespace zo2::aten_device
