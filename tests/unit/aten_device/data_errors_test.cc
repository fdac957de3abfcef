// A device is launched before anybody knows its data: labels, ids and divisors that are wrong give numbers, not errors.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

// NaN in exactly these elements of output 0.
void ExpectNanAt(const Outcome& outcome, const std::function<bool(int64_t)>& nan) {
  ASSERT_EQ(outcome.size(), 1u);
  const Array& y = outcome[0][0];
  for (int64_t i = 0; i < static_cast<int64_t>(y.v.size()); ++i) EXPECT_EQ(std::isnan(y[i]), nan(i)) << i;
}

const int64_t kBad[] = {12, -1, -99, int64_t{1} << 40, std::numeric_limits<int64_t>::min()};

TEST(DataErrors, ALabelThatIsNoClassMakesItsExampleNan) {
  Random random(1);
  for (const int64_t bad : kBad)
    for (const bool shift : {false, true}) {
      const Array hidden = random.Normal({3, 4, 6}), w = random.Normal({12, 6});
      Array labels = random.Integers({3, 4}, 0, 11);
      labels[5] = static_cast<double>(bad);
      const Attrs attrs = {{"shift", int64_t{shift}}};
      for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {7}, {1, 11}}) {
        const Outcome y = RunOp(Op::kCausalLmLoss, attrs, {hidden, labels, w}, {cuts});
        ExpectNanAt(y, [](int64_t b) { return b == 1; });
        EXPECT_EQ(y[0][1].v, std::vector<double>(3, shift ? 3 : 4));
      }
      ExpectNanAt(RunOp(Op::kTokenLoss, attrs, {random.Normal({3, 4, 12}), labels}), [](int64_t b) { return b == 1; });
    }
}

TEST(DataErrors, ClassifyLossLikewiseAndNanStaysInItsExample) {
  Random random(2);
  Array logits = random.Normal({4, 3}), labels = random.Integers({4}, 0, 2);
  logits[5] = NAN;
  labels[3] = 3;
  const Outcome y = RunOp(Op::kClassifyLoss, {}, {logits, labels});
  ExpectNanAt(y, [](int64_t b) { return b == 1 || b == 3; });
  EXPECT_EQ(y[0][1].v, std::vector<double>(4, 1));
}

TEST(DataErrors, AnIdOutsideOfTheTableGivesARowOfNan) {
  Random random(3);
  for (const DType dtype : {DType::kF32, DType::kBF16})
    for (const int64_t bad : {int64_t{50}, int64_t{-1}, int64_t{1} << 40, int64_t{-1} << 50}) {
      const Array w = random.Normal({50, 4}, 1, dtype);
      Array ids = random.Integers({2, 5}, 0, 49);
      ids[7] = static_cast<double>(bad);
      for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {20}, {1, 49}}) {
        const Outcome y = RunOp(Op::kEmbedding, {}, {ids, w}, {cuts});
        ExpectNanAt(y, [](int64_t i) { return i / 4 == 7; });
        for (int64_t i = 0; i < 40; ++i) {
          if (i / 4 == 7) continue;
          EXPECT_EQ(y[0][0][i], w[static_cast<int64_t>(ids[i / 4]) * 4 + i % 4]);
        }
      }
    }
}

TEST(DataErrors, GathersGiveNanWhereAnIdNamesNothing) {
  Random random(4);
  const Array x = random.Normal({4, 5});
  for (const int64_t bad : {int64_t{5}, int64_t{-6}, int64_t{1} << 40}) {
    const Array ids{DType::kI64, {1, 3}, {0, static_cast<double>(bad), 1}};
    const Attrs axis = {{"axis", int64_t{1}}};
    ExpectNanAt(RunOp(Op::kGather, axis, {x, ids}), [](int64_t i) { return i % 3 == 1; });
    ExpectNanAt(RunOp(Op::kGatherElements, axis, {x, ids}), [](int64_t i) { return i == 1; });
    const Array pairs{DType::kI64, {2, 2}, {0, 1, 3, static_cast<double>(bad)}};
    ExpectNanAt(RunOp(Op::kGatherNd, {}, {x, pairs}), [](int64_t i) { return i == 1; });
    // Integers have no NaN: the nearest there is.
    const Array whole = Make(DType::kI64, {5}, [](int64_t i) { return 10.0 * static_cast<double>(i); });
    const Outcome y = RunOp(Op::kGather, {}, {whole, ids});
    EXPECT_EQ(y[0][0].v, (std::vector<double>{0, bad < 0 ? 0.0 : 40.0, 10}));
  }
}

TEST(DataErrors, GatherFromAnEmptyAxis) {
  const Array ids{DType::kI64, {2}, {0, 1}};
  const Array floats{DType::kF32, {3, 0}, {}}, integers{DType::kI32, {3, 0}, {}};
  ExpectNanAt(RunOp(Op::kGather, {{"axis", int64_t{1}}}, {floats, ids}), [](int64_t) { return true; });
  EXPECT_EQ(RunOp(Op::kGather, {{"axis", int64_t{1}}}, {integers, ids})[0][0].v, std::vector<double>(6, 0));
}

TEST(DataErrors, IntegersDividedByZeroGiveZero) {
  const double lowest = static_cast<double>(std::numeric_limits<int64_t>::min());
  const Array a{DType::kI64, {2}, {lowest, 5}}, minus_one{DType::kI64, {}, {-1}}, zero{DType::kI64, {2}, {1, 0}};
  for (const bool in_place : {false, true}) {
    EXPECT_EQ(RunOp(Op::kDiv, {}, {a, minus_one}, {{}, in_place})[0][0].v, (std::vector<double>{lowest, -5}));
    EXPECT_EQ(RunOp(Op::kMod, {}, {a, minus_one}, {{}, in_place})[0][0].v, (std::vector<double>{0, 0}));
    EXPECT_EQ(RunOp(Op::kDiv, {}, {a, zero}, {{}, in_place})[0][0].v, (std::vector<double>{lowest, 0}));
    EXPECT_EQ(RunOp(Op::kMod, {}, {a, zero}, {{}, in_place})[0][0].v, (std::vector<double>{0, 0}));
  }
}

}  // namespace
}  // namespace zo2
