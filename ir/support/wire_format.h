// Wire formats: how a rectangle of a weight's values crosses the link.
//
// The plain formats are the values' own dtypes. The *coded* ones keep 8 or 4 bits per value and one scale per group of
// 128 values: groups run along a row, counted from the rectangle's first column (the last of a row may be shorter), so
// that no group is in two tiles. In memory a coded rectangle of R rows and C columns is
//
//   codes   R rows of ceil(C · bits / 8) bytes each; int4 has two codes per byte, the earlier column in the low half
//   padding to a multiple of 64 bytes
//   scales  R · ceil(C / 128) binary32, row by row
//
// Encoding: scale = fl(largest |value| of the group / largest code), with largest code 448 (e4m3), 127 (int8), 7 (int4);
// code = value / scale rounded once to binary32, then to the nearest code, ties to even, and never beyond the largest.
// A group of zeros has scale 0 and codes 0, and so has a group whose scale would be zero. Decoding: fl(float(code) ·
// scale). int8 and int4 are two's complement; -128 and -8 are not used. e4m3 is the OCP type (no infinity; 0x7f is NaN).
// Values that are not finite cannot be encoded. Kernels: runtime/kernels/codec.h.
#ifndef ZO2_IR_SUPPORT_WIRE_FORMAT_H_
#define ZO2_IR_SUPPORT_WIRE_FORMAT_H_

#include <cstdint>
#include <optional>
#include <string_view>

#include "ir/support/dtype.h"

namespace zo2 {

// The numbers are part of the schedule format: append, never renumber. The plain ones are those of DType.
enum class WireFormat : uint8_t { kF32 = 0, kBF16 = 1, kF16 = 2, kE4M3 = 3, kI8 = 4, kI4 = 5 };

inline constexpr int64_t kWireGroup = 128;  // values per scale

// Of what is stored in this dtype; f32 for types that no wire format keeps.
constexpr WireFormat PlainWire(DType t) {
  return t == DType::kBF16 || t == DType::kF16 ? static_cast<WireFormat>(t) : WireFormat::kF32;
}
constexpr bool IsCoded(WireFormat w) { return w >= WireFormat::kE4M3; }
constexpr int BitsOf(WireFormat w) {
  return w == WireFormat::kF32 ? 32 : w == WireFormat::kI4 ? 4 : IsCoded(w) ? 8 : 16;
}
// Largest code; 0 for plain formats.
constexpr float LargestCode(WireFormat w) {
  return w == WireFormat::kE4M3 ? 448.0f : w == WireFormat::kI8 ? 127.0f : w == WireFormat::kI4 ? 7.0f : 0.0f;
}
// Bytes of one row of codes (or values), of all codes up to the scales, and of the whole rectangle. No overflow for
// rows · cols below 2^58.
constexpr uint64_t WireRowBytes(WireFormat w, int64_t cols) {
  return (static_cast<uint64_t>(cols) * static_cast<uint64_t>(BitsOf(w)) + 7) / 8;
}
constexpr uint64_t WireScaleOffset(WireFormat w, int64_t rows, int64_t cols) {
  return (static_cast<uint64_t>(rows) * WireRowBytes(w, cols) + 63) / 64 * 64;
}
constexpr int64_t WireGroups(int64_t cols) { return (cols + kWireGroup - 1) / kWireGroup; }  // of one row
constexpr uint64_t WireBytes(WireFormat w, int64_t rows, int64_t cols) {
  if (!IsCoded(w)) return static_cast<uint64_t>(rows) * WireRowBytes(w, cols);
  return WireScaleOffset(w, rows, cols) + 4 * static_cast<uint64_t>(rows) * static_cast<uint64_t>(WireGroups(cols));
}

// "f32", "bf16", "f16", "e4m3", "int8", "int4".
std::string_view Name(WireFormat w);
// Those, and "fp32", "fp16", "fp8".
std::optional<WireFormat> ParseWireFormat(std::string_view name);

}  // namespace zo2

#endif  // ZO2_IR_SUPPORT_WIRE_FORMAT_H_
