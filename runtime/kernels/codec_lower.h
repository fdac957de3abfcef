// Public types lowered for the loops of codec and prepare. Not for files compiled for an instruction set.
#ifndef ZO2_RUNTIME_KERNELS_CODEC_LOWER_H_
#define ZO2_RUNTIME_KERNELS_CODEC_LOWER_H_

#include <cassert>
#include <cstdint>

#include "ir/support/dtype.h"
#include "ir/support/wire_format.h"
#include "runtime/kernels/codec_job.h"

namespace zo2::kernels {

static_assert(static_cast<int>(Wire::kF32) == static_cast<int>(WireFormat::kF32));
static_assert(static_cast<int>(Wire::kBF16) == static_cast<int>(WireFormat::kBF16));
static_assert(static_cast<int>(Wire::kF16) == static_cast<int>(WireFormat::kF16));
static_assert(static_cast<int>(Wire::kE4M3) == static_cast<int>(WireFormat::kE4M3));
static_assert(static_cast<int>(Wire::kI8) == static_cast<int>(WireFormat::kI8));
static_assert(static_cast<int>(Wire::kI4) == static_cast<int>(WireFormat::kI4));
static_assert(kGroup == kWireGroup);

inline Storage StorageOf(DType dtype) {
  assert(dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16);
  return dtype == DType::kF32 ? Storage::kF32 : dtype == DType::kBF16 ? Storage::kBF16 : Storage::kF16;
}

// The rectangle of `rows` x `cols` values in wire form that begins at `coded`.
inline CodedRows Rows(WireFormat format, int64_t rows, int64_t cols, void* coded) {
  CodedRows out;
  out.wire = static_cast<Wire>(format);
  out.codes = static_cast<uint8_t*>(coded);
  out.row_bytes = static_cast<int64_t>(WireRowBytes(format, cols));
  out.scales = nullptr;
  out.row_groups = 0;
  if (IsCoded(format)) {
    out.scales = reinterpret_cast<float*>(out.codes + WireScaleOffset(format, rows, cols));
    out.row_groups = WireGroups(cols);
    assert(reinterpret_cast<uintptr_t>(coded) % alignof(float) == 0);
  }
  return out;
}

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_CODEC_LOWER_H_
