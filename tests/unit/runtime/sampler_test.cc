#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "runtime/dataset.h"

namespace zo2 {
namespace {

std::vector<int64_t> Epoch(uint64_t seed, int64_t examples, int64_t epoch) {
  const Sampler sampler(DataOrder::kRandom, seed, examples, 1);
  std::vector<int64_t> order;
  for (int64_t i = 0; i < examples; ++i) order.push_back(sampler.At(epoch * examples + i, 0));
  return order;
}

TEST(Sampler, EveryEpochIsAPermutation) {
  std::vector<int64_t> sizes;
  for (int64_t n = 1; n <= 300; ++n) sizes.push_back(n);
  for (int64_t power = 512; power <= 65536; power *= 2)
    for (int64_t n = power - 1; n <= power + 1; ++n) sizes.push_back(n);
  for (int64_t prime : {997, 7919, 104729}) sizes.push_back(prime);
  for (const int64_t n : sizes)
    for (int64_t epoch : {0, 1, 5}) {
      std::vector<int64_t> order = Epoch(static_cast<uint64_t>(n) * 77 + 1, n, epoch);
      std::sort(order.begin(), order.end());
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(order[static_cast<size_t>(i)], i) << n << " examples, epoch " << epoch;
    }
}

TEST(Sampler, BatchesRunOnAcrossEpochs) {
  const Sampler rows(DataOrder::kRandom, 9, 10, 1), batches(DataOrder::kRandom, 9, 10, 4);
  for (int64_t position = 0; position < 200; ++position)
    EXPECT_EQ(batches.At(position / 4, position % 4), rows.At(position, 0));
  // Steps 0 and 1 take 8 of the first epoch; step 2 the other 2 and the first 2 of the second.
  std::multiset<int64_t> seen;
  for (int64_t step = 0; step < 5; ++step)
    for (int64_t row = 0; row < 4; ++row) seen.insert(batches.At(step, row));
  for (int64_t e = 0; e < 10; ++e) EXPECT_EQ(seen.count(e), 2u);
}

TEST(Sampler, SequentialWraps) {
  const Sampler sampler(DataOrder::kSequential, 9, 5, 3);
  std::vector<int64_t> order;
  for (int64_t step = 0; step < 3; ++step)
    for (int64_t row = 0; row < 3; ++row) order.push_back(sampler.At(step, row));
  EXPECT_EQ(order, (std::vector<int64_t>{0, 1, 2, 3, 4, 0, 1, 2, 3}));
}

// A resumed run must see the batches that it would have seen: these orders may never change.
TEST(Sampler, OrdersAreFixedForever) {
  EXPECT_EQ(Epoch(7, 10, 0), (std::vector<int64_t>{6, 4, 8, 9, 5, 2, 7, 3, 0, 1}));
  EXPECT_EQ(Epoch(7, 10, 1), (std::vector<int64_t>{6, 9, 3, 8, 7, 2, 0, 1, 4, 5}));
  EXPECT_EQ(Epoch(8, 10, 0), (std::vector<int64_t>{7, 2, 5, 8, 6, 1, 0, 3, 9, 4}));
  const Sampler large(DataOrder::kRandom, 0xFEDCBA9876543210, (int64_t{1} << 40) + 12345, 32);
  EXPECT_EQ(large.At(1000000, 31), 804541708787);
}

// Each example comes as often as any other at each place of an epoch. Chi-square with n - 1 degrees of freedom per
// place; the bound is 6 standard deviations above its mean.
TEST(Sampler, EveryPlaceIsUniform) {
  constexpr int64_t kEpochs = 4000;
  for (const int64_t n : {2, 3, 5, 8, 10, 16, 17}) {
    std::vector<std::vector<double>> count(static_cast<size_t>(n), std::vector<double>(static_cast<size_t>(n)));
    for (int64_t epoch = 0; epoch < kEpochs; ++epoch) {
      const std::vector<int64_t> order = Epoch(3, n, epoch);
      for (size_t i = 0; i < order.size(); ++i) ++count[i][static_cast<size_t>(order[i])];
    }
    const double expected = static_cast<double>(kEpochs) / static_cast<double>(n), freedom = static_cast<double>(n - 1);
    for (size_t i = 0; i < count.size(); ++i) {
      double chi = 0;
      for (const double c : count[i]) chi += (c - expected) * (c - expected) / expected;
      EXPECT_LT(chi, freedom + 6 * std::sqrt(2 * freedom)) << n << " examples, place " << i;
    }
  }
}

TEST(Sampler, AllOrdersOfAFewExamplesComeEquallyOften) {
  for (const int64_t n : {3, 4}) {
    std::map<std::vector<int64_t>, double> count;
    constexpr int64_t kEpochs = 12000;
    for (int64_t epoch = 0; epoch < kEpochs; ++epoch) ++count[Epoch(11, n, epoch)];
    const double orders = n == 3 ? 6 : 24, expected = kEpochs / orders;
    ASSERT_EQ(static_cast<double>(count.size()), orders);
    double chi = 0;
    for (const auto& [order, c] : count) chi += (c - expected) * (c - expected) / expected;
    EXPECT_LT(chi, orders - 1 + 6 * std::sqrt(2 * (orders - 1))) << n;
  }
}

// Neighbours of a large file land anywhere: mean distance n/3, about one example stays in its place.
TEST(Sampler, LargeFilesAreMixed) {
  constexpr int64_t n = 100003;
  double distance = 0, fixed = 0;
  for (int64_t epoch = 0; epoch < 4; ++epoch) {
    const std::vector<int64_t> order = Epoch(5, n, epoch);
    for (size_t i = 0; i < order.size(); ++i) {
      fixed += order[i] == static_cast<int64_t>(i);
      if (i > 0) distance += std::abs(static_cast<double>(order[i] - order[i - 1]));
    }
  }
  EXPECT_NEAR(distance / (4.0 * n) / n, 1.0 / 3, 0.003);  // 8 standard deviations
  EXPECT_LT(fixed, 20);                                   // of 4 expected
}

TEST(Sampler, SeedsAndEpochsDiffer) {
  std::set<std::vector<int64_t>> orders;
  for (uint64_t seed = 0; seed < 20; ++seed)
    for (int64_t epoch = 0; epoch < 20; ++epoch) orders.insert(Epoch(seed, 50, epoch));
  EXPECT_EQ(orders.size(), 400u);
}

TEST(Sampler, OrderNames) {
  EXPECT_EQ(*ParseDataOrder("random"), DataOrder::kRandom);
  EXPECT_EQ(*ParseDataOrder("sequential"), DataOrder::kSequential);
  EXPECT_EQ(ParseDataOrder("shuffled").status().message(), "--order shuffled: use random or sequential");
}

}  // namespace
}  // namespace zo2
