#include "runtime/shares.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/unit/runtime/tiny_journal.h"

namespace zo2 {
namespace {

// One weight of 512 x 512 elements that all have this value, and one step.
struct Constant {
  Constant(float value, DType storage, DType compute, Rounding rounding = Rounding::kStochastic,
           double g = 10, double lr = 1e-7)
      : log(1), bits(storage == DType::kF32 ? 4 : 2) {
    schedule.rounding = rounding;
    PlanWeight weight;
    weight.name = "w";
    weight.shape = {512, 512};
    weight.components = {{"w", 99, storage, PlainWire(storage), compute, weight.shape, true}};
    schedule.weights.push_back(weight);
    uint32_t word;
    std::memcpy(&word, &value, 4);
    EXPECT_TRUE(storage == DType::kF32 || (word & 0xFFFF) == 0) << "no value of bf16";
    std::memcpy(bits.data(), reinterpret_cast<char*>(&word) + (4 - bits.size()), bits.size());
    uint64_t words[6] = {};
    StepRecord& record = *reinterpret_cast<StepRecord*>(words);
    record = {0, lr, 1, 0};
    record.g()[0] = g;
    log.Append(record);
  }
  WeightShares Shares(int64_t elements = 1 << 20) {
    const WeightReader read = [this](int32_t, int64_t r0, int64_t r1, int64_t c0, int64_t c1,
                                     std::byte* out) {
      for (int64_t i = 0; i < (r1 - r0) * (c1 - c0); ++i, out += bits.size())
        std::memcpy(out, bits.data(), bits.size());
      return Status();
    };
    const auto shares = MeasureShares(schedule, 0, read, log, 0, 1, 1, {.seed = 5}, elements);
    EXPECT_TRUE(shares.ok());
    return *shares;
  }
  Schedule schedule;
  StepLog log;
  std::vector<std::byte> bits;
};

// On a grid of bf16 around theta with steps a above and b below, a normal of eps = 1e-3 arrives by
// sum over multiples k of a step of (step / eps) phi((k - 1/2) step / eps), half of it from either side.
TEST(Shares, PerturbationsVanishInBf16AsTheFormulaSays) {
  const auto expected = [](double above, double below) {
    double share = 0;
    for (const double step : {above, below})
      for (int k = 0; k < 100; ++k) {
        const double at = (k + 0.5) * step / 1e-3;
        share += step / 1e-3 * std::exp(-at * at / 2) / std::sqrt(2 * M_PI);
      }
    return share;
  };
  const struct {
    float theta;
    double above, below, about;
  } cases[] = {{0.5f, 0x1p-8, 0x1p-9, 0.73}, {1, 0x1p-7, 0x1p-8, 0.23}, {2, 0x1p-6, 0x1p-7, 0.0015}};
  for (const auto& c : cases) {
    const Share share = Constant(c.theta, DType::kBF16, DType::kBF16).Shares().perturbation;
    const double want = expected(c.above, c.below);
    EXPECT_NEAR(want, c.about, 0.005);
    EXPECT_EQ(share.elements, 512 * 512);
    EXPECT_NEAR(share.value(), want, 5 * share.error() + 1e-4) << c.theta;
    EXPECT_GT(share.error(), 0);
    EXPECT_LT(share.error(), 0.01);
    EXPECT_NEAR(Constant(c.theta, DType::kBF16, DType::kF32).Shares().perturbation.value(), 1, 1e-3)
        << "in f32";
  }
}

TEST(Shares, NearestRoundingLosesUpdatesStochasticDoesNot) {
  const auto update = [](DType storage, Rounding rounding, double g) {
    return Constant(0.015625f, storage, DType::kF32, rounding, g).Shares().update;
  };
  EXPECT_EQ(update(DType::kBF16, Rounding::kNearest, 10).value(), 0);  // 1e-6, where half a step is 3e-5
  EXPECT_NEAR(update(DType::kF32, Rounding::kNearest, 1000).value(), 1, 1e-4);
  const Share kept = update(DType::kBF16, Rounding::kStochastic, 10);
  EXPECT_NEAR(kept.value(), 1, 4 * kept.error());
  EXPECT_GT(kept.error(), 0.001);
  EXPECT_LT(kept.error(), 0.05);
}

TEST(Shares, ASampleIsSpreadOverTheRowsAndErrorsPassThrough) {
  Constant weight(0.5f, DType::kBF16, DType::kBF16);
  const WeightShares few = weight.Shares(10000);
  EXPECT_GE(few.perturbation.elements, 8 * 512);
  EXPECT_LE(few.perturbation.elements, 12000);
  EXPECT_EQ(few.update.elements, few.perturbation.elements);
  const WeightReader broken = [](int32_t, int64_t, int64_t, int64_t, int64_t, std::byte*) {
    return Invalid("gone");
  };
  const auto shares = MeasureShares(weight.schedule, 0, broken, weight.log, 0, 1, 1, {}, 100);
  ASSERT_FALSE(shares.ok());
  EXPECT_EQ(shares.status().message(), "gone");
}

TEST(Shares, ASkippedStepWantsNothing) {
  Constant weight(0.5f, DType::kBF16, DType::kF32, Rounding::kStochastic, NAN);
  const_cast<StepRecord&>(weight.log.at(0)).skipped = 1;
  const Share update = weight.Shares().update;
  EXPECT_EQ(update.elements, 0);
  EXPECT_TRUE(std::isnan(update.value()));
}

}  // namespace
}  // namespace zo2
