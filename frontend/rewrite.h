// How passes change a graph: look at producers, emit new nodes before a place, let a node become another,
// forward one value to another; Finish() puts the result in order and drops what died. A pass walks the nodes
// in their order and never sees a half-made graph, and a rewrite that would not type-check does not happen.
#ifndef ZO2_FRONTEND_REWRITE_H_
#define ZO2_FRONTEND_REWRITE_H_

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

class Rewriter {
 public:
  explicit Rewriter(Graph& graph);

  Graph& graph() { return graph_; }
  // Number of nodes the graph had; ids below this are stable during the pass. Nodes emitted get later ids.
  NodeId size() const { return size_; }
  const Node& node(NodeId id) const { return nodes_[static_cast<size_t>(id)]; }
  const TensorType& type(ValueId id) const { return graph_.value(id).type; }
  const Shape& shape(ValueId id) const { return type(id).shape; }

  // Operand i after forwarding; -1 when absent.
  ValueId Input(const Node& node, size_t i) const;
  // The node that makes `id`, nullptr for inputs, constants and weights (and when it is not an `op`).
  const Node* Producer(ValueId id) const;
  const Node* Producer(ValueId id, Op op) const;
  NodeId ProducerId(ValueId id) const;
  // Readers of a value, graph outputs included, as of the start of the pass plus what was emitted since.
  int Uses(ValueId id) const { return uses_[static_cast<size_t>(id)]; }
  bool IsOutput(ValueId id) const;
  bool IsWeight(ValueId id) const { return id >= 0 && graph_.value(id).kind == ValueKind::kWeight; }
  bool IsConstant(ValueId id) const { return id >= 0 && graph_.value(id).kind == ValueKind::kConstant; }

  // Elements of a constant as doubles (f32, f64, f16, bf16, integers, bool); nullopt when it is none or is
  // larger than `limit` elements.
  std::optional<std::vector<double>> Numbers(ValueId id, int64_t limit = int64_t{1} << 26) const;
  // The one value that all elements of a constant have.
  std::optional<double> Scalar(ValueId id) const;
  // For a node of two operands, one of them a Scalar: (the other, the scalar).
  std::optional<std::pair<ValueId, double>> WithScalar(const Node& node) const;

  // Adds a node before node `before`; its output's type is inferred. -1 when the op does not take these
  // operands.
  ValueId Emit(NodeId before, Op op, std::vector<ValueId> inputs, Attrs attrs = {},
               const std::string& name = "");
  // A reshape (none when the shape is that already). A constant is reshaped itself.
  ValueId Reshape(NodeId before, ValueId id, const Shape& shape);
  ValueId Transpose(NodeId before, ValueId id, std::vector<int64_t> perm);
  ValueId Constant(TensorType type, std::vector<std::byte> data, const std::string& name);
  // Node `id` keeps its outputs and becomes another op; false, and nothing changes, when it would not
  // type-check.
  bool Become(NodeId id, Op op, std::vector<ValueId> inputs, Attrs attrs = {});
  // Every reader of `from` reads `to` instead; false when the types differ or an output of the graph would be
  // lost.
  bool Forward(ValueId from, ValueId to);

  // Rebuilds graph.nodes and removes dead code.
  Result<void> Finish();

 private:
  ValueId Resolve(ValueId id) const;
  std::vector<const TensorType*> Types(const std::vector<ValueId>& inputs) const;

  Graph& graph_;
  NodeId size_;
  std::deque<Node> nodes_;                   // the graph's, then those emitted
  std::vector<std::vector<NodeId>> before_;  // emitted nodes that stand before node i
  std::vector<NodeId> producer_;             // by value; -1
  std::vector<ValueId> forward_;             // by value; itself when not forwarded
  std::vector<int> uses_;
  NodeId loss_;
};

}  // namespace zo2

#endif  // ZO2_FRONTEND_REWRITE_H_
