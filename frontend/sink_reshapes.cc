#include "frontend/sink_reshapes.h"

#include "frontend/rewrite.h"

namespace zo2 {
namespace {

// The value whose leading axes a reshape merged to give `id`; -1 when there is no such reshape.
ValueId Unmerged(const Rewriter& rw, ValueId id) {
  const Node* reshape = rw.Producer(id, Op::kReshape);
  if (reshape == nullptr) return -1;
  ValueId source = rw.Input(*reshape, 0);
  const Shape &from = rw.shape(source), &to = rw.shape(id);
  bool merges = !to.empty() && from.size() > to.size() && from.back() == to.back() && NumElements(from) > 0;
  return merges ? source : -1;
}

// Works on each row (last axis) of operand 0 alone.
bool IsRowWise(const Node& node) {
  switch (node.op) {
    case Op::kLinear:
    case Op::kLayerNorm:
    case Op::kRmsNorm:
    case Op::kGelu:
    case Op::kSilu:
    case Op::kCast:
      return true;
    default:
      return node.op >= Op::kNeg && node.op <= Op::kIsNan;
  }
}

bool IsBinary(Op op) { return op >= Op::kAdd && op <= Op::kGreaterEqual; }

// Broadcasts along the last axis only, so its meaning does not change with the leading axes.
bool IsRowOperand(const Rewriter& rw, ValueId id) {
  return rw.shape(id).size() <= 1 && (rw.IsConstant(id) || rw.IsWeight(id));
}

// `id` [rows, features] as [lead..., features], where it was made by row-wise ops from a reshape of
// something; -1 otherwise. The way back of the above: the reshape in front merged more than leading axes
// (heads and their size), so that only the reshape behind says how the rows split.
ValueId Split(Rewriter& rw, NodeId n, ValueId id, const Shape& lead, int depth) {
  const Node* node = rw.Producer(id);
  if (node == nullptr || rw.shape(id).size() != 2) return -1;
  Shape to = lead;
  to.push_back(rw.shape(id)[1]);
  if (node->op == Op::kReshape) return rw.Reshape(n, rw.Input(*node, 0), to);
  if (depth == 0 || !IsRowWise(*node) || rw.Uses(id) != 1) return -1;
  ValueId x = Split(rw, n, rw.Input(*node, 0), lead, depth - 1);
  if (x < 0) return -1;
  std::vector<ValueId> inputs = {x};
  for (size_t i = 1; i < node->inputs.size(); ++i) inputs.push_back(rw.Input(*node, i));
  return rw.Emit(n, node->op, std::move(inputs), node->attrs);
}

}  // namespace

Result<void> SinkReshapes(Graph& graph) {
  Rewriter rw(graph);
  for (NodeId n = 0; n < rw.size(); ++n) {
    const Node& node = rw.node(n);
    std::vector<ValueId> inputs;
    for (size_t i = 0; i < node.inputs.size(); ++i) inputs.push_back(rw.Input(node, i));
    if (node.op == Op::kReshape) {
      if (const Node* inner = rw.Producer(inputs[0], Op::kReshape)) {
        ValueId source = rw.Input(*inner, 0);
        rw.Become(n, Op::kReshape, {source}, Attrs(node.attrs));
        rw.Forward(node.outputs[0], source);
        continue;
      }
      Shape lead = rw.shape(node.outputs[0]);
      if (lead.size() < 3 || rw.shape(inputs[0]).empty() || lead.back() != rw.shape(inputs[0]).back())
        continue;
      lead.pop_back();
      ValueId split = Split(rw, n, inputs[0], lead, 4);
      if (split >= 0) rw.Forward(node.outputs[0], split);
      continue;
    }
    if (IsRowWise(node)) {
      ValueId source = Unmerged(rw, inputs[0]);
      if (source < 0) continue;
      inputs[0] = source;
    } else if (IsBinary(node.op)) {
      ValueId a = Unmerged(rw, inputs[0]), b = Unmerged(rw, inputs[1]);
      if (a >= 0 && b >= 0 && rw.shape(a) == rw.shape(b)) {
        inputs = {a, b};
      } else if (a >= 0 && IsRowOperand(rw, inputs[1])) {
        inputs[0] = a;
      } else if (b >= 0 && IsRowOperand(rw, inputs[0])) {
        inputs[1] = b;
      } else {
        continue;
      }
    } else {
      continue;
    }
    Shape to = rw.shape(node.outputs[0]);
    ValueId unmerged = rw.Emit(n, node.op, std::move(inputs), node.attrs);
    if (unmerged >= 0) rw.Become(n, Op::kReshape, {unmerged}, {{"shape", to}});
  }
  return rw.Finish();
}

}  // namespace zo2
