// Random losses of branches with all that a gradient of them needs. Gradient() and the GPU kernel's body must leave the
// same record.
#ifndef ZO2_TESTS_UNIT_CUDA_KERNELS_LOSS_CASE_H_
#define ZO2_TESTS_UNIT_CUDA_KERNELS_LOSS_CASE_H_

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "runtime/cuda/gradient_launch.h"

namespace zo2::cuda {

struct Losses {
  std::vector<Branch> branches;
  std::vector<std::vector<double>> sums, counts;
  std::vector<LossPairs> pairs() const {
    std::vector<LossPairs> pairs;
    for (size_t b = 0; b < sums.size(); ++b) pairs.push_back({sums[b], counts[b]});
    return pairs;
  }
};

struct LossCase {
  Losses losses;
  RunParameters parameters;
  StepControl control;
  int q = 1;
  int long_lists = 0;   // lists longer than a block adds at a time
  bool groups = false;  // more lists than are added at a time
};

inline LossCase MakeLossCase(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto below = [&](uint64_t n) { return static_cast<int>(random() % n); };
  LossCase c;
  Losses& losses = c.losses;
  const int q = c.q = below(5) == 0 ? 1 + below(32) : 1 + below(4);
  const int length = below(6) == 0 ? 200 + below(500) : 1 + below(40);
  for (int i = 0; i < q; ++i) {
    for (const double sign : {1.0, -1.0}) {
      losses.branches.push_back({{{i, sign}}});
      std::vector<double> sum, count;
      const int n = below(30) == 0 ? 0 : below(10) == 0 ? 1 + below(400) : length;
      for (int e = 0; e < n; ++e) {  // of many sizes: another order of additions has other bits
        sum.push_back(std::ldexp(static_cast<double>(random() >> 12), -52 + below(40)));
        count.push_back(below(50));
      }
      if (below(60) == 0 && n > 0) sum.back() = below(2) ? std::numeric_limits<double>::infinity() : NAN;
      c.long_lists += n > 128;
      losses.sums.push_back(sum);
      losses.counts.push_back(count);
    }
  }
  c.groups = losses.branches.size() > 8;
  if (below(4) == 0 && losses.branches.size() < 60) {  // no place in the record
    for (const Branch& branch : {Branch{}, Branch{{{0, 1.0}, {1, 1.0}}}, Branch{{{q, 1.0}}}, Branch{{{-1, 1.0}}}}) {
      losses.branches.push_back(branch);
      losses.sums.push_back({7});
      losses.counts.push_back({1});
    }
  }
  if (below(10) == 0) losses.branches[0] = {};  // a sample without a loss
  c.parameters.eps = std::ldexp(1.0 + below(3), -below(12));
  c.parameters.clip_g = below(3) == 0 ? std::ldexp(1.0, below(20)) : 0;
  c.control = {random() >> 20, 1e-3 * below(100)};
  return c;
}

// The bits of a NaN say nothing.
inline void ExpectSame(const StepRecord& got, const StepRecord& want) {
  EXPECT_EQ(got.step, want.step);
  EXPECT_EQ(got.lr, want.lr);
  EXPECT_EQ(got.q, want.q);
  EXPECT_EQ(got.skipped, want.skipped);
  for (uint32_t i = 0; i < 3 * want.q; ++i) {
    const double a = got.loss_plus()[i], b = want.loss_plus()[i];
    EXPECT_TRUE(std::isnan(b) ? std::isnan(a) : std::memcmp(&a, &b, 8) == 0) << i << ": " << a << ", not " << b;
  }
}

}  // namespace zo2::cuda

#endif  // ZO2_TESTS_UNIT_CUDA_KERNELS_LOSS_CASE_H_
