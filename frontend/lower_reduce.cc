// Ops along axes: reductions, positions of extremes, running sums, softmax.
#include <limits>
#include <numeric>

#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

template <Op op>
Result<void> Softmax(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  return b.Done({b(op, {x}, {{"axis", b.Axis(l.Int("axis", -1), b.rank(x))}})});
}

enum class Around { kNone, kSquare, kL2, kAbs, kLog, kLogSumExp };

// Axes are an operand since opset 18 (13 for ReduceSum), an attribute before. Without any all axes are
// reduced, or with noop_with_empty_axes none: what is done to each element is done all the same.
template <Op op, Around around>
Result<void> Reduce(Lowering& l) {
  Build b(l);
  ValueId x = b.In(0);
  List axes = b.Axes("axes", 1, b.rank(x)).value_or(List());
  if (axes.empty() && l.Int("noop_with_empty_axes", 0) == 0) {
    axes.resize(static_cast<size_t>(b.rank(x)));
    std::iota(axes.begin(), axes.end(), 0);
  }
  const bool keep = l.Int("keepdims", 1) != 0, is_bool = b.dtype(x) == DType::kBool;
  if (is_bool) x = b.Cast(x, DType::kU8);
  ValueId shift = -1;  // the largest element, so that no exponential overflows; 0 where that is infinite
  switch (around) {
    case Around::kSquare:
    case Around::kL2:
      x = b.Mul(x, x);
      break;
    case Around::kAbs:
      x = b.Unary(Op::kAbs, x);
      break;
    case Around::kLogSumExp: {
      const ValueId top = b.Reduce(Op::kReduceMax, x, axes);
      const ValueId infinite =
          b.Equal(b.Unary(Op::kAbs, top), b.Number(b.dtype(x), std::numeric_limits<double>::infinity()));
      shift = b.Where(infinite, b.Number(b.dtype(x), 0), top);
      x = b.Unary(Op::kExp, b.Sub(x, shift));
      break;
    }
    default:
      break;
  }
  ValueId y = b.Reduce(op, x, axes, keep);
  if (around == Around::kL2) y = b.Unary(Op::kSqrt, y);
  if (around == Around::kLog) y = b.Unary(Op::kLog, y);
  if (around == Around::kLogSumExp) y = b.Add(b.Unary(Op::kLog, y), b.Reshape(shift, b.shape(y)));
  return b.Done({is_bool ? b.Cast(y, DType::kBool) : y});
}

// The first (or last) position of the largest element along an axis, or of the smallest.
ValueId Extreme(Lowering& l, Build& b, ValueId x, int64_t axis, bool smallest, bool keep) {
  if (b.dtype(x) == DType::kU8) x = b.Cast(x, DType::kI32);
  // Turned round without overflow: -x, and -1 - x for integers.
  if (smallest) x = IsFloat(b.dtype(x)) ? b.Unary(Op::kNeg, x) : b.Sub(b.Number(b.dtype(x), -1), x);
  const bool last = l.Int("select_last_index", 0) != 0;
  if (last) x = b.Flip(x, axis);
  const ValueId y = b(Op::kArgMax, {x}, {{"axis", axis}, {"keepdims", int64_t{keep}}});
  return last ? b.Sub(b.Number(DType::kI64, static_cast<double>(b.dim(x, axis) - 1)), y) : y;
}

template <bool smallest>
Result<void> ArgExtreme(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const int64_t axis = b.Axis(l.Int("axis", 0), b.rank(x));
  return b.Done({Extreme(l, b, x, axis, smallest, l.Int("keepdims", 1) != 0)});
}

// 1 at the first largest element along the axis, 0 elsewhere.
Result<void> Hardmax(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const int64_t axis = b.Axis(l.Int("axis", -1), b.rank(x));
  Shape along(static_cast<size_t>(b.rank(x)), 1);
  if (!b.ok()) return b.status();
  along[static_cast<size_t>(axis)] = b.dim(x, axis);
  const ValueId positions = b.Reshape(b.Iota(b.dim(x, axis)), along);
  return b.Done({b.Cast(b.Equal(positions, Extreme(l, b, x, axis, false, true)), b.dtype(x))});
}

Result<void> CumSum(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const List axis = b.Take(l.Ints(b.In(1), "axis"));
  if (b.ok() && axis.size() != 1) return Invalid("its axis is not one number");
  if (!b.ok()) return b.status();
  return b.Done({b(Op::kCumSum, {x},
                   {{"axis", b.Axis(axis[0], b.rank(x))},
                    {"exclusive", l.Int("exclusive", 0)},
                    {"reverse", l.Int("reverse", 0)}})});
}

}  // namespace

void AddReductions(LowerTable* table) {
  LowerTable& t = *table;
  t["ArgMax"] = ArgExtreme<false>;
  t["ArgMin"] = ArgExtreme<true>;
  t["CumSum"] = CumSum;
  t["Hardmax"] = Hardmax;
  t["LogSoftmax"] = Softmax<Op::kLogSoftmax>;
  t["ReduceL1"] = Reduce<Op::kReduceSum, Around::kAbs>;
  t["ReduceL2"] = Reduce<Op::kReduceSum, Around::kL2>;
  t["ReduceLogSum"] = Reduce<Op::kReduceSum, Around::kLog>;
  t["ReduceLogSumExp"] = Reduce<Op::kReduceSum, Around::kLogSumExp>;
  t["ReduceMax"] = Reduce<Op::kReduceMax, Around::kNone>;
  t["ReduceMean"] = Reduce<Op::kReduceMean, Around::kNone>;
  t["ReduceMin"] = Reduce<Op::kReduceMin, Around::kNone>;
  t["ReduceProd"] = Reduce<Op::kReduceProd, Around::kNone>;
  t["ReduceSum"] = Reduce<Op::kReduceSum, Around::kNone>;
  t["ReduceSumSquare"] = Reduce<Op::kReduceSum, Around::kSquare>;
  t["Softmax"] = Softmax<Op::kSoftmax>;
}

}  // namespace zo2::internal
