#include "planner/precision.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <utility>
#include <vector>

#include "ir/graph/match.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

// Calls set(weight, dtype) for each weight that a rule matches; the last such rule wins.
template <typename Set>
Status ApplyRules(const char* flag, const std::vector<TypeRule>& rules, const Graph& graph, const Set& set) {
  for (const TypeRule& rule : rules) {
    ZO2_ASSIGN(const std::vector<bool> matches, MatchWeights(graph, flag, rule.regex));
    for (size_t w = 0; w < matches.size(); ++w)
      if (matches[w]) ZO2_TRY(set(w, rule.dtype));
  }
  return {};
}

// Floats that a master may be made of; the partition refuses the others.
bool Storable(DType t) { return IsFloat(t) && t != DType::kF64; }

Status ApplyStorage(const PlanOptions& options, Graph* graph) {
  std::vector<DType> in_file;
  for (Weight& w : graph->weights) {
    in_file.push_back(w.dtype);
    if (!Storable(w.dtype)) continue;
    if (w.shape.size() < 2)
      w.dtype = DType::kF32;
    else
      w.dtype = options.storage.value_or(w.dtype);
  }
  ZO2_TRY(ApplyRules("--storage-for", options.storage_for, *graph, [&](size_t w, std::optional<DType> dtype) {
    if (Storable(in_file[w])) graph->weights[w].dtype = dtype.value_or(in_file[w]);
    return Status();
  }));
  std::map<std::pair<DType, DType>, int> changed;
  for (size_t w = 0; w < graph->weights.size(); ++w)
    if (graph->weights[w].dtype != in_file[w]) ++changed[{in_file[w], graph->weights[w].dtype}];
  for (const auto& [types, count] : changed)
    graph->notes.push_back(std::to_string(count) + (count == 1 ? " weight is" : " weights are") +
                           " converted from " + std::string(Name(types.first)) + " to " +
                           std::string(Name(types.second)) + " when loaded" +
                           (types.second == DType::kF32 ? "" : ", rounded to nearest even"));
  return {};
}

// Everything in the weights' 16-bit dtype, on a GPU.
void NarrowAll(DType narrow, Graph* graph) {
  // 1-d weights stay in f32 where every op that reads them allows it: the generic ops want equal dtypes.
  std::vector<bool> generic(graph->values.size());
  for (const Node& node : graph->nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      bool row = false;
      for (const WeightUse& w : Row(node.op).weights) row = row || w.operand == static_cast<int>(i);
      if (node.inputs[i] >= 0 && !row) generic[static_cast<size_t>(node.inputs[i])] = true;
    }
  }
  for (size_t i = 0; i < graph->values.size(); ++i) {
    Value& v = graph->values[i];
    if (v.type.dtype != DType::kF32) continue;
    if (v.kind == ValueKind::kWeight && v.type.shape.size() < 2 && !generic[i]) continue;
    v.type.dtype = narrow;
    if (v.kind != ValueKind::kConstant || v.data == nullptr) continue;
    auto data = std::make_shared<std::vector<std::byte>>(v.data->size() / 2);
    for (size_t e = 0; e < v.data->size() / 4; ++e) {
      float x;
      std::memcpy(&x, v.data->data() + 4 * e, 4);
      uint16_t h = narrow == DType::kF16 ? ToF16(x) : ToBF16(x);
      std::memcpy(data->data() + 2 * e, &h, 2);
    }
    v.data = std::move(data);
  }
  for (Node& node : graph->nodes) {
    if (node.op == Op::kCast && AttrInt(node.attrs, "to", -1) == static_cast<int64_t>(DType::kF32))
      node.attrs["to"] = static_cast<int64_t>(narrow);
  }
}

// Weights of two axes that products read, and that nothing but products and lookups reads: they may be in
// bf16 while activations are f32. `lookups` too: those that are only looked up.
std::vector<bool> Products(const Graph& graph, bool lookups) {
  std::vector<int> products(graph.weights.size()), others(graph.weights.size());
  std::vector<bool> out(graph.weights.size());
  for (const Node& node : graph.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] < 0 || graph.value(node.inputs[i]).kind != ValueKind::kWeight) continue;
      const auto w = static_cast<size_t>(graph.value(node.inputs[i]).weight);
      if ((node.op == Op::kLinear && i == 1) || (node.op == Op::kCausalLmLoss && i == 2))
        ++products[w];
      else if (node.op == Op::kEmbedding && i == 1)
        products[w] += lookups;
      else
        ++others[w];
    }
  }
  for (const ValueId id : graph.outputs)  // a model may return a weight as it is
    if (graph.value(id).kind == ValueKind::kWeight) ++others[static_cast<size_t>(graph.value(id).weight)];
  for (size_t w = 0; w < out.size(); ++w)
    out[w] = products[w] > 0 && others[w] == 0 && graph.weights[w].shape.size() == 2;
  return out;
}

Status ComputeInBf16(const PlanOptions& options, Graph* graph) {
  std::vector<bool> narrow(graph->weights.size()), can = Products(*graph, true);
  if (options.compute == DType::kBF16) {
    narrow = Products(*graph, false);
    if (std::find(narrow.begin(), narrow.end(), true) == narrow.end())
      graph->notes.push_back("compute: no matrix of this model can be computed in bf16; everything is in f32");
  }
  for (const TypeRule& rule : options.compute_for) {
    int any = 0, others = 0;
    ZO2_TRY(ApplyRules("--compute-for", {rule}, *graph, [&](size_t w, std::optional<DType> dtype) {
      if (!dtype || (*dtype != DType::kF32 && *dtype != DType::kBF16))
        return Invalid("--compute-for '", rule.regex, "': CPUs compute in fp32 or bf16");
      ++(can[w] ? any : others);
      if (can[w]) narrow[w] = *dtype == DType::kBF16;
      return Status();
    }));
    if (any == 0)
      return Invalid("--compute-for '", rule.regex, "' matches no matrix of ", graph->name,
                     " that only products and lookups read");
    if (others > 0 && rule.dtype == DType::kBF16)
      graph->notes.push_back("compute: " + std::to_string(others) + " weights that '" + rule.regex +
                             "' matches stay in f32: they are no matrices that only products and lookups read");
  }
  for (Value& v : graph->values)
    if (v.kind == ValueKind::kWeight && narrow[static_cast<size_t>(v.weight)]) v.type.dtype = DType::kBF16;
  for (Node& node : graph->nodes) {
    if (node.op == Op::kEmbedding && graph->value(node.inputs[1]).type.dtype == DType::kBF16)
      node.attrs["to"] = static_cast<int64_t>(DType::kF32);
  }
  return {};
}

Status ApplyCompute(const Machine& machine, const PlanOptions& options, Graph* graph) {
  if (options.compute != DType::kF32 && options.compute != DType::kBF16)
    return Invalid("--compute must be fp32 or bf16, not ", Name(options.compute));
  if (!machine.cuda) return ComputeInBf16(options, graph);
  if (options.compute != DType::kF32 || !options.compute_for.empty())
    return Invalid("--compute is for CPUs; on a GPU weights stored in 16 bits are computed in 16 bits");
  DType narrow = DType::kF32;
  int wide = 0;
  for (const Weight& w : graph->weights) {
    if (w.shape.size() < 2) continue;
    if (SizeOf(w.dtype) != 2) {
      ++wide;
    } else if (narrow != DType::kF32 && narrow != w.dtype) {
      return Invalid("a GPU computes in one 16-bit type, but weights are stored in ", Name(narrow), " and in ",
                     Name(w.dtype), ": give one to --storage");
    } else {
      narrow = w.dtype;
    }
  }
  if (narrow == DType::kF32) return {};
  NarrowAll(narrow, graph);
  if (wide > 0)
    graph->notes.push_back("compute: " + std::to_string(wide) + " matrices stored in f32 are computed in " +
                           std::string(Name(narrow)) + " too, like everything on a GPU beside 16-bit weights");
  return {};
}

}  // namespace

Result<std::optional<DType>> ParseFloat(const std::string& flag, const std::string& text,
                                        const std::string& as_is) {
  if (!as_is.empty() && text == as_is) return std::optional<DType>();
  if (text == "fp32" || text == "f32") return std::optional(DType::kF32);
  if (text == "bf16") return std::optional(DType::kBF16);
  if (text == "fp16" || text == "f16") return std::optional(DType::kF16);
  return Invalid(flag, " '", text, "' is none of ", as_is.empty() ? "" : as_is + ", ", "fp32, bf16 and fp16");
}

Result<TypeRule> ParseTypeRule(const std::string& flag, const std::string& text, const std::string& as_is) {
  const size_t equal = text.rfind('=');
  if (equal == std::string::npos || equal == 0)
    return Invalid(flag, " '", text, "' is not REGEX=TYPE, like 'norm|bias=bf16'");
  TypeRule rule{text.substr(0, equal), {}};
  ZO2_ASSIGN(rule.dtype, ParseFloat(flag, text.substr(equal + 1), as_is));
  return rule;
}

Result<Graph> ApplyPrecision(const Graph& graph, const Machine& machine, const PlanOptions& options) {
  Graph out = graph;
  ZO2_TRY(ApplyStorage(options, &out));
  ZO2_TRY(ApplyCompute(machine, options, &out));
  ZO2_ASSIGN(WireChoice wire, ChooseWires(out, options));
  for (std::string& note : wire.notes) out.notes.push_back(std::move(note));
  return out;
}

}  // namespace zo2
