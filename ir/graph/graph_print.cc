// The text form of a graph: for people and for golden files, so it says only what a change of the graph
// changes.
#include <cinttypes>
#include <cmath>
#include <cstdio>
#include <cstring>

#include "ir/graph/graph.h"
#include "ir/graph/op_infer.h"
#include "ir/support/crc32.h"

namespace zo2 {
namespace {

std::string Ints(const std::vector<int64_t>& values) {
  std::string out = "[";
  for (size_t i = 0; i < values.size(); ++i) out += (i ? "," : "") + std::to_string(values[i]);
  return out + "]";
}

// The shortest of %.9g and %.17g that reads back to the same double.
std::string Number(double x) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", x);
  if (std::strtod(text, nullptr) != x && !std::isnan(x)) std::snprintf(text, sizeof text, "%.17g", x);
  return text;
}

template <typename T>
T First(const std::vector<std::byte>& data) {
  T x;
  std::memcpy(&x, data.data(), sizeof x);
  return x;
}

// Scalars by value, anything larger by its CRC-32.
std::string ConstantText(const Value& value) {
  const auto& data = *value.data;
  if (value.type.elements() == 1 && data.size() == static_cast<size_t>(SizeOf(value.type.dtype))) {
    switch (value.type.dtype) {
      case DType::kF32:
        return Number(First<float>(data));
      case DType::kF64:
        return Number(First<double>(data));
      case DType::kI64:
        return std::to_string(First<int64_t>(data));
      case DType::kI32:
        return std::to_string(First<int32_t>(data));
      case DType::kI16:
        return std::to_string(First<int16_t>(data));
      case DType::kI8:
        return std::to_string(First<int8_t>(data));
      case DType::kU8:
        return std::to_string(First<uint8_t>(data));
      case DType::kBool:
        return First<uint8_t>(data) ? "true" : "false";
      default:
        break;
    }
  }
  char text[32];
  std::snprintf(text, sizeof text, "crc:%08" PRIx32, Crc32(std::span<const std::byte>(data)));
  return text;
}

std::string Operand(const Graph& graph, ValueId id) {
  if (id < 0) return "-";
  const Value& value = graph.value(id);
  switch (value.kind) {
    case ValueKind::kWeight:
      return "@" + graph.weights[static_cast<size_t>(value.weight)].name;
    case ValueKind::kInput:
      return "$" + value.name;
    case ValueKind::kConstant:
      if (value.data != nullptr) return internal::ToString(value.type) + "{" + ConstantText(value) + "}";
      [[fallthrough]];
    default:
      return "%" + std::to_string(id);
  }
}

std::string AttrText(const AttrValue& value) {
  if (const auto* i = std::get_if<int64_t>(&value)) return std::to_string(*i);
  if (const auto* d = std::get_if<double>(&value)) return Number(*d);
  if (const auto* s = std::get_if<std::string>(&value)) return *s;
  return Ints(std::get<std::vector<int64_t>>(value));
}

}  // namespace

std::string PrintGraph(const Graph& graph) {
  std::string out = "graph " + graph.name + "\n";
  for (ValueId id : graph.inputs) {
    out += "input $" + graph.value(id).name + " : " + internal::ToString(graph.value(id).type) + "\n";
  }
  for (const Weight& w : graph.weights) {
    out += "weight @" + w.name + " : " + internal::ToString({w.dtype, w.shape}) + " " +
           std::string(Name(w.role));
    if (!w.trainable) out += ", frozen";
    if (w.decay) out += ", decays";
    for (const std::string& alias : w.aliases) out += ", also " + alias;
    out += "\n";
  }
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    for (size_t i = 0; i < node.outputs.size(); ++i) out += (i ? ", " : "") + Operand(graph, node.outputs[i]);
    out += " = " + std::string(Name(node.op)) + "(";
    for (size_t i = 0; i < node.inputs.size(); ++i) out += (i ? ", " : "") + Operand(graph, node.inputs[i]);
    out += ")";
    if (!node.attrs.empty()) {
      out += " {";
      const char* comma = "";
      for (const auto& [name, value] : node.attrs) {
        out += comma + name + "=" + AttrText(value);
        comma = ", ";
      }
      out += "}";
    }
    out += " : ";
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      out += (i ? ", " : "") + internal::ToString(graph.value(node.outputs[i]).type);
    }
    out += static_cast<NodeId>(n) == graph.loss.node ? "  // loss\n" : "\n";
  }
  for (ValueId id : graph.outputs) {
    out += "output " + Operand(graph, id) + " " + graph.value(id).name + " : " +
           internal::ToString(graph.value(id).type) + "\n";
  }
  if (!graph.loss.kind.empty()) out += "loss " + graph.loss.kind + "\n";
  return out;
}

}  // namespace zo2
