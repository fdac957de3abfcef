#include "runtime/best_evaluation.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace zo2 {
namespace {

// Evaluations at steps 10, 20, ...
BestEvaluation After(EvalMetric metric, const std::vector<double>& values) {
  BestEvaluation best(metric, "data");
  for (size_t i = 0; i < values.size(); ++i) best.Add({10 * static_cast<int64_t>(i + 1), metric, values[i], "data"});
  return best;
}

TEST(BestEvaluation, LowerLossesAndHigherSharesAreBetter) {
  const std::vector<double> values = {0.5, 0.7, 0.3, 0.6};
  EXPECT_EQ(After(EvalMetric::kLoss, values).best()->step, 30);
  EXPECT_EQ(After(EvalMetric::kAccuracy, values).best()->step, 20);
  EXPECT_EQ(After(EvalMetric::kF1, values).best()->step, 20);
  EXPECT_EQ(After(EvalMetric::kF1, values).best()->value, 0.7);
  EXPECT_FALSE(After(EvalMetric::kLoss, {}).best());
}

TEST(BestEvaluation, EqualIsNotBetterAndNotFiniteNeverIs) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN(), kInf = std::numeric_limits<double>::infinity();
  EXPECT_EQ(After(EvalMetric::kLoss, {2, 2, 2}).best()->step, 10);
  EXPECT_EQ(After(EvalMetric::kLoss, {kNan, 2, -kInf}).best()->step, 20);
  EXPECT_EQ(After(EvalMetric::kAccuracy, {kNan, 0, kInf}).best()->step, 20);
  EXPECT_FALSE(After(EvalMetric::kLoss, {kNan, kInf}).best());
  EXPECT_TRUE(After(EvalMetric::kLoss, {kNan, kInf}).Over(2));
}

TEST(BestEvaluation, PatienceCountsEvaluationsSinceTheBest) {
  const std::vector<double> values = {0.5, 0.4, 0.45, 0.41, 0.3, 0.3, 0.3, 0.3};
  std::vector<int64_t> over;
  for (int64_t patience = 0; patience <= 4; ++patience) {
    BestEvaluation best(EvalMetric::kLoss, "data");
    int64_t at = 0;
    for (size_t i = 0; i < values.size() && at == 0; ++i) {
      best.Add({static_cast<int64_t>(i), EvalMetric::kLoss, values[i], "data"});
      if (best.Over(patience)) at = static_cast<int64_t>(i) + 1;
    }
    over.push_back(at);
  }
  EXPECT_EQ(over, (std::vector<int64_t>{0, 3, 4, 8, 0}));
}

TEST(BestEvaluation, OtherMetricsAndOtherDataAreLeftOut) {
  BestEvaluation best = After(EvalMetric::kF1, {0.5});
  best.Add({20, EvalMetric::kAccuracy, 0.9, "data"});
  best.Add({20, EvalMetric::kF1, 0.9, "other data"});
  EXPECT_EQ(best.count(), 1);
  EXPECT_EQ(best.last_step(), 10);
  EXPECT_EQ(best.best()->value, 0.5);
  EXPECT_FALSE(best.Over(1));
}

TEST(BestEvaluation, MetricsHaveNames) {
  for (const EvalMetric metric : {EvalMetric::kLoss, EvalMetric::kAccuracy, EvalMetric::kF1}) {
    EXPECT_EQ(*ParseEvalMetric(Name(metric)), metric);
    EXPECT_LE(Name(metric).size(), 8u);  // the journal's field
  }
  EXPECT_FALSE(ParseEvalMetric("recall").ok());
  EXPECT_FALSE(ParseEvalMetric("").ok());
}

}  // namespace
}  // namespace zo2
