#include "runtime/kernels/codec.h"

#include <algorithm>
#include <cassert>
#include <cstring>

#include "runtime/kernels/codec_lower.h"
#include "runtime/kernels/noise_isa.h"

namespace zo2::kernels {
namespace {

// ---- the scalar reference ----

float LoadValue(Storage storage, const char* row, int64_t i) {
  if (storage == Storage::kF32) {
    float value;
    std::memcpy(&value, row + 4 * i, 4);
    return value;
  }
  uint16_t half;
  std::memcpy(&half, row + 2 * i, 2);
  return storage == Storage::kBF16 ? WidenBf16(half) : WidenF16(half);
}

uint64_t EncodeGroup(Wire wire, const float* values, int64_t n, uint8_t* codes, float* scale) {
  uint32_t largest = 0;
  uint64_t not_finite = 0;
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t magnitude = Bits(values[i]) & kMagnitude;
    largest = std::max(largest, magnitude);
    not_finite += magnitude >= kInfinityBits;
  }
  *scale = ScaleOf(wire, largest);
  std::fill_n(codes, wire == Wire::kI4 ? (n + 1) / 2 : n, uint8_t{0});
  for (int64_t i = 0; i < n; ++i) {
    const uint32_t code = EncodeValue(wire, values[i], *scale);
    if (wire == Wire::kI4) {
      codes[i / 2] |= static_cast<uint8_t>(code << (4 * (i & 1)));
    } else {
      codes[i] = static_cast<uint8_t>(code);
    }
  }
  return not_finite;
}

uint64_t EncodePlainRow(Wire wire, const float* values, int64_t n, uint8_t* codes) {
  uint64_t not_finite = 0;
  for (int64_t i = 0; i < n; ++i) {
    const bool finite = (Bits(values[i]) & kMagnitude) < kInfinityBits;
    not_finite += !finite;
    if (wire == Wire::kF32) {
      const float value = finite ? values[i] : 0.0f;
      std::memcpy(codes + 4 * i, &value, 4);
    } else {
      const uint16_t half = EncodePlain(wire, values[i]);
      std::memcpy(codes + 2 * i, &half, 2);
    }
  }
  return not_finite;
}

uint64_t EncodeScalar(const EncodeJob& job) {
  const CodedRows& to = job.to;
  uint64_t not_finite = 0;
  float values[kGroup];
  for (int64_t row = job.row_begin; row < job.row_end; ++row) {
    const char* from = job.values + row * job.value_stride;
    uint8_t* codes = to.codes + row * to.row_bytes;
    for (int64_t col = 0; col < job.cols; col += kGroup) {
      const int64_t n = std::min<int64_t>(kGroup, job.cols - col);
      for (int64_t i = 0; i < n; ++i) values[i] = LoadValue(job.storage, from, col + i);
      uint8_t* out = codes + col * BitsPerValue(to.wire) / 8;
      not_finite += HasScales(to.wire) ? EncodeGroup(to.wire, values, n, out,
                                                     to.scales + row * to.row_groups + col / kGroup)
                                       : EncodePlainRow(to.wire, values, n, out);
    }
  }
  return not_finite;
}

void DecodeScalar(const DecodeJob& job) {
  for (int64_t row = job.row_begin; row < job.row_end; ++row)
    for (int64_t col = 0; col < job.cols; ++col)
      job.values[row * job.value_stride + col] = DecodeElement(job.from, row, col);
}

}  // namespace

uint64_t Encode(const EncodeArgs& args, Isa isa) {
  assert(0 <= args.row_begin && args.row_end <= args.rows);
  if (args.row_begin >= args.row_end || args.cols <= 0) return 0;
  EncodeJob job;
  job.to = Rows(args.format, args.rows, args.cols, args.coded);
  job.storage = StorageOf(args.storage);
  job.values = static_cast<const char*>(args.values);
  job.value_stride = args.value_stride * BytesOf(job.storage);
  job.cols = args.cols;
  job.row_begin = args.row_begin;
  job.row_end = args.row_end;
  if (IsCoded(args.format) && args.row_end == args.rows) {
    const auto codes = static_cast<uint64_t>(args.rows * job.to.row_bytes);
    std::memset(job.to.codes + codes, 0, WireScaleOffset(args.format, args.rows, args.cols) - codes);
  }
  switch (std::min(isa, DetectedIsa())) {
    case Isa::kAvx512: return avx512::EncodeRange(job);
    case Isa::kAvx2: return avx2::EncodeRange(job);
    default: return EncodeScalar(job);
  }
}

void Decode(const DecodeArgs& args, Isa isa) {
  assert(0 <= args.row_begin && args.row_end <= args.rows);
  if (args.row_begin >= args.row_end || args.cols <= 0) return;
  DecodeJob job;
  job.from = Rows(args.format, args.rows, args.cols, const_cast<void*>(args.coded));
  job.values = args.values;
  job.value_stride = args.value_stride;
  job.cols = args.cols;
  job.row_begin = args.row_begin;
  job.row_end = args.row_end;
  switch (std::min(isa, DetectedIsa())) {
    case Isa::kAvx512: return avx512::DecodeRange(job);
    case Isa::kAvx2: return avx2::DecodeRange(job);
    default: return DecodeScalar(job);
  }
}

}  // namespace zo2::kernels
