#include "frontend/inline_functions.h"

#include <onnx/inliner/inliner.h>

#include <algorithm>
#include <exception>
#include <map>
#include <string>
#include <tuple>

namespace zo2 {
namespace {

constexpr int kDeepest = 64;
constexpr int64_t kMost = int64_t{1} << 40;  // where counting stops

using FunctionId = std::tuple<std::string, std::string, std::string>;  // domain, name, overload
FunctionId IdOf(const std::string& domain, const std::string& name, const std::string& overload) {
  return {domain == "ai.onnx" ? "" : domain, name, overload};
}

// Counts nodes as they will be.
class Counter {
 public:
  explicit Counter(const onnx::ModelProto& model) {
    for (const auto& f : model.functions()) {
      Function& function = functions_[IdOf(f.domain(), f.name(), f.overload())];
      function.proto = &f;
    }
  }

  Result<int64_t> All(const onnx::ModelProto& model) {
    for (auto& [id, function] : functions_) ZO2_TRY(Of(&function, 0));
    return Nodes(model.graph().node(), 0);
  }
  // As they stand in the file.
  int64_t written() const { return written_; }

 private:
  struct Function {
    const onnx::FunctionProto* proto = nullptr;
    int64_t nodes = 0;
    bool open = false, counted = false;
  };

  Result<int64_t> Of(Function* function, int depth) {
    if (function->counted) return function->nodes;
    if (function->open) return Invalid("function ", function->proto->name(), " calls itself");
    if (depth > kDeepest) return Invalid("functions are nested more than ", kDeepest, " deep");
    function->open = true;
    ZO2_ASSIGN(function->nodes, Nodes(function->proto->node(), depth));
    function->open = false;
    function->counted = true;
    return function->nodes;
  }

  template <typename List>
  Result<int64_t> Nodes(const List& nodes, int depth) {
    int64_t total = 0;
    for (const onnx::NodeProto& node : nodes) {
      ++written_;
      auto it = functions_.find(IdOf(node.domain(), node.op_type(), node.overload()));
      int64_t count = 1;
      if (it != functions_.end()) {
        ZO2_ASSIGN(count, Of(&it->second, depth + 1));
        count = std::max<int64_t>(1, count);  // a call of an empty function is work for the inliner, too
      }
      total = std::min(kMost, total + count);
      for (const auto& attribute : node.attribute()) {  // bodies of If and Loop; protobuf bounds their depth
        ZO2_ASSIGN(const int64_t inside, Nodes(attribute.g().node(), depth));
        total = std::min(kMost, total + inside);
        for (const auto& graph : attribute.graphs()) {
          ZO2_ASSIGN(const int64_t more, Nodes(graph.node(), depth));
          total = std::min(kMost, total + more);
        }
      }
    }
    return total;
  }

  std::map<FunctionId, Function> functions_;
  int64_t written_ = 0;
};

}  // namespace

Result<void> InlineFunctions(onnx::ModelProto* model, int64_t max_nodes) {
  if (model->functions_size() == 0) return {};
  Counter counter(*model);
  ZO2_ASSIGN(const int64_t nodes, counter.All(*model));
  if (nodes > std::max(max_nodes, counter.written()))
    return Invalid("its functions expand to ", nodes, nodes == kMost ? " nodes or more" : " nodes", ", more than ",
                   max_nodes);
  try {
    onnx::inliner::InlineLocalFunctions(*model, /*convert_version=*/false);
  } catch (const std::exception& e) {
    return Invalid("its local functions cannot be inlined: ", e.what());
  }
  return {};
}

}  // namespace zo2
