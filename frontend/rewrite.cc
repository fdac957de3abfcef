#include "frontend/rewrite.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <memory>

namespace zo2 {
namespace {

double FromHalf(uint16_t h) {
  int exponent = (h >> 10) & 31;
  double mantissa = h & 1023;
  double magnitude = exponent == 0    ? std::ldexp(mantissa, -24)
                     : exponent == 31 ? (mantissa == 0 ? HUGE_VAL : NAN)
                                      : std::ldexp(mantissa + 1024, exponent - 25);
  return h & 0x8000 ? -magnitude : magnitude;
}

double Element(const std::byte* data, DType dtype, int64_t i) {
  auto read = [&](auto zero) {
    decltype(zero) x;
    std::memcpy(&x, data + static_cast<size_t>(i) * sizeof x, sizeof x);
    return x;
  };
  switch (dtype) {
    case DType::kF32:
      return static_cast<double>(read(float{}));
    case DType::kF64:
      return read(double{});
    case DType::kBF16:
      return static_cast<double>(std::bit_cast<float>(uint32_t{read(uint16_t{})} << 16));
    case DType::kF16:
      return FromHalf(read(uint16_t{}));
    case DType::kI64:
      return static_cast<double>(read(int64_t{}));
    case DType::kI32:
      return read(int32_t{});
    case DType::kI16:
      return read(int16_t{});
    case DType::kI8:
      return read(int8_t{});
    case DType::kU8:
      return read(uint8_t{});
    case DType::kBool:
      return read(uint8_t{}) != 0;
  }
  return NAN;
}

}  // namespace

Rewriter::Rewriter(Graph& graph)
    : graph_(graph),
      size_(static_cast<NodeId>(graph.nodes.size())),
      nodes_(std::make_move_iterator(graph.nodes.begin()), std::make_move_iterator(graph.nodes.end())),
      before_(nodes_.size()),
      producer_(graph.values.size(), -1),
      forward_(graph.values.size()),
      uses_(graph.values.size(), 0),
      loss_(graph.loss.node) {
  graph.nodes.clear();
  for (size_t i = 0; i < forward_.size(); ++i) forward_[i] = static_cast<ValueId>(i);
  for (NodeId n = 0; n < size_; ++n) {
    for (ValueId id : node(n).outputs) producer_[static_cast<size_t>(id)] = n;
    for (ValueId id : node(n).inputs) {
      if (id >= 0) ++uses_[static_cast<size_t>(id)];
    }
  }
  for (ValueId id : graph.outputs) ++uses_[static_cast<size_t>(id)];
}

ValueId Rewriter::Resolve(ValueId id) const {
  while (id >= 0 && forward_[static_cast<size_t>(id)] != id) id = forward_[static_cast<size_t>(id)];
  return id;
}

ValueId Rewriter::Input(const Node& node, size_t i) const {
  return i < node.inputs.size() ? Resolve(node.inputs[i]) : -1;
}

NodeId Rewriter::ProducerId(ValueId id) const {
  return id < 0 ? -1 : producer_[static_cast<size_t>(Resolve(id))];
}

const Node* Rewriter::Producer(ValueId id) const {
  NodeId n = ProducerId(id);
  return n < 0 ? nullptr : &node(n);
}

const Node* Rewriter::Producer(ValueId id, Op op) const {
  const Node* n = Producer(id);
  return n != nullptr && n->op == op ? n : nullptr;
}

bool Rewriter::IsOutput(ValueId id) const {
  return std::find(graph_.outputs.begin(), graph_.outputs.end(), id) != graph_.outputs.end();
}

std::optional<std::vector<double>> Rewriter::Numbers(ValueId id, int64_t limit) const {
  if (!IsConstant(id)) return std::nullopt;
  const Value& value = graph_.value(id);
  int64_t n = value.type.elements();
  if (n > limit || value.data == nullptr || static_cast<int64_t>(value.data->size()) < value.type.bytes()) {
    return std::nullopt;
  }
  std::vector<double> numbers(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i)
    numbers[static_cast<size_t>(i)] = Element(value.data->data(), value.type.dtype, i);
  return numbers;
}

std::optional<double> Rewriter::Scalar(ValueId id) const {
  if (!IsConstant(id)) return std::nullopt;
  const Value& value = graph_.value(id);
  int64_t n = value.type.elements();
  if (n == 0 || value.data == nullptr || static_cast<int64_t>(value.data->size()) < value.type.bytes()) {
    return std::nullopt;
  }
  double first = Element(value.data->data(), value.type.dtype, 0);
  for (int64_t i = 1; i < n; ++i) {
    if (Element(value.data->data(), value.type.dtype, i) != first) return std::nullopt;
  }
  return first;
}

std::optional<std::pair<ValueId, double>> Rewriter::WithScalar(const Node& node) const {
  for (size_t i : {1, 0}) {
    if (auto c = Scalar(Input(node, i))) return std::pair(Input(node, 1 - i), *c);
  }
  return std::nullopt;
}

std::vector<const TensorType*> Rewriter::Types(const std::vector<ValueId>& inputs) const {
  std::vector<const TensorType*> types;
  for (ValueId id : inputs) types.push_back(id < 0 ? nullptr : &type(id));
  return types;
}

ValueId Rewriter::Emit(NodeId before, Op op, std::vector<ValueId> inputs, Attrs attrs,
                       const std::string& name) {
  const OpRow& row = Row(op);
  for (ValueId& id : inputs) id = Resolve(id);
  auto types = Types(inputs);
  if (static_cast<int>(types.size()) < row.min_inputs) return -1;
  for (int i = 0; i < row.min_inputs; ++i) {
    if (types[static_cast<size_t>(i)] == nullptr) return -1;
  }
  auto outputs = row.infer(types, attrs);
  if (!outputs.ok() || !CheckNode(op, attrs, types, *outputs).ok()) return -1;
  Node made{op, name.empty() ? node(before).name : name, std::move(inputs), {}, std::move(attrs)};
  auto id = static_cast<NodeId>(nodes_.size());
  for (TensorType& t : *outputs) {
    Value value;
    value.name = made.name + "/" + std::string(Name(op));
    value.type = std::move(t);
    made.outputs.push_back(static_cast<ValueId>(graph_.values.size()));
    graph_.values.push_back(std::move(value));
    producer_.push_back(id);
    forward_.push_back(made.outputs.back());
    uses_.push_back(1);
  }
  for (ValueId input : made.inputs) {
    if (input >= 0) ++uses_[static_cast<size_t>(input)];
  }
  ValueId first = made.outputs.front();
  nodes_.push_back(std::move(made));
  before_[static_cast<size_t>(before)].push_back(id);
  return first;
}

ValueId Rewriter::Constant(TensorType type, std::vector<std::byte> data, const std::string& name) {
  Value value;
  value.name = name;
  value.kind = ValueKind::kConstant;
  value.type = std::move(type);
  value.data = std::make_shared<const std::vector<std::byte>>(std::move(data));
  graph_.values.push_back(std::move(value));
  producer_.push_back(-1);
  forward_.push_back(static_cast<ValueId>(forward_.size()));
  uses_.push_back(1);
  return forward_.back();
}

ValueId Rewriter::Reshape(NodeId before, ValueId id, const Shape& to) {
  id = Resolve(id);
  if (shape(id) == to) return id;
  if (IsConstant(id) && NumElements(to) == type(id).elements()) {
    Value value = graph_.value(id);  // shares the data
    value.type.shape = to;
    graph_.values.push_back(std::move(value));
    producer_.push_back(-1);
    forward_.push_back(static_cast<ValueId>(forward_.size()));
    uses_.push_back(1);
    return forward_.back();
  }
  if (const Node* inner = Producer(id, Op::kReshape)) return Reshape(before, Input(*inner, 0), to);
  return Emit(before, Op::kReshape, {id}, {{"shape", to}});
}

ValueId Rewriter::Transpose(NodeId before, ValueId id, std::vector<int64_t> perm) {
  return Emit(before, Op::kTranspose, {id}, {{"perm", std::move(perm)}});
}

bool Rewriter::Become(NodeId id, Op op, std::vector<ValueId> inputs, Attrs attrs) {
  for (ValueId& input : inputs) input = Resolve(input);
  Node& node = nodes_[static_cast<size_t>(id)];
  std::vector<TensorType> outputs;
  for (ValueId output : node.outputs) outputs.push_back(type(output));
  if (!CheckNode(op, attrs, Types(inputs), outputs).ok()) return false;
  for (ValueId input : node.inputs) {
    if (input >= 0) --uses_[static_cast<size_t>(input)];
  }
  for (ValueId input : inputs) {
    if (input >= 0) ++uses_[static_cast<size_t>(input)];
  }
  node.op = op;
  node.inputs = std::move(inputs);
  node.attrs = std::move(attrs);
  return true;
}

bool Rewriter::Forward(ValueId from, ValueId to) {
  from = Resolve(from);
  to = Resolve(to);
  if (from == to) return true;
  if (type(from) != type(to)) return false;
  if (IsOutput(from)) {
    // The output keeps its name, which only a value of our own can take.
    if (graph_.value(to).kind != ValueKind::kActivation || IsOutput(to)) return false;
    graph_.value(to).name = graph_.value(from).name;
    std::replace(graph_.outputs.begin(), graph_.outputs.end(), from, to);
  }
  forward_[static_cast<size_t>(from)] = to;
  uses_[static_cast<size_t>(to)] += uses_[static_cast<size_t>(from)] - 1;
  return true;
}

Result<void> Rewriter::Finish() {
  for (NodeId n = 0; n < size_; ++n) {
    for (NodeId emitted : before_[static_cast<size_t>(n)]) {
      graph_.nodes.push_back(std::move(nodes_[static_cast<size_t>(emitted)]));
    }
    if (n == loss_) graph_.loss.node = static_cast<NodeId>(graph_.nodes.size());
    graph_.nodes.push_back(std::move(nodes_[static_cast<size_t>(n)]));
  }
  for (Node& node : graph_.nodes) {
    for (ValueId& id : node.inputs) id = Resolve(id);
  }
  return RemoveDeadCode(graph_);
}

}  // namespace zo2
