// Graphs by hand for the planner's tests: a small transformer with everything the planner must handle (a tied embedding
// and head, reshapes, attention, biases, frozen weights, several storage dtypes, an unused trained weight).
#ifndef ZO2_TESTS_UNIT_PLANNER_SMALL_GRAPH_H_
#define ZO2_TESTS_UNIT_PLANNER_SMALL_GRAPH_H_

#include <string>
#include <vector>

#include "ir/graph/graph.h"
#include "planner/machine.h"
#include "planner/options.h"

namespace zo2 {

class GraphBuilder {
 public:
  ValueId Input(const std::string& name, DType dtype, Shape shape) {
    ValueId id = Add(name, ValueKind::kInput, {dtype, std::move(shape)});
    graph.inputs.push_back(id);
    return id;
  }
  ValueId Weight(const std::string& name, Shape shape, WeightRole role, DType storage = DType::kF32, bool trainable = true) {
    zo2::Weight w;
    w.name = name;
    w.shape = shape;
    w.dtype = storage;
    w.role = role;
    w.trainable = trainable;
    w.decay = role == WeightRole::kMatrix || role == WeightRole::kEmbedding;
    w.tensor_id = static_cast<uint32_t>(graph.weights.size() + 1);
    graph.weights.push_back(w);
    ValueId id = Add(name, ValueKind::kWeight, {DType::kF32, std::move(shape)});
    graph.value(id).weight = static_cast<WeightId>(graph.weights.size() - 1);
    return id;
  }
  // Output types come from the registry.
  std::vector<ValueId> Call(Op op, std::vector<ValueId> inputs, Attrs attrs = {}) {
    std::vector<const TensorType*> types;
    for (ValueId in : inputs) types.push_back(in < 0 ? nullptr : &graph.value(in).type);
    auto padded = types;
    if (Row(op).max_inputs > static_cast<int>(types.size())) padded.resize(static_cast<size_t>(Row(op).max_inputs), nullptr);
    auto outs = Row(op).infer(padded, attrs);
    if (!outs.ok()) {
      error = outs.status().message();
      return {0, 0};
    }
    Node node{op, std::string(Name(op)) + std::to_string(graph.nodes.size()), inputs, {}, attrs};
    for (const TensorType& t : *outs) node.outputs.push_back(Add(node.name + "_" + std::to_string(node.outputs.size()), ValueKind::kActivation, t));
    graph.nodes.push_back(node);
    return node.outputs;
  }
  ValueId One(Op op, std::vector<ValueId> inputs, Attrs attrs = {}) { return Call(op, std::move(inputs), std::move(attrs))[0]; }

  Graph graph;
  std::string error;

 private:
  ValueId Add(const std::string& name, ValueKind kind, TensorType type) {
    Value v;
    v.name = name;
    v.kind = kind;
    v.type = std::move(type);
    graph.values.push_back(v);
    return static_cast<ValueId>(graph.values.size() - 1);
  }
};

struct SmallGraphOptions {
  int64_t batch = 2, seq = 8, vocabulary = 200, width = 32, layers = 3;
  bool frozen = true;     // some weights are
  DType storage = DType::kF32;
  bool unused = true;     // a trained weight that the loss does not see
  bool output = true;     // logits-like output for evaluations
};

inline Graph SmallGraph(const SmallGraphOptions& o = {}) {
  GraphBuilder b;
  b.graph.name = "small";
  b.graph.model_digest = "digest";
  ValueId ids = b.Input("input_ids", DType::kI64, {o.batch, o.seq});
  ValueId labels = b.Input("labels", DType::kI64, {o.batch, o.seq});
  ValueId table = b.Weight("embed.weight", {o.vocabulary, o.width}, WeightRole::kEmbedding, o.storage);
  ValueId x = b.One(Op::kEmbedding, {ids, table});
  const int64_t heads = 4;
  for (int64_t l = 0; l < o.layers; ++l) {
    const std::string p = "model.layers." + std::to_string(l) + ".";
    const bool train = !(o.frozen && l == 1);
    auto matrix = [&](const std::string& name, int64_t out, int64_t in) {
      return b.Weight(p + name + ".weight", {out, in}, WeightRole::kMatrix, o.storage, train);
    };
    auto vector = [&](const std::string& name, int64_t n, WeightRole role) {
      return b.Weight(p + name, {n}, role, o.storage, train || name == "fc1.bias");
    };
    ValueId n1 = b.One(Op::kLayerNorm, {x, vector("ln1.weight", o.width, WeightRole::kNormScale), vector("ln1.bias", o.width, WeightRole::kBias)}, {{"eps", 1e-5}});
    ValueId qkv[3];
    for (int i = 0; i < 3; ++i) {
      ValueId y = b.One(Op::kLinear, {n1, matrix(std::string(1, "qkv"[i]), o.width, o.width), vector(std::string(1, "qkv"[i]) + ".bias", o.width, WeightRole::kBias)});
      qkv[i] = b.One(Op::kReshape, {y}, {{"shape", std::vector<int64_t>{o.batch, o.seq, heads, o.width / heads}}});
    }
    ValueId a = b.One(Op::kAttention, {qkv[0], qkv[1], qkv[2]}, {{"layout", std::string("bshd")}, {"causal", int64_t{1}}});
    a = b.One(Op::kReshape, {a}, {{"shape", std::vector<int64_t>{o.batch, o.seq, o.width}}});
    x = b.One(Op::kAdd, {x, b.One(Op::kLinear, {a, matrix("out", o.width, o.width)})});
    ValueId n2 = b.One(Op::kRmsNorm, {x, vector("ln2.weight", o.width, WeightRole::kNormScale)}, {{"eps", 1e-6}});
    ValueId h = b.One(Op::kLinear, {n2, matrix("fc1", 4 * o.width, o.width), vector("fc1.bias", 4 * o.width, WeightRole::kBias)});
    h = b.One(Op::kGelu, {h});
    // The second projection in the other layout, W[in,out].
    ValueId w2 = b.Weight(p + "fc2.weight", {4 * o.width, o.width}, WeightRole::kMatrix, o.storage, train);
    x = b.One(Op::kAdd, {x, b.One(Op::kLinear, {h, w2}, {{"trans_w", int64_t{0}}})});
  }
  x = b.One(Op::kLayerNorm, {x, b.Weight("final.weight", {o.width}, WeightRole::kNormScale, o.storage), -1}, {{"eps", 1e-5}});
  if (o.unused) {
    ValueId pooled = b.One(Op::kLinear, {x, b.Weight("pooler.weight", {o.width, o.width}, WeightRole::kMatrix, o.storage)});
    if (o.output) b.graph.outputs.push_back(b.One(Op::kReshape, {pooled}, {{"shape", std::vector<int64_t>{o.batch * o.seq, o.width}}}));
  }
  auto loss = b.Call(Op::kCausalLmLoss, {x, labels, table}, {{"shift", int64_t{1}}});
  b.graph.loss.kind = "causal-lm";
  b.graph.loss.node = static_cast<NodeId>(b.graph.nodes.size() - 1);
  b.graph.loss.labels = labels;
  (void)loss;
  return b.graph;
}

inline Machine Cpu() { return *LoadMachine("cpu-2core"); }

// Views of a plan do not depend on how long a strategy thinks.
inline PlanOptions Greedy() {
  PlanOptions o;
  o.strategy = "greedy";
  return o;
}

}  // namespace zo2

#endif  // ZO2_TESTS_UNIT_PLANNER_SMALL_GRAPH_H_
