// Scatters by comparison: every element of the result looks which of the updates are meant for it. That costs
// a product of sizes, which is small where exports use them (experts of a token, tokens of a mask); larger
// ones are refused unless the indices are known, which makes a gather of them.
#include <limits>
#include <numeric>

#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

constexpr int64_t kMostComparisons = int64_t{1} << 26;

double Neutral(const std::string& reduction, DType t) {
  if (reduction == "mul") return 1;
  if (reduction != "max" && reduction != "min") return 0;
  const double low = IsFloat(t)         ? -std::numeric_limits<double>::infinity()
                     : t == DType::kU8  ? 0
                     : t == DType::kI8  ? -128
                     : t == DType::kI16 ? -32768
                     : t == DType::kI32 ? std::numeric_limits<int32_t>::min()
                                        : static_cast<double>(std::numeric_limits<int64_t>::min());
  return reduction == "max" ? low : t == DType::kU8 ? 255 : -low - (IsFloat(t) ? 0 : 1);
}

// data [..., n], ids [..., m] in [0, n), updates [..., m]: along the last axis, which is the only one that
// may differ.
ValueId AlongLast(Build& b, ValueId data, ValueId ids, ValueId updates, const std::string& reduction) {
  const int64_t rank = b.rank(data), n = b.dim(data, rank - 1), m = b.dim(ids, rank - 1);
  Shape by_update = b.shape(ids);  // [..., 1, m]
  if (!b.ok()) return -1;
  by_update.insert(by_update.end() - 1, 1);
  if (NumElements(b.shape(data)) * m > kMostComparisons)
    b.Fail("a scatter of ", m, " updates to ", n,
           " elements by indices that depend on the inputs is not supported");
  const ValueId hot = b.Equal(b.Reshape(ids, by_update), b.Reshape(b.Iota(n), {n, 1}));  // [..., n, m]
  if (reduction == "none") {  // the last of several for one element counts
    const ValueId order = b.Where(hot, b.AddNumber(b.Iota(m), 1), b.Number(DType::kI64, 0));
    const ValueId best = b(Op::kArgMax, {order}, {{"axis", rank}, {"keepdims", int64_t{0}}});
    const ValueId any =
        b(Op::kGreater, {b.Reduce(Op::kReduceMax, order, {rank}, false), b.Number(DType::kI64, 0)});
    return b.Where(any, b(Op::kGatherElements, {updates, best}, {{"axis", rank - 1}}), data);
  }
  const ValueId meant =
      b.Where(hot, b.Reshape(updates, by_update), b.Number(b.dtype(data), Neutral(reduction, b.dtype(data))));
  if (reduction == "add") return b.Add(data, b.Reduce(Op::kReduceSum, meant, {rank}, false));
  if (reduction == "mul") return b.Mul(data, b.Reduce(Op::kReduceProd, meant, {rank}, false));
  if (reduction == "max") return b.Max(data, b.Reduce(Op::kReduceMax, meant, {rank}, false));
  return b.Min(data, b.Reduce(Op::kReduceMin, meant, {rank}, false));
}

Result<std::string> Reduction(Lowering& l) {
  const std::string reduction = l.String("reduction", "none");
  for (const char* known : {"none", "add", "mul", "max", "min"})
    if (reduction == known) return reduction;
  return Invalid("reduction ", reduction, " is not supported");
}

// Indices that count from the end, from the beginning.
ValueId Wrapped(Build& b, ValueId ids, int64_t n) {
  return b.Where(b.Less(ids, b.Number(DType::kI64, 0)), b.AddNumber(ids, static_cast<double>(n)), ids);
}

Result<void> ScatterElements(Lowering& l) {
  Build b(l);
  ZO2_ASSIGN(const std::string reduction, Reduction(l));
  const ValueId data = b.In(0), ids = b.Cast(b.In(1), DType::kI64), updates = b.In(2);
  const int64_t rank = b.rank(data), axis = b.Axis(l.Int("axis", 0), rank);
  Shape others = b.shape(data), indexed = b.shape(ids);
  if (!b.ok()) return b.status();
  if (indexed.size() == others.size()) others[static_cast<size_t>(axis)] = indexed[static_cast<size_t>(axis)];
  if (indexed != others || b.shape(updates) != indexed)
    return Invalid("a scatter whose indices cover only a part of the other axes is not supported");
  List perm;
  for (int64_t i = 0; i < rank; ++i)
    if (i != axis) perm.push_back(i);
  perm.push_back(axis);
  List back(static_cast<size_t>(rank));
  for (size_t i = 0; i < perm.size(); ++i) back[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  const ValueId y =
      AlongLast(b, b.Transpose(data, perm), b.Transpose(Wrapped(b, ids, b.dim(data, axis)), perm),
                b.Transpose(updates, perm), reduction);
  return b.Done({b.Transpose(y, back)});
}

// Rows of the result are of the data or, where the last of the known indices says so, of the updates.
ValueId ByKnown(Build& b, ValueId rows, ValueId updates, const List& linear) {
  const int64_t n = b.dim(rows, 0);
  if (!b.MayMake({n})) return -1;
  List from(static_cast<size_t>(n));
  std::iota(from.begin(), from.end(), 0);
  for (size_t j = 0; j < linear.size(); ++j) {
    if (linear[j] < 0 || linear[j] >= n) {
      b.Fail("one of its indices is outside of its operand");
      return -1;
    }
    from[static_cast<size_t>(linear[j])] = n + static_cast<int64_t>(j);
  }
  return b.Gather(b.Concat({rows, updates}, 0), from, {n}, 0);
}

// indices [..., depth] name slices of the first `depth` axes.
Result<void> ScatterNd(Lowering& l) {
  Build b(l);
  ZO2_ASSIGN(const std::string reduction, Reduction(l));
  const ValueId data = b.In(0), ids = b.Cast(b.In(1), DType::kI64), updates = b.In(2);
  const Shape shape = b.shape(data), indexed = b.shape(ids);
  if (!b.ok()) return b.status();
  const int64_t depth = indexed.empty() ? 0 : indexed.back();
  if (indexed.empty() || depth < 1 || depth > b.rank(data))
    return Invalid("its indices do not fit its operand");
  const int64_t n = NumElements({shape.data(), static_cast<size_t>(depth)}),
                slice = n == 0 ? 0 : NumElements(shape) / n, m = NumElements(indexed) / depth;
  if (b.ok() && m * slice != NumElements(b.shape(updates)))
    return Invalid("its updates do not fit its indices");
  ValueId linear = b.Reshape(b.Number(DType::kI64, 0), {1});
  const ValueId rows_of_ids = b.Reshape(ids, {m, depth});
  for (int64_t k = 0; k < depth; ++k) {
    const ValueId at = Wrapped(b, b.Pick(rows_of_ids, 1, k), shape[static_cast<size_t>(k)]);
    linear = b.Add(b.Scale(linear, static_cast<double>(shape[static_cast<size_t>(k)])), at);
  }
  const ValueId rows = b.Reshape(data, {n, slice}), of_updates = b.Reshape(updates, {m, slice});
  if (!b.ok()) return b.status();
  if (reduction == "none" && l.IsConstant(linear)) {
    const List known = b.Take(l.Ints(linear, "indices"));
    return b.Done({b.Reshape(ByKnown(b, rows, of_updates, known), shape)});
  }
  // One line per column of the slices.
  const ValueId lines = b.Expand(linear, {slice, m});
  const ValueId y =
      AlongLast(b, b.Transpose(rows, {1, 0}), lines, b.Transpose(of_updates, {1, 0}), reduction);
  return b.Done({b.Reshape(b.Transpose(y, {1, 0}), shape)});
}

}  // namespace

void AddScatters(LowerTable* table) {
  (*table)["ScatterElements"] = ScatterElements;
  (*table)["ScatterND"] = ScatterNd;
}

}  // namespace zo2::internal
