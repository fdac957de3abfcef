#include "frontend/fuse_rotary.h"

#include "frontend/rewrite.h"

namespace zo2 {
namespace {

// x[..., begin:end] along the last axis with step 1; -1 otherwise.
ValueId SliceOfLast(const Rewriter& rw, ValueId id, int64_t begin, int64_t end) {
  const Node* slice = rw.Producer(id, Op::kSlice);
  if (slice == nullptr) return -1;
  ValueId x = rw.Input(*slice, 0);
  auto last = static_cast<int64_t>(rw.shape(x).size()) - 1;
  auto steps = AttrInts(slice->attrs, "steps");
  bool same = AttrInts(slice->attrs, "axes") == std::vector<int64_t>{last} &&
              AttrInts(slice->attrs, "starts") == std::vector<int64_t>{begin} &&
              AttrInts(slice->attrs, "ends") == std::vector<int64_t>{end} && (steps.empty() || steps[0] == 1);
  return same ? x : -1;
}

// x of concat(-x[d/2:], x[:d/2]); -1 otherwise.
ValueId RotatedHalf(const Rewriter& rw, ValueId id) {
  const Node* concat = rw.Producer(id, Op::kConcat);
  if (concat == nullptr || concat->inputs.size() != 2) return -1;
  auto last = static_cast<int64_t>(rw.shape(id).size()) - 1;
  int64_t axis = AttrInt(concat->attrs, "axis", 0), size = rw.shape(id).back();
  if ((axis != last && axis != -1) || size % 2 != 0) return -1;
  ValueId low = SliceOfLast(rw, rw.Input(*concat, 1), 0, size / 2), high = -1;
  const Node* negated = rw.Producer(rw.Input(*concat, 0));
  if (negated != nullptr && negated->op == Op::kNeg) {
    high = rw.Input(*negated, 0);
  } else if (negated != nullptr && negated->op == Op::kMul) {
    auto product = rw.WithScalar(*negated);
    if (product && product->second == -1) high = product->first;
  }
  return low >= 0 && high >= 0 && SliceOfLast(rw, high, size / 2, size) == low ? low : -1;
}

bool Fuse(Rewriter& rw, NodeId n) {
  for (size_t i : {0, 1}) {
    const Node* plain = rw.Producer(rw.Input(rw.node(n), i), Op::kMul);
    const Node* rotated = rw.Producer(rw.Input(rw.node(n), 1 - i), Op::kMul);
    if (plain == nullptr || rotated == nullptr) return false;
    for (size_t j : {0, 1}) {
      ValueId x = RotatedHalf(rw, rw.Input(*rotated, j)), sin = rw.Input(*rotated, 1 - j);
      if (x < 0 || rw.IsWeight(x) || rw.IsWeight(sin)) continue;
      for (size_t k : {0, 1}) {
        ValueId cos = rw.Input(*plain, 1 - k);
        if (rw.Input(*plain, k) != x || rw.IsWeight(cos)) continue;
        if (rw.Become(n, Op::kRotary, {x, cos, sin})) return true;
      }
    }
  }
  return false;
}

}  // namespace

Result<void> FuseRotary(Graph& graph) {
  Rewriter rw(graph);
  for (NodeId n = 0; n < rw.size(); ++n) {
    if (rw.node(n).op == Op::kAdd) Fuse(rw, n);
  }
  return rw.Finish();
}

}  // namespace zo2
