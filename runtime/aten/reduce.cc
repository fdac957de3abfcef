// Softmax, reductions and running sums.
#include <ATen/ops/_log_softmax.h>
#include <ATen/ops/_softmax.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/amin.h>
#include <ATen/ops/argmax.h>
#include <ATen/ops/div.h>
#include <ATen/ops/mean.h>
#include <ATen/ops/prod.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"

namespace zo2::aten {

namespace {

// Down columns, in binary64; ATen's allocates for that.
template <typename T>
void LogSoftmaxColumns(const KernelCall& call, size_t axis) {
  const Shape& shape = call.inputs[0].shape;
  const int64_t size = shape[axis], inner = aten::Product(shape, axis + 1, shape.size());
  const auto* x = static_cast<const T*>(call.inputs[0].data);
  auto* y = static_cast<T*>(call.outputs[0].data);
  Parallel(call, aten::Product(shape, 0, axis) * inner, 20 * static_cast<double>(size),
           [&](int64_t first, int64_t last) {
             for (int64_t line = first; line < last; ++line) {
               const int64_t at = line / inner * size * inner + line % inner;
               double max = -std::numeric_limits<double>::infinity(), sum = 0;
               for (int64_t k = 0; k < size; ++k) max = std::max(max, static_cast<double>(x[at + k * inner]));
               for (int64_t k = 0; k < size; ++k)
                 sum += std::exp(static_cast<double>(x[at + k * inner]) - max);
               const double shift = max + std::log(sum);
               for (int64_t k = 0; k < size; ++k)
                 y[at + k * inner] = static_cast<T>(static_cast<double>(x[at + k * inner]) - shift);
             }
           });
}

}  // namespace

Status Softmax(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const size_t rank = call.inputs[0].shape.size();
  const int64_t axis = AttrAxis(*call.attrs, "axis", -1, rank);
  if (call.op == Op::kLogSoftmax && static_cast<size_t>(axis) + 1 < rank)
    return ByFloat(call.inputs[0].dtype, [&](auto t) {
      LogSoftmaxColumns<decltype(t)>(call, static_cast<size_t>(axis));
      return Status();
    });
  at::Tensor y = ToTensor(call.outputs[0]);
  const at::Tensor x = ToTensor(call.inputs[0]);
  if (call.op == Op::kSoftmax)
    at::_softmax_out(y, x, axis, /*half_to_float=*/false);
  else
    at::_log_softmax_out(y, x, axis, /*half_to_float=*/false);
  return Status();
}

namespace {

// The product over several axes: one after the other, from the last; what remains to be multiplied is in the
// workspace.
Status Product(const KernelCall& call, const std::vector<int64_t>& axes) {
  const TensorView& y = call.outputs[0];
  TensorView x = call.inputs[0];
  for (size_t i = axes.size(); i-- > 0;) {
    TensorView z{y.data, x.dtype, x.shape, {}};
    z.shape[static_cast<size_t>(axes[i])] = 1;
    z.strides = DenseStrides(z.shape);
    if (i > 0) z.data = TakeWorkspace(NumElements(z.shape) * SizeOf(z.dtype));
    if (z.data == nullptr) return Internal("reduce_prod: the workspace does not hold a partial product");
    at::Tensor out = ToTensor(z);
    at::prod_out(out, ToTensor(x), axes[i], /*keepdim=*/true, ToAten(x.dtype));
    x = z;
  }
  if (axes.empty()) ToTensor(y).copy_(ToTensor(x));
  return Status();
}

}  // namespace

Status Reduce(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &x = call.inputs[0], &y = call.outputs[0];
  const auto rank = static_cast<int64_t>(x.shape.size());
  std::vector<int64_t> axes = AttrInts(*call.attrs, "axes");
  if (axes.empty())
    for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  Shape kept = x.shape;
  int64_t count = 1;
  for (int64_t& axis : axes) {
    if (axis < 0) axis += rank;
    count *= x.shape[static_cast<size_t>(axis)];
    kept[static_cast<size_t>(axis)] = 1;
  }
  at::Tensor out = ToTensor(y, kept, DenseStrides(kept));
  const at::Tensor in = ToTensor(x);
  if (axes.empty()) {  // a scalar
    out.copy_(in);
    return Status();
  }
  switch (call.op) {
    case Op::kReduceSum:
      at::sum_out(out, in, axes, true, ToAten(x.dtype));
      break;
    case Op::kReduceMean:
      if (IsFloat(x.dtype)) {
        at::mean_out(out, in, axes, true);
      } else {
        at::sum_out(out, in, axes, true, ToAten(x.dtype));
        if (count > 0) at::div_out(out, out, count, "trunc");
      }
      break;
    case Op::kReduceMax:
    case Op::kReduceMin:
      if (count == 0 && NumElements(kept) > 0)
        return Invalid(Name(call.op), " of no elements: ", ToString(x), " has an empty axis");
      call.op == Op::kReduceMax ? at::amax_out(out, in, axes, true) : at::amin_out(out, in, axes, true);
      break;
    case Op::kReduceProd:
      return Product(call, axes);
    default:
      return Internal(Name(call.op), " is not a reduction");
  }
  return Status();
}

Status ArgMax(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView& x = call.inputs[0];
  const int64_t axis = AttrAxis(*call.attrs, "axis", 0, x.shape.size());
  Shape kept = x.shape;
  kept[static_cast<size_t>(axis)] = 1;
  at::Tensor y = ToTensor(call.outputs[0], kept, DenseStrides(kept));
  at::argmax_out(y, ToTensor(x), axis, /*keepdim=*/true);
  return Status();
}

namespace {

template <typename T>
void RunningSum(const KernelCall& call) {
  // Sums of floats are kept in binary64, of integers wrap in their own size.
  using Sum =
      std::conditional_t<std::is_integral_v<T>,
                         std::make_unsigned_t<std::conditional_t<std::is_integral_v<T>, T, int>>, double>;
  const TensorView& x = call.inputs[0];
  const auto axis = static_cast<size_t>(AttrAxis(*call.attrs, "axis", 0, x.shape.size()));
  const bool exclusive = AttrInt(*call.attrs, "exclusive", 0) != 0,
             reverse = AttrInt(*call.attrs, "reverse", 0) != 0;
  const int64_t outer = aten::Product(x.shape, 0, axis), size = x.shape[axis],
                inner = aten::Product(x.shape, axis + 1, x.shape.size());
  const auto* from = static_cast<const T*>(x.data);
  auto* to = static_cast<T*>(call.outputs[0].data);
  Parallel(call, outer * inner, static_cast<double>(2 * size), [&](int64_t first, int64_t last) {
    for (int64_t line = first; line < last; ++line) {
      Sum sum = 0;
      for (int64_t k = 0; k < size; ++k) {
        const int64_t at = (line / inner * size + (reverse ? size - 1 - k : k)) * inner + line % inner;
        const Sum before = sum;
        sum = static_cast<Sum>(sum + static_cast<Sum>(from[at]));
        to[at] = static_cast<T>(exclusive ? before : sum);
      }
    }
  });
}

}  // namespace

Status CumSum(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  switch (call.inputs[0].dtype) {
    case DType::kF32:
      RunningSum<float>(call);
      break;
    case DType::kF64:
      RunningSum<double>(call);
      break;
    case DType::kBF16:
      RunningSum<c10::BFloat16>(call);
      break;
    case DType::kF16:
      RunningSum<c10::Half>(call);
      break;
    case DType::kI64:
      RunningSum<int64_t>(call);
      break;
    case DType::kI32:
      RunningSum<int32_t>(call);
      break;
    case DType::kI16:
      RunningSum<int16_t>(call);
      break;
    case DType::kI8:
      RunningSum<int8_t>(call);
      break;
    case DType::kU8:
      RunningSum<uint8_t>(call);
      break;
    default:
      return Internal("cumsum: no kernel for ", ToString(call.inputs[0]));
  }
  return Status();
}

}  // namespace zo2::aten
