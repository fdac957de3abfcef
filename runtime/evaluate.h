// Mean loss, accuracy and F1 of θ(step) on a data set, through the evaluate program: one branch, forward only.
#ifndef ZO2_RUNTIME_EVALUATE_H_
#define ZO2_RUNTIME_EVALUATE_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "ir/support/status.h"
#include "runtime/best_evaluation.h"
#include "runtime/dataset.h"
#include "runtime/executor.h"

namespace zo2 {

// Fills batch `index` of a program: inputs[i] is the staging memory of Program::inputs[i]. Returns how many rows are
// real; the rest of a last partial batch is padding, which may hold anything that the model accepts.
using BatchFiller = std::function<Result<int64_t>(int64_t index, std::span<std::byte* const> inputs)>;

// The addresses of a started program's inputs for an iteration.
std::vector<std::byte*> InputAddresses(const Executor& executor, const Program& program, int64_t iteration);
// Rows of one batch of a program: micro_batches times the leading axis of the loss, or without one of the first input.
int64_t BatchRows(const Schedule& schedule, const Program& program);

struct Evaluation {
  double loss = 0;       // sum over examples / count over examples, both in the order of examples; NaN without a loss
  double accuracy = -1;  // share of rows whose largest logit is their label's; -1: the plan returns no logits
  // Macro-F1: mean over classes of 2 · right / (labelled + predicted), over the classes that are a label or a prediction
  // at least once; -1 as above.
  double f1 = -1;
  int64_t examples = 0;
};
// kInvalid when the plan's evaluations do not give the metric, with what to do.
Status CheckMetric(const Schedule& schedule, EvalMetric metric);
// The metric of an evaluation; kInvalid when no example had a label.
Result<double> MetricOf(const Evaluation& evaluation, EvalMetric metric);
// Takes each batch's outputs in order: outputs[i] is the staging memory of Program::outputs[i], `rows` of it are real.
using OutputTaker = std::function<Status(int64_t rows, std::span<const std::byte* const> outputs)>;

// Batches 0 .. batches - 1. The program that runs is drained; updates that are pending count. A plan without a loss is
// run for its outputs.
Result<Evaluation> Evaluate(Executor& executor, int64_t batches, const BatchFiller& fill, const OutputTaker& take = {});

// A whole data set once, in file order; the last batch is filled up with its first example.
BatchFiller FillInOrder(const Dataset& data, int64_t batch_rows);
inline int64_t BatchesOf(const Dataset& data, int64_t batch_rows) {
  return (data.examples() + batch_rows - 1) / batch_rows;
}
// "loss 1.234567, accuracy 0.5000 on 128 examples"
std::string EvaluationText(const Evaluation& evaluation);

}  // namespace zo2

#endif  // ZO2_RUNTIME_EVALUATE_H_
