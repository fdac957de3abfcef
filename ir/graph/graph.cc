#include "ir/graph/graph.h"

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "ir/graph/op_infer.h"
#include "ir/support/crc32.h"

namespace zo2 {
namespace {

bool InRange(ValueId id, const Graph& graph) {
  return id >= 0 && id < static_cast<int64_t>(graph.values.size());
}

bool IsLoss(Op op) {
  return op == Op::kCausalLmLoss || op == Op::kTokenLoss || op == Op::kClassifyLoss || op == Op::kMseLoss ||
         op == Op::kOutputLoss;
}

// Values by themselves: types that can exist, and what each kind must have.
Result<void> VerifyValue(const Graph& graph, const Value& value) {
  for (int64_t d : value.type.shape) {
    if (d < 0) return Internal("value ", value.name, " has a negative dimension ", d);
  }
  if (value.type.elements() >= int64_t{1} << 59)
    return Invalid("value ", value.name, " is too large to exist");
  if (value.kind == ValueKind::kConstant) {
    auto bytes = static_cast<uint64_t>(value.type.bytes());
    if (value.data == nullptr || value.data->size() != bytes) {
      return Internal("constant ", value.name, " of ", bytes, " bytes holds ",
                      value.data == nullptr ? 0 : value.data->size());
    }
  } else if (value.data != nullptr) {
    return Internal("value ", value.name, " is not a constant but holds data");
  }
  if (value.kind != ValueKind::kWeight) return {};
  if (value.weight < 0 || value.weight >= static_cast<int64_t>(graph.weights.size())) {
    return Internal("value ", value.name, " names weight ", value.weight, ", which does not exist");
  }
  const Weight& weight = graph.weights[static_cast<size_t>(value.weight)];
  // Storage may be narrower than what the graph computes with (f16 weights, f32 activations).
  if (value.type.shape != weight.shape || (value.type.dtype != weight.dtype && !IsFloat(value.type.dtype))) {
    return Internal("value ", value.name, " is ", internal::ToString(value.type), " but weight ", weight.name,
                    " is ", internal::ToString({weight.dtype, weight.shape}));
  }
  return {};
}

bool MayBeWeight(Op op, size_t operand) {
  if (op == Op::kMatMul || op > Op::kMatMul) return true;  // generic: WeightRole::kOther
  for (const WeightUse& use : Row(op).weights) {
    if (use.operand == static_cast<int>(operand)) return true;
  }
  return false;
}

}  // namespace

Result<void> VerifyGraph(const Graph& graph) {
  for (const Value& value : graph.values) ZO2_TRY(VerifyValue(graph, value));
  std::set<std::string_view> names;
  for (const Weight& weight : graph.weights) {
    if (weight.name.empty()) return Internal("a weight has no name");
    if (!names.insert(weight.name).second) return Invalid("two weights are called ", weight.name);
  }
  std::vector<bool> defined(graph.values.size());
  for (size_t i = 0; i < graph.values.size(); ++i)
    defined[i] = graph.values[i].kind != ValueKind::kActivation;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    if (static_cast<int>(node.op) >= kNumOps)
      return Internal("node ", node.name, " has an op outside of the registry");
    auto where = [&] {
      return "node " + std::to_string(n) + " (" + std::string(Name(node.op)) + " " + node.name + ")";
    };
    std::vector<const TensorType*> inputs;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      ValueId id = node.inputs[i];
      if (id == -1) {
        inputs.push_back(nullptr);
        continue;
      }
      if (!InRange(id, graph))
        return Internal(where(), ": operand ", i, " is value ", id, ", which does not exist");
      const Value& value = graph.value(id);
      if (!defined[static_cast<size_t>(id)]) {
        return Internal(where(), ": operand ", i, " (", value.name, ") is used before it is produced");
      }
      if (value.kind == ValueKind::kWeight && !MayBeWeight(node.op, i)) {
        return Internal(where(), ": operand ", i, " (", value.name, ") must not be a weight");
      }
      inputs.push_back(&value.type);
    }
    std::vector<TensorType> outputs;
    for (ValueId id : node.outputs) {
      if (!InRange(id, graph)) return Internal(where(), ": output value ", id, " does not exist");
      if (graph.value(id).kind != ValueKind::kActivation) {
        return Internal(where(), ": output ", graph.value(id).name, " is not an activation");
      }
      if (defined[static_cast<size_t>(id)])
        return Internal(where(), ": ", graph.value(id).name, " has two producers");
      defined[static_cast<size_t>(id)] = true;
      outputs.push_back(graph.value(id).type);
    }
    auto checked = CheckNode(node.op, node.attrs, inputs, outputs);
    if (!checked.ok()) return Error(checked.status().code(), where(), ": ", checked.status().message());
  }
  std::set<ValueId> listed;
  for (ValueId id : graph.inputs) {
    if (!InRange(id, graph) || graph.value(id).kind != ValueKind::kInput) {
      return Internal("graph input ", id, " is not an input value");
    }
    if (!listed.insert(id).second) return Internal("graph input ", graph.value(id).name, " is listed twice");
  }
  std::set<ValueId> used;
  for (const Node& node : graph.nodes) used.insert(node.inputs.begin(), node.inputs.end());
  used.insert(graph.outputs.begin(), graph.outputs.end());
  for (ValueId id : used) {
    if (InRange(id, graph) && graph.value(id).kind == ValueKind::kInput && !listed.contains(id)) {
      return Internal("input ", graph.value(id).name, " is used but not listed");
    }
  }
  for (ValueId id : graph.outputs) {
    if (!InRange(id, graph) || !defined[static_cast<size_t>(id)]) {
      return Internal("graph output ", id, " does not exist or has no producer");
    }
  }
  if (graph.loss.node != -1) {
    if (graph.loss.node < 0 || graph.loss.node >= static_cast<int64_t>(graph.nodes.size()) ||
        !IsLoss(graph.nodes[static_cast<size_t>(graph.loss.node)].op)) {
      return Internal("the loss node ", graph.loss.node, " is not a loss");
    }
  }
  if (graph.loss.labels != -1 && !listed.contains(graph.loss.labels)) {
    return Internal("the labels (value ", graph.loss.labels, ") are not an input");
  }
  return {};
}

Result<void> RemoveDeadCode(Graph& graph) {
  std::vector<bool> live(graph.values.size(), false);
  auto mark = [&](ValueId id) {
    if (InRange(id, graph)) live[static_cast<size_t>(id)] = true;
  };
  for (ValueId id : graph.outputs) {
    if (!InRange(id, graph)) return Internal("graph output ", id, " does not exist");
    mark(id);
  }
  std::vector<bool> keep(graph.nodes.size(), false);
  for (size_t n = graph.nodes.size(); n-- > 0;) {  // topological order: one sweep from the end
    const Node& node = graph.nodes[n];
    keep[n] = static_cast<NodeId>(n) == graph.loss.node;
    for (ValueId id : node.outputs) {
      if (!InRange(id, graph)) return Internal("node ", node.name, ": output value ", id, " does not exist");
      keep[n] = keep[n] || live[static_cast<size_t>(id)];
    }
    if (!keep[n]) continue;
    for (ValueId id : node.outputs) mark(id);
    for (ValueId id : node.inputs) mark(id);
  }
  std::vector<ValueId> new_id(graph.values.size(), -1);
  std::vector<WeightId> new_weight(graph.weights.size(), -1);
  std::vector<Value> values;
  for (size_t i = 0; i < graph.values.size(); ++i) {
    if (!live[i]) continue;
    new_id[i] = static_cast<ValueId>(values.size());
    WeightId weight = graph.values[i].weight;
    if (weight >= 0 && static_cast<size_t>(weight) < new_weight.size())
      new_weight[static_cast<size_t>(weight)] = 0;
    values.push_back(std::move(graph.values[i]));
  }
  std::vector<Weight> weights;
  for (size_t i = 0; i < graph.weights.size(); ++i) {
    if (new_weight[i] < 0) continue;
    new_weight[i] = static_cast<WeightId>(weights.size());
    weights.push_back(std::move(graph.weights[i]));
  }
  for (Value& value : values) {
    if (value.weight >= 0 && static_cast<size_t>(value.weight) < new_weight.size()) {
      value.weight = new_weight[static_cast<size_t>(value.weight)];
    }
  }
  auto renumber = [&](std::vector<ValueId>& ids) {
    for (ValueId& id : ids) id = InRange(id, graph) ? new_id[static_cast<size_t>(id)] : -1;
  };
  std::vector<Node> nodes;
  NodeId loss = -1;
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    if (!keep[n]) continue;
    if (static_cast<NodeId>(n) == graph.loss.node) loss = static_cast<NodeId>(nodes.size());
    renumber(graph.nodes[n].inputs);
    renumber(graph.nodes[n].outputs);
    nodes.push_back(std::move(graph.nodes[n]));
  }
  renumber(graph.inputs);
  std::erase(graph.inputs, -1);
  renumber(graph.outputs);
  if (InRange(graph.loss.labels, graph)) graph.loss.labels = new_id[static_cast<size_t>(graph.loss.labels)];
  graph.loss.node = loss;
  graph.values = std::move(values);
  graph.weights = std::move(weights);
  graph.nodes = std::move(nodes);
  return {};
}

// A later name (in byte order) whose id is taken gets the CRC of name, 0x00 and n in decimal, n = 1, 2, ...
// until free.
Result<void> AssignTensorIds(Graph& graph) {
  std::vector<Weight*> order;
  for (Weight& weight : graph.weights) order.push_back(&weight);
  std::sort(order.begin(), order.end(), [](const Weight* a, const Weight* b) { return a->name < b->name; });
  std::set<uint32_t> taken;
  for (size_t i = 0; i < order.size(); ++i) {
    if (i > 0 && order[i]->name == order[i - 1]->name)
      return Invalid("two weights are called ", order[i]->name);
    uint32_t id = Crc32(order[i]->name);
    for (uint64_t n = 1; !taken.insert(id).second; ++n) {
      std::string text = order[i]->name;
      text.push_back('\0');
      id = Crc32(text + std::to_string(n));
    }
    order[i]->tensor_id = id;
  }
  return {};
}

}  // namespace zo2
