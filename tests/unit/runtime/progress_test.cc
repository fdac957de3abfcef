#include "runtime/progress.h"

#include <gtest/gtest.h>

namespace zo2 {
namespace {

TEST(Progress, LineSaysWhereTheRunIsAndWhatItMoves) {
  ExecutorStats stats;
  stats.bytes_up = 3'000'000'000;
  stats.bytes_down = 1'000'000'000;
  stats.compute_busy = 3;
  stats.compute_waiting = 1;
  // Steps 10 .. 19 took 4 s.
  EXPECT_EQ(Progress::Line(19, 10, 40, 2.5, 128, "tokens/s", 4, stats),
            "step 20/40  loss 2.5000  0.4 s/step  320 tokens/s  1.00 GB/s moved  25% waiting  left 8.0s");
}

TEST(Progress, LongRunsAreInHoursAndNothingIsDividedByZero) {
  const std::string line = Progress::Line(0, 0, 10001, 1, 1, "examples/s", 1, {});
  EXPECT_NE(line.find("left 2h46m"), std::string::npos) << line;
  EXPECT_NE(Progress::Line(0, 0, 1, 1, 0, "tokens/s", 0, {}).find("0% waiting  left ?"), std::string::npos);
}

}  // namespace
}  // namespace zo2
