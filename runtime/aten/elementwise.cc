// Elementwise ops with numpy broadcasting.
#include <ATen/ops/abs.h>
#include <ATen/ops/add.h>
#include <ATen/ops/ceil.h>
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
#include <ATen/ops/relu.h>
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

#include <limits>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"

namespace zo2::aten {
namespace {

// Integer quotients and remainders: ATen's would raise a signal for the lowest number by -1.
template <typename T>
Status Divide(const KernelCall& call) {
  const TensorView &a = call.inputs[0], &b = call.inputs[1], &y = call.outputs[0];
  const bool floored = AttrInt(*call.attrs, "fmod", 0) == 0;
  const std::vector<int64_t> sa = BroadcastStrides(a, y.shape), sb = BroadcastStrides(b, y.shape);
  const auto *pa = static_cast<const T*>(a.data), *pb = static_cast<const T*>(b.data);
  auto* to = static_cast<T*>(y.data);
  for (int64_t i = 0, n = NumElements(y.shape); i < n; ++i) {
    int64_t at_a = 0, at_b = 0, rest = i;
    for (size_t d = y.shape.size(); d-- > 0;) {
      at_a += rest % y.shape[d] * sa[d];
      at_b += rest % y.shape[d] * sb[d];
      rest /= y.shape[d];
    }
    const T u = pa[at_a], v = pb[at_b];
    if (v == 0) return Invalid(Name(call.op), ": an integer at position ", i, " is divided by zero");
    if (static_cast<int64_t>(v) == -1) {  // wraps where the quotient does not fit
      to[i] = call.op == Op::kDiv ? static_cast<T>(uint64_t{0} - static_cast<uint64_t>(u)) : T(0);
    } else if (call.op == Op::kDiv) {
      to[i] = static_cast<T>(u / v);
    } else {
      const auto r = static_cast<T>(u % v);
      to[i] = floored && r != 0 && (r < 0) != (v < 0) ? static_cast<T>(r + v) : r;
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

}  // namespace

Status Binary(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  if ((call.op == Op::kDiv || call.op == Op::kMod) && !IsFloat(call.inputs[0].dtype)) return DivideIntegers(call);
  const at::Tensor a = ToTensor(call.inputs[0]), b = ToTensor(call.inputs[1]);
  at::Tensor y = ToTensor(call.outputs[0]);
  switch (call.op) {
    case Op::kAdd:
      at::add_out(y, a, b);
      break;
    case Op::kSub:
      at::sub_out(y, a, b);
      break;
    case Op::kMul:
      at::mul_out(y, a, b);
      break;
    case Op::kDiv:
      at::div_out(y, a, b);
      break;
    case Op::kPow:
      at::pow_out(y, a, b);
      break;
    case Op::kMin:
      at::minimum_out(y, a, b);
      break;
    case Op::kMax:
      at::maximum_out(y, a, b);
      break;
    case Op::kMod:
      AttrInt(*call.attrs, "fmod", 0) != 0 ? at::fmod_out(y, a, b) : at::remainder_out(y, a, b);
      break;
    case Op::kAnd:
      at::logical_and_out(y, a, b);
      break;
    case Op::kOr:
      at::logical_or_out(y, a, b);
      break;
    case Op::kXor:
      at::logical_xor_out(y, a, b);
      break;
    case Op::kEqual:
      at::eq_out(y, a, b);
      break;
    case Op::kLess:
      at::lt_out(y, a, b);
      break;
    case Op::kLessEqual:
      at::le_out(y, a, b);
      break;
    case Op::kGreater:
      at::gt_out(y, a, b);
      break;
    case Op::kGreaterEqual:
      at::ge_out(y, a, b);
      break;
    default:
      return Internal(Name(call.op), " is not a binary op");
  }
  return Status();
}

Status Unary(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const at::Tensor x = ToTensor(call.inputs[0]);
  at::Tensor y = ToTensor(call.outputs[0]);
  switch (call.op) {
    case Op::kNeg:
      at::neg_out(y, x);
      break;
    case Op::kAbs:
      at::abs_out(y, x);
      break;
    case Op::kSqrt:
      at::sqrt_out(y, x);
      break;
    case Op::kRsqrt:
      at::rsqrt_out(y, x);
      break;
    case Op::kReciprocal:
      at::reciprocal_out(y, x);
      break;
    case Op::kExp:
      at::exp_out(y, x);
      break;
    case Op::kLog:
      at::log_out(y, x);
      break;
    case Op::kTanh:
      at::tanh_out(y, x);
      break;
    case Op::kErf:
      at::erf_out(y, x);
      break;
    case Op::kSigmoid:
      at::sigmoid_out(y, x);
      break;
    case Op::kRelu:
      at::relu_out(y, x);
      break;
    case Op::kSin:
      at::sin_out(y, x);
      break;
    case Op::kCos:
      at::cos_out(y, x);
      break;
    case Op::kFloor:
      at::floor_out(y, x);
      break;
    case Op::kCeil:
      at::ceil_out(y, x);
      break;
    case Op::kRound:
      at::round_out(y, x);  // halves to even, as ONNX
      break;
    case Op::kSign:
      at::sign_out(y, x);
      break;
    case Op::kNot:
      at::logical_not_out(y, x);
      break;
    case Op::kIsNan:
      at::ne_out(y, x, x);
      break;
    default:
      return Internal(Name(call.op), " is not a unary op");
  }
  return Status();
}

Status Where(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  at::Tensor y = ToTensor(call.outputs[0]);
  at::where_out(y, ToTensor(call.inputs[0]), ToTensor(call.inputs[1]), ToTensor(call.inputs[2]));
  return Status();
}

Status Cast(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  ToTensor(call.outputs[0]).copy_(ToTensor(call.inputs[0]));
  return Status();
}

}  // namespace zo2::aten
