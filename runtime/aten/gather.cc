// The three gathers; ids may be negative (counted from the end), never out of range.
#include <cstring>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"

namespace zo2::aten {
namespace {

Status CheckIds(const KernelCall& call, int64_t size) {
  const TensorView& ids = call.inputs[1];
  const auto* id = static_cast<const int64_t*>(ids.data);
  for (int64_t i = 0, n = NumElements(ids.shape); i < n; ++i)
    if (id[i] < -size || id[i] >= size)
      return Invalid(Name(call.op), ": id ", id[i], " at position ", i, " is outside of an axis of ", size);
  return Status();
}

int64_t Wrap(int64_t id, int64_t size) { return id < 0 ? id + size : id; }

}  // namespace

Status Gather(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &x = call.inputs[0], &ids = call.inputs[1];
  const auto axis = static_cast<size_t>(AttrAxis(*call.attrs, "axis", 0, x.shape.size()));
  const int64_t outer = Product(x.shape, 0, axis), size = x.shape[axis], n = NumElements(ids.shape),
                inner = Product(x.shape, axis + 1, x.shape.size()) * SizeOf(x.dtype);
  ZO2_TRY(CheckIds(call, size));
  const auto* id = static_cast<const int64_t*>(ids.data);
  const auto* from = static_cast<const std::byte*>(x.data);
  auto* to = static_cast<std::byte*>(call.outputs[0].data);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < n; ++i)
      std::memcpy(to + (o * n + i) * inner, from + (o * size + Wrap(id[i], size)) * inner,
                  static_cast<size_t>(inner));
  return Status();
}

// ids[batch..., m..., depth]: each row of `depth` ids names a slice of its batch entry.
Status GatherNd(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &x = call.inputs[0], &ids = call.inputs[1];
  const Shape &xs = x.shape, &is = ids.shape;
  const auto batch = static_cast<size_t>(AttrInt(*call.attrs, "batch_dims", 0)),
             depth = static_cast<size_t>(is.back());
  const int64_t batches = Product(xs, 0, batch), each = Product(is, batch, is.size() - 1),
                size = SizeOf(x.dtype), of_batch = Product(xs, batch, xs.size()),
                slice = Product(xs, batch + depth, xs.size()) * size;
  const auto* id = static_cast<const int64_t*>(ids.data);
  const auto* from = static_cast<const std::byte*>(x.data);
  auto* to = static_cast<std::byte*>(call.outputs[0].data);
  for (int64_t i = 0; i < batches * each; ++i) {
    int64_t offset = i / each * of_batch;
    for (size_t k = 0; k < depth; ++k) {
      const int64_t at = id[i * is.back() + static_cast<int64_t>(k)], axis = xs[batch + k];
      if (at < -axis || at >= axis)
        return Invalid("gather_nd: id ", at, " of row ", i, " is outside of an axis of ", axis);
      offset += Wrap(at, axis) * x.strides[batch + k];
    }
    std::memcpy(to + i * slice, from + offset * size, static_cast<size_t>(slice));
  }
  return Status();
}

Status GatherElements(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &x = call.inputs[0], &ids = call.inputs[1];
  const auto axis = static_cast<size_t>(AttrAxis(*call.attrs, "axis", 0, x.shape.size()));
  ZO2_TRY(CheckIds(call, x.shape[axis]));
  const int64_t size = SizeOf(x.dtype);
  const auto* id = static_cast<const int64_t*>(ids.data);
  const auto* from = static_cast<const std::byte*>(x.data);
  auto* to = static_cast<std::byte*>(call.outputs[0].data);
  for (int64_t i = 0, n = NumElements(ids.shape); i < n; ++i) {
    int64_t offset = 0, rest = i;
    for (size_t d = ids.shape.size(); d-- > 0;) {
      const int64_t at = rest % ids.shape[d];
      rest /= ids.shape[d];
      offset += (d == axis ? Wrap(id[i], x.shape[d]) : at) * x.strides[d];
    }
    std::memcpy(to + i * size, from + offset * size, static_cast<size_t>(size));
  }
  return Status();
}

}  // namespace zo2::aten
