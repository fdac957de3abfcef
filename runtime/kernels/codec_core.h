// The scalar core of the wire formats: one value to its code and back. As noise_core.h is for noise, it is the bit
// specification in code (layout and rounding in words: ir/support/wire_format.h); SIMD and CUDA must produce these
// bits. IEEE binary32 multiplication, addition and division rounded to nearest even, and integer operations only. The
// bits of a NaN alone are left open: Encode makes none.
#ifndef ZO2_RUNTIME_KERNELS_CODEC_CORE_H_
#define ZO2_RUNTIME_KERNELS_CODEC_CORE_H_

#include <cstdint>

#include "runtime/kernels/noise_core.h"

namespace zo2::kernels {

// WireFormat, number by number: its header is not for files that are compiled for an instruction set (see ZO2_HD).
enum class Wire : uint8_t { kF32, kBF16, kF16, kE4M3, kI8, kI4 };

constexpr int kGroup = 128;  // values per scale

ZO2_HD constexpr bool HasScales(Wire w) { return w >= Wire::kE4M3; }
ZO2_HD constexpr int64_t BitsPerValue(Wire w) {
  return w == Wire::kF32 ? 32 : w == Wire::kI4 ? 4 : HasScales(w) ? 8 : 16;
}
ZO2_HD constexpr float LargestOf(Wire w) { return w == Wire::kE4M3 ? 448.0f : w == Wire::kI8 ? 127.0f : 7.0f; }

#if defined(__CUDA_ARCH__)
ZO2_HD float Div(float a, float b) { return __fdiv_rn(a, b); }
#else
ZO2_HD float Div(float a, float b) { return a / b; }
#endif

constexpr uint32_t kMagnitude = 0x7FFFFFFF;      // of a binary32: all but the sign
constexpr uint32_t kInfinityBits = 0x7F800000;   // magnitudes from here on are not finite
constexpr float kE4M3Subnormal = 0x1p-9f;        // e4m3's smallest; 2^14 has this ulp in binary32
constexpr uint32_t kE4M3Normal = 0x3C800000;     // bits of 2^-6, its smallest normal number
constexpr uint32_t kE4M3Rebias = 120;            // 127 - 7, of exponents

ZO2_HD float WidenE4M3(uint32_t code) {
  const uint32_t sign = (code & 0x80) << 24, m = code & 0x7F;
  if (m == 0x7F) return FromBits(sign | 0x7FC00000u);
  if (m < 8) return FromBits(sign | Bits(Mul(ToFloat(m), kE4M3Subnormal)));
  return FromBits(sign | ((m << 20) + (kE4M3Rebias << 23)));
}
// The nearest, ties to even, at most the largest; the sign is kept, of zeros too. x is finite.
ZO2_HD uint32_t NarrowE4M3(float x) {
  const uint32_t a = Bits(x) & kMagnitude, sign = (Bits(x) >> 24) & 0x80;
  const uint32_t m = a < kE4M3Normal ? Bits(Add(FromBits(a), 0x1p14f)) - 0x46800000u
                                     : ((a + 0x7FFFF + ((a >> 20) & 1)) >> 20) - (kE4M3Rebias << 3);
  return sign | (m < 0x7E ? m : 0x7E);
}
// The nearest integer, ties to even, at most the largest; |x| < 2^22.
ZO2_HD int32_t NearestCode(float x, int32_t largest) {
  const int32_t n = static_cast<int32_t>(Bits(Add(x, kRoundToInteger)) - Bits(kRoundToInteger));
  return n > largest ? largest : n < -largest ? -largest : n;
}

// A group's scale, from the bits of its largest magnitude; 0 if all of it is encoded as zero.
ZO2_HD float ScaleOf(Wire w, uint32_t largest) {
  return largest < kInfinityBits ? Div(FromBits(largest), LargestOf(w)) : 0.0f;
}
// 8 bits, or 4.
ZO2_HD uint32_t EncodeValue(Wire w, float value, float scale) {
  if (scale == 0.0f) return 0;
  const float x = Div(value, scale);
  if (w == Wire::kE4M3) return NarrowE4M3(x);
  return static_cast<uint32_t>(w == Wire::kI8 ? NearestCode(x, 127) & 0xFF : NearestCode(x, 7) & 0xF);
}
ZO2_HD float DecodeValue(Wire w, uint32_t code, float scale) {
  if (w == Wire::kE4M3) return Mul(WidenE4M3(code), scale);
  const uint32_t sign = w == Wire::kI8 ? 0x80 : 0x8;
  return Mul(ToFloat(static_cast<int32_t>(code ^ sign) - static_cast<int32_t>(sign)), scale);
}

// A value in a plain format of 16 bits; at most the largest finite one. What is not finite becomes zero.
ZO2_HD uint16_t EncodePlain(Wire w, float value) {
  uint64_t saturated = 0;
  if ((Bits(value) & kMagnitude) >= kInfinityBits) return 0;
  return w == Wire::kBF16 ? StoreBf16Nearest(value, &saturated) : StoreF16Nearest(value, &saturated);
}

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_CODEC_CORE_H_
