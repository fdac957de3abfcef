#include "runtime/lr_schedule.h"

#include <gtest/gtest.h>

namespace zo2 {
namespace {

TEST(LrSchedule, Shapes) {
  const LrSchedule constant{LrShape::kConstant, 2e-3, 4, 12};
  EXPECT_EQ(constant.At(0), 5e-4);
  EXPECT_EQ(constant.At(3), 2e-3);
  EXPECT_EQ(constant.At(11), 2e-3);
  const LrSchedule linear{LrShape::kLinear, 1.0, 0, 8};
  for (int64_t step = 0; step <= 8; ++step) EXPECT_DOUBLE_EQ(linear.At(step), 1 - static_cast<double>(step) / 8);
  EXPECT_EQ(linear.At(20), 0);
  const LrSchedule cosine{LrShape::kCosine, 1.0, 2, 10};
  EXPECT_EQ(cosine.At(1), 1);
  EXPECT_EQ(cosine.At(2), 1);
  EXPECT_DOUBLE_EQ(cosine.At(6), 0.5);
  EXPECT_NEAR(cosine.At(10), 0, 1e-16);
}

TEST(LrSchedule, ARunShorterThanItsWarmUpOnlyRises) {
  const LrSchedule schedule{LrShape::kLinear, 1.0, 10, 5};
  for (int64_t step = 0; step < 5; ++step) EXPECT_DOUBLE_EQ(schedule.At(step), static_cast<double>(step + 1) / 10);
}

TEST(LrSchedule, Names) {
  EXPECT_EQ(*ParseLrShape("constant"), LrShape::kConstant);
  EXPECT_EQ(*ParseLrShape("linear"), LrShape::kLinear);
  EXPECT_EQ(*ParseLrShape("cosine"), LrShape::kCosine);
  const auto bad = ParseLrShape("step");
  ASSERT_FALSE(bad.ok());
  EXPECT_NE(bad.status().message().find("constant, linear or cosine"), std::string::npos);
}

}  // namespace
}  // namespace zo2
