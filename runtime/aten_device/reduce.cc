// Softmax, reductions and running sums.
#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/_softmax.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/amin.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/cumsum.h>
#include <ATen/ops/div.h>
#include <ATen/ops/flip.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/prod.h>
#include <ATen/ops/sum.h>

#include <algorithm>

#include "runtime/aten_device/call.h"
#include "runtime/aten_device/kernels.h"

namespace zo2::aten_device {

Status Softmax(const KernelCall& call) {
  ZO2_TRY(aten::NeedDense(call));
  const int64_t axis = aten::AttrAxis(*call.attrs, "axis", -1, call.inputs[0].shape.size());
  at::Tensor y = ToTensor(call.outputs[0]);
  const at::Tensor x = ToTensor(call.inputs[0]);
  if (call.op == Op::kSoftmax)
    at::_softmax_out(y, x, axis, /*half_to_float=*/false);
  else
    at::_log_softmax_out(y, x, axis, /*half_to_float=*/false);
  return Status();
}

namespace {

// The operand as [kept, reduced]. Reduced axes that are not the last ones are moved there in a copy: a GPU's reductions
// down columns take many times their result in temporaries, those along rows next to nothing.
at::Tensor RowsToReduce(const TensorView& x, const std::vector<bool>& reduced) {
  std::vector<int64_t> perm;
  int64_t kept = 1, each = 1;
  bool copy = false;
  for (const bool pass : {false, true})
    for (size_t i = 0; i < reduced.size(); ++i) {
      if (reduced[i] != pass) continue;
      const int64_t size = x.shape[i];
      perm.push_back(static_cast<int64_t>(i));
      (pass ? each : kept) *= size;
      if (!pass && size != 1)  // does a reduced axis come before it?
        for (size_t k = 0; k < i; ++k) copy = copy || (reduced[k] && x.shape[k] != 1);
    }
  if (!copy) return Reshaped(x, {kept, each});
  Shape moved;
  for (const int64_t axis : perm) moved.push_back(x.shape[static_cast<size_t>(axis)]);
  at::Tensor rows = Temporary(moved, aten::ToAten(x.dtype));
  rows.copy_(ToTensor(x).permute(perm));
  return rows.view({kept, each});
}

}  // namespace

Status Reduce(const KernelCall& call) {
  ZO2_TRY(aten::NeedDense(call));
  const TensorView& x = call.inputs[0];
  const auto rank = static_cast<int64_t>(x.shape.size());
  const std::vector<int64_t> axes = AttrInts(*call.attrs, "axes");
  std::vector<bool> reduced(x.shape.size(), axes.empty());
  for (const int64_t axis : axes) reduced[static_cast<size_t>(axis < 0 ? axis + rank : axis)] = true;
  int64_t count = 1, kept = 1;
  for (size_t i = 0; i < reduced.size(); ++i) (reduced[i] ? count : kept) *= x.shape[i];
  at::Tensor y = Reshaped(call.outputs[0], {kept});
  if (kept == 0) return Status();
  const bool lowest_or_highest = call.op == Op::kReduceMax || call.op == Op::kReduceMin;
  if (count == 0 && lowest_or_highest)
    return Invalid(Name(call.op), " of no elements: ", aten::ToString(x), " has an empty axis");
  const at::Tensor rows = RowsToReduce(x, reduced);
  const at::ScalarType dtype = aten::ToAten(x.dtype);
  switch (call.op) {
    case Op::kReduceSum:
      at::sum_out(y, rows, 1, false, dtype);
      break;
    case Op::kReduceMean:
      if (IsFloat(x.dtype)) {
        at::mean_out(y, rows, 1, false);
      } else {
        at::sum_out(y, rows, 1, false, dtype);
        if (count > 0) at::div_out(y, y, count, "trunc");
      }
      break;
    case Op::kReduceMax:
      at::amax_out(y, rows, 1);
      break;
    case Op::kReduceMin:
      at::amin_out(y, rows, 1);
      break;
    case Op::kReduceProd:
      at::prod_out(y, rows, 1, false, dtype);
      break;
    default:
      return Internal(Name(call.op), " is not a reduction");
  }
  return Status();
}

Status ArgMax(const KernelCall& call) {
  ZO2_TRY(aten::NeedDense(call));
  const TensorView& x = call.inputs[0];
  std::vector<bool> reduced(x.shape.size(), false);
  reduced[static_cast<size_t>(aten::AttrAxis(*call.attrs, "axis", 0, x.shape.size()))] = true;
  at::Tensor y = Reshaped(call.outputs[0], {NumElements(call.outputs[0].shape)});
  if (y.numel() == 0) return Status();
  at::argmax_out(y, RowsToReduce(x, reduced), 1);
  return Status();
}

// Sums of floats are kept in f64, of integers wrap in their own size. `exclusive` is the sum one place earlier.
Status CumSum(const KernelCall& call) {
  ZO2_TRY(aten::NeedDense(call));
  const TensorView& x = call.inputs[0];
  const auto axis = static_cast<size_t>(aten::AttrAxis(*call.attrs, "axis", 0, x.shape.size()));
  const bool exclusive = AttrInt(*call.attrs, "exclusive", 0) != 0,
             reverse = AttrInt(*call.attrs, "reverse", 0) != 0;
  const int64_t outer = aten::Product(x.shape, 0, axis), size = x.shape[axis],
                inner = aten::Product(x.shape, axis + 1, x.shape.size());
  if (outer * size * inner == 0) return Status();
  const at::ScalarType dtype = IsFloat(x.dtype) ? at::kDouble : aten::ToAten(x.dtype);
  // A single line would be summed by a GPU in an order that changes from run to run; two lines are not.
  const int64_t lines = outer * inner == 1 ? 2 : outer;
  at::Tensor sums = Temporary({lines, size, inner}, dtype);
  const at::Tensor from = Reshaped(x, {outer, size, inner}), to = Reshaped(call.outputs[0], {outer, size, inner});
  sums.copy_(reverse ? at::flip(from, 1) : from);
  sums.cumsum_(1);
  at::Tensor result = sums.narrow(0, 0, outer);
  if (reverse) result = at::flip(result, 1);
  if (!exclusive) {
    to.copy_(result);
    return Status();
  }
  to.select(1, reverse ? size - 1 : 0).zero_();
  to.narrow(1, reverse ? 0 : 1, size - 1).copy_(result.narrow(1, reverse ? 1 : 0, size - 1));
  return Status();
}

}  // namespace zo2::aten_device
