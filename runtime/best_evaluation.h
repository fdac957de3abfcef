// Which of a run's evaluations is the best, and for how long none has been better. Both follow from the evaluations in
// order and nothing else, so a run that goes on from its journal finds what it would have found without a stop.
#ifndef ZO2_RUNTIME_BEST_EVALUATION_H_
#define ZO2_RUNTIME_BEST_EVALUATION_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "ir/support/status.h"

namespace zo2 {

// What evaluations are judged by: mean loss (lower is better), share of right answers, macro-F1 (evaluate.h).
enum class EvalMetric : uint8_t { kLoss = 0, kAccuracy = 1, kF1 = 2 };
std::string_view Name(EvalMetric metric);  // "loss", "accuracy", "f1"
Result<EvalMetric> ParseEvalMetric(std::string_view name);

// An evaluation of the weights after `step` steps, as the journal keeps it.
struct EvaluationRecord {
  int64_t step = 0;
  EvalMetric metric = EvalMetric::kLoss;
  double value = 0;
  std::string data;  // SHA-256 of the evaluation data, hex
};

// "best accuracy: 0.912500 at step 400"
std::string BestText(const EvaluationRecord& best);

class BestEvaluation {
 public:
  explicit BestEvaluation(EvalMetric metric = EvalMetric::kLoss, std::string data = "")
      : metric_(metric), data_(std::move(data)) {}

  // The next evaluation. One by another metric or on other data cannot be compared and is left out. A value that is
  // not finite is never better; of equal ones the earlier is the best.
  void Add(const EvaluationRecord& record);

  EvalMetric metric() const { return metric_; }
  const std::optional<EvaluationRecord>& best() const { return best_; }
  int64_t count() const { return count_; }          // evaluations so far
  int64_t last_step() const { return last_step_; }  // of the last one; -1 = none
  // The last `patience` evaluations were not better than one before; 0 = never.
  bool Over(int64_t patience) const { return patience > 0 && since_best_ >= patience; }

 private:
  EvalMetric metric_;
  std::string data_;
  std::optional<EvaluationRecord> best_;
  int64_t count_ = 0, since_best_ = 0, last_step_ = -1;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_BEST_EVALUATION_H_
