#include "ir/support/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace zo2 {
namespace {

float FromBF16(uint16_t h) { return std::bit_cast<float>(static_cast<uint32_t>(h) << 16); }
float FromF16(uint16_t h) {
  const int exponent = h >> 10 & 31, fraction = h & 1023;
  const float sign = h & 0x8000 ? -1.0f : 1.0f;
  if (exponent == 31) return fraction ? std::numeric_limits<float>::quiet_NaN() : sign * INFINITY;
  return sign * (exponent == 0 ? std::ldexp(static_cast<float>(fraction), -24)
                               : std::ldexp(static_cast<float>(1024 + fraction), exponent - 25));
}

// Every 16-bit number comes back; halfway to the next one goes to the even of the two, a little off it to the nearer.
void Check(uint16_t (*narrow)(float), float (*widen)(uint16_t), uint16_t infinity) {
  for (uint32_t sign : {0u, 0x8000u}) {
    for (uint32_t h = 0; h < infinity; ++h) {
      const auto low = static_cast<uint16_t>(sign | h), high = static_cast<uint16_t>(sign | (h + 1));
      ASSERT_EQ(narrow(widen(low)), low);
      if (h + 1u == infinity) continue;  // what rounds to infinity: below
      const float middle = static_cast<float>((static_cast<double>(widen(low)) + widen(high)) / 2);
      if (static_cast<double>(middle) != (static_cast<double>(widen(low)) + widen(high)) / 2) continue;  // least of bf16
      ASSERT_EQ(narrow(middle), h % 2 == 0 ? low : high) << middle;
      ASSERT_EQ(narrow(std::nextafter(middle, 0.0f)), low);
      ASSERT_EQ(narrow(std::nextafter(middle, sign ? -INFINITY : INFINITY)), high);
    }
    ASSERT_EQ(narrow(sign ? -INFINITY : INFINITY), sign | infinity);
  }
  EXPECT_TRUE(std::isnan(widen(narrow(NAN))));
}

TEST(DType, RoundsToBF16) {
  Check(ToBF16, FromBF16, 0x7f80);
  EXPECT_EQ(ToBF16(std::numeric_limits<float>::max()), 0x7f80);
}

TEST(DType, RoundsToF16) {
  Check(ToF16, FromF16, 0x7c00);
  EXPECT_EQ(ToF16(65519.996f), 0x7bff);
  EXPECT_EQ(ToF16(65520.0f), 0x7c00);
  EXPECT_EQ(ToF16(1e30f), 0x7c00);
}

}  // namespace
}  // namespace zo2
