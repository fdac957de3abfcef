#include "runtime/divergence.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>
#include <string>

namespace zo2 {
namespace {

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// Steps that are taken until a rule is met, at most 1000; a loss that is not finite is skipped. Room must never promise
// less than there is.
int64_t StepsTaken(const DivergenceLimits& limits, const std::function<double(int64_t)>& loss, std::string* why = nullptr) {
  Divergence divergence(limits);
  int64_t promised = 0, step = 0;
  for (; step < 1000 && divergence.Room() > 0; ++step) {
    EXPECT_TRUE(divergence.Check().ok());
    promised = std::max(promised, step + divergence.Room());
    divergence.Add(step, loss(step), !std::isfinite(loss(step)));
  }
  EXPECT_EQ(divergence.Check().ok(), step == 1000);
  EXPECT_EQ(divergence.Room() == 0, step < 1000);
  if (step < 1000) {
    EXPECT_GE(promised, step);
    EXPECT_EQ(divergence.Check().code(), Code::kInvalid);
    if (why != nullptr) *why = divergence.Check().message();
  }
  return step;
}

TEST(Divergence, SkipsInARowStopExactlyAtTheirNumber) {
  for (const int64_t most : {1, 2, 3, 10}) {
    std::string why;
    EXPECT_EQ(StepsTaken({.max_skips = most}, [](int64_t step) { return step < 20 ? 1 : kNan; }, &why), 20 + most);
    EXPECT_NE(why.find("not finite in " + std::to_string(most) + " steps in a row, the last of them step " +
                       std::to_string(19 + most)),
              std::string::npos)
        << why;
  }
  EXPECT_EQ(StepsTaken({.max_skips = 3}, [](int64_t step) { return step % 3 == 0 ? 1 : kNan; }), 1000);
}

TEST(Divergence, ARiseStopsAfterEnoughHighLosses) {
  const DivergenceLimits limits{.loss_ratio = 10, .high_steps = 20};
  std::string why;
  // At most 3 at the start, then 31 from step 50 on.
  const auto rises = [](int64_t step) { return step < 50 ? 1.0 + static_cast<double>(step % 3) : 31.0; };
  EXPECT_EQ(StepsTaken(limits, rises, &why), 70);
  for (const char* part : {"diverged", "a loss of 3", "10 times that in 20 steps", "step 69 with 31", "--stop-loss-ratio"})
    EXPECT_NE(why.find(part), std::string::npos) << why;
  EXPECT_EQ(StepsTaken({.loss_ratio = 0, .high_steps = 20}, rises), 1000) << "0 is never";
  EXPECT_EQ(StepsTaken({.loss_ratio = 11, .high_steps = 20}, rises), 1000) << "31 is below 33";
  // Skipped steps between do not count, either way.
  EXPECT_EQ(StepsTaken(limits, [&](int64_t step) { return step >= 50 && step % 2 == 0 ? kNan : rises(step); }), 90);
  // A learning rate that is far too large: everything happens at once.
  EXPECT_EQ(StepsTaken(limits, [](int64_t step) { return std::pow(5.0, static_cast<double>(step)); }), 24);
  EXPECT_EQ(StepsTaken(limits, [](int64_t step) { return step == 0 ? 1 : step < 4 ? kNan : step < 6 ? 2 : 21; }), 26);
}

TEST(Divergence, HealthyRunsGoOn) {
  const DivergenceLimits limits{.high_steps = 20, .least_loss = 0.1};
  EXPECT_EQ(StepsTaken(limits, [](int64_t) { return 2.0; }), 1000);
  EXPECT_EQ(StepsTaken(limits, [](int64_t step) { return step % 20 == 10 ? 1e30 : 1.0; }), 1000) << "monstrous batches";
  EXPECT_EQ(StepsTaken(limits, [](int64_t step) { return step == 1 ? 10.0 : 99.0; }), 1000) << "two easy batches";
  // One that is better now and then, however bad between.
  EXPECT_EQ(StepsTaken(limits, [](int64_t step) { return step < 20 || step % 20 == 0 ? 1.0 : 100.0; }), 1000);
  // A model that fits its data from the beginning; without the least loss it would be stopped.
  const auto nothing = [](int64_t step) { return step < 20 ? 1e-6 : 0.5; };
  EXPECT_EQ(StepsTaken(limits, nothing), 1000);
  EXPECT_EQ(StepsTaken({.high_steps = 20}, nothing), 40);
  // An objective that is 0 or negative has no ratio.
  EXPECT_EQ(StepsTaken({.high_steps = 20}, [](int64_t step) { return step < 20 ? -1.0 : 1.0; }), 1000);
  EXPECT_EQ(StepsTaken({.high_steps = 20}, [](int64_t step) { return step < 20 ? 0.0 : 1.0; }), 1000);
}

}  // namespace
}  // namespace zo2
