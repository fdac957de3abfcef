// Elementwise ops with numpy broadcasting.
#include <ATen/ops/abs.h>
#include <ATen/ops/add.h>
#include <ATen/ops/ceil.h>
#include <ATen/ops/clamp_min.h>
#include <ATen/ops/cos.h>
#include <ATen/ops/div.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/erf.h>
#include <ATen/ops/exp.h>
#include <ATen/ops/floor.h>
#include <ATen/ops/fmod.h>
#include <ATen/ops/ge.h>
#include <ATen/ops/gt.h>
#include <ATen/ops/le.h>
#include <ATen/ops/log.h>
#include <ATen/ops/logical_and.h>
#include <ATen/ops/logical_not.h>
#include <ATen/ops/logical_or.h>
#include <ATen/ops/logical_xor.h>
#include <ATen/ops/lt.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/minimum.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/ne.h>
#include <ATen/ops/neg.h>
#include <ATen/ops/pow.h>
#include <ATen/ops/reciprocal.h>
#include <ATen/ops/remainder.h>
#include <ATen/ops/round.h>
#include <ATen/ops/rsqrt.h>
#include <ATen/ops/sigmoid.h>
#include <ATen/ops/sign.h>
#include <ATen/ops/sin.h>
#include <ATen/ops/sqrt.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tanh.h>
#include <ATen/ops/where.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"

namespace zo2::aten {
namespace {

// Integer quotients and remainders: ATen's would raise a signal for the lowest number by -1.
template <typename Int>
Status Divide(const KernelCall& call) {
  const TensorView &a = call.inputs[0], &b = call.inputs[1], &y = call.outputs[0];
  const bool floored = AttrInt(*call.attrs, "fmod", 0) == 0;
  const std::vector<int64_t> sa = BroadcastStrides(a, y.shape), sb = BroadcastStrides(b, y.shape);
  const auto *pa = static_cast<const Int*>(a.data), *pb = static_cast<const Int*>(b.data);
  auto* to = static_cast<Int*>(y.data);
  for (int64_t i = 0, n = NumElements(y.shape); i < n; ++i) {
    int64_t at_a = 0, at_b = 0, rest = i;
    for (size_t d = y.shape.size(); d-- > 0;) {
      at_a += rest % y.shape[d] * sa[d];
      at_b += rest % y.shape[d] * sb[d];
      rest /= y.shape[d];
    }
    const Int u = pa[at_a], v = pb[at_b];
    if (v == 0) return Invalid(Name(call.op), ": an integer at position ", i, " is divided by zero");
    if (static_cast<int64_t>(v) == -1) {  // wraps where the quotient does not fit
      to[i] = call.op == Op::kDiv ? static_cast<Int>(uint64_t{0} - static_cast<uint64_t>(u)) : Int(0);
    } else if (call.op == Op::kDiv) {
      to[i] = static_cast<Int>(u / v);
    } else {
      const auto r = static_cast<Int>(u % v);
      to[i] = floored && r != 0 && (r < 0) != (v < 0) ? static_cast<Int>(r + v) : r;
    }
  }
  return Status();
}

Status DivideIntegers(const KernelCall& call) {
  switch (call.inputs[0].dtype) {
    case DType::kI64:
      return Divide<int64_t>(call);
    case DType::kI32:
      return Divide<int32_t>(call);
    case DType::kI16:
      return Divide<int16_t>(call);
    case DType::kI8:
      return Divide<int8_t>(call);
    default:
      return Divide<uint8_t>(call);
  }
}

using T = at::Tensor;
using UnaryFn = void (*)(T& y, const T& x);
using BinaryFn = void (*)(T& y, const T& a, const T& b);

UnaryFn UnaryOf(Op op) {
  switch (op) {
    case Op::kNeg:
      return [](T& y, const T& x) { at::neg_out(y, x); };
    case Op::kAbs:
      return [](T& y, const T& x) { at::abs_out(y, x); };
    case Op::kSqrt:
      return [](T& y, const T& x) { at::sqrt_out(y, x); };
    case Op::kRsqrt:
      return [](T& y, const T& x) { at::rsqrt_out(y, x); };
    case Op::kReciprocal:
      return [](T& y, const T& x) { at::reciprocal_out(y, x); };
    case Op::kExp:
      return [](T& y, const T& x) { at::exp_out(y, x); };
    case Op::kLog:
      return [](T& y, const T& x) { at::log_out(y, x); };
    case Op::kTanh:
      return [](T& y, const T& x) { at::tanh_out(y, x); };
    case Op::kErf:
      return [](T& y, const T& x) { at::erf_out(y, x); };
    case Op::kSigmoid:
      return [](T& y, const T& x) { at::sigmoid_out(y, x); };
    case Op::kRelu:
      return [](T& y, const T& x) { at::clamp_min_out(y, x, 0); };  // relu_out makes its result twice
    case Op::kSin:
      return [](T& y, const T& x) { at::sin_out(y, x); };
    case Op::kCos:
      return [](T& y, const T& x) { at::cos_out(y, x); };
    case Op::kFloor:
      return [](T& y, const T& x) { at::floor_out(y, x); };
    case Op::kCeil:
      return [](T& y, const T& x) { at::ceil_out(y, x); };
    case Op::kRound:
      return [](T& y, const T& x) { at::round_out(y, x); };  // halves to even, as ONNX
    case Op::kSign:
      return [](T& y, const T& x) { at::sign_out(y, x); };
    case Op::kNot:
      return [](T& y, const T& x) { at::logical_not_out(y, x); };
    case Op::kIsNan:
      return [](T& y, const T& x) { at::ne_out(y, x, x); };
    default:
      return nullptr;
  }
}

BinaryFn BinaryOf(Op op, bool fmod) {
  switch (op) {
    case Op::kAdd:
      return [](T& y, const T& a, const T& b) { at::add_out(y, a, b); };
    case Op::kSub:
      return [](T& y, const T& a, const T& b) { at::sub_out(y, a, b); };
    case Op::kMul:
      return [](T& y, const T& a, const T& b) { at::mul_out(y, a, b); };
    case Op::kDiv:
      return [](T& y, const T& a, const T& b) { at::div_out(y, a, b); };
    case Op::kPow:
      return [](T& y, const T& a, const T& b) { at::pow_out(y, a, b); };
    case Op::kMin:
      return [](T& y, const T& a, const T& b) { at::minimum_out(y, a, b); };
    case Op::kMax:
      return [](T& y, const T& a, const T& b) { at::maximum_out(y, a, b); };
    case Op::kMod:
      return fmod ? BinaryFn([](T& y, const T& a, const T& b) { at::fmod_out(y, a, b); })
                  : BinaryFn([](T& y, const T& a, const T& b) { at::remainder_out(y, a, b); });
    case Op::kAnd:
      return [](T& y, const T& a, const T& b) { at::logical_and_out(y, a, b); };
    case Op::kOr:
      return [](T& y, const T& a, const T& b) { at::logical_or_out(y, a, b); };
    case Op::kXor:
      return [](T& y, const T& a, const T& b) { at::logical_xor_out(y, a, b); };
    case Op::kEqual:
      return [](T& y, const T& a, const T& b) { at::eq_out(y, a, b); };
    case Op::kLess:
      return [](T& y, const T& a, const T& b) { at::lt_out(y, a, b); };
    case Op::kLessEqual:
      return [](T& y, const T& a, const T& b) { at::le_out(y, a, b); };
    case Op::kGreater:
      return [](T& y, const T& a, const T& b) { at::gt_out(y, a, b); };
    case Op::kGreaterEqual:
      return [](T& y, const T& a, const T& b) { at::ge_out(y, a, b); };
    default:
      return nullptr;
  }
}

// A range of a view along one axis; a view that broadcasts along it stays as it is.
TensorView Narrow(TensorView view, size_t axis_from_end, int64_t begin, int64_t end) {
  if (view.shape.size() < axis_from_end) return view;
  const size_t axis = view.shape.size() - axis_from_end;
  if (view.shape[axis] == 1) return view;
  view.data = static_cast<std::byte*>(view.data) + begin * view.strides[axis] * SizeOf(view.dtype);
  view.shape[axis] = end - begin;
  return view;
}

// Runs f on pieces of the operands, cut in the same places for any thread count: ATen's vector loops treat
// the last elements of what they are given differently. `in` is what broadcasts to the output.
void InPieces(const KernelCall& call, const std::function<void(const std::vector<T>& in, T& out)>& f) {
  constexpr int64_t kPiece = 131072;  // elements
  std::vector<TensorView> views(call.inputs.begin(), call.inputs.end());
  views.push_back(call.outputs[0]);
  const bool alike = std::all_of(views.begin(), views.end(),
                                 [&](const TensorView& v) { return v.shape == views.back().shape; });
  if (alike)
    for (TensorView& v : views) {
      v.shape = {NumElements(v.shape)};
      v.strides = {1};
    }
  const Shape& shape = views.back().shape;
  const auto cut = std::find_if(shape.begin(), shape.end(), [](int64_t d) { return d != 1; });
  const auto from_end = static_cast<size_t>(shape.end() - cut);
  const int64_t n = cut == shape.end() ? 1 : *cut, elements = NumElements(shape);
  if (elements == 0) return;
  const int64_t each = std::max<int64_t>(1, kPiece / (elements / n)), pieces = (n + each - 1) / each;
  Parallel(call, pieces, 0.3 * static_cast<double>(elements / pieces), [&](int64_t first, int64_t last) {
    const c10::InferenceMode no_autograd;  // of this thread
    UseAtenThreads(1);
    for (int64_t piece = first; piece < last; ++piece) {
      std::vector<T> tensors;
      for (const TensorView& v : views) {
        const int64_t begin = piece * each, end = std::min(n, begin + each);
        tensors.push_back(ToTensor(pieces == 1 ? v : Narrow(v, from_end, begin, end)));
      }
      T out = tensors.back();
      tensors.pop_back();
      f(tensors, out);
    }
  });
}

}  // namespace

Status Binary(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  if ((call.op == Op::kDiv || call.op == Op::kMod) && !IsFloat(call.inputs[0].dtype))
    return DivideIntegers(call);
  const BinaryFn f = BinaryOf(call.op, AttrInt(*call.attrs, "fmod", 0) != 0);
  if (f == nullptr) return Internal(Name(call.op), " is not a binary op");
  InPieces(call, [f](const std::vector<T>& in, T& y) { f(y, in[0], in[1]); });
  return Status();
}

Status Unary(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const UnaryFn f = UnaryOf(call.op);
  if (f == nullptr) return Internal(Name(call.op), " is not a unary op");
  InPieces(call, [f](const std::vector<T>& in, T& y) { f(y, in[0]); });
  return Status();
}

Status Where(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  InPieces(call, [](const std::vector<T>& in, T& y) { at::where_out(y, in[0], in[1], in[2]); });
  return Status();
}

Status Cast(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  InPieces(call, [](const std::vector<T>& in, T& y) { y.copy_(in[0]); });
  return Status();
}

}  // namespace zo2::aten
