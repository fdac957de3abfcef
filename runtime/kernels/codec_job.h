// Rows in wire form and rows of values, as the loops of codec and prepare want them: addresses are worked out. Plain
// pointers only: this is included by files compiled for an instruction set.
#ifndef ZO2_RUNTIME_KERNELS_CODEC_JOB_H_
#define ZO2_RUNTIME_KERNELS_CODEC_JOB_H_

#include <cstdint>
#include <cstring>

#include "runtime/kernels/codec_core.h"

namespace zo2::kernels {

enum class Storage : uint8_t { kF32, kBF16, kF16 };
ZO2_HD int64_t BytesOf(Storage s) { return s == Storage::kF32 ? 4 : 2; }

// Row r's codes begin at codes + r * row_bytes, its scales at scales + r * row_groups.
struct CodedRows {
  Wire wire;
  uint8_t* codes;
  int64_t row_bytes;
  float* scales;  // null in plain formats
  int64_t row_groups;
};

// Rows [row_begin, row_end) of `cols` values, one way or the other.
struct EncodeJob {
  CodedRows to;
  Storage storage;
  const char* values;    // row 0
  int64_t value_stride;  // bytes
  int64_t cols, row_begin, row_end;
};
struct DecodeJob {
  CodedRows from;
  float* values;
  int64_t value_stride;  // elements
  int64_t cols, row_begin, row_end;
};

// The scalar reference of decoding.
ZO2_HD float DecodeElement(const CodedRows& rows, int64_t row, int64_t col) {
  const uint8_t* codes = rows.codes + row * rows.row_bytes;
  if (rows.wire == Wire::kF32) {
    float value;
    std::memcpy(&value, codes + 4 * col, 4);
    return value;
  }
  if (!HasScales(rows.wire)) {
    uint16_t half;
    std::memcpy(&half, codes + 2 * col, 2);
    return rows.wire == Wire::kBF16 ? WidenBf16(half) : WidenF16(half);
  }
  const float scale = rows.scales[row * rows.row_groups + col / kGroup];
  const uint32_t code = rows.wire != Wire::kI4 ? codes[col] : (codes[col / 2] >> (4 * (col & 1))) & 0xF;
  return DecodeValue(rows.wire, code, scale);
}

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_CODEC_JOB_H_
