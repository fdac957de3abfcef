// Activations and functions of one number that are small compositions.
#include <cmath>
#include <limits>

#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

ValueId Positive(Build& b, ValueId x) { return b(Op::kGreater, {x, b.Number(b.dtype(x), 0)}); }

Result<void> LeakyRelu(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  return b.Done({b.Where(Positive(b, x), x, b.Scale(x, l.Float("alpha", 0.01)))});
}

// The slope broadcasts to x.
Result<void> PRelu(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0), slope = b.In(1);
  return b.Done({b.Where(b.Less(x, b.Number(b.dtype(x), 0)), b.Mul(slope, x), x)});
}

// gamma (x > 0 ? x : alpha (exp(x) - 1))
Result<void> ExponentialUnit(Lowering& l, double alpha, double gamma) {
  Build b(l);
  const ValueId x = b.In(0);
  const ValueId below = b.Scale(b.AddNumber(b.Unary(Op::kExp, x), -1), alpha);
  return b.Done({b.Scale(b.Where(Positive(b, x), x, below), gamma)});
}

Result<void> Elu(Lowering& l) { return ExponentialUnit(l, l.Float("alpha", 1), 1); }

Result<void> Selu(Lowering& l) {
  return ExponentialUnit(l, l.Float("alpha", 1.67326319217681884765625),
                         l.Float("gamma", 1.05070102214813232421875));
}

// max(x, 0) + min(alpha (exp(x / alpha) - 1), 0)
Result<void> Celu(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const double alpha = l.Float("alpha", 1);
  if (alpha == 0) return Invalid("its alpha is 0");
  const ValueId below = b.Scale(b.AddNumber(b.Unary(Op::kExp, b.Scale(x, 1 / alpha)), -1), alpha);
  return b.Done({b.Add(b.Unary(Op::kRelu, x), b.Min(below, b.Number(b.dtype(x), 0)))});
}

Result<void> ThresholdedRelu(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const ValueId above = b(Op::kGreater, {x, b.Number(b.dtype(x), l.Float("alpha", 1))});
  return b.Done({b.Where(above, x, b.Number(b.dtype(x), 0))});
}

// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), which does not overflow
ValueId SoftplusOf(Build& b, ValueId x) {
  const ValueId e = b.Unary(Op::kExp, b.Unary(Op::kNeg, b.Unary(Op::kAbs, x)));
  return b.Add(b.Unary(Op::kRelu, x), b.Unary(Op::kLog, b.AddNumber(e, 1)));
}

Result<void> Softplus(Lowering& l) {
  Build b(l);
  return b.Done({SoftplusOf(b, b.In(0))});
}

Result<void> Mish(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  return b.Done({b.Mul(x, b.Unary(Op::kTanh, SoftplusOf(b, x)))});
}

Result<void> Softsign(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  return b.Done({b.Div(x, b.AddNumber(b.Unary(Op::kAbs, x), 1))});
}

// x < -lambd ? x + bias : x > lambd ? x - bias : 0
Result<void> Shrink(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const double bias = l.Float("bias", 0), lambd = l.Float("lambd", 0.5);
  const ValueId above = b(Op::kGreater, {x, b.Number(b.dtype(x), lambd)});
  const ValueId below = b.Less(x, b.Number(b.dtype(x), -lambd));
  const ValueId rest = b.Where(above, b.AddNumber(x, -bias), b.Number(b.dtype(x), 0));
  return b.Done({b.Where(below, b.AddNumber(x, bias), rest)});
}

// min(max(alpha x + beta, 0), 1), times x for HardSwish
template <bool swish>
Result<void> HardSigmoid(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const DType t = b.dtype(x);
  ValueId y =
      b.AddNumber(b.Scale(x, swish ? 1.0 / 6 : l.Float("alpha", 0.2)), swish ? 0.5 : l.Float("beta", 0.5));
  y = b.Min(b.Max(y, b.Number(t, 0)), b.Number(t, 1));
  return b.Done({swish ? b.Mul(y, x) : y});
}

Result<void> Swish(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const double alpha = l.Float("alpha", 1);
  return b.Done({alpha == 1 ? b.Unary(Op::kSilu, x) : b.Mul(x, b.Unary(Op::kSigmoid, b.Scale(x, alpha)))});
}

Result<void> Gelu(Lowering& l) {
  Build b(l);
  const std::string form = l.String("approximate", "none");
  if (form != "none" && form != "tanh") return Invalid("gelu with approximate=", form, " is not supported");
  return b.Done({b(Op::kGelu, {b.In(0)}, {{"tanh", int64_t{form == "tanh"}}})});
}

Result<void> Tan(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  return b.Done({b.Div(b.Unary(Op::kSin, x), b.Unary(Op::kCos, x))});
}

// (exp(x) + sign exp(-x)) / 2
template <int sign>
Result<void> Hyperbolic(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const ValueId up = b.Unary(Op::kExp, x), down = b.Unary(Op::kExp, b.Unary(Op::kNeg, x));
  return b.Done({b.Scale(sign > 0 ? b.Add(up, down) : b.Sub(up, down), 0.5)});
}

// asinh: sign(x) log(|x| + sqrt(x^2 + 1)); acosh: log(x + sqrt(x^2 - 1))
template <int sign>
Result<void> AreaHyperbolic(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0), a = sign > 0 ? b.Unary(Op::kAbs, x) : x;
  const ValueId root = b.Unary(Op::kSqrt, b.AddNumber(b.Mul(x, x), sign));
  const ValueId y = b.Unary(Op::kLog, b.Add(a, root));
  return b.Done({sign > 0 ? b.Mul(b.Unary(Op::kSign, x), y) : y});
}

// log((1 + x) / (1 - x)) / 2
Result<void> Atanh(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const ValueId ratio = b.Div(b.AddNumber(x, 1), b.Sub(b.Number(b.dtype(x), 1), x));
  return b.Done({b.Scale(b.Unary(Op::kLog, ratio), 0.5)});
}

Result<void> IsInf(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const bool negative = l.Int("detect_negative", 1) != 0, positive = l.Int("detect_positive", 1) != 0;
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  if (negative && positive) return b.Done({b.Equal(b.Unary(Op::kAbs, x), b.Number(b.dtype(x), kInfinity))});
  if (negative || positive)
    return b.Done({b.Equal(x, b.Number(b.dtype(x), negative ? -kInfinity : kInfinity))});
  return b.Done({b.Expand(b.Cast(b.Number(DType::kI64, 0), DType::kBool), b.shape(x))});
}

}  // namespace

void AddActivations(LowerTable* table) {
  LowerTable& t = *table;
  t["Acosh"] = AreaHyperbolic<-1>;
  t["Asinh"] = AreaHyperbolic<1>;
  t["Atanh"] = Atanh;
  t["Celu"] = Celu;
  t["Cosh"] = Hyperbolic<1>;
  t["Elu"] = Elu;
  t["Gelu"] = Gelu;
  t["HardSigmoid"] = HardSigmoid<false>;
  t["HardSwish"] = HardSigmoid<true>;
  t["IsInf"] = IsInf;
  t["LeakyRelu"] = LeakyRelu;
  t["Mish"] = Mish;
  t["PRelu"] = PRelu;
  t["Selu"] = Selu;
  t["Shrink"] = Shrink;
  t["Sinh"] = Hyperbolic<-1>;
  t["Softplus"] = Softplus;
  t["Softsign"] = Softsign;
  t["Swish"] = Swish;
  t["Tan"] = Tan;
  t["ThresholdedRelu"] = ThresholdedRelu;
}

}  // namespace zo2::internal
