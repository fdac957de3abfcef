#include "frontend/attach_loss.h"

#include <algorithm>

#include "frontend/rewrite.h"

namespace zo2 {
namespace {

std::string OutputNames(const Graph& graph) {
  std::string names;
  for (ValueId id : graph.outputs) names += (names.empty() ? "" : ", ") + graph.value(id).name;
  return names.empty() ? "none" : names;
}

Result<ValueId> FindOutput(const Graph& graph, const std::string& name) {
  for (ValueId id : graph.outputs) {
    if (graph.value(id).name == name) return id;
  }
  return Invalid("the model has no output ", name, "; it has: ", OutputNames(graph));
}

// The output a loss is made of when the user names none.
Result<ValueId> MainOutput(const Graph& graph) {
  for (const char* name : {"loss", "logits"}) {
    auto found = FindOutput(graph, name);
    if (found.ok() && IsFloat(graph.value(*found).type.dtype)) return found;
  }
  for (ValueId id : graph.outputs) {
    if (IsFloat(graph.value(id).type.dtype)) return id;
  }
  return Invalid("the model has no floating-point output to make a loss of (outputs: ", OutputNames(graph),
                 "); use --loss none to evaluate it only");
}

// What `auto` means for an output.
Result<std::string> Choose(const Value& output, std::string* cause) {
  const Shape& shape = output.type.shape;
  std::string text = "output " + output.name + " has " + std::to_string(shape.size()) + " axes";
  if (shape.size() == 3) {
    *cause = text + " (batch, sequence, vocabulary)";
    return std::string("causal-lm");
  }
  if (shape.size() == 2) {
    *cause = text + (shape[1] == 1 ? " and one column (regression)" : " (batch, classes)");
    return std::string(shape[1] == 1 ? "mse" : "classify");
  }
  if (shape.size() < 2) {
    *cause = text + ": the model computes its loss itself";
    return "output:" + output.name;
  }
  return Invalid("cannot choose a loss: ", text,
                 "; say --loss causal-lm, classify, mse, output:NAME or none");
}

// The linear by a weight that makes `logits`, through casts; nullptr when something else does.
const Node* Head(const Graph& graph, ValueId logits) {
  for (size_t n = graph.nodes.size(); n-- > 0;) {
    const Node& node = graph.nodes[n];
    if (std::find(node.outputs.begin(), node.outputs.end(), logits) == node.outputs.end()) continue;
    if (node.op == Op::kCast && IsFloat(graph.value(node.inputs[0]).type.dtype)) {
      logits = node.inputs[0];
      continue;
    }
    bool head = node.op == Op::kLinear && graph.value(node.inputs[1]).kind == ValueKind::kWeight &&
                graph.value(node.inputs[0]).type.shape.size() == 3;
    return head ? &node : nullptr;
  }
  return nullptr;
}

// The input "labels": the model's own when it fits, a new one otherwise.
Result<ValueId> Labels(Graph& graph, TensorType type) {
  for (ValueId id : graph.inputs) {
    if (graph.value(id).name != "labels") continue;
    if (graph.value(id).type == type) return id;
    return Invalid(
        "the model has an input \"labels\" of another shape or dtype than the loss needs; "
        "use --loss output:NAME when the model computes its loss itself");
  }
  Value value;
  value.name = "labels";
  value.kind = ValueKind::kInput;
  value.type = std::move(type);
  graph.values.push_back(std::move(value));
  graph.inputs.push_back(static_cast<ValueId>(graph.values.size() - 1));
  return graph.inputs.back();
}

Result<void> AddLoss(Graph& graph, Op op, std::vector<ValueId> inputs, Attrs attrs) {
  std::vector<const TensorType*> types;
  for (ValueId id : inputs) types.push_back(id < 0 ? nullptr : &graph.value(id).type);
  auto outputs = Row(op).infer(types, attrs);
  if (!outputs.ok()) return Invalid("cannot attach ", Name(op), ": ", outputs.status().message());
  Node node{op, "loss", std::move(inputs), {}, std::move(attrs)};
  for (const char* name : {"loss_sum", "loss_count"}) {
    Value value;
    value.name = name;
    value.type = (*outputs)[node.outputs.size()];
    node.outputs.push_back(static_cast<ValueId>(graph.values.size()));
    graph.values.push_back(std::move(value));
  }
  graph.loss.node = static_cast<NodeId>(graph.nodes.size());
  graph.nodes.push_back(std::move(node));
  return {};
}

Result<void> AttachCausalLm(Graph& graph, ValueId logits) {
  const Shape shape = graph.value(logits).type.shape;
  const std::string name = graph.value(logits).name;
  if (shape.size() != 3) {
    return Invalid("loss causal-lm needs an output [batch, seq, vocabulary]; ", name, " has ", shape.size(),
                   " axes");
  }
  ZO2_ASSIGN(graph.loss.labels, Labels(graph, {DType::kI64, {shape[0], shape[1]}}));
  const Node* head = Head(graph, logits);
  if (head == nullptr) {
    graph.notes.push_back("loss: " + name + " does not come from a linear, so the loss reads whole logits");
    return AddLoss(graph, Op::kTokenLoss, {logits, graph.loss.labels}, {{"shift", int64_t{1}}});
  }
  std::vector<ValueId> inputs = {head->inputs[0], graph.loss.labels, head->inputs[1]};
  if (head->inputs.size() > 2 && head->inputs[2] >= 0) inputs.push_back(head->inputs[2]);
  Attrs attrs = {{"shift", int64_t{1}}, {"trans_w", AttrInt(head->attrs, "trans_w", 1)}};
  return AddLoss(graph, Op::kCausalLmLoss, std::move(inputs), std::move(attrs));
}

}  // namespace

Result<void> AttachLoss(Graph& graph, const LossOptions& options) {
  std::string kind = options.loss, cause = "asked for";
  ValueId output = -1;
  const std::string prefix = "output:";
  if (kind.starts_with(prefix)) {
    ZO2_ASSIGN(output, FindOutput(graph, kind.substr(prefix.size())));
  } else if (kind == "auto" || kind == "causal-lm" || kind == "classify" || kind == "mse") {
    ZO2_ASSIGN(output, MainOutput(graph));
    if (kind == "auto") {
      ZO2_ASSIGN(kind, Choose(graph.value(output), &cause));
    }
  } else if (kind != "none") {
    return Invalid("loss ", kind, " is not one of auto, causal-lm, classify, mse, output:NAME, none");
  }
  std::vector<ValueId> kept;
  for (const std::string& name : options.keep_outputs) {
    ZO2_ASSIGN(ValueId id, FindOutput(graph, name));
    if (std::find(kept.begin(), kept.end(), id) == kept.end()) kept.push_back(id);
  }
  if (options.keep_outputs.empty() && kind != "causal-lm") kept = graph.outputs;

  graph.loss = LossInfo{kind, cause, -1, -1};
  const TensorType type = output < 0 ? TensorType{} : graph.value(output).type;
  if (kind == "causal-lm") {
    ZO2_TRY(AttachCausalLm(graph, output));
  } else if (kind == "classify") {
    if (type.shape.size() != 2) {
      return Invalid("loss classify needs an output [batch, classes]; ", graph.value(output).name, " has ",
                     type.shape.size(), " axes");
    }
    ZO2_ASSIGN(graph.loss.labels, Labels(graph, {DType::kI64, {type.shape[0]}}));
    ZO2_TRY(AddLoss(graph, Op::kClassifyLoss, {output, graph.loss.labels}, {}));
  } else if (kind == "mse") {
    ZO2_ASSIGN(graph.loss.labels, Labels(graph, type));
    ZO2_TRY(AddLoss(graph, Op::kMseLoss, {output, graph.loss.labels}, {}));
  } else if (output >= 0) {
    ZO2_TRY(AddLoss(graph, Op::kOutputLoss, {output}, {}));
  }
  graph.notes.push_back("loss: " + kind + " (" + cause + ")");
  graph.outputs = std::move(kept);
  return RemoveDeadCode(graph);
}

}  // namespace zo2
