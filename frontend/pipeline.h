// From an ONNX file to the graph that is planned: the one list of everything that happens to a model on the
// way.
#ifndef ZO2_FRONTEND_PIPELINE_H_
#define ZO2_FRONTEND_PIPELINE_H_

#include <iosfwd>
#include <string>
#include <vector>

#include "frontend/import.h"
#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

struct LoadOptions {
  ImportOptions import;
  // See attach_loss.h.
  std::string loss = "auto";
  std::vector<std::string> keep_outputs;
  // "all", or a regular expression (ECMAScript) that a canonical name must contain to be trained. The loss of
  // an evaluation-only graph needs none.
  std::string train = "all";
  // A pass of PassNames(), "import" or "all": the graph is printed after it to `print_to` (null: std::cerr).
  std::string print_after;
  std::ostream* print_to = nullptr;
};

// Names of the passes in their order.
std::vector<std::string> PassNames();

// Imports and runs every pass, verifying after each; then assigns weight roles, decay, the trainable set,
// tensor ids and the model digest. Errors are kInvalid for what the user gave, kInternal (naming the pass)
// for a pass that broke the graph.
Result<Graph> LoadModel(const std::string& path, const LoadOptions& options);

// The passes and everything behind them, on a graph that is imported already.
Result<void> RunPasses(Graph& graph, const LoadOptions& options);

}  // namespace zo2

#endif  // ZO2_FRONTEND_PIPELINE_H_
