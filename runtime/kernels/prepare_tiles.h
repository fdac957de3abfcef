// The fused prepare pass over vectors, written once for every SIMD instruction set V. Included only by files compiled
// for that set. One tile of 128 elements at a time stays in the first-level cache while its noises are drawn.
#ifndef ZO2_RUNTIME_KERNELS_PREPARE_TILES_H_
#define ZO2_RUNTIME_KERNELS_PREPARE_TILES_H_

#include <cstdint>
#include <cstring>

#include "runtime/kernels/codec_tiles.h"
#include "runtime/kernels/noise_tiles.h"
#include "runtime/kernels/prepare_job.h"

namespace zo2::kernels {

template <class V>
struct PrepareTiles {
  using F = typename V::F;
  using I = typename V::I;
  static constexpr int kLanes = V::kLanes;

  static ZO2_HD void Draw(const PrepareJob& job, const PhiloxStream& stream, uint64_t tile, float* z) {
    if (job.rademacher) {
      RademacherTile<V>(stream, tile, z);
    } else {
      GaussianTile<V>(stream, tile, z);
    }
  }

  static ZO2_HD F Widen(Storage dtype, const void* p, int i) { return CodecTiles<V>::Widen(dtype, p, i); }

  // NarrowBf16 and NarrowF16 of noise_core.h.
  static ZO2_HD void Narrow(Storage dtype, void* p, int i, F v) {
    if (dtype == Storage::kF32) {
      V::Store(static_cast<float*>(p) + i, v);
    } else if (dtype == Storage::kF16) {
      V::NarrowF16(static_cast<uint16_t*>(p) + i, v);
    } else {
      const I x = V::AsI(v), high = V::template ShiftRight<16>(x);
      const I rounded = V::Add(V::Add(x, V::SetWord(0x7FFF)), V::And(high, V::SetWord(1)));
      const I quiet_nan = V::Or(high, V::SetWord(0x40));
      const I a = V::And(x, V::SetWord(0x7FFFFFFF));
      V::StoreU16(static_cast<uint16_t*>(p) + i,
                  V::SelectLess(V::SetWord(0x7F800000), a, quiet_nan, V::template ShiftRight<16>(rounded)));
    }
  }

  // Magnitudes by the four Store functions of noise_core.h; they must be at most 0x7F7F or 0x7BFF to be finite.
  static ZO2_HD I Bf16Magnitude(I a, bool stochastic, const uint16_t* r) {
    const I up = stochastic ? V::LoadU16(r)
                            : V::Add(V::SetWord(0x7FFF), V::And(V::template ShiftRight<16>(a), V::SetWord(1)));
    return V::template ShiftRight<16>(V::Add(a, up));
  }
  static ZO2_HD I F16Magnitude(I a, bool stochastic, const uint16_t* r) {
    I up, small;
    if (stochastic) {
      const I bits = V::LoadU16(r);
      up = V::And(bits, V::SetWord(0x1FFF));
      const F v = V::Mul(V::AsF(a), V::Set(0x1p24f));
      const I n = V::Truncate(v);
      const F threshold = V::Fma(V::FromInt(bits), V::Set(0x1p-16f), V::Set(0x1p-17f));
      small = V::SelectLess(threshold, V::Sub(v, V::FromInt(n)), V::Add(n, V::SetWord(1)), n);
    } else {
      up = V::Add(V::SetWord(0xFFF), V::And(V::template ShiftRight<13>(a), V::SetWord(1)));
      small = V::Sub(V::AsI(V::Add(V::AsF(a), V::Set(0.5f))), V::SetWord(0x3F000000));
    }
    const I normal = V::Sub(V::template ShiftRight<13>(V::Add(a, up)), V::SetWord(112u << 10));
    return V::SelectLess(a, V::SetWord(0x38800000), small, normal);
  }

  // store() of a step: rounds t in place and leaves the storage bits in raw. Returns how many elements of
  // [first, last) were cut to the largest finite value.
  static ZO2_HD uint64_t StoreStep(const PrepareJob& job, const PhiloxStream& rounding, uint64_t tile, float* t,
                                   uint16_t* raw, int first, int last) {
    alignas(64) uint16_t bits[kTile];
    if (job.stochastic) RoundBitsTile<V>(rounding, tile, bits);
    const bool bf16 = job.storage == Storage::kBF16;
    const I largest = V::SetWord(bf16 ? 0x7F7F : 0x7BFF);
    uint64_t saturated = 0;
    for (int i = 0; i < kTile; i += kLanes) {
      const I x = V::AsI(V::Load(t + i)), a = V::And(x, V::SetWord(0x7FFFFFFF));
      const I m = bf16 ? Bf16Magnitude(a, job.stochastic, bits + i) : F16Magnitude(a, job.stochastic, bits + i);
      for (uint32_t cut = V::GreaterMask(m, largest); cut != 0; cut &= cut - 1) {
        const int element = i + __builtin_ctz(cut);
        if (element >= first && element < last) ++saturated;
      }
      const I sign = V::And(V::template ShiftRight<16>(x), V::SetWord(0x8000));
      V::StoreU16(raw + i, V::Or(sign, V::Min(m, largest)));
      V::Store(t + i, Widen(job.storage, raw, i));
    }
    return saturated;
  }

  // A hint, also past the end. Masters come from memory, and branches were last read by kernels on any core: getting their
  // lines takes longer than computing a tile.
  static void PrefetchToWrite(const char* to, int64_t bytes) {
    for (int64_t line = 0; line < bytes; line += 64) asm volatile("prefetchw %0" : : "m"(to[line]));
  }

  // Elements tile * 128 ... + 127, of which [first, last) are in the rectangle. All of `source` is read before anything
  // is written. `master` may be null. Returns the number of saturated elements.
  static uint64_t RunTile(const PrepareJob& job, uint64_t tile, const void* source, void* master,
                          const PrepareScratch& scratch, int first, int last) {
    alignas(64) float t[kTile];
    alignas(64) float z[kTile];
    alignas(64) uint16_t raw[kTile];
    const bool narrow = job.storage != Storage::kF32;
    uint64_t saturated = 0;

    for (int i = 0; i < kTile; i += kLanes) V::Store(t + i, Widen(job.storage, source, i));
    if (narrow) std::memcpy(raw, source, sizeof(raw));

    for (int64_t s = 0; s < job.step_count; ++s) {
      const StepJob& step = job.steps[s];
      if (job.decays) {
        const F factor = V::Set(step.decay);
        for (int i = 0; i < kTile; i += kLanes) V::Store(t + i, V::Mul(factor, V::Load(t + i)));
      }
      for (int64_t d = step.draw_begin; d < step.draw_end; ++d) {
        Draw(job, job.update_draws[d].stream, tile, z);
        const F c = V::Set(job.update_draws[d].coefficient);
        for (int i = 0; i < kTile; i += kLanes) V::Store(t + i, V::Fma(c, V::Load(z + i), V::Load(t + i)));
      }
      if (narrow) saturated += StoreStep(job, step.rounding, tile, t, raw, first, last);
    }

    if (master != nullptr) {
      if (narrow) {
        std::memcpy(master, raw, sizeof(raw));
      } else {
        std::memcpy(master, t, sizeof(t));
      }
    }
    for (int32_t b = 0; b < job.branch_count; ++b) {
      if (job.branches[b].perturbed) continue;
      for (int i = 0; i < kTile; i += kLanes) Narrow(job.branches[b].dtype, scratch.target[b], i, V::Load(t + i));
    }
    for (int64_t d = 0; d < job.branch_draw_count; ++d) {
      Draw(job, job.branch_draws[d].stream, tile, z);
      for (int64_t u = job.branch_draws[d].use_begin; u < job.branch_draws[d].use_end; ++u) {
        const BranchUse& use = job.uses[u];
        float* sum = scratch.sums + use.branch * kTile;
        const float* from = use.first ? t : sum;
        const Storage dtype = use.last ? job.branches[use.branch].dtype : Storage::kF32;
        void* to = use.last ? static_cast<void*>(scratch.target[use.branch]) : sum;
        const F c = V::Set(use.coefficient);
        for (int i = 0; i < kTile; i += kLanes) Narrow(dtype, to, i, V::Fma(c, V::Load(z + i), V::Load(from + i)));
      }
    }
    return saturated;
  }

  // `count` elements of buffer row `row` from column `col`; the outputs are at scratch.out.
  static uint64_t RunRow(const PrepareJob& job, int64_t row, int64_t col, int64_t count,
                         const PrepareScratch& scratch) {
    const int64_t bytes = BytesOf(job.storage);
    const uint64_t element = FirstElement(job, row) + static_cast<uint64_t>(col);
    const char* source = job.coded ? nullptr : job.source + row * job.source_row_stride + col * bytes;
    char* master = job.master != nullptr ? job.master + row * job.master_row_stride + col * bytes : nullptr;
    alignas(64) float decoded[kTile];
    uint64_t saturated = 0;
    for (int64_t done = 0; done < count;) {
      const uint64_t tile = (element + static_cast<uint64_t>(done)) / kTile;
      const int first = static_cast<int>((element + static_cast<uint64_t>(done)) % kTile);
      const int n = static_cast<int>(count - done < kTile - first ? count - done : kTile - first);
      if (job.coded) CodecTiles<V>::DecodeTile(job.codes, row, job.wire_col + col + done, n, decoded);
      const char* from = job.coded ? reinterpret_cast<const char*>(decoded) : source + done * bytes;
      if (n == kTile) {
        for (int32_t b = 0; b < job.branch_count; ++b) {
          scratch.target[b] = scratch.out[b] + done * BytesOf(job.branches[b].dtype);
        }
        PrefetchTile(job, row, col + done + kTile, source != nullptr && source == master);
        for (int32_t b = 0; b < job.branch_count; ++b) {
          const int64_t size = kTile * BytesOf(job.branches[b].dtype);
          PrefetchToWrite(scratch.target[b] + size, size);
        }
        saturated += RunTile(job, tile, from, master != nullptr ? master + done * bytes : nullptr, scratch, 0, kTile);
      } else {
        alignas(64) char stage[kTile * sizeof(float)] = {};
        std::memcpy(stage + first * bytes, from, static_cast<size_t>(n * bytes));
        for (int32_t b = 0; b < job.branch_count; ++b) {
          scratch.target[b] = reinterpret_cast<char*>(scratch.stage + b * kTile);
        }
        saturated += RunTile(job, tile, stage, master != nullptr ? stage : nullptr, scratch, first, first + n);
        if (master != nullptr) std::memcpy(master + done * bytes, stage + first * bytes, static_cast<size_t>(n * bytes));
        for (int32_t b = 0; b < job.branch_count; ++b) {
          const int64_t size = BytesOf(job.branches[b].dtype);
          std::memcpy(scratch.out[b] + done * size, scratch.target[b] + first * size, static_cast<size_t>(n * size));
        }
      }
      done += n;
    }
    return saturated;
  }

  // Asks for the lines of a source's tile that begins at buffer column `col`.
  static ZO2_HD void PrefetchTile(const PrepareJob& job, int64_t row, int64_t col, bool to_write) {
    const int64_t bits = job.coded ? BitsPerValue(job.codes.wire) : 8 * BytesOf(job.storage);
    const char* codes = reinterpret_cast<const char*>(job.codes.codes);
    const char* tile = job.coded ? codes + row * job.codes.row_bytes + (job.wire_col + col) * bits / 8
                                 : job.source + row * job.source_row_stride + col * bits / 8;
    if (to_write) return PrefetchToWrite(tile, kTile * bits / 8);
    for (int64_t line = 0; line < kTile * bits / 8; line += 64) __builtin_prefetch(tile + line);
  }

  // Elements [begin, end) of the rectangle in its row-major order.
  static uint64_t RunRange(const PrepareJob& job, int64_t begin, int64_t end, const PrepareScratch& scratch) {
    uint64_t saturated = 0;
    while (begin < end) {
      const int64_t row = begin / job.width, col = begin % job.width;
      const int64_t n = end - begin < job.width - col ? end - begin : job.width - col;
      for (int32_t b = 0; b < job.branch_count; ++b) {
        const BranchJob& branch = job.branches[b];
        scratch.out[b] = branch.data + row * branch.row_stride + col * BytesOf(branch.dtype);
      }
      saturated += RunRow(job, row, col, n, scratch);
      begin += n;
    }
    return saturated;
  }
};

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_PREPARE_TILES_H_
