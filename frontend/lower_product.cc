// MatMul and Gemm, by weights and by activations.
#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

bool IsMatrix(const Lowering& l, size_t operand) {
  return l.Has(operand) && l.operands[operand].weight && l.shape(l.operands[operand].id).size() == 2;
}

// x[..., in] by a 2-d weight, whatever its layout.
Result<ValueId> Linear(Lowering& l, ValueId x, const NodeOperand& weight, bool flipped, ValueId bias) {
  const bool out_in = weight.transposed != flipped;  // the logical layout is [out, in]
  return l.Emit(Op::kLinear, {x, weight.id, bias}, {{"trans_w", int64_t{out_in}}});
}

// Integers are multiplied in binary64, where sums below 2^53 are exact.
Result<ValueId> Multiply(Lowering& l, ValueId a, ValueId b) {
  const DType dtype = l.type(a).dtype;
  if (IsFloat(dtype) || dtype != l.type(b).dtype) return l.Emit(Op::kMatMul, {a, b});
  ZO2_ASSIGN(a, l.Cast(a, DType::kF64));
  ZO2_ASSIGN(b, l.Cast(b, DType::kF64));
  ZO2_ASSIGN(const ValueId y, l.Emit(Op::kMatMul, {a, b}));
  return l.Cast(y, dtype);
}

Result<void> MatMul(Lowering& l) {
  ZO2_ASSIGN(ValueId a, l.In(0));
  ValueId y = -1;
  if (IsMatrix(l, 1) && !l.IsWeight(a) && !l.shape(a).empty()) {
    ZO2_ASSIGN(y, Linear(l, a, l.operands[1], false, -1));
  } else {
    ZO2_ASSIGN(ValueId b, l.In(1));
    ZO2_ASSIGN(y, Multiply(l, a, b));
  }
  l.results = {y};
  return {};
}

Result<ValueId> Swap(Lowering& l, ValueId x, bool swap) {
  if (!swap) return x;
  return l.Emit(Op::kTranspose, {x}, {{"perm", List{1, 0}}});
}

Result<ValueId> Scale(Lowering& l, ValueId x, double factor) {
  if (factor == 1) return x;
  return l.Emit(Op::kMul, {x, l.Scalar(l.type(x).dtype, factor)});
}

// alpha * A' * B' + beta * C
Result<void> Gemm(Lowering& l) {
  ZO2_ASSIGN(ValueId a, l.In(0));
  ZO2_ASSIGN(a, Swap(l, a, l.Int("transA", 0) != 0));
  const bool trans_b = l.Int("transB", 0) != 0, has_c = l.Has(2);
  const double alpha = l.Float("alpha", 1), beta = l.Float("beta", 1);
  ValueId y = -1;
  bool added = !has_c;
  if (IsMatrix(l, 1) && !l.IsWeight(a)) {
    ValueId bias = -1;
    if (has_c && alpha == 1 && beta == 1 && l.operands[2].weight && l.shape(l.operands[2].id).size() == 1) {
      const Shape& w = l.shape(l.operands[1].id);
      const int64_t out = w[(l.operands[1].transposed != trans_b) ? 0 : 1];
      if (l.shape(l.operands[2].id)[0] == out) bias = l.operands[2].id, added = true;
    }
    ZO2_ASSIGN(y, Linear(l, a, l.operands[1], trans_b, bias));
  } else {
    ZO2_ASSIGN(ValueId b, l.In(1));
    ZO2_ASSIGN(b, Swap(l, b, trans_b));
    ZO2_ASSIGN(y, Multiply(l, a, b));
  }
  ZO2_ASSIGN(y, Scale(l, y, alpha));
  if (!added) {
    ZO2_ASSIGN(ValueId c, l.In(2));
    ZO2_ASSIGN(c, Scale(l, c, beta));
    ZO2_ASSIGN(y, l.Emit(Op::kAdd, {y, c}));
  }
  l.results = {y};
  return {};
}

}  // namespace

void AddProducts(LowerTable* table) {
  LowerTable& t = *table;
  t["MatMul"] = MatMul;
  t["Gemm"] = Gemm;
}

}  // namespace zo2::internal
