// Encode and decode the wire formats of ir/support/wire_format.h: there is how they are laid out and rounded.
//
// Bits do not depend on the instruction set, nor on how the rows are divided among threads. `prepare` decodes by itself
// (PrepareArgs::wire); Decode is for tests, measurements and evaluations.
#ifndef ZO2_RUNTIME_KERNELS_CODEC_H_
#define ZO2_RUNTIME_KERNELS_CODEC_H_

#include <cstdint>

#include "ir/support/dtype.h"
#include "ir/support/wire_format.h"
#include "runtime/kernels/noise.h"

namespace zo2::kernels {

// Rows [row_begin, row_end) of a rectangle of `rows` x `cols` values. `values`: row 0 of the rectangle, storage kF32,
// kBF16 or kF16, rows `value_stride` elements apart. `coded`: the rectangle's first byte, 64-byte aligned,
// WireBytes(format, rows, cols) bytes; row r's codes and scales are where the layout says, whatever range is encoded.
// Plain formats round to nearest even (what is too large becomes the largest finite value).
// Returns how many values were not finite; those, and in coded formats their group, are encoded as zeros.
// Every byte that belongs to the rows is written, an odd int4's second half as zero; the padding before the scales is
// zeroed with the last row. `values` and `coded` do not overlap.
struct EncodeArgs {
  WireFormat format = WireFormat::kI8;
  int64_t rows = 0, cols = 0;
  int64_t row_begin = 0, row_end = 0;
  DType storage = DType::kF32;
  const void* values = nullptr;
  int64_t value_stride = 0;
  void* coded = nullptr;
};
uint64_t Encode(const EncodeArgs& args, Isa isa = BestIsa());

// The same rows to binary32; every wire value is exact in it but for the one rounding of code · scale.
struct DecodeArgs {
  WireFormat format = WireFormat::kI8;
  int64_t rows = 0, cols = 0;
  int64_t row_begin = 0, row_end = 0;
  const void* coded = nullptr;
  float* values = nullptr;  // row 0 of the rectangle
  int64_t value_stride = 0;
};
void Decode(const DecodeArgs& args, Isa isa = BestIsa());

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_CODEC_H_
