// The loops against scalar ones in binary64, edges and all; every instruction set that this processor has.
#include "runtime/aten/simd.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>
#include <vector>

namespace zo2::aten {
namespace {

struct Isa {
  const char* name;
  Simd simd;
};

std::vector<Isa> All() {
  std::vector<Isa> all = {{"generic", SimdGeneric()}};
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back({"avx2", SimdAvx2()});
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    all.push_back({"avx512", SimdAvx512()});
  return all;
}

std::vector<float> Normal(int64_t n, uint64_t seed, float scale = 1) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal(0, scale);
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(engine);
  return x;
}

bool SameBits(const std::vector<float>& a, const std::vector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

constexpr float kUntouched = 12345;

TEST(Simd, ProductsAtEveryEdge) {
  const int64_t sizes[] = {1, 2, 3, 5, 6, 7, 13, 16, 17, 33, 64, 65, 97};
  int cases = 0;
  for (const int64_t m : sizes)
    for (const int64_t n : sizes)
      for (const int64_t k : {int64_t{0}, int64_t{1}, int64_t{15}, int64_t{16}, int64_t{47}, int64_t{256},
                              int64_t{257}, int64_t{1030}}) {
        if (++cases % 7 != 0 && k > 100) continue;  // a sample of the long ones
        const int64_t lda = k + 3, ldb = k + 5, ldn = n + 2, ldc = n + 4;
        const auto a = Normal(m * lda, 1), b = Normal(n * ldb, 2), bk = Normal(k * ldn, 3),
                   bias = Normal(n, 4);
        std::vector<std::vector<float>> dots, outers;
        for (const Isa& isa : All()) {
          std::vector<float> c(static_cast<size_t>(m * ldc), kUntouched), d = c;
          isa.simd.dot({m, n, k, a.data(), lda, b.data(), ldb, bias.data(), c.data(), ldc});
          isa.simd.outer({m, n, k, a.data(), lda, 1, bk.data(), ldn, bias.data(), d.data(), ldc, false});
          for (int64_t i = 0; i < m; ++i)
            for (int64_t j = 0; j < ldc; ++j) {
              const auto at = static_cast<size_t>(i * ldc + j);
              if (j >= n) {
                ASSERT_EQ(c[at], kUntouched) << isa.name;
                ASSERT_EQ(d[at], kUntouched) << isa.name;
                continue;
              }
              double dot = bias[static_cast<size_t>(j)], outer = dot;
              for (int64_t p = 0; p < k; ++p) {
                dot += static_cast<double>(a[static_cast<size_t>(i * lda + p)]) *
                       b[static_cast<size_t>(j * ldb + p)];
                outer += static_cast<double>(a[static_cast<size_t>(i * lda + p)]) *
                         bk[static_cast<size_t>(p * ldn + j)];
              }
              const double tolerance = 6e-6 * std::sqrt(static_cast<double>(k) + 1);
              ASSERT_NEAR(c[at], dot, tolerance) << isa.name << " " << m << "x" << n << "x" << k;
              ASSERT_NEAR(d[at], outer, tolerance) << isa.name << " " << m << "x" << n << "x" << k;
            }
          if (std::strcmp(isa.name, "generic") == 0) continue;
          dots.push_back(c);
          outers.push_back(d);
        }
        for (size_t i = 1; i < dots.size(); ++i) {
          ASSERT_TRUE(SameBits(dots[0], dots[i])) << "AVX2 and AVX-512 differ: " << m << "x" << n << "x" << k;
          ASSERT_TRUE(SameBits(outers[0], outers[i]))
              << "AVX2 and AVX-512 differ: " << m << "x" << n << "x" << k;
        }
      }
}

TEST(Simd, ATransposedLeftSideAndSums) {
  const int64_t m = 23, n = 70, k = 300;
  const auto a = Normal(k * m, 1), b = Normal(k * n, 2), c0 = Normal(m * n, 3);
  for (const Isa& isa : All()) {
    auto c = c0;
    isa.simd.outer({m, n, k, a.data(), 1, m, b.data(), n, nullptr, c.data(), n, true});
    for (int64_t i = 0; i < m; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = c0[static_cast<size_t>(i * n + j)];
        for (int64_t p = 0; p < k; ++p)
          sum += static_cast<double>(a[static_cast<size_t>(p * m + i)]) * b[static_cast<size_t>(p * n + j)];
        ASSERT_NEAR(c[static_cast<size_t>(i * n + j)], sum, 5e-5) << isa.name;
      }
  }
}

TEST(Simd, AnElementOfAProductDoesNotDependOnTheCut) {
  const int64_t m = 67, n = 130, k = 1500;
  const auto a = Normal(m * k, 1), b = Normal(n * k, 2), bk = Normal(k * n, 3);
  for (const Isa& isa : All()) {
    std::vector<float> whole(static_cast<size_t>(m * n)), cut = whole, outer = whole, outer_cut = whole;
    isa.simd.dot({m, n, k, a.data(), k, b.data(), k, nullptr, whole.data(), n});
    isa.simd.outer({m, n, k, a.data(), k, 1, bk.data(), n, nullptr, outer.data(), n, false});
    for (int64_t row = 0; row < m; row += 9)
      for (int64_t column = 0; column < n; column += 31) {
        const int64_t rows = std::min<int64_t>(9, m - row), columns = std::min<int64_t>(31, n - column);
        isa.simd.dot({rows, columns, k, a.data() + row * k, k, b.data() + column * k, k, nullptr,
                      cut.data() + row * n + column, n});
        isa.simd.outer({rows, columns, k, a.data() + row * k, k, 1, bk.data() + column, n, nullptr,
                        outer_cut.data() + row * n + column, n, false});
      }
    EXPECT_TRUE(SameBits(whole, cut)) << isa.name;
    EXPECT_TRUE(SameBits(outer, outer_cut)) << isa.name;
  }
}

TEST(Simd, ElementwiseAndNorms) {
  for (const int64_t n : {1, 7, 8, 15, 16, 17, 100, 257}) {
    const auto x = Normal(n, 5, 4), scale = Normal(n, 6), bias = Normal(n, 7);
    std::vector<std::vector<float>> first;
    for (const Isa& isa : All()) {
      std::vector<std::vector<float>> results;
      const auto run = [&](auto f) {
        std::vector<float> y(static_cast<size_t>(n) + 20, kUntouched);
        f(y.data());
        for (size_t i = static_cast<size_t>(n); i < y.size(); ++i) ASSERT_EQ(y[i], kUntouched) << isa.name;
        results.push_back(y);
      };
      run([&](float* y) { isa.simd.gelu(x.data(), y, n); });
      run([&](float* y) { isa.simd.gelu_tanh(x.data(), y, n); });
      run([&](float* y) { isa.simd.silu(x.data(), y, n); });
      run([&](float* y) { isa.simd.norm(x.data(), scale.data(), bias.data(), y, n, 1e-5, true); });
      run([&](float* y) { isa.simd.norm(x.data(), scale.data(), nullptr, y, n, 1e-5, false); });
      run([&](float* y) { isa.simd.rotate(x.data(), scale.data(), bias.data(), y, n / 2); });
      if (n % 2 != 0) results.pop_back();
      if (std::strcmp(isa.name, "generic") == 0) continue;
      if (first.empty()) first = results;
      for (size_t i = 0; i < results.size(); ++i)
        EXPECT_TRUE(SameBits(first[i], results[i])) << isa.name << " loop " << i << " n " << n;
    }
  }
}

TEST(Simd, LogSumInBinary64) {
  for (const int64_t n : {1, 7, 8, 9, 15, 16, 31, 1000}) {
    auto x = Normal(n, 8, 30);
    x[static_cast<size_t>(n / 2)] = -INFINITY;
    long double expected = 0, top = -INFINITY;
    for (const float v : x) top = std::max<long double>(top, v);
    for (const float v : x) expected += std::exp(v - top);
    for (const Isa& isa : All()) {
      double maximum = -INFINITY, sum = 0;
      isa.simd.log_sum(x.data(), n / 2, &maximum, &sum);
      isa.simd.log_sum(x.data() + n / 2, n - n / 2, &maximum, &sum);
      if (n == 1) {
        EXPECT_EQ(maximum, -INFINITY);
        EXPECT_EQ(sum, 0);
        continue;
      }
      EXPECT_EQ(maximum, static_cast<double>(top));
      EXPECT_NEAR(sum, static_cast<double>(expected), 1e-14 * sum) << isa.name << " " << n;
      for (const float bad : {NAN, INFINITY}) {
        double m = maximum, s = sum;
        isa.simd.log_sum(&bad, 1, &m, &s);
        EXPECT_TRUE(std::isnan(s));
        isa.simd.log_sum(x.data(), n, &m, &s);
        EXPECT_TRUE(std::isnan(s));
      }
    }
  }
}

}  // namespace
}  // namespace zo2::aten
