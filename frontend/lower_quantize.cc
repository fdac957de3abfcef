// Quantised values: written out as the arithmetic that they stand for. Sums of products of small integers are
// made in binary64, where they are exact.
#include <limits>

#include "frontend/lower_build.h"
#include "frontend/onnx_file.h"

namespace zo2::internal {
namespace {

// Lowest and highest number of an integer dtype.
std::pair<double, double> RangeOf(DType t) {
  switch (t) {
    case DType::kU8:
      return {0, 255};
    case DType::kI8:
      return {-128, 127};
    case DType::kI16:
      return {-32768, 32767};
    default:
      return {std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};
  }
}

// A scale or zero point as it broadcasts to x: one number, one per index of the axis, or one per block of it.
ValueId Along(Lowering& l, Build& b, ValueId v, ValueId x) {
  if (!b.ok() || b.rank(v) == 0 || b.shape(v) == Shape{1}) return b.ok() ? b.Reshape(v, {}) : -1;
  const int64_t axis = b.Axis(l.Int("axis", 1), b.rank(x)), block = l.Int("block_size", 0);
  if (!b.ok()) return -1;
  Shape shape(static_cast<size_t>(b.rank(x)), 1);
  if (block == 0) {
    shape[static_cast<size_t>(axis)] = b.dim(x, axis);
    if (b.shape(v) != Shape{b.dim(x, axis)})
      b.Fail("its scale or zero point is not one number per index of axis ", axis);
    return b.Reshape(v, shape);
  }
  // A block of the axis shares one number.
  shape = b.shape(v);
  if (shape.size() != b.shape(x).size() || block < 0) {
    b.Fail("its scale or zero point does not fit blocks of ", block);
    return -1;
  }
  Shape split = shape, grown = shape;
  split.insert(split.begin() + axis + 1, 1);
  grown.insert(grown.begin() + axis + 1, block);
  shape[static_cast<size_t>(axis)] *= block;
  const ValueId repeated = b.Reshape(b.Expand(b.Reshape(v, split), grown), shape);
  return b.Slice(repeated, axis, 0, b.dim(x, axis));
}

// round(x), moved by the zero point and saturated.
ValueId Saturated(Build& b, ValueId x, ValueId zero, DType to) {
  ValueId y = b.Unary(Op::kRound, x);
  if (zero >= 0) y = b.Add(y, b.Cast(zero, b.dtype(x)));
  const auto [low, high] = RangeOf(to);
  y = b.Min(b.Max(y, b.Number(b.dtype(x), low)), b.Number(b.dtype(x), high));
  return b.Cast(y, to);
}

Result<void> Quantize(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0), scale = b.In(1), zero = b.Optional(2);
  DType to = zero < 0 ? DType::kU8 : b.dtype(zero);
  if (const int64_t asked = l.Int("output_dtype", 0); asked != 0) {
    const auto type = FromOnnxType(static_cast<int>(asked));
    if (!type) return Invalid("quantization to ONNX element type ", asked, " is not supported");
    to = *type;
  }
  if (to != DType::kU8 && to != DType::kI8 && to != DType::kI16)
    return Invalid("quantization to ", Name(to), " is not supported");
  const ValueId in_float = IsFloat(b.dtype(x)) ? x : b.Cast(x, DType::kF32);
  const ValueId scaled = b.Div(in_float, b.Cast(Along(l, b, scale, x), b.dtype(in_float)));
  return b.Done({Saturated(b, scaled, zero < 0 ? -1 : Along(l, b, zero, x), to)});
}

Result<void> Dequantize(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0), scale = b.In(1);
  ValueId y = b.Cast(x, DType::kI32);
  if (const ValueId zero = b.Optional(2); zero >= 0) y = b.Sub(y, b.Cast(Along(l, b, zero, x), DType::kI32));
  return b.Done({b.Mul(b.Cast(y, b.dtype(scale)), Along(l, b, scale, x))});
}

// u8 codes of x, with the scale and zero point that its range asks for.
Result<void> DynamicQuantize(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0), zero = b.Number(DType::kF32, 0);
  List axes;
  for (int64_t i = 0; i < b.rank(x); ++i) axes.push_back(i);
  const ValueId high = b.Max(b.Reduce(Op::kReduceMax, x, axes, false), zero);
  const ValueId low = b.Min(b.Reduce(Op::kReduceMin, x, axes, false), zero);
  const ValueId scale = b.Div(b.Sub(high, low), b.Number(DType::kF32, 255));
  const ValueId point = Saturated(b, b.Unary(Op::kNeg, b.Div(low, scale)), -1, DType::kU8);
  return b.Done({Saturated(b, b.Div(x, scale), point, DType::kU8), scale, point});
}

// An integer operand less its zero point, exactly. A vector of zero points is one per row of a, or per column
// of b.
ValueId Centred(Build& b, ValueId x, ValueId zero, bool rows) {
  ValueId y = b.Cast(x, DType::kF64);
  if (zero < 0) return y;
  ValueId z = b.Cast(zero, DType::kF64);
  if (rows && b.rank(z) == 1 && b.dim(z, 0) > 1) z = b.Reshape(z, {b.dim(z, 0), 1});
  return b.Sub(y, z);
}

Result<void> MatMulInteger(Lowering& l) {
  Build b(l);
  const ValueId x = Centred(b, b.In(0), b.Optional(2), true), w = Centred(b, b.In(1), b.Optional(3), false);
  return b.Done({b.Cast(b.MatMul(x, w), DType::kI32)});
}

// Operands: a, its scale and zero point, the same of b, scale and zero point of the result.
Result<void> QLinearMatMul(Lowering& l) {
  Build b(l);
  const ValueId x = Centred(b, b.In(0), b.In(2), true), w = Centred(b, b.In(3), b.In(5), false);
  const auto scale = [&](size_t i) { return b.Cast(b.In(i), DType::kF64); };
  const ValueId y = b.Mul(b.MatMul(x, w), b.Div(b.Mul(scale(1), scale(4)), scale(6)));
  const ValueId zero = b.In(7);
  if (b.dtype(zero) != DType::kU8)
    return Invalid("a quantised product of ", Name(b.dtype(zero)),
                   " is not supported: ONNX's text has it saturate, its tests wrap");
  return b.Done({Saturated(b, y, zero, b.dtype(zero))});
}

}  // namespace

void AddQuantization(LowerTable* table) {
  LowerTable& t = *table;
  t["DequantizeLinear"] = Dequantize;
  t["DynamicQuantizeLinear"] = DynamicQuantize;
  t["MatMulInteger"] = MatMulInteger;
  t["QLinearMatMul"] = QLinearMatMul;
  t["QuantizeLinear"] = Quantize;
}

}  // namespace zo2::internal
