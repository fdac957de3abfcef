// Elementwise ops, reductions, softmax and the activations that are small compositions.
#include <cmath>
#include <limits>

#include "frontend/lower.h"

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

template <Op op>
Result<void> SoftmaxOp(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  int64_t axis = l.Int("axis", -1);
  if (axis < 0) axis += static_cast<int64_t>(l.shape(x).size());
  ZO2_ASSIGN(ValueId y, l.Emit(op, {x}, {{"axis", axis}}));
  l.results = {y};
  return {};
}

// Axes are an operand since opset 18 (13 for ReduceSum), an attribute before.
Result<Attrs> ReduceAttrs(Lowering& l, ValueId x, bool* nothing) {
  std::vector<int64_t> axes;
  if (auto list = l.IntList("axes")) axes = *list;
  if (l.Has(1)) {
    ZO2_ASSIGN(ValueId id, l.In(1));
    ZO2_ASSIGN(axes, l.Ints(id, "axes"));
  }
  const auto rank = static_cast<int64_t>(l.shape(x).size());
  *nothing = axes.empty() && l.Int("noop_with_empty_axes", 0) != 0;
  if (axes.empty())
    for (int64_t i = 0; i < rank; ++i) axes.push_back(i);
  for (int64_t& a : axes) {
    if (a < 0) a += rank;
    if (a < 0 || a >= rank) return Invalid("axis ", a, " is out of range for ", rank, " axes");
  }
  return Attrs{{"axes", axes}, {"keepdims", l.Int("keepdims", 1)}};
}

enum class Around { kNone, kSquare, kL2, kAbs, kLogSumExp };

template <Op op, Around around>
Result<void> ReduceOp(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  bool nothing = false;
  ZO2_ASSIGN(Attrs attrs, ReduceAttrs(l, x, &nothing));
  ValueId y = x;
  if (around == Around::kSquare || around == Around::kL2) {
    ZO2_ASSIGN(y, l.Emit(Op::kMul, {x, x}));
  } else if (around == Around::kAbs) {
    ZO2_ASSIGN(y, l.Emit(Op::kAbs, {x}));
  } else if (around == Around::kLogSumExp) {
    ZO2_ASSIGN(y, l.Emit(Op::kExp, {x}));
  }
  if (!nothing) {
    ZO2_ASSIGN(y, l.Emit(op, {y}, attrs));
  }
  if (around == Around::kL2) {
    ZO2_ASSIGN(y, l.Emit(Op::kSqrt, {y}));
  } else if (around == Around::kLogSumExp) {
    ZO2_ASSIGN(y, l.Emit(Op::kLog, {y}));
  }
  l.results = {y};
  return {};
}

Result<void> ArgMaxOp(Lowering& l) {
  if (l.Int("select_last_index", 0) != 0) return Invalid("select_last_index is not supported");
  ZO2_ASSIGN(ValueId x, l.In(0));
  int64_t axis = l.Int("axis", 0);
  if (axis < 0) axis += static_cast<int64_t>(l.shape(x).size());
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kArgMax, {x}, {{"axis", axis}, {"keepdims", l.Int("keepdims", 1)}}));
  l.results = {y};
  return {};
}

Result<void> CumSumOp(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(ValueId a, l.In(1));
  ZO2_ASSIGN(std::vector<int64_t> axis, l.Ints(a, "axis"));
  if (axis.size() != 1) return Invalid("its axis is not one number");
  if (axis[0] < 0) axis[0] += static_cast<int64_t>(l.shape(x).size());
  ZO2_ASSIGN(
      ValueId y,
      l.Emit(Op::kCumSum, {x},
             {{"axis", axis[0]}, {"exclusive", l.Int("exclusive", 0)}, {"reverse", l.Int("reverse", 0)}}));
  l.results = {y};
  return {};
}

// x > 0 ? x : other(x)
Result<void> Select(Lowering& l, ValueId x, ValueId other) {
  ZO2_ASSIGN(ValueId positive, l.Emit(Op::kGreater, {x, l.Scalar(l.type(x).dtype, 0)}));
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kWhere, {positive, x, other}));
  l.results = {y};
  return {};
}

Result<void> LeakyRelu(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(ValueId other, l.Emit(Op::kMul, {x, l.Scalar(l.type(x).dtype, l.Float("alpha", 0.01))}));
  return Select(l, x, other);
}

Result<void> Elu(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  const DType t = l.type(x).dtype;
  ZO2_ASSIGN(ValueId e, l.Emit(Op::kExp, {x}));
  ZO2_ASSIGN(ValueId m, l.Emit(Op::kSub, {e, l.Scalar(t, 1)}));
  ZO2_ASSIGN(ValueId other, l.Emit(Op::kMul, {m, l.Scalar(t, l.Float("alpha", 1))}));
  return Select(l, x, other);
}

// log(1 + exp(x)) = max(x, 0) + log(1 + exp(-|x|)), which does not overflow
Result<void> Softplus(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(ValueId a, l.Emit(Op::kAbs, {x}));
  ZO2_ASSIGN(ValueId n, l.Emit(Op::kNeg, {a}));
  ZO2_ASSIGN(ValueId e, l.Emit(Op::kExp, {n}));
  ZO2_ASSIGN(ValueId s, l.Emit(Op::kAdd, {e, l.Scalar(l.type(x).dtype, 1)}));
  ZO2_ASSIGN(ValueId g, l.Emit(Op::kLog, {s}));
  ZO2_ASSIGN(ValueId r, l.Emit(Op::kRelu, {x}));
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kAdd, {r, g}));
  l.results = {y};
  return {};
}

// min(max(alpha x + beta, 0), 1), times x for HardSwish
template <bool swish>
Result<void> HardSigmoid(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  const DType t = l.type(x).dtype;
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kMul, {x, l.Scalar(t, swish ? 1.0 / 6 : l.Float("alpha", 0.2))}));
  ZO2_ASSIGN(y, l.Emit(Op::kAdd, {y, l.Scalar(t, swish ? 0.5 : l.Float("beta", 0.5))}));
  ZO2_ASSIGN(y, l.Emit(Op::kMax, {y, l.Scalar(t, 0)}));
  ZO2_ASSIGN(y, l.Emit(Op::kMin, {y, l.Scalar(t, 1)}));
  if (swish) {
    ZO2_ASSIGN(y, l.Emit(Op::kMul, {y, x}));
  }
  l.results = {y};
  return {};
}

Result<void> Swish(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  const double alpha = l.Float("alpha", 1);
  ValueId y = -1;
  if (alpha == 1) {
    ZO2_ASSIGN(y, l.Emit(Op::kSilu, {x}));
  } else {
    ZO2_ASSIGN(ValueId scaled, l.Emit(Op::kMul, {x, l.Scalar(l.type(x).dtype, alpha)}));
    ZO2_ASSIGN(ValueId s, l.Emit(Op::kSigmoid, {scaled}));
    ZO2_ASSIGN(y, l.Emit(Op::kMul, {x, s}));
  }
  l.results = {y};
  return {};
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
  t["Softmax"] = SoftmaxOp<Op::kSoftmax>;
  t["LogSoftmax"] = SoftmaxOp<Op::kLogSoftmax>;
  t["ReduceSum"] = ReduceOp<Op::kReduceSum, Around::kNone>;
  t["ReduceMean"] = ReduceOp<Op::kReduceMean, Around::kNone>;
  t["ReduceMax"] = ReduceOp<Op::kReduceMax, Around::kNone>;
  t["ReduceMin"] = ReduceOp<Op::kReduceMin, Around::kNone>;
  t["ReduceProd"] = ReduceOp<Op::kReduceProd, Around::kNone>;
  t["ReduceSumSquare"] = ReduceOp<Op::kReduceSum, Around::kSquare>;
  t["ReduceL1"] = ReduceOp<Op::kReduceSum, Around::kAbs>;
  t["ReduceL2"] = ReduceOp<Op::kReduceSum, Around::kL2>;
  t["ReduceLogSumExp"] = ReduceOp<Op::kReduceSum, Around::kLogSumExp>;
  t["ArgMax"] = ArgMaxOp;
  t["CumSum"] = CumSumOp;
  t["LeakyRelu"] = LeakyRelu;
  t["Elu"] = Elu;
  t["Softplus"] = Softplus;
  t["HardSigmoid"] = HardSigmoid<false>;
  t["HardSwish"] = HardSigmoid<true>;
  t["Swish"] = Swish;
}

}  // namespace zo2::internal
