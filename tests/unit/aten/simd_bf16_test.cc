// Products of bf16 against the definition in scalar fmas (simd_gemm_bf16.h), to the bit, on every instruction
// set that this processor has.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <vector>

#include "runtime/aten/simd.h"

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
      __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl")) {
    all.push_back({"avx512", SimdAvx512()});
    if (__builtin_cpu_supports("avx512bf16")) all.push_back({"avx512_bf16", SimdAvx512Bf16()});
  }
  return all;
}

float Wide(uint16_t h) { return std::bit_cast<float>(static_cast<uint32_t>(h) << 16); }
float Flush(float x) { return std::fpclassify(x) == FP_SUBNORMAL ? std::copysign(0.0f, x) : x; }
float Step(uint16_t a, uint16_t b, float sum) {
  return Flush(std::fma(Flush(Wide(a)), Flush(Wide(b)), Flush(sum)));
}

// Normal numbers, now and then ones of any size, subnormal ones, zeros. `wild`: a part of the numbers is
// such.
std::vector<uint16_t> Random(int64_t n, uint64_t seed, double wild) {
  std::mt19937_64 engine(seed);
  std::normal_distribution<float> normal;
  std::vector<uint16_t> x(static_cast<size_t>(n));
  for (uint16_t& h : x) {
    h = static_cast<uint16_t>(std::bit_cast<uint32_t>(normal(engine)) >> 16);
    if (static_cast<double>(engine() % 1000) < 1000 * wild) {
      h = static_cast<uint16_t>(engine());
      if ((h & 0x7F80) > 0x5B80) h &= 0xBFFF;  // sums stay finite
    }
  }
  return x;
}

float Sum(const float* lanes) {  // SumLanes
  float block[4];
  for (int i = 0; i < 4; ++i)
    block[i] = Flush(Flush(lanes[4 * i] + lanes[4 * i + 2]) + Flush(lanes[4 * i + 1] + lanes[4 * i + 3]));
  return Flush(Flush(block[0] + block[2]) + Flush(block[1] + block[3]));
}

// a and b: k elements; stride of b.
float Dot(const uint16_t* a, const uint16_t* b, int64_t k, float bias) {
  float c = bias;
  for (int64_t k0 = 0; k0 < std::max<int64_t>(1, k); k0 += 2048) {
    const int64_t end = std::min(k, k0 + 2048);
    float lanes[16] = {};
    for (int64_t p = k0; p < end; p += 2) {
      float& lane = lanes[(p - k0) / 2 % 16];
      if (p + 1 < end) lane = Step(a[p + 1], b[p + 1], lane);
      lane = Step(a[p], b[p], lane);
    }
    c = Flush(Flush(c) + Sum(lanes));
  }
  return c;
}
float Outer(const uint16_t* a, const uint16_t* b, int64_t ldb, int64_t k, float bias) {
  float c = bias;
  for (int64_t k0 = 0; k0 < std::max<int64_t>(1, k); k0 += 512) {
    const int64_t end = std::min(k, k0 + 512);
    float sum = 0;
    for (int64_t p = k0; p < end; p += 2) {
      if (p + 1 < end) sum = Step(a[p + 1], b[(p + 1) * ldb], sum);
      sum = Step(a[p], b[p * ldb], sum);
    }
    c = Flush(Flush(c) + sum);
  }
  return c;
}

TEST(SimdBf16, ProductsAreTheirDefinitionAtEveryEdge) {
  const int64_t sizes[] = {1, 2, 3, 5, 7, 16, 17, 33, 65, 97};
  int64_t compared = 0;
  int cases = 0;
  for (const double wild : {0.0, 0.3})
    for (const int64_t m : sizes)
      for (const int64_t n : sizes)
        for (const int64_t k : {0, 1, 2, 15, 31, 32, 33, 64, 95, 513, 1024, 2049, 4100}) {
          if (++cases % 11 != 0 && (k > 100 || m * n > 400)) continue;  // a sample of the long ones
          const int64_t lda = k + k % 2 + 2, ldb = k + 5, ldn = n + 2, ldc = n + 4;
          auto a = Random(m * lda, 1 + static_cast<uint64_t>(cases), wild);
          const auto b = Random(n * ldb, 2, wild), bk = Random(k * ldn, 3, wild);
          if (k % 2 != 0)
            for (int64_t i = 0; i < m; ++i) a[static_cast<size_t>(i * lda + k)] = 0;
          std::vector<float> bias;
          for (int64_t j = 0; j < n; ++j) bias.push_back(0.25f * static_cast<float>(j % 7 - 3));
          for (const Isa& isa : All()) {
            // Without fma, products below 2^-126 are flushed by themselves.
            if (wild > 0 && std::string(isa.name) == "generic") continue;
            std::vector<float> c(static_cast<size_t>(m * ldc), 12345), d = c;
            isa.simd.dot_bf16({m, n, k, a.data(), lda, b.data(), ldb, bias.data(), c.data(), ldc});
            isa.simd.outer_bf16({m, n, k, a.data(), lda, 1, bk.data(), ldn, nullptr, d.data(), ldc, false});
            for (int64_t i = 0; i < m; ++i)
              for (int64_t j = 0; j < ldc; ++j) {
                const auto at = static_cast<size_t>(i * ldc + j);
                const uint16_t* row = a.data() + i * lda;
                const float dot =
                    j >= n ? 12345 : Dot(row, b.data() + j * ldb, k, bias[static_cast<size_t>(j)]);
                const float outer = j >= n ? 12345 : Outer(row, bk.data() + j, ldn, k, 0);
                ASSERT_EQ(std::bit_cast<uint32_t>(c[at]), std::bit_cast<uint32_t>(dot))
                    << isa.name << " dot " << m << "x" << n << "x" << k << ": " << c[at] << " " << dot;
                ASSERT_EQ(std::bit_cast<uint32_t>(d[at]), std::bit_cast<uint32_t>(outer))
                    << isa.name << " outer " << m << "x" << n << "x" << k << ": " << d[at] << " " << outer;
                compared += 2;
              }
          }
        }
  EXPECT_GT(compared, 100000);
}

TEST(SimdBf16, AnElementDoesNotDependOnTheCutAndInfinitiesStay) {
  const int64_t m = 67, n = 130, k = 2300;
  auto a = Random(m * k, 1, 0.1), b = Random(n * k, 2, 0.1), bk = Random(k * n, 3, 0.1);
  a[static_cast<size_t>(5 * k + 9)] = 0x7F80;   // infinity
  b[static_cast<size_t>(8 * k + 11)] = 0x7FC0;  // NaN
  for (const Isa& isa : All()) {
    std::vector<float> whole(static_cast<size_t>(m * n)), cut = whole, outer = whole, outer_cut = whole;
    isa.simd.dot_bf16({m, n, k, a.data(), k, b.data(), k, nullptr, whole.data(), n});
    isa.simd.outer_bf16({m, n, k, a.data(), k, 1, bk.data(), n, nullptr, outer.data(), n, false});
    for (int64_t row = 0; row < m; row += 9)
      for (int64_t column = 0; column < n; column += 31) {
        const int64_t rows = std::min<int64_t>(9, m - row), columns = std::min<int64_t>(31, n - column);
        isa.simd.dot_bf16({rows, columns, k, a.data() + row * k, k, b.data() + column * k, k, nullptr,
                           cut.data() + row * n + column, n});
        isa.simd.outer_bf16({rows, columns, k, a.data() + row * k, k, 1, bk.data() + column, n, nullptr,
                             outer_cut.data() + row * n + column, n, false});
      }
    for (int64_t i = 0; i < m * n; ++i) {
      const auto at = static_cast<size_t>(i);
      const bool nan = i / n != 5 && i % n == 8;
      ASSERT_EQ(std::isnan(whole[at]), nan || (i / n == 5 && i % n == 8)) << isa.name << " " << i;
      ASSERT_EQ(std::isfinite(whole[at]), i / n != 5 && i % n != 8) << isa.name << " " << i;
      ASSERT_TRUE(std::isnan(whole[at]) || whole[at] == cut[at]) << isa.name << " " << i;
      ASSERT_TRUE(std::isnan(outer[at]) || outer[at] == outer_cut[at]) << isa.name << " " << i;
    }
  }
}

TEST(SimdBf16, RoundingIsToNearestEven) {
  std::mt19937_64 engine(4);
  std::vector<float> x = {0.0f, -0.0f, 1.0f, INFINITY, -INFINITY, NAN, 3.4028235e38f, 1e-40f, -1e-45f};
  for (const uint32_t bits : {0x3F808000u, 0x3F818000u, 0x3F808001u, 0x3F807FFFu, 0x7F800001u, 0xFFFFFFFFu})
    x.push_back(std::bit_cast<float>(bits));
  while (x.size() < 1003) x.push_back(std::bit_cast<float>(static_cast<uint32_t>(engine())));
  for (const Isa& isa : All())
    for (const int64_t n : {int64_t{1}, int64_t{5}, int64_t{16}, int64_t{1003}}) {
      std::vector<uint16_t> y(static_cast<size_t>(n) + 1, 0x1234);
      isa.simd.round_to_bf16(x.data(), y.data(), n);
      EXPECT_EQ(y.back(), 0x1234);
      for (int64_t i = 0; i < n; ++i) {
        const float v = x[static_cast<size_t>(i)];
        const uint16_t h = y[static_cast<size_t>(i)];
        if (std::isnan(v)) {
          ASSERT_TRUE(std::isnan(Wide(h))) << i;
          continue;
        }
        const uint32_t bits = std::bit_cast<uint32_t>(v);
        const uint32_t low = bits & 0xFFFF0000u, high = low + 0x10000u;  // the neighbours, by magnitude
        const uint32_t from_low = bits - low, to_high = high - bits;
        const uint32_t want =
            from_low < to_high || (from_low == to_high && (low >> 16) % 2 == 0) ? low : high;
        ASSERT_EQ(h, want >> 16) << isa.name << " " << v;
      }
    }
}

}  // namespace
}  // namespace zo2::aten
