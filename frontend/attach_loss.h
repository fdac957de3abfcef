// Pass: adds the loss, whose outputs are per-example (sum, count) pairs, and says how it was chosen.
//
//   causal-lm    logits[batch, seq, vocabulary] against labels[batch, seq], shifted inside. When a linear
//   makes the
//                logits, its weight goes into the loss (causal_lm_loss) and logits of the whole vocabulary
//                never exist; otherwise token_loss.
//   classify     logits[batch, classes] against labels[batch]
//   mse          output[batch, ...] against floating-point labels of its shape
//   output:NAME  output NAME is the loss: a scalar or [batch, ...]
//   none         no loss: the graph can only be evaluated
//   auto         by the main output (called "loss", else "logits", else the first floating-point one): three
//   axes
//                causal-lm, two classify (mse when there is one column), fewer output:NAME
#ifndef ZO2_FRONTEND_ATTACH_LOSS_H_
#define ZO2_FRONTEND_ATTACH_LOSS_H_

#include <string>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

struct LossOptions {
  std::string loss = "auto";
  // Names of model outputs that stay in graph.outputs. Empty: all, but for causal-lm none, so that logits
  // need not exist.
  std::vector<std::string> keep_outputs;
};

Result<void> AttachLoss(Graph& graph, const LossOptions& options);

}  // namespace zo2

#endif  // ZO2_FRONTEND_ATTACH_LOSS_H_
