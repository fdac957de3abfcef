#include "frontend/canonical_linear.h"

#include "frontend/rewrite.h"

namespace zo2 {
namespace {

// matmul(x, @W) or matmul(x, transpose(@W)).
void ProductToLinear(Rewriter& rw, NodeId n) {
  const Node& node = rw.node(n);
  ValueId x = rw.Input(node, 0), w = rw.Input(node, 1);
  int64_t trans_w = 0;
  if (const Node* transpose = rw.Producer(w, Op::kTranspose)) {
    if (AttrInts(transpose->attrs, "perm") != std::vector<int64_t>{1, 0}) return;
    w = rw.Input(*transpose, 0);
    trans_w = 1;
  }
  if (!rw.IsWeight(w) || rw.IsWeight(x) || rw.shape(w).size() != 2) return;
  rw.Become(n, Op::kLinear, {x, w}, {{"trans_w", trans_w}});
}

// add(linear(x, @W), @b) in either order, where nobody else reads the product.
void AddToBias(Rewriter& rw, NodeId n) {
  for (size_t i : {0, 1}) {
    ValueId product = rw.Input(rw.node(n), i), bias = rw.Input(rw.node(n), 1 - i);
    const Node* linear = rw.Producer(product, Op::kLinear);
    if (linear == nullptr || rw.Input(*linear, 2) >= 0 || rw.Uses(product) != 1 || !rw.IsWeight(bias))
      continue;
    if (rw.Become(n, Op::kLinear, {rw.Input(*linear, 0), rw.Input(*linear, 1), bias}, Attrs(linear->attrs)))
      return;
  }
}

}  // namespace

Result<void> CanonicalLinear(Graph& graph) {
  Rewriter rw(graph);
  for (NodeId n = 0; n < rw.size(); ++n) {
    if (rw.node(n).op == Op::kMatMul) ProductToLinear(rw, n);
    if (rw.node(n).op == Op::kAdd) AddToBias(rw, n);
  }
  return rw.Finish();
}

}  // namespace zo2
