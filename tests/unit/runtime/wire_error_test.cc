// Errors of wire formats, against sums over what the scalar judge decodes.
#include "runtime/wire_error.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>

#include "tests/tools/scalar_wire.h"

namespace zo2 {
namespace {

constexpr WireFormat kFormats[] = {WireFormat::kF32,  WireFormat::kBF16, WireFormat::kF16,
                                   WireFormat::kE4M3, WireFormat::kI8,   WireFormat::kI4};

Schedule OneWeight(int64_t rows, int64_t cols) {
  Schedule schedule;
  PlanWeight weight;
  weight.name = "w";
  weight.shape = {rows, cols};
  weight.components = {{"w", 1, DType::kF32, WireFormat::kF32, DType::kF32, weight.shape, true}};
  schedule.weights.push_back(weight);
  return schedule;
}
WeightReader Reader(const std::vector<float>& values, int64_t cols) {
  return [&values, cols](int32_t, int64_t r0, int64_t r1, int64_t c0, int64_t c1, std::byte* out) {
    EXPECT_TRUE(c0 == 0 && c1 == cols);
    std::memcpy(out, values.data() + r0 * cols, static_cast<size_t>((r1 - r0) * cols) * sizeof(float));
    return Status();
  };
}
std::vector<float> Normal(int64_t n, float deviation) {
  std::mt19937 random(3);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(static_cast<size_t>(n));
  for (float& v : values) v = normal(random);
  return values;
}

TEST(WireError, AsTheJudgeAddsUp) {
  const int64_t rows = 700, cols = 333;  // several bands, a short group
  std::vector<float> values = Normal(rows * cols, 0.02f);
  for (size_t i = 0; i < values.size(); i += 1000) values[i] *= 30;  // outliers: their groups lose small values
  values[5] = std::numeric_limits<float>::infinity();
  values[77777] = std::numeric_limits<float>::quiet_NaN();
  values[400] = 0;
  const Schedule schedule = OneWeight(rows, cols);
  const auto one = MeasureWireErrors(schedule, 0, Reader(values, cols), kFormats, rows * cols, 1);
  const auto four = MeasureWireErrors(schedule, 0, Reader(values, cols), kFormats, rows * cols, 4);
  ASSERT_TRUE(one.ok() && four.ok());
  for (size_t f = 0; f < std::size(kFormats); ++f) {
    SCOPED_TRACE(Name(kFormats[f]));
    uint64_t not_finite = 0;
    const std::vector<uint8_t> coded = scalar::Encoded(kFormats[f], rows, cols, values, &not_finite);
    long double errors = 0, squares = 0, largest = 0, largest_value = 0;
    int64_t lost = 0;
    for (int64_t i = 0; i < rows * cols; ++i) {
      const double v = double{values[static_cast<size_t>(i)]};
      if (!std::isfinite(v)) continue;
      const double got = double{scalar::DecodedAt(kFormats[f], rows, cols, coded.data(), i / cols, i % cols)};
      errors += (got - v) * (got - v);
      squares += v * v;
      largest = std::max<long double>(largest, std::fabs(got - v));
      largest_value = std::max<long double>(largest_value, std::fabs(v));
      lost += v != 0 && got == 0;
    }
    const WireError& e = (*one)[f];
    EXPECT_EQ(e.format, kFormats[f]);
    EXPECT_EQ(e.elements, rows * cols);
    EXPECT_EQ(e.not_finite, 2);
    EXPECT_EQ(e.lost, lost);
    EXPECT_NEAR(e.rms(), static_cast<double>(std::sqrt(errors / squares)), 1e-12);
    EXPECT_EQ(e.largest(), static_cast<double>(largest) / static_cast<double>(largest_value));
    EXPECT_EQ(e.rms(), (*four)[f].rms());  // threads do not decide bits
    EXPECT_EQ(e.lost, (*four)[f].lost);
  }
  EXPECT_EQ((*one)[0].lost, 0);
  EXPECT_GT((*one)[5].lost, 1000);
}

// Finer formats err less, by about what their steps say; a weight of 16 bits is exact in its own.
TEST(WireError, OrderOfFormats) {
  const int64_t rows = 64, cols = 1024;
  const std::vector<float> values = Normal(rows * cols, 0.02f);
  const auto errors = MeasureWireErrors(OneWeight(rows, cols), 0, Reader(values, cols), kFormats, rows * cols, 2);
  ASSERT_TRUE(errors.ok());
  EXPECT_EQ((*errors)[0].rms(), 0);
  const double f16 = (*errors)[2].rms(), bf16 = (*errors)[1].rms(), i8 = (*errors)[4].rms(), e4m3 = (*errors)[3].rms(),
               i4 = (*errors)[5].rms();
  EXPECT_TRUE(0 < f16 && f16 < bf16 && bf16 < i8 && i8 < e4m3 && e4m3 < i4);
  EXPECT_NEAR(i4 / i8, 127.0 / 7, 1.5);  // uniform steps of these sizes
  std::vector<uint16_t> halves;
  for (const float v : values) halves.push_back(ToBF16(v));
  const auto* bytes = reinterpret_cast<const std::byte*>(halves.data());
  EXPECT_EQ(RectangleWireError(WireFormat::kBF16, DType::kBF16, bytes, rows, cols).rms(), 0);
  EXPECT_GT(RectangleWireError(WireFormat::kI8, DType::kBF16, bytes, rows, cols).rms(), 0);
}

TEST(WireError, OnlyAsMuchAsAsked) {
  const int64_t rows = 4096, cols = 256;
  const std::vector<float> values = Normal(rows * cols, 1);
  const WireFormat format[] = {WireFormat::kI8};
  const auto some = MeasureWireErrors(OneWeight(rows, cols), 0, Reader(values, cols), format, 200'000, 2);
  const auto all = MeasureWireErrors(OneWeight(rows, cols), 0, Reader(values, cols), format, rows * cols, 2);
  const auto least = MeasureWireErrors(OneWeight(rows, cols), 0, Reader(values, cols), format, 0, 1);
  ASSERT_TRUE(some.ok() && all.ok() && least.ok());
  EXPECT_EQ((*all)[0].elements, rows * cols);
  EXPECT_EQ((*some)[0].elements, 4 * 65536);
  EXPECT_EQ((*least)[0].elements, 65536);
  EXPECT_NEAR((*some)[0].rms(), (*all)[0].rms(), 1e-4);
}

TEST(WireError, ZerosEmptyWeightsAndErrors) {
  const std::vector<float> zeros(1000);
  const auto none = MeasureWireErrors(OneWeight(10, 100), 0, Reader(zeros, 100), kFormats, 1000, 1);
  ASSERT_TRUE(none.ok());
  for (const WireError& e : *none) EXPECT_TRUE(e.rms() == 0 && e.largest() == 0 && e.lost == 0 && e.elements == 1000);
  const auto empty = MeasureWireErrors(OneWeight(0, 100), 0, Reader(zeros, 100), kFormats, 1000, 1);
  ASSERT_TRUE(empty.ok());
  EXPECT_EQ((*empty)[3].elements, 0);
  EXPECT_EQ((*empty)[3].lost_share(), 0);
  const auto broken = MeasureWireErrors(
      OneWeight(10, 100), 0,
      [](int32_t, int64_t, int64_t, int64_t, int64_t, std::byte*) { return Invalid("the file is short"); }, kFormats,
      1000, 2);
  EXPECT_EQ(broken.status().message(), "the file is short");
}

}  // namespace
}  // namespace zo2
