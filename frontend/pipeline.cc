#include "frontend/pipeline.h"

#include <algorithm>
#include <functional>
#include <iostream>

#include "frontend/attach_loss.h"
#include "frontend/canonical_linear.h"
#include "frontend/fuse_activation.h"
#include "frontend/fuse_attention.h"
#include "frontend/fuse_norm.h"
#include "frontend/fuse_rotary.h"
#include "frontend/recognise_embedding.h"
#include "frontend/simplify.h"
#include "frontend/sink_reshapes.h"
#include "ir/graph/match.h"
#include "ir/support/hash.h"

namespace zo2 {
namespace {

struct Pass {
  const char* name;
  std::function<Result<void>(Graph&)> run;
};

std::vector<Pass> Passes(const LoadOptions& options) {
  return {
      {"simplify", Simplify},
      {"canonical-linear", CanonicalLinear},
      {"sink-reshapes", SinkReshapes},
      {"recognise-embedding", RecogniseEmbedding},
      {"fuse-norm", FuseNorm},
      {"fuse-activation", FuseActivation},
      {"fuse-rotary", FuseRotary},
      {"fuse-attention", FuseAttention},
      {"attention-layout", AttentionLayout},
      {"tidy", Simplify},
      {"attach-loss",
       [&options](Graph& g) {
         return AttachLoss(g, {options.loss, options.keep_outputs});
       }},
  };
}

bool Prints(const LoadOptions& options, std::string_view pass) {
  return options.print_after == "all" || options.print_after == pass;
}

void Print(const Graph& graph, const LoadOptions& options, std::string_view pass) {
  std::ostream& out = options.print_to == nullptr ? std::cerr : *options.print_to;
  out << "// after " << pass << "\n" << PrintGraph(graph) << std::flush;
}

Result<void> CheckPrintAfter(const LoadOptions& options) {
  std::string known = "all, import";
  if (options.print_after.empty() || options.print_after == "all" || options.print_after == "import")
    return {};
  for (const std::string& name : PassNames()) {
    if (options.print_after == name) return {};
    known += ", " + name;
  }
  return Invalid("there is no pass ", options.print_after, " to print after; say one of ", known);
}

// A weight's role is the most telling of its uses: a table that is also an output projection is an embedding.
void AssignRoles(Graph& graph) {
  constexpr WeightRole kOrder[] = {WeightRole::kEmbedding, WeightRole::kMatrix, WeightRole::kOther,
                                   WeightRole::kNormScale, WeightRole::kBias};
  auto rank = [&](WeightRole role) { return std::find(std::begin(kOrder), std::end(kOrder), role) - kOrder; };
  std::vector<bool> seen(graph.weights.size(), false);
  for (const Node& node : graph.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] < 0 || graph.value(node.inputs[i]).kind != ValueKind::kWeight) continue;
      WeightRole role = WeightRole::kOther;
      for (const WeightUse& use : Row(node.op).weights) {
        if (use.operand == static_cast<int>(i)) role = use.role;
      }
      auto w = static_cast<size_t>(graph.value(node.inputs[i]).weight);
      Weight& weight = graph.weights[w];
      if (!seen[w] || rank(role) < rank(weight.role)) weight.role = role;
      seen[w] = true;
    }
  }
  for (Weight& weight : graph.weights) {
    weight.decay = weight.role != WeightRole::kBias && weight.role != WeightRole::kNormScale;
  }
}

Result<void> SelectTrainable(Graph& graph, const std::string& train) {
  if (train == "all") {
    for (Weight& weight : graph.weights) weight.trainable = true;
    return {};
  }
  ZO2_ASSIGN(const std::vector<bool> matches, MatchWeights(graph, "--train", train));
  for (size_t w = 0; w < matches.size(); ++w) graph.weights[w].trainable = matches[w];
  return {};
}

}  // namespace

std::vector<std::string> PassNames() {
  std::vector<std::string> names;
  LoadOptions options;
  for (const Pass& pass : Passes(options)) names.emplace_back(pass.name);
  return names;
}

Result<void> RunPasses(Graph& graph, const LoadOptions& options) {
  ZO2_TRY(CheckPrintAfter(options));
  for (const Pass& pass : Passes(options)) {
    ZO2_TRY(pass.run(graph));
    auto verified = VerifyGraph(graph);
    if (!verified.ok())
      return Internal("pass ", pass.name, " broke the graph: ", verified.status().message());
    if (Prints(options, pass.name)) Print(graph, options, pass.name);
  }
  AssignRoles(graph);
  ZO2_TRY(AssignTensorIds(graph));
  // What the model is does not depend on which part of it is trained.
  for (Weight& weight : graph.weights) weight.trainable = true;
  graph.model_digest = Sha256Hex(PrintGraph(graph));
  return SelectTrainable(graph, options.train);
}

Result<Graph> LoadModel(const std::string& path, const LoadOptions& options) {
  ZO2_TRY(CheckPrintAfter(options));
  ZO2_ASSIGN(Graph graph, ImportOnnx(path, options.import));
  ZO2_TRY(VerifyGraph(graph));
  if (Prints(options, "import")) Print(graph, options, "import");
  ZO2_TRY(RunPasses(graph, options));
  return graph;
}

}  // namespace zo2
