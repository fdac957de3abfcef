// Builds small graphs by hand: values are added in order, output types are inferred by the registry.
#ifndef ZO2_TESTS_UNIT_GRAPH_GRAPH_BUILDER_H_
#define ZO2_TESTS_UNIT_GRAPH_GRAPH_BUILDER_H_

#include <gtest/gtest.h>

#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "ir/graph/graph.h"

namespace zo2 {

class GraphBuilder {
 public:
  GraphBuilder() { graph.name = "test"; }

  ValueId Input(const std::string& name, Shape shape, DType dtype = DType::kF32) {
    ValueId id = Add({.name = name, .kind = ValueKind::kInput, .type = {dtype, std::move(shape)}});
    graph.inputs.push_back(id);
    return id;
  }
  ValueId Weight(const std::string& name, Shape shape, DType dtype = DType::kF32) {
    zo2::Weight weight;
    weight.name = name;
    weight.shape = shape;
    weight.dtype = dtype;
    graph.weights.push_back(weight);
    ValueId id = Add({.name = name, .kind = ValueKind::kWeight, .type = {dtype, std::move(shape)}});
    graph.value(id).weight = static_cast<WeightId>(graph.weights.size() - 1);
    return id;
  }
  template <typename T>
  ValueId Constant(DType dtype, Shape shape, const std::vector<T>& numbers) {
    std::vector<std::byte> data(numbers.size() * sizeof(T));
    std::memcpy(data.data(), numbers.data(), data.size());
    ValueId id = Add({.name = "c", .kind = ValueKind::kConstant, .type = {dtype, std::move(shape)}});
    graph.value(id).data = std::make_shared<const std::vector<std::byte>>(std::move(data));
    return id;
  }
  ValueId Scalar(float x) { return Constant<float>(DType::kF32, {}, {x}); }
  ValueId Ints(Shape shape, const std::vector<int64_t>& numbers) {
    return Constant(DType::kI64, shape, numbers);
  }
  // All outputs of a node; the first is what most tests want.
  std::vector<ValueId> Nodes(Op op, std::vector<ValueId> inputs, Attrs attrs = {}) {
    std::vector<const TensorType*> types;
    for (ValueId id : inputs) types.push_back(id < 0 ? nullptr : &graph.value(id).type);
    auto outputs = Row(op).infer(types, attrs);
    EXPECT_TRUE(outputs.ok()) << Name(op) << ": " << outputs.status().message();
    Node node{op, std::string(Name(op)), std::move(inputs), {}, std::move(attrs)};
    if (outputs.ok()) {
      for (TensorType& type : *outputs)
        node.outputs.push_back(Add({.name = node.name, .type = std::move(type)}));
    }
    graph.nodes.push_back(node);
    return node.outputs;
  }
  ValueId Make(Op op, std::vector<ValueId> inputs, Attrs attrs = {}) {
    auto outputs = Nodes(op, std::move(inputs), std::move(attrs));
    return outputs.empty() ? -1 : outputs[0];
  }
  ValueId Reshape(ValueId x, Shape shape) { return Make(Op::kReshape, {x}, {{"shape", std::move(shape)}}); }
  ValueId Transpose(ValueId x, std::vector<int64_t> perm) {
    return Make(Op::kTranspose, {x}, {{"perm", std::move(perm)}});
  }
  void Output(ValueId id, const std::string& name = "") {
    if (!name.empty()) graph.value(id).name = name;
    graph.outputs.push_back(id);
  }

  Graph graph;

 private:
  ValueId Add(Value value) {
    graph.values.push_back(std::move(value));
    return static_cast<ValueId>(graph.values.size() - 1);
  }
};

// The nodes of a kind.
inline int CountOps(const Graph& graph, Op op) {
  int n = 0;
  for (const Node& node : graph.nodes) n += node.op == op;
  return n;
}
inline const Node* FindOp(const Graph& graph, Op op) {
  for (const Node& node : graph.nodes) {
    if (node.op == op) return &node;
  }
  return nullptr;
}

}  // namespace zo2

#endif  // ZO2_TESTS_UNIT_GRAPH_GRAPH_BUILDER_H_
