#include "frontend/check.h"

#include <cstdio>
#include <map>
#include <sstream>
#include <vector>

namespace zo2 {
namespace {

std::string TypeText(DType dtype, const Shape& shape) {
  std::string text(Name(dtype));
  text += "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? "," : "") + std::to_string(shape[i]);
  return text + "]";
}

std::string BytesText(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int unit = 0;
  while (bytes >= 1024 && unit < 4) bytes /= 1024, ++unit;
  char text[32];
  std::snprintf(text, sizeof text, unit == 0 ? "%.0f %s" : "%.2f %s", bytes, units[unit]);
  return text;
}

bool IsGeneric(Op op) { return static_cast<int>(op) >= static_cast<int>(Op::kMatMul); }

}  // namespace

std::string CheckReport(const Graph& graph) {
  std::ostringstream out;
  out << "model " << (graph.name.empty() ? "(unnamed)" : graph.name) << ", digest "
      << graph.model_digest.substr(0, 16) << "\n";
  for (ValueId id : graph.inputs) {
    const Value& v = graph.value(id);
    out << "input " << v.name << " : " << TypeText(v.type.dtype, v.type.shape)
        << (id == graph.loss.labels ? " (labels)" : "") << "\n";
  }
  for (ValueId id : graph.outputs) {
    const Value& v = graph.value(id);
    out << "output " << v.name << " : " << TypeText(v.type.dtype, v.type.shape) << "\n";
  }
  if (!graph.loss.kind.empty()) {
    out << "loss " << graph.loss.kind;
    if (!graph.loss.cause.empty()) out << ": " << graph.loss.cause;
    out << "\n";
  }

  std::map<Op, int> ops;
  double flops = 0;
  for (const Node& node : graph.nodes) {
    ++ops[node.op];
    std::vector<const TensorType*> types;
    for (ValueId id : node.inputs) types.push_back(id < 0 ? nullptr : &graph.value(id).type);
    if (Row(node.op).flops != nullptr) flops += Row(node.op).flops(types, node.attrs);
  }
  char gflop[32];
  std::snprintf(gflop, sizeof gflop, "%.3g", flops / 1e9);
  out << "nodes " << graph.nodes.size() << ", " << gflop << " GFLOP per forward pass\n";
  for (bool generic : {false, true}) {
    std::string list;
    for (const auto& [op, count] : ops)
      if (IsGeneric(op) == generic) list += " " + std::string(Name(op)) + " x" + std::to_string(count);
    if (!list.empty()) out << (generic ? "  generic ops:" : "  model ops:") << list << "\n";
  }

  double elements = 0, trained = 0, bytes = 0;
  int trainable = 0, absent = 0;
  std::map<WeightRole, int> roles;
  for (const Weight& w : graph.weights) {
    elements += static_cast<double>(w.elements());
    bytes += static_cast<double>(w.elements() * SizeOf(w.dtype));
    if (w.trainable) ++trainable, trained += static_cast<double>(w.elements());
    if (!w.places.empty() && !w.places[0].present) ++absent;
    ++roles[w.role];
  }
  out << "weights " << graph.weights.size() << ", " << static_cast<int64_t>(elements) << " parameters, "
      << BytesText(bytes) << "; trainable " << trainable << ", " << static_cast<int64_t>(trained)
      << " parameters\n";
  for (const auto& [role, count] : roles) out << "  " << Name(role) << " x" << count << "\n";
  if (absent > 0) out << "  values absent: " << absent << " weights (the model can be planned, not run)\n";
  for (const Weight& w : graph.weights) {
    out << "  " << w.name << " : " << TypeText(w.dtype, w.shape) << ", " << Name(w.role)
        << (w.trainable ? "" : ", frozen") << (w.decay ? ", decays" : "");
    for (size_t i = 0; i < w.aliases.size(); ++i) out << (i == 0 ? "; also " : ", ") << w.aliases[i];
    for (const Place& place : w.places)
      if (place.name != w.name)
        out << "; stored as " << place.name << (place.transposed ? " transposed" : "");
    out << "\n";
  }
  for (const std::string& note : graph.notes) out << "note " << note << "\n";
  return out.str();
}

}  // namespace zo2
