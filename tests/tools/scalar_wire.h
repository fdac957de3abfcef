// The wire formats, one value at a time, straight from the words of ir/support/wire_format.h: the judge of the
// runtime's codecs, with which it shares no code. Roundings by exact binary64 arithmetic.
#ifndef ZO2_TESTS_TOOLS_SCALAR_WIRE_H_
#define ZO2_TESTS_TOOLS_SCALAR_WIRE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

#include "ir/support/wire_format.h"
#include "tests/tools/scalar_noise.h"

namespace zo2::scalar {

inline constexpr Format kE4M3{3, -6, 8};  // but for its last code, which is NaN

inline float E4M3Value(uint32_t code) {
  if ((code & 0x7F) == 0x7F) return std::numeric_limits<float>::quiet_NaN();
  const float magnitude = Value(kE4M3, static_cast<uint16_t>(code & 0x7F));
  return code & 0x80 ? -magnitude : magnitude;
}
// The code of a quotient.
inline uint32_t CodeOf(WireFormat w, float x) {
  if (w == WireFormat::kE4M3) {
    const uint32_t m = Encode(kE4M3, std::min(Nearest(kE4M3, x), 448.0));
    return m | (std::signbit(x) ? 0x80 : 0);
  }
  const double largest = w == WireFormat::kI8 ? 127 : 7;
  const auto n = static_cast<int>(std::clamp(std::nearbyint(static_cast<double>(x)), -largest, largest));
  return static_cast<uint32_t>(n) & (w == WireFormat::kI8 ? 0xFF : 0xF);
}
inline float CodeValue(WireFormat w, uint32_t code) {
  if (w == WireFormat::kE4M3) return E4M3Value(code);
  const int half = w == WireFormat::kI8 ? 128 : 8, n = static_cast<int>(code);
  return static_cast<float>(n < half ? n : n - 2 * half);
}

// A rectangle of values, packed, to its wire form; *not_finite as Encode returns it.
inline std::vector<uint8_t> Encoded(WireFormat w, int64_t rows, int64_t cols, const std::vector<float>& values,
                                    uint64_t* not_finite) {
  std::vector<uint8_t> out(WireBytes(w, rows, cols));
  *not_finite = 0;
  size_t scale_at = IsCoded(w) ? (static_cast<size_t>(rows) * WireRowBytes(w, cols) + 63) / 64 * 64 : 0;
  for (int64_t r = 0; r < rows; ++r) {
    const float* row = values.data() + r * cols;
    uint8_t* to = out.data() + static_cast<size_t>(r) * WireRowBytes(w, cols);
    for (int64_t c = 0; c < cols; c += 128) {
      const int64_t end = std::min(cols, c + 128);
      float largest = 0;
      bool finite = true;
      for (int64_t i = c; i < end; ++i) {
        if (!std::isfinite(row[i])) {
          ++*not_finite;
          finite = false;
        }
        largest = std::max(largest, std::fabs(row[i]));
      }
      if (!IsCoded(w)) {
        for (int64_t i = c; i < end; ++i) {
          uint64_t saturated = 0;
          const float v = std::isfinite(row[i]) ? row[i] : 0.0f;
          const uint16_t half = StoreNearest(w == WireFormat::kBF16 ? kBf16 : kFp16, v, &saturated);
          if (w == WireFormat::kF32) {
            std::memcpy(to + 4 * i, &v, 4);
          } else {
            std::memcpy(to + 2 * i, &half, 2);
          }
        }
        continue;
      }
      const float scale =
          finite ? largest / (w == WireFormat::kE4M3 ? 448.0f : w == WireFormat::kI8 ? 127.0f : 7.0f) : 0.0f;
      std::memcpy(out.data() + scale_at, &scale, 4);
      scale_at += 4;
      for (int64_t i = c; i < end; ++i) {
        const uint32_t code = scale == 0 ? 0 : CodeOf(w, row[i] / scale);
        if (w == WireFormat::kI4) {
          to[i / 2] = static_cast<uint8_t>(to[i / 2] | code << (i % 2 == 0 ? 0 : 4));
        } else {
          to[i] = static_cast<uint8_t>(code);
        }
      }
    }
  }
  return out;
}

// The value at a row and column of a rectangle in wire form.
inline float DecodedAt(WireFormat w, int64_t rows, int64_t cols, const uint8_t* coded, int64_t r, int64_t c) {
  const uint8_t* row = coded + static_cast<size_t>(r) * WireRowBytes(w, cols);
  if (!IsCoded(w)) {
    uint32_t bits = 0;
    const size_t bytes = w == WireFormat::kF32 ? 4 : 2;
    std::memcpy(&bits, row + static_cast<size_t>(c) * bytes, bytes);
    if (w == WireFormat::kF32) return Widen(Storage::kF32, bits);
    return Widen(w == WireFormat::kBF16 ? Storage::kBf16 : Storage::kFp16, bits);
  }
  const size_t codes = (static_cast<size_t>(rows) * WireRowBytes(w, cols) + 63) / 64 * 64;
  float scale;
  std::memcpy(&scale, coded + codes + 4 * static_cast<size_t>(r * ((cols + 127) / 128) + c / 128), 4);
  const uint32_t code = w != WireFormat::kI4 ? row[c] : c % 2 == 0 ? row[c / 2] & 0xF : row[c / 2] >> 4;
  return CodeValue(w, code) * scale;
}

}  // namespace zo2::scalar

#endif  // ZO2_TESTS_TOOLS_SCALAR_WIRE_H_
