// zo-noise v1 to the bit: known answers, the reference's vectors, and every path against the scalar judge.
#include "runtime/kernels/noise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <random>

#include "tests/tools/scalar_noise.h"
#include "tests/unit/kernels/golden.h"

namespace zo2::kernels {
namespace {

TEST(Noise, PhiloxKnownAnswers) {
  struct Case {
    std::array<uint32_t, 4> counter;
    uint32_t key0, key1;
    std::array<uint32_t, 4> words;
  };
  const uint32_t ones = 0xffffffff;
  const Case cases[] = {
      {{0, 0, 0, 0}, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
      {{ones, ones, ones, ones}, ones, ones, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
      {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344},
       0xa4093822,
       0x299f31d0,
       {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
  };
  for (const Case& c : cases) {
    const Words got = Philox4x32({c.counter[0], c.counter[1], c.counter[2], c.counter[3]}, c.key0, c.key1);
    EXPECT_TRUE(std::equal(c.words.begin(), c.words.end(), got.w));
    EXPECT_EQ(c.words, scalar::Philox(c.counter, c.key0, c.key1)) << "the judge itself";
  }
}

TEST(Noise, GoldenVectors) {
  const std::vector<Isa> isas = Isas();
  for (const std::string& path : GoldenPaths("noise.json", "noise_golden.json")) {
    const Json vectors = Golden(path);
    ASSERT_GE(vectors.size(), 5u) << path;
    for (const Json& v : vectors) {
      const std::string name = v["name"];
      const NoiseKey key{Number(v["seed"]), static_cast<uint32_t>(Number(v["tensor_id"]))};
      const uint64_t direction = Number(v["direction"]), start = Number(v["start"]);
      EXPECT_EQ(Crc32(name), key.tensor_id) << name;
      uint64_t b = start / 4;
      for (const Json& block : v["words"]) {
        const Words words = NoiseWords(key, direction, b++);
        EXPECT_EQ(HexWords(block), std::vector<uint32_t>(words.w, words.w + 4)) << name << " block " << b - 1;
      }
      const std::vector<uint32_t> bits = HexWords(v["gaussian_bits"]);
      const std::vector<float> signs = v["rademacher"];
      for (size_t i = 0; i < bits.size(); ++i)
        EXPECT_EQ(bits[i],
                  std::bit_cast<uint32_t>(scalar::Gaussian(key.seed, direction, key.tensor_id, start + i)));
      for (const Isa isa : isas) {
        std::vector<float> z(bits.size()), r(signs.size());
        GaussianFill(key, direction, start, static_cast<int64_t>(z.size()), z.data(), isa);
        RademacherFill(key, direction, start, static_cast<int64_t>(r.size()), r.data(), isa);
        for (size_t i = 0; i < z.size(); ++i)
          EXPECT_EQ(bits[i], std::bit_cast<uint32_t>(z[i])) << name << " z[" << i << "] " << Name(isa);
        EXPECT_EQ(signs, r) << name << " " << Name(isa);
      }
    }
  }
}

// Long streams, by the checksums of the numpy reference.
TEST(Noise, GoldenStreams) {
  const std::vector<Isa> isas = Isas();
  const Json vectors = Golden(std::string(ZO2_SOURCE_DIR) + "/tests/golden/noise/streams.json")["streams"];
  ASSERT_GE(vectors.size(), 6u);
  for (const Json& v : vectors) {
    const NoiseKey key{Number(v["seed"]), static_cast<uint32_t>(Number(v["tensor_id"]))};
    const uint64_t direction = Number(v["direction"]), start = Number(v["start"]), count = Number(v["count"]);
    for (const Isa isa : isas) {
      SCOPED_TRACE(std::string(Name(isa)) + ", from element " + std::to_string(start));
      std::vector<float> z(count);
      std::vector<uint16_t> bits(count);
      GaussianFill(key, direction, start, static_cast<int64_t>(count), z.data(), isa);
      EXPECT_EQ(Number(v["gaussian"], 16), Checksum(z));
      RademacherFill(key, direction, start, static_cast<int64_t>(count), z.data(), isa);
      EXPECT_EQ(Number(v["rademacher"], 16), Checksum(z));
      RoundBitsFill(key, direction, start, static_cast<int64_t>(count), bits.data(), isa);
      EXPECT_EQ(Number(v["round_bits"], 16), Checksum(bits));
    }
  }
}

// The transform at the ends of its range and where its branches meet, against the judge and the true
// functions.
TEST(Noise, TransformAtTheEdges) {
  std::vector<uint32_t> words = {0, 1, 2, 0xFFFFFF7F, 0xFFFFFF80, 0xFFFFFFFF};
  for (uint64_t part = 1; part < 24; ++part)  // angles and mantissas change branch near these
    for (int64_t d = -2; d <= 2; ++d)
      words.push_back(static_cast<uint32_t>(static_cast<int64_t>((part << 32) / 24) + d));
  double worst = 0;
  for (const uint32_t radius : words) {
    for (const uint32_t angle : words) {
      float z[4], c, s;
      GaussianBlock({{radius, angle, angle, radius}}, z);
      scalar::CosSin(scalar::Uniform(angle), &c, &s);
      const float r = scalar::Radius(scalar::Uniform(radius));
      ASSERT_EQ(std::bit_cast<uint32_t>(z[0]), std::bit_cast<uint32_t>(r * c));
      ASSERT_EQ(std::bit_cast<uint32_t>(z[1]), std::bit_cast<uint32_t>(r * s));
      const double u = static_cast<double>(scalar::Uniform(radius)),
                   v = static_cast<double>(scalar::Uniform(angle));
      const double true_r = std::sqrt(-2 * std::log(u));
      worst = std::max({worst, std::fabs(static_cast<double>(z[0]) - true_r * std::cos(2 * M_PI * v)),
                        std::fabs(static_cast<double>(z[1]) - true_r * std::sin(2 * M_PI * v))});
    }
  }
  EXPECT_LE(worst, 1.1e-6);  // 5.1e-7 over every radius; u = 0 has the largest, 6.76
}

// Any start, any count, any alignment: each element as the judge has it, and nothing else touched.
TEST(Noise, AnyRange) {
  const std::vector<Isa> isas = Isas();
  std::mt19937_64 random(1);
  const auto below = [&](uint64_t n) { return random() % n; };
  const uint64_t corners[] = {
      0, 128, 1u << 20, uint64_t{1} << 34, uint64_t{1} << 35, uint64_t{1} << 39, uint64_t{1} << 60};
  int64_t elements = 0;
  for (int round = 0; round < 1500; ++round) {
    const uint64_t corner = corners[below(std::size(corners))];
    const uint64_t start = corner + below(400) - std::min<uint64_t>(corner, 200);
    const auto count = static_cast<int64_t>(round < 200 ? below(6) : below(500));
    const size_t offset = below(40);
    const NoiseKey key{random() >> below(64), static_cast<uint32_t>(random())};
    const uint64_t direction = random() >> below(64);
    std::vector<float> gaussian(offset + 540, 77.f), signs = gaussian;
    std::vector<uint16_t> bits(offset + 540, 0xABCD);
    for (int64_t i = 0; i < count; ++i) {
      const uint64_t element = start + static_cast<uint64_t>(i);
      const size_t at = offset + static_cast<size_t>(i);
      gaussian[at] = scalar::Gaussian(key.seed, direction, key.tensor_id, element);
      signs[at] = scalar::Rademacher(key.seed, direction, key.tensor_id, element);
      bits[at] = static_cast<uint16_t>(scalar::RoundBits(key.seed, direction, key.tensor_id, element));
    }
    elements += count;
    for (const Isa isa : isas) {
      SCOPED_TRACE(std::string(Name(isa)) + ", " + std::to_string(count) + " from " + std::to_string(start));
      std::vector<float> z(gaussian.size(), 77.f), s = z;
      std::vector<uint16_t> r(bits.size(), 0xABCD);
      GaussianFill(key, direction, start, count, z.data() + offset, isa);
      RademacherFill(key, direction, start, count, s.data() + offset, isa);
      RoundBitsFill(key, direction, start, count, r.data() + offset, isa);
      ASSERT_TRUE(std::equal(z.begin(), z.end(), gaussian.begin(), [](float a, float b) {
        return std::bit_cast<uint32_t>(a) == std::bit_cast<uint32_t>(b);
      }));
      ASSERT_EQ(s, signs);
      ASSERT_EQ(r, bits);
    }
  }
  std::cout << "1500 ranges, " << elements << " elements, " << isas.size() << " instruction sets\n";
}

// What no golden value says: that the numbers are normal, and that neighbouring streams have nothing in
// common.
TEST(Noise, Moments) {
  constexpr int64_t kCount = 1 << 20;
  std::vector<float> z(kCount), other(kCount);
  GaussianFill({7, 1}, 3, 0, kCount, z.data());
  double m[5] = {};
  for (const float v : z)
    for (int k = 1; k <= 4; ++k) m[k] += std::pow(static_cast<double>(v), k) / kCount;
  const double sigma = 1 / std::sqrt(static_cast<double>(kCount));
  EXPECT_NEAR(m[1], 0, 5 * sigma);
  EXPECT_NEAR(m[2], 1, 5 * sigma * std::sqrt(2.0));
  EXPECT_NEAR(m[3], 0, 5 * sigma * std::sqrt(15.0));
  EXPECT_NEAR(m[4], 3, 5 * sigma * std::sqrt(96.0));
  const auto correlation = [&] {
    double sum = 0;
    for (size_t i = 0; i < z.size(); ++i)
      sum += static_cast<double>(z[i]) * static_cast<double>(other[i]) / kCount;
    return sum;
  };
  GaussianFill({7, 1}, 4, 0, kCount, other.data());
  EXPECT_NEAR(correlation(), 0, 5 * sigma) << "the next direction";
  GaussianFill({7, 2}, 3, 0, kCount, other.data());
  EXPECT_NEAR(correlation(), 0, 5 * sigma) << "the next tensor";
  GaussianFill({8, 1}, 3, 0, kCount, other.data());
  EXPECT_NEAR(correlation(), 0, 5 * sigma) << "the next seed";
}

// A request for more than the machine has falls back instead of failing.
TEST(Noise, IsaNamesAndFallBack) {
  EXPECT_EQ(Name(Isa::kScalar), "scalar");
  EXPECT_EQ(Name(Isa::kAvx2), "avx2");
  EXPECT_EQ(Name(Isa::kAvx512), "avx512");
  EXPECT_LE(BestIsa(), DetectedIsa());
  std::vector<float> best(300), scalar(300);
  GaussianFill({1, 2}, 3, 4, 300, best.data(), Isa::kAvx512);
  GaussianFill({1, 2}, 3, 4, 300, scalar.data(), Isa::kScalar);
  EXPECT_EQ(best, scalar);
}

}  // namespace
}  // namespace zo2::kernels
