// Elementwise ops with numpy broadcasting: one call of ATen each, without temporaries but for integer quotients.
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

#include "runtime/aten_device/call.h"
#include "runtime/aten_device/kernels.h"

namespace zo2::aten_device {
namespace {

using T = at::Tensor;

// False where the op is not a unary one.
bool RunUnary(Op op, T& y, const T& x) {
  switch (op) {
    case Op::kNeg: return at::neg_out(y, x), true;
    case Op::kAbs: return at::abs_out(y, x), true;
    case Op::kSqrt: return at::sqrt_out(y, x), true;
    case Op::kRsqrt: return at::rsqrt_out(y, x), true;
    case Op::kReciprocal: return at::reciprocal_out(y, x), true;
    case Op::kExp: return at::exp_out(y, x), true;
    case Op::kLog: return at::log_out(y, x), true;
    case Op::kTanh: return at::tanh_out(y, x), true;
    case Op::kErf: return at::erf_out(y, x), true;
    case Op::kSigmoid: return at::sigmoid_out(y, x), true;
    case Op::kRelu: return at::clamp_min_out(y, x, 0), true;  // relu_out makes its result twice
    case Op::kSin: return at::sin_out(y, x), true;
    case Op::kCos: return at::cos_out(y, x), true;
    case Op::kFloor: return at::floor_out(y, x), true;
    case Op::kCeil: return at::ceil_out(y, x), true;
    case Op::kRound: return at::round_out(y, x), true;  // halves to even, as ONNX
    case Op::kSign: return at::sign_out(y, x), true;
    case Op::kNot: return at::logical_not_out(y, x), true;
    case Op::kIsNan: return at::ne_out(y, x, x), true;
    default: return false;
  }
}

// False where the op is not a binary one.
bool RunBinary(Op op, bool fmod, T& y, const T& a, const T& b) {
  switch (op) {
    case Op::kAdd: return at::add_out(y, a, b), true;
    case Op::kSub: return at::sub_out(y, a, b), true;
    case Op::kMul: return at::mul_out(y, a, b), true;
    case Op::kDiv: return at::div_out(y, a, b), true;
    case Op::kPow: return at::pow_out(y, a, b), true;
    case Op::kMin: return at::minimum_out(y, a, b), true;
    case Op::kMax: return at::maximum_out(y, a, b), true;
    case Op::kMod: return fmod ? at::fmod_out(y, a, b) : at::remainder_out(y, a, b), true;
    case Op::kAnd: return at::logical_and_out(y, a, b), true;
    case Op::kOr: return at::logical_or_out(y, a, b), true;
    case Op::kXor: return at::logical_xor_out(y, a, b), true;
    case Op::kEqual: return at::eq_out(y, a, b), true;
    case Op::kLess: return at::lt_out(y, a, b), true;
    case Op::kLessEqual: return at::le_out(y, a, b), true;
    case Op::kGreater: return at::gt_out(y, a, b), true;
    case Op::kGreaterEqual: return at::ge_out(y, a, b), true;
    default: return false;
  }
}

// Quotient truncated, remainder as ONNX Mod says. Division by 0 gives 0, and the lowest number by -1 wraps: what a
// device does there by itself is not defined, and a CPU would raise a signal.
void DivideIntegers(const KernelCall& call) {
  T y = ToTensor(call.outputs[0]);
  const T a = ToTensor(call.inputs[0]), b = ToTensor(call.inputs[1]);
  const bool is_signed = call.inputs[0].dtype != DType::kU8;
  T divisor = Temporary(b.sizes().vec(), b.scalar_type());
  divisor.copy_(b);
  const T zero = at::eq(b, 0);
  divisor.masked_fill_(zero, 1);
  T minus_one;
  if (is_signed) {
    minus_one = at::eq(b, -1);
    divisor.masked_fill_(minus_one, 1);
  }
  if (call.op == Op::kMod) {  // x mod 1 = x mod -1 = 0
    RunBinary(Op::kMod, AttrInt(*call.attrs, "fmod", 0) != 0, y, a, divisor);
    return;
  }
  at::div_out(y, a, divisor, "trunc");
  // What was divided by 1 in place of -1 changes its sign, in place of 0 becomes 0.
  divisor.fill_(1);
  if (is_signed) divisor.masked_fill_(minus_one, -1);
  divisor.masked_fill_(zero, 0);
  at::mul_out(y, y, divisor);
}

}  // namespace

Status Binary(const KernelCall& call) {
  if ((call.op == Op::kDiv || call.op == Op::kMod) && !IsFloat(call.inputs[0].dtype)) {
    DivideIntegers(call);
    return Status();
  }
  T y = ToTensor(call.outputs[0]);
  if (!RunBinary(call.op, AttrInt(*call.attrs, "fmod", 0) != 0, y, ToTensor(call.inputs[0]), ToTensor(call.inputs[1])))
    return Internal(Name(call.op), " is not a binary op");
  return Status();
}

Status Unary(const KernelCall& call) {
  T y = ToTensor(call.outputs[0]);
  if (!RunUnary(call.op, y, ToTensor(call.inputs[0]))) return Internal(Name(call.op), " is not a unary op");
  return Status();
}

Status Where(const KernelCall& call) {
  T y = ToTensor(call.outputs[0]);
  at::where_out(y, ToTensor(call.inputs[0]), ToTensor(call.inputs[1]), ToTensor(call.inputs[2]));
  return Status();
}

Status Cast(const KernelCall& call) {
  ToTensor(call.outputs[0]).copy_(ToTensor(call.inputs[0]));
  return Status();
}

}  // namespace zo2::aten_device
