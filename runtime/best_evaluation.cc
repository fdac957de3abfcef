#include "runtime/best_evaluation.h"

#include <cmath>
#include <cstdio>

namespace zo2 {

std::string_view Name(EvalMetric metric) {
  switch (metric) {
    case EvalMetric::kLoss: return "loss";
    case EvalMetric::kAccuracy: return "accuracy";
    case EvalMetric::kF1: return "f1";
  }
  return "";
}

Result<EvalMetric> ParseEvalMetric(std::string_view name) {
  for (const EvalMetric metric : {EvalMetric::kLoss, EvalMetric::kAccuracy, EvalMetric::kF1})
    if (name == Name(metric)) return metric;
  return Invalid("there is no metric '", name, "': use loss, accuracy or f1");
}

std::string BestText(const EvaluationRecord& best) {
  char text[80];
  std::snprintf(text, sizeof text, ": %.6f at step %ld", best.value, static_cast<long>(best.step));
  return "best " + std::string(Name(best.metric)) + text;
}

void BestEvaluation::Add(const EvaluationRecord& record) {
  if (record.metric != metric_ || record.data != data_) return;
  ++count_;
  last_step_ = record.step;
  const bool lower = metric_ == EvalMetric::kLoss;
  const bool better =
      std::isfinite(record.value) && (!best_ || (lower ? record.value < best_->value : record.value > best_->value));
  if (better) best_ = record;
  since_best_ = better ? 0 : since_best_ + 1;
}

}  // namespace zo2
