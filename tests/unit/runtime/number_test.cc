#include "runtime/number.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>
#include <vector>

namespace zo2 {
namespace {

template <typename To, typename From>
To One(Number from, From value, DType to, bool* fits = nullptr) {
  To out;
  const bool ok = Convert(from, reinterpret_cast<const std::byte*>(&value), 1, to, reinterpret_cast<std::byte*>(&out));
  if (fits != nullptr) *fits = ok;
  return out;
}
double Widen(DType dtype, uint16_t bits) { return One<double>(NumberOf(dtype), bits, DType::kF64); }

TEST(Number, SizesAndNames) {
  const std::pair<Number, std::pair<int64_t, const char*>> all[] = {
      {Number::kBool, {1, "bool"}}, {Number::kU8, {1, "u8"}},   {Number::kI8, {1, "i8"}},
      {Number::kU16, {2, "u16"}},   {Number::kI16, {2, "i16"}}, {Number::kU32, {4, "u32"}},
      {Number::kI32, {4, "i32"}},   {Number::kI64, {8, "i64"}}, {Number::kF16, {2, "f16"}},
      {Number::kBF16, {2, "bf16"}}, {Number::kF32, {4, "f32"}}, {Number::kF64, {8, "f64"}}};
  for (const auto& [type, what] : all) {
    EXPECT_EQ(SizeOf(type), what.first);
    EXPECT_EQ(Name(type), what.second);
    if (const auto dtype = ParseDType(what.second)) {
      EXPECT_EQ(NumberOf(*dtype), type);
    }
  }
}

// The definitions of the formats, for every pattern of bits.
TEST(Number, WideningIsExact) {
  for (uint32_t bits = 0; bits < 65536; ++bits) {
    for (const auto& [dtype, exponent_bits] : {std::pair(DType::kF16, 5), {DType::kBF16, 8}}) {
      const int fraction_bits = 15 - exponent_bits, bias = (1 << (exponent_bits - 1)) - 1;
      const int exponent = static_cast<int>(bits >> fraction_bits) & ((1 << exponent_bits) - 1);
      const double fraction = bits & ((1u << fraction_bits) - 1), sign = bits & 0x8000 ? -1 : 1;
      const double got = Widen(dtype, static_cast<uint16_t>(bits));
      const float got_single = One<float>(NumberOf(dtype), static_cast<uint16_t>(bits), DType::kF32);
      if (exponent == (1 << exponent_bits) - 1) {
        EXPECT_TRUE(fraction == 0 ? got == sign * INFINITY : std::isnan(got) && std::isnan(got_single)) << bits;
        continue;
      }
      const double value = exponent == 0 ? sign * std::ldexp(fraction, 1 - bias - fraction_bits)
                                         : sign * std::ldexp(1 + std::ldexp(fraction, -fraction_bits), exponent - bias);
      ASSERT_EQ(got, value) << bits;
      ASSERT_EQ(static_cast<double>(got_single), value) << bits;
      ASSERT_EQ(std::signbit(got), bits >= 0x8000) << bits;
    }
  }
}

// Between every two neighbours: below the middle, in it (to even), above it; from f64 a hair matters that f32 cannot
// hold.
TEST(Number, NarrowingIsToNearestEven) {
  for (const auto& [dtype, largest] : {std::pair(DType::kF16, 0x7BFFu), {DType::kBF16, 0x7F7Fu}}) {
    const Number f64 = Number::kF64, f32 = Number::kF32;
    for (uint32_t bits = 0; bits < largest; ++bits) {
      const double a = Widen(dtype, static_cast<uint16_t>(bits)), b = Widen(dtype, static_cast<uint16_t>(bits + 1));
      const double middle = a + (b - a) / 2, below = std::nextafter(middle, 0),
                   above = std::nextafter(middle, INFINITY);
      const uint16_t even = static_cast<uint16_t>(bits + (bits & 1));
      ASSERT_EQ(One<uint16_t>(f64, a, dtype), bits);
      ASSERT_EQ(One<uint16_t>(f64, middle, dtype), even);
      ASSERT_EQ(One<uint16_t>(f64, -middle, dtype), even | 0x8000);
      ASSERT_EQ(One<uint16_t>(f64, below, dtype), bits);
      ASSERT_EQ(One<uint16_t>(f64, above, dtype), bits + 1);
      ASSERT_EQ(One<uint16_t>(f32, static_cast<float>(middle), dtype), even);
      const float middle32 = static_cast<float>(middle);
      ASSERT_EQ(One<uint16_t>(f32, std::nextafter(middle32, 0.0f), dtype), bits);
      ASSERT_EQ(One<uint16_t>(f32, std::nextafter(middle32, INFINITY), dtype), bits + 1);
    }
    bool fits = false;
    EXPECT_EQ(One<uint16_t>(f64, Widen(dtype, static_cast<uint16_t>(largest)), dtype, &fits), largest);
    EXPECT_TRUE(fits);
    EXPECT_EQ(One<uint16_t>(f64, 1e300, dtype, &fits), largest + 1);  // infinity
    EXPECT_FALSE(fits);
    EXPECT_EQ(One<uint16_t>(f32, -std::numeric_limits<float>::max(), dtype, &fits), (largest + 1) | 0x8000);
    EXPECT_FALSE(fits);
    EXPECT_EQ(One<uint16_t>(f64, static_cast<double>(INFINITY), dtype, &fits), largest + 1);
    EXPECT_TRUE(fits);  // it was infinite before
    EXPECT_TRUE(std::isnan(Widen(dtype, One<uint16_t>(f64, static_cast<double>(NAN), dtype))));
    EXPECT_TRUE(std::isnan(Widen(dtype, One<uint16_t>(f32, std::bit_cast<float>(0x7F800001u), dtype))));
  }
  bool fits = true;
  EXPECT_EQ(One<float>(Number::kF64, 1e39, DType::kF32, &fits), INFINITY);
  EXPECT_FALSE(fits);
  EXPECT_EQ(One<float>(Number::kF64, 0.1, DType::kF32, &fits), 0.1f);
  EXPECT_TRUE(fits);
}

TEST(Number, IntegersAndBools) {
  EXPECT_EQ(One<int64_t>(Number::kU32, uint32_t{4000000000}, DType::kI64), 4000000000);
  EXPECT_EQ(One<int64_t>(Number::kI16, int16_t{-5}, DType::kI64), -5);
  EXPECT_EQ(One<int32_t>(Number::kU16, uint16_t{65535}, DType::kI32), 65535);
  EXPECT_EQ(One<int8_t>(Number::kI64, int64_t{-128}, DType::kI8), -128);
  EXPECT_EQ(One<uint8_t>(Number::kI64, int64_t{7}, DType::kBool), 1);
  EXPECT_EQ(One<uint8_t>(Number::kBool, uint8_t{7}, DType::kBool), 1);
  EXPECT_EQ(One<int64_t>(Number::kBool, uint8_t{7}, DType::kI64), 1);
  EXPECT_EQ(One<float>(Number::kI64, int64_t{-16777216}, DType::kF32), -16777216.0f);
  EXPECT_EQ(One<uint16_t>(Number::kI64, int64_t{256}, DType::kBF16), 0x4380);
  EXPECT_EQ(One<uint16_t>(Number::kU8, uint8_t{255}, DType::kF16), 0x5BF8);
}

TEST(Number, FindsWhatIsOutside) {
  const std::vector<int16_t> v = {3, 0, 9, -100, 10, -1};
  const std::byte* data = reinterpret_cast<const std::byte*>(v.data());
  EXPECT_EQ(FirstOutside(Number::kI16, data, 6, 0, 9, -100), 4);
  EXPECT_EQ(FirstOutside(Number::kI16, data, 6, 0, 9, 0), 3);
  EXPECT_EQ(FirstOutside(Number::kI16, data, 6, -100, 10, 0), 6);
  EXPECT_EQ(FirstOutside(Number::kI16, data, 0, 0, 0, 0), 0);
  EXPECT_EQ(IntegerAt(Number::kI16, data, 3), -100);
  EXPECT_EQ(RealAt(Number::kI16, data, 3), -100.0);
  const std::vector<float> f = {1, 3e38f, -INFINITY, NAN};
  EXPECT_EQ(FirstNotFinite(Number::kF32, reinterpret_cast<const std::byte*>(f.data()), 4), 2);
  EXPECT_EQ(FirstNotFinite(Number::kF32, reinterpret_cast<const std::byte*>(f.data()), 2), 2);
}

}  // namespace
}  // namespace zo2
