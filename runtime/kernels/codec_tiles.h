// The wire formats over vectors, written once for every SIMD instruction set V. Included only by files compiled for
// that set. Decoding goes by tiles, any 128 values of a row, which lie in one or two groups: that is what `prepare`
// takes. Encoding goes by groups.
#ifndef ZO2_RUNTIME_KERNELS_CODEC_TILES_H_
#define ZO2_RUNTIME_KERNELS_CODEC_TILES_H_

#include <cstdint>
#include <cstring>

#include "runtime/kernels/codec_job.h"
#include "runtime/kernels/noise_tiles.h"

namespace zo2::kernels {

static_assert(kTile == kGroup);

template <class V>
struct CodecTiles {
  using F = typename V::F;
  using I = typename V::I;
  static constexpr int kLanes = V::kLanes;

  static ZO2_HD F Widen(Storage dtype, const void* p, int i) {
    switch (dtype) {
      case Storage::kBF16: return V::WidenBf16(static_cast<const uint16_t*>(p) + i);
      case Storage::kF16: return V::WidenF16(static_cast<const uint16_t*>(p) + i);
      default: return V::Load(static_cast<const float*>(p) + i);
    }
  }

  // ---- decoding ----

  static ZO2_HD F WidenE4M3(I code) {
    const I m = V::And(code, V::SetWord(0x7F));
    const I small = V::AsI(V::Mul(V::FromInt(m), V::Set(kE4M3Subnormal)));
    const I normal = V::Add(V::template ShiftLeft<20>(m), V::SetWord(kE4M3Rebias << 23));
    const I finite = V::SelectLess(m, V::SetWord(8), small, normal);
    const I magnitude = V::SelectLess(m, V::SetWord(0x7F), finite, V::SetWord(0x7FC00000));
    return V::AsF(V::Or(magnitude, V::And(V::template ShiftLeft<24>(code), V::SetWord(0x80000000u))));
  }
  // kLanes codes from the i-th.
  template <Wire kWire>
  static ZO2_HD F LoadCodes(const uint8_t* codes, int i) {
    if constexpr (kWire == Wire::kE4M3) return WidenE4M3(V::LoadU8(codes + i));
    if constexpr (kWire == Wire::kI8) return V::FromInt(V::LoadI8(codes + i));
    if constexpr (kWire == Wire::kI4) return V::FromInt(V::LoadNibbles(codes + i / 2));
  }
  // The first `split` values have scale a, the others b.
  template <Wire kWire>
  static ZO2_HD void Scale(const uint8_t* codes, int split, float a, float b, float* out) {
    for (int i = 0; i < kTile; i += kLanes) {
      const I lanes = V::SetWord(static_cast<uint32_t>(split - i));
      const F scale = V::AsF(V::SelectLess(V::LaneNumbers(), lanes, V::AsI(V::Set(a)), V::AsI(V::Set(b))));
      V::Store(out + i, V::Mul(LoadCodes<kWire>(codes, i), scale));
    }
  }

  // Columns [col, col + n) of a row to out, which has room for a tile; what follows them there is arbitrary.
  static ZO2_HD void DecodeTile(const CodedRows& rows, int64_t row, int64_t col, int n, float* out) {
    const uint8_t* codes = rows.codes + row * rows.row_bytes + col * BitsPerValue(rows.wire) / 8;
    const bool odd = rows.wire == Wire::kI4 && (col & 1) != 0;
    alignas(64) uint8_t stage[kTile * sizeof(float)];
    if (n < kTile || odd) {
      const int64_t bytes = ((odd ? n + 1 : n) * BitsPerValue(rows.wire) + 7) / 8;
      if (n < kTile) std::memset(stage, 0, sizeof(stage));
      std::memcpy(stage, codes, static_cast<size_t>(bytes));
      if (odd) DropNibble(stage);
      codes = stage;
    }
    if (!HasScales(rows.wire)) {
      const Storage dtype = rows.wire == Wire::kF32    ? Storage::kF32
                            : rows.wire == Wire::kBF16 ? Storage::kBF16
                                                       : Storage::kF16;
      for (int i = 0; i < kTile; i += kLanes) V::Store(out + i, Widen(dtype, codes, i));
      return;
    }
    const float* scales = rows.scales + row * rows.row_groups + col / kGroup;
    const int split = kGroup - static_cast<int>(col % kGroup);
    const float a = scales[0], b = split < n ? scales[1] : a;
    switch (rows.wire) {
      case Wire::kE4M3: return Scale<Wire::kE4M3>(codes, split, a, b, out);
      case Wire::kI8: return Scale<Wire::kI8>(codes, split, a, b, out);
      default: return Scale<Wire::kI4>(codes, split, a, b, out);
    }
  }
  // Moves kTile nibbles down by one; the first is dropped, one more byte is read.
  static ZO2_HD void DropNibble(uint8_t* codes) {
    for (int i = 0; i < kTile / 2; i += 8) {
      uint64_t word;
      std::memcpy(&word, codes + i, 8);
      word = word >> 4 | static_cast<uint64_t>(codes[i + 8]) << 60;
      std::memcpy(codes + i, &word, 8);
    }
  }

  static void DecodeRange(const DecodeJob& job) {
    alignas(64) float tile[kTile];
    for (int64_t row = job.row_begin; row < job.row_end; ++row) {
      float* out = job.values + row * job.value_stride;
      for (int64_t col = 0; col < job.cols; col += kTile) {
        const int n = static_cast<int>(job.cols - col < kTile ? job.cols - col : kTile);
        DecodeTile(job.from, row, col, n, n == kTile ? out + col : tile);
        if (n < kTile) std::memcpy(out + col, tile, static_cast<size_t>(n) * sizeof(float));
      }
    }
  }

  // ---- encoding ----

  static ZO2_HD I NarrowE4M3(F x) {
    const I a = V::And(V::AsI(x), V::SetWord(kMagnitude));
    const I small = V::Sub(V::AsI(V::Add(V::AsF(a), V::Set(0x1p14f))), V::SetWord(0x46800000));
    const I tie = V::And(V::template ShiftRight<20>(a), V::SetWord(1));
    const I normal = V::Sub(V::template ShiftRight<20>(V::Add(V::Add(a, V::SetWord(0x7FFFF)), tie)),
                            V::SetWord(kE4M3Rebias << 3));
    const I m = V::Min(V::SelectLess(a, V::SetWord(kE4M3Normal), small, normal), V::SetWord(0x7E));
    return V::Or(m, V::And(V::template ShiftRight<24>(V::AsI(x)), V::SetWord(0x80)));
  }
  // The low bits of x + 1.5 * 2^23 are those of x rounded, in two's complement.
  static ZO2_HD I NearestCodes(F x, float largest) {
    return V::AsI(V::Add(V::Clamp(x, largest), V::Set(kRoundToInteger)));
  }
  template <Wire kWire>
  static ZO2_HD void StoreCodes(uint8_t* codes, int i, F x) {
    if constexpr (kWire == Wire::kE4M3) V::StoreU8(codes + i, NarrowE4M3(x));
    if constexpr (kWire == Wire::kI8) V::StoreU8(codes + i, NearestCodes(x, 127.0f));
    if constexpr (kWire == Wire::kI4) V::StoreNibbles(codes + i / 2, NearestCodes(x, 7.0f));
  }
  static ZO2_HD uint64_t NotFinite(I magnitudes) {
    return static_cast<uint64_t>(__builtin_popcount(V::GreaterMask(magnitudes, V::SetWord(kInfinityBits - 1))));
  }

  // A group of kGroup values, zeros behind the last; room for all its codes. Returns how many were not finite.
  template <Wire kWire>
  static ZO2_HD uint64_t EncodeGroup(const float* values, uint8_t* codes, float* scale) {
    I magnitudes = V::SetWord(0);
    for (int i = 0; i < kGroup; i += kLanes) {
      magnitudes = V::Max(magnitudes, V::And(V::AsI(V::Load(values + i)), V::SetWord(kMagnitude)));
    }
    const uint32_t largest = V::Largest(magnitudes);
    *scale = ScaleOf(kWire, largest);
    if (*scale == 0.0f) {
      uint64_t not_finite = 0;
      for (int i = 0; i < kGroup; i += kLanes) {
        not_finite += NotFinite(V::And(V::AsI(V::Load(values + i)), V::SetWord(kMagnitude)));
      }
      std::memset(codes, 0, static_cast<size_t>(kGroup * BitsPerValue(kWire) / 8));
      return not_finite;
    }
    const F divisor = V::Set(*scale);
    for (int i = 0; i < kGroup; i += kLanes) StoreCodes<kWire>(codes, i, V::Div(V::Load(values + i), divisor));
    return 0;
  }

  // The same for plain formats; beyond the largest finite value there is only that.
  template <Wire kWire>
  static ZO2_HD uint64_t EncodePlainTile(const float* values, uint8_t* out) {
    uint64_t not_finite = 0;
    for (int i = 0; i < kTile; i += kLanes) {
      I x = V::AsI(V::Load(values + i)), a = V::And(x, V::SetWord(kMagnitude));
      not_finite += NotFinite(a);
      x = V::SelectLess(a, V::SetWord(kInfinityBits), x, V::SetWord(0));
      a = V::And(x, V::SetWord(kMagnitude));
      const I sign = V::And(x, V::SetWord(0x80000000u));
      if constexpr (kWire == Wire::kF32) {
        V::Store(reinterpret_cast<float*>(out) + i, V::AsF(x));
      } else if constexpr (kWire == Wire::kF16) {
        const I cut = V::Min(a, V::SetWord(0x477FE000));  // 65504
        V::NarrowF16(reinterpret_cast<uint16_t*>(out) + i, V::AsF(V::Or(sign, cut)));
      } else {
        const I cut = V::Min(a, V::SetWord(0x7F7F0000));
        const I up = V::Add(V::SetWord(0x7FFF), V::And(V::template ShiftRight<16>(cut), V::SetWord(1)));
        V::StoreU16(reinterpret_cast<uint16_t*>(out) + i, V::template ShiftRight<16>(V::Or(sign, V::Add(cut, up))));
      }
    }
    return not_finite;
  }

  template <Wire kWire>
  static uint64_t EncodeAs(const EncodeJob& job) {
    uint64_t not_finite = 0;
    alignas(64) float values[kGroup];
    alignas(64) uint8_t stage[kGroup * sizeof(float)];
    for (int64_t row = job.row_begin; row < job.row_end; ++row) {
      const char* from = job.values + row * job.value_stride;
      uint8_t* codes = job.to.codes + row * job.to.row_bytes;
      for (int64_t col = 0; col < job.cols; col += kGroup) {
        const int64_t n = job.cols - col < kGroup ? job.cols - col : kGroup;
        uint8_t* to = codes + col * BitsPerValue(kWire) / 8;
        uint8_t* whole = n == kGroup ? to : stage;
        const float* t = Values(job.storage, from, col, n, values);
        if constexpr (HasScales(kWire)) {
          not_finite += EncodeGroup<kWire>(t, whole, job.to.scales + row * job.to.row_groups + col / kGroup);
        } else {
          not_finite += EncodePlainTile<kWire>(t, whole);
        }
        if (n < kGroup) std::memcpy(to, stage, static_cast<size_t>((n * BitsPerValue(kWire) + 7) / 8));
      }
    }
    return not_finite;
  }

  // Columns [col, col + n) of a row of values: in place, or in `stage` with zeros up to kGroup.
  static ZO2_HD const float* Values(Storage storage, const char* row, int64_t col, int64_t n, float* stage) {
    const char* from = row + col * BytesOf(storage);
    if (n == kGroup && storage == Storage::kF32) return reinterpret_cast<const float*>(from);
    alignas(64) char part[kGroup * sizeof(float)];
    if (n < kGroup) {
      std::memset(part, 0, sizeof(part));
      std::memcpy(part, from, static_cast<size_t>(n * BytesOf(storage)));
      from = part;
    }
    for (int i = 0; i < kGroup; i += kLanes) V::Store(stage + i, Widen(storage, from, i));
    return stage;
  }

  static uint64_t EncodeRange(const EncodeJob& job) {
    switch (job.to.wire) {
      case Wire::kF32: return EncodeAs<Wire::kF32>(job);
      case Wire::kBF16: return EncodeAs<Wire::kBF16>(job);
      case Wire::kF16: return EncodeAs<Wire::kF16>(job);
      case Wire::kE4M3: return EncodeAs<Wire::kE4M3>(job);
      case Wire::kI8: return EncodeAs<Wire::kI8>(job);
      default: return EncodeAs<Wire::kI4>(job);
    }
  }
};

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_CODEC_TILES_H_
