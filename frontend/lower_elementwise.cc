// Elementwise ops, and tables that are computed here.
#include <cmath>
#include <limits>

#include "frontend/lower_build.h"
#include "frontend/onnx_file.h"

namespace zo2::internal {
namespace {

template <Op op>
Result<void> Unary(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(ValueId y, l.Emit(op, {x}));
  l.results = {y};
  return {};
}

template <Op op>
Result<void> Binary(Lowering& l) {
  ZO2_ASSIGN(ValueId a, l.In(0));
  ZO2_ASSIGN(ValueId b, l.In(1));
  // Pow may mix dtypes; the result has the base's.
  if (op == Op::kPow && l.type(b).dtype != l.type(a).dtype) {
    ZO2_ASSIGN(b, l.Cast(b, l.type(a).dtype));
  }
  ZO2_ASSIGN(ValueId y, l.Emit(op, {a, b}, op == Op::kMod ? Attrs{{"fmod", l.Int("fmod", 0)}} : Attrs{}));
  l.results = {y};
  return {};
}

// Sum, Min, Max and Mean take any number of operands.
template <Op op, bool mean>
Result<void> Variadic(Lowering& l) {
  ZO2_ASSIGN(ValueId y, l.In(0));
  for (size_t i = 1; i < l.operands.size(); ++i) {
    ZO2_ASSIGN(ValueId x, l.In(i));
    ZO2_ASSIGN(y, l.Emit(op, {y, x}));
  }
  if (mean) {
    ZO2_ASSIGN(y, l.Emit(Op::kDiv, {y, l.Scalar(l.type(y).dtype, static_cast<double>(l.operands.size()))}));
  }
  l.results = {y};
  return {};
}

Result<void> WhereOp(Lowering& l) {
  ZO2_ASSIGN(ValueId c, l.In(0));
  ZO2_ASSIGN(ValueId a, l.In(1));
  ZO2_ASSIGN(ValueId b, l.In(2));
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kWhere, {c, a, b}));
  l.results = {y};
  return {};
}

Result<void> Clip(Lowering& l) {
  ZO2_ASSIGN(ValueId y, l.In(0));
  if (l.Has(1)) {
    ZO2_ASSIGN(ValueId low, l.In(1));
    ZO2_ASSIGN(y, l.Emit(Op::kMax, {y, low}));
  }
  if (l.Has(2)) {
    ZO2_ASSIGN(ValueId high, l.In(2));
    ZO2_ASSIGN(y, l.Emit(Op::kMin, {y, high}));
  }
  l.results = {y};
  return {};
}

// All bits turned round: -1 - x, 255 - x where there is no sign.
Result<void> BitwiseNot(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  return b.Done({b.Sub(b.Number(b.dtype(x), b.dtype(x) == DType::kU8 ? 255 : -1), x)});
}

// x times or divided by 2^bits; a shift by all bits gives 0.
Result<void> BitShift(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  if (b.ok() && b.dtype(x) != DType::kU8)
    return Invalid("a shift of ", Name(b.dtype(x)), " is not supported");
  const ValueId bits = b.Min(b.Cast(b.In(1), DType::kI64), b.Number(DType::kI64, 8));
  const ValueId power = b(Op::kPow, {b.Number(DType::kI64, 2), bits}), wide = b.Cast(x, DType::kI64);
  return b.Done({b.Cast(l.String("direction", "LEFT") == "RIGHT" ? b.Div(wide, power) : b.Mul(wide, power),
                        DType::kU8)});
}

// Hann, Hamming and Blackman windows: sums of cosines over a known size.
template <int kind>
Result<void> Window(Lowering& l) {
  Build b(l);
  const auto size = static_cast<int64_t>(b.Take(l.Number(b.In(0), "size")));
  const auto dtype = FromOnnxType(static_cast<int>(l.Int("output_datatype", 1)));
  if (!dtype || !IsFloat(*dtype))
    return Invalid("a window of ONNX element type ", l.Int("output_datatype", 1), " is not supported");
  if (b.ok() && (size < 0 || size > l.max_fold_bytes() / 8))
    return Invalid("a window of ", size, " elements is not supported");
  constexpr double kTerms[3][3] = {{0.5, -0.5, 0}, {25.0 / 46, -21.0 / 46, 0}, {0.42, -0.5, 0.08}};
  const double n = static_cast<double>(l.Int("periodic", 1) != 0 ? size : size - 1);
  std::vector<float> values;
  for (int64_t i = 0; b.ok() && i < size; ++i) {
    const double at = n == 0 ? 0 : 2 * M_PI * static_cast<double>(i) / n;
    values.push_back(static_cast<float>(kTerms[kind][0] + kTerms[kind][1] * std::cos(at) +
                                        kTerms[kind][2] * std::cos(2 * at)));
  }
  return b.Done(
      {b.Cast(b.Constant(HostTensor::Of<float>(DType::kF32, {size}, values)), ComputeType(*dtype))});
}

}  // namespace

void AddElementwise(LowerTable* table) {
  LowerTable& t = *table;
  t["Add"] = Binary<Op::kAdd>;
  t["Sub"] = Binary<Op::kSub>;
  t["Mul"] = Binary<Op::kMul>;
  t["Div"] = Binary<Op::kDiv>;
  t["Pow"] = Binary<Op::kPow>;
  t["Mod"] = Binary<Op::kMod>;
  t["And"] = Binary<Op::kAnd>;
  t["Or"] = Binary<Op::kOr>;
  t["Xor"] = Binary<Op::kXor>;
  t["Equal"] = Binary<Op::kEqual>;
  t["Less"] = Binary<Op::kLess>;
  t["LessOrEqual"] = Binary<Op::kLessEqual>;
  t["Greater"] = Binary<Op::kGreater>;
  t["GreaterOrEqual"] = Binary<Op::kGreaterEqual>;
  t["Min"] = Variadic<Op::kMin, false>;
  t["Max"] = Variadic<Op::kMax, false>;
  t["Sum"] = Variadic<Op::kAdd, false>;
  t["Mean"] = Variadic<Op::kAdd, true>;
  t["Neg"] = Unary<Op::kNeg>;
  t["Abs"] = Unary<Op::kAbs>;
  t["Sqrt"] = Unary<Op::kSqrt>;
  t["Reciprocal"] = Unary<Op::kReciprocal>;
  t["Exp"] = Unary<Op::kExp>;
  t["Log"] = Unary<Op::kLog>;
  t["Tanh"] = Unary<Op::kTanh>;
  t["Erf"] = Unary<Op::kErf>;
  t["Sigmoid"] = Unary<Op::kSigmoid>;
  t["Relu"] = Unary<Op::kRelu>;
  t["Sin"] = Unary<Op::kSin>;
  t["Cos"] = Unary<Op::kCos>;
  t["Floor"] = Unary<Op::kFloor>;
  t["Ceil"] = Unary<Op::kCeil>;
  t["Round"] = Unary<Op::kRound>;
  t["Sign"] = Unary<Op::kSign>;
  t["Not"] = Unary<Op::kNot>;
  t["IsNaN"] = Unary<Op::kIsNan>;
  t["Where"] = WhereOp;
  t["Clip"] = Clip;
  t["BitShift"] = BitShift;
  t["BitwiseNot"] = BitwiseNot;
  t["HannWindow"] = Window<0>;
  t["HammingWindow"] = Window<1>;
  t["BlackmanWindow"] = Window<2>;
}

}  // namespace zo2::internal
