// The body of the prepare kernel. Included by prepare.cu for the GPU and by prepare_launch.cc for the host.
//
// A thread takes runs of consecutive elements of a row. A run begins where the *logical* element is a multiple of its
// length: 4 elements of an fp32 source, 8 of any other. So a run of 8 is one block of rounding bits and two of
// Gaussians, its values are one vector of 16 bytes (8 of 8-bit codes, 4 of 4-bit ones), and neighbouring threads touch
// neighbouring memory. Where a run is cut by the rectangle's edge, or an address is not aligned to the vector, the same
// elements are moved one by one.
//
// A block works on one rectangle. Its threads compute the coefficients of the pending updates together, into shared
// memory, kDraws at a time; then each applies them to its runs, in registers from load to store.
#ifndef ZO2_RUNTIME_CUDA_PREPARE_BODY_H_
#define ZO2_RUNTIME_CUDA_PREPARE_BODY_H_

#include <cassert>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ir/schedule/schedule.h"
#include "runtime/cuda/prepare_launch.h"
#include "runtime/cuda/team.h"
#include "runtime/kernels/codec_job.h"
#include "runtime/kernels/step_core.h"

#if !defined(__CUDA_ARCH__)
#include <atomic>
#endif

namespace zo2::cuda {

using kernels::Storage;
using kernels::Wire;

// Elements of a run. Also what rows are cut into (PrepareRect::units).
ZO2_HD constexpr int RunOf(Wire source) { return source == Wire::kF32 ? 4 : 8; }

// ---- memory; addresses are aligned to T ----
template <int kBytes>
ZO2_HD bool Aligned(const std::byte* p) {
  return reinterpret_cast<uintptr_t>(p) % kBytes == 0;
}
template <class T>
ZO2_HD T LoadAs(const std::byte* p) {
#if defined(__CUDA_ARCH__)
  return *reinterpret_cast<const T*>(p);
#else
  T value;
  assert(Aligned<alignof(T)>(p));
  std::memcpy(&value, p, sizeof(T));
  return value;
#endif
}
template <class T>
ZO2_HD void StoreAs(std::byte* p, const T& value) {
#if defined(__CUDA_ARCH__)
  *reinterpret_cast<T*>(p) = value;
#else
  assert(Aligned<alignof(T)>(p));
  std::memcpy(p, &value, sizeof(T));
#endif
}
// One access of kBytes.
template <int kBytes>
struct alignas(kBytes) Pack {
  uint32_t w[kBytes / 4];
};

// ---- what a block and a thread keep ----

// One sample of a pending step.
struct PendingDraw {
  float coefficient, decay;
  uint64_t direction, step;
  uint32_t flags;
};
constexpr uint32_t kFirstOfStep = 1, kLastOfStep = 2, kSkipped = 4;
constexpr int kDraws = 128;  // at a time

struct PrepareShared {
  int64_t step, version;
  int64_t draws_pending;  // of all pending steps together
  PendingDraw draws[kDraws];
  float coefficients[kMaxTerms];  // of the launch's terms, for this rectangle
};

// The run that a thread has in hand.
template <int kRun>
struct PrepareState {
  float t[kRun];
  uint64_t element;  // logical, of the run's beginning: a multiple of kRun
  int64_t col;       // in the buffers; may lie before the rectangle
  uint32_t row;      // in the buffers
  uint32_t inside;   // bit i: element i is in the rectangle
};
constexpr uint32_t kNoRow = uint32_t{1} << 31;  // in `inside`: its row does not exist (gathered rows)

template <Wire kSource, bool kRademacher>
struct PrepareBody {
  static constexpr int kRun = RunOf(kSource);
  // Blocks of a multiprocessor: as many as its registers allow without a spill on any architecture.
  static constexpr int kBlocksAtOnce = kSource == Wire::kF32 ? 10 : kSource == Wire::kF16 ? 6 : 7;
  using State = PrepareState<kRun>;
  static constexpr uint32_t kWhole = (uint32_t{1} << kRun) - 1;

  static ZO2_HD bool Has(const State& s, int i) { return (s.inside >> i) & 1; }

  static ZO2_HD const PrepareRect* RectOf(const PrepareLaunch& launch, int block) {
    const PrepareRect* rect = launch.rects;
    while (block >= rect->block_end) ++rect;
    return rect;
  }

  static ZO2_HD kernels::NoiseKey KeyOf(const PrepareLaunch& launch, const PrepareRect& rect) {
    return {launch.seed, rect.tensor_id};
  }

  static ZO2_HD void Start(const PrepareLaunch& launch, const PrepareRect& rect, int thread, PrepareShared* shared) {
    if (thread < launch.term_count) {
      shared->coefficients[thread] =
          kernels::BranchCoefficient(launch.terms[thread].coefficient, launch.eps, rect.eps_mul);
    }
    if (thread != 0) return;
    const int64_t step = launch.scalars->step, version = launch.scalars->version;
    shared->step = step;
    shared->version = version;
    shared->draws_pending = rect.trainable && version < step ? (step - version) * launch.samples : 0;
  }

  // Draws begin, begin + 1, ... of the pending updates: one per thread.
  static ZO2_HD void Fill(const PrepareLaunch& launch, const PrepareRect& rect, int64_t begin, int thread,
                          PrepareShared* shared) {
    const int64_t draw = begin + thread;
    if (thread >= kDraws || draw >= shared->draws_pending) return;
    const int64_t back = draw / launch.samples;
    const int sample = static_cast<int>(draw - back * launch.samples);
    const uint64_t step = static_cast<uint64_t>(shared->version + back);
    const std::byte* at = launch.records.base + launch.records.stride * (step % launch.records.ring);
    const StepRecord& record = *reinterpret_cast<const StepRecord*>(at);
    const double* g = reinterpret_cast<const double*>(&record + 1) + 2 * launch.samples;
    PendingDraw& out = shared->draws[thread];
    out.coefficient = kernels::UpdateCoefficient(record.lr, rect.lr_mul, g[sample], launch.samples);
    out.decay = kernels::DecayFactor(record.lr, rect.weight_decay);
    out.direction = step * static_cast<uint64_t>(launch.samples) + static_cast<uint64_t>(sample);
    out.step = step;
    out.flags = (sample == 0 ? kFirstOfStep : 0) | (sample + 1 == launch.samples ? kLastOfStep : 0) |
                (record.skipped != 0 ? kSkipped : 0);
  }

  // The run's place in the rectangle, and its values.
  static ZO2_HD void Load(const PrepareLaunch& launch, const PrepareRect& rect, int64_t unit, State& s) {
    s.inside = 0;
    if (unit >= rect.rows * rect.units) return;
    uint32_t row = 0;
    int64_t run = unit;
    if (rect.rows != 1) {  // then there are fewer than 2^32 units
      row = static_cast<uint32_t>(unit) / static_cast<uint32_t>(rect.units);
      run = unit - row * rect.units;
    }
    int64_t logical = rect.row_begin + row;
    bool exists = true;
    if (launch.ids != nullptr) {
      logical = launch.ids[row];
      exists = logical >= rect.id_begin && logical < rect.id_end;
      if (!exists) logical = rect.id_begin;
    }
    const uint64_t start = static_cast<uint64_t>(logical) * static_cast<uint64_t>(rect.cols_logical) +
                           static_cast<uint64_t>(rect.col_begin);
    s.element = (start / kRun + static_cast<uint64_t>(run)) * kRun;
    s.row = row;
    s.col = static_cast<int64_t>(s.element - start);
    if (s.col >= rect.width) return;
    s.inside = kWhole;
    if (s.col < 0) s.inside &= kWhole << static_cast<int>(-s.col);
    if (rect.width - s.col < kRun) s.inside &= kWhole >> (kRun - static_cast<int>(rect.width - s.col));
    if constexpr (kernels::HasScales(kSource)) {
      LoadCodes(rect, s);
    } else {
      LoadValues(rect, s);
    }
    if (exists) return;
    s.inside |= kNoRow;
    ZO2_UNROLL
    for (int i = 0; i < kRun; ++i) s.t[i] = kernels::FromBits(0x7FC00000);
  }

  static ZO2_HD void LoadValues(const PrepareRect& rect, State& s) {
    constexpr int kBytes = kSource == Wire::kF32 ? 4 : 2;
    const std::byte* from = rect.source + s.row * rect.source_stride + s.col * kBytes;
    if ((s.inside & kWhole) == kWhole && Aligned<16>(from)) {
      const Pack<16> pack = LoadAs<Pack<16>>(from);
      ZO2_UNROLL
      for (int i = 0; i < kRun; ++i) {
        if constexpr (kSource == Wire::kF32) {
          s.t[i] = kernels::FromBits(pack.w[i]);
        } else {
          s.t[i] = Widen(static_cast<uint16_t>(pack.w[i / 2] >> (16 * (i % 2))));
        }
      }
      return;
    }
    ZO2_UNROLL
    for (int i = 0; i < kRun; ++i) {
      s.t[i] = 0;
      if (!Has(s, i)) continue;
      if constexpr (kSource == Wire::kF32) {
        s.t[i] = LoadAs<float>(from + 4 * i);
      } else {
        s.t[i] = Widen(LoadAs<uint16_t>(from + 2 * i));
      }
    }
  }

  static ZO2_HD void LoadCodes(const PrepareRect& rect, State& s) {
    constexpr int kBytes = kSource == Wire::kI4 ? 4 : 8;  // of a run
    const std::byte* codes = rect.source + s.row * rect.source_stride;
    const float* scales = rect.scales + s.row * rect.scales_stride;
    const std::byte* from = codes + s.col * kBytes / kRun;
    if ((s.inside & kWhole) == kWhole && s.col % kRun == 0 && Aligned<kBytes>(from)) {
      const Pack<kBytes> pack = LoadAs<Pack<kBytes>>(from);
      const float scale = scales[s.col / kernels::kGroup];
      ZO2_UNROLL
      for (int i = 0; i < kRun; ++i) {
        const uint32_t code = kSource == Wire::kI4 ? (pack.w[0] >> (4 * i)) & 0xF
                                                   : (pack.w[i / 4 % (kBytes / 4)] >> (8 * (i % 4))) & 0xFF;
        s.t[i] = kernels::DecodeValue(kSource, code, scale);
      }
      return;
    }
    ZO2_UNROLL
    for (int i = 0; i < kRun; ++i) {
      s.t[i] = 0;
      if (!Has(s, i)) continue;
      const int64_t c = s.col + i;
      const uint32_t byte = static_cast<uint32_t>(codes[kSource == Wire::kI4 ? c / 2 : c]);
      const uint32_t code = kSource == Wire::kI4 ? (byte >> (4 * (c & 1))) & 0xF : byte;
      s.t[i] = kernels::DecodeValue(kSource, code, scales[c / kernels::kGroup]);
    }
  }

  static ZO2_HD float Widen(uint16_t v) {
    return kSource == Wire::kBF16 ? kernels::WidenBf16(v) : kernels::WidenF16(v);
  }

  // z of the run's elements.
  static ZO2_HD void Draw(kernels::NoiseKey key, uint64_t direction, uint64_t element, float (&z)[kRun]) {
    if constexpr (kRademacher) {
      const kernels::Words u = kernels::NoiseWords(key, direction, element >> 7);
      const uint32_t word = static_cast<uint32_t>(element >> 5) & 3;  // u.w[word] would put u into local memory
      const uint32_t low = word & 1 ? u.w[1] : u.w[0], high = word & 1 ? u.w[3] : u.w[2];
      const uint32_t signs = (word & 2 ? high : low) >> (element & 31);
      ZO2_UNROLL
      for (int i = 0; i < kRun; ++i) z[i] = (signs >> i) & 1 ? 1.0f : -1.0f;
    } else {
      ZO2_UNROLL
      for (int k = 0; k < kRun / 4; ++k) {
        kernels::GaussianBlock(kernels::NoiseWords(key, direction, (element >> 2) + static_cast<uint64_t>(k)),
                               z + 4 * k);
      }
    }
  }

  // Applies `count` draws.
  static ZO2_HD void Apply(const PrepareLaunch& launch, const PrepareRect& rect, int count, const PrepareShared& shared,
                           State& s) {
    if (s.inside == 0 || (s.inside & kNoRow) != 0) return;
    for (int d = 0; d < count; ++d) {
      const PendingDraw& draw = shared.draws[d];
      if ((draw.flags & kSkipped) != 0) continue;
      if (rect.weight_decay != 0 && (draw.flags & kFirstOfStep) != 0) {
        ZO2_UNROLL
        for (int i = 0; i < kRun; ++i) s.t[i] = kernels::Mul(draw.decay, s.t[i]);
      }
      float z[kRun];
      Draw(KeyOf(launch, rect), draw.direction, s.element, z);
      ZO2_UNROLL
      for (int i = 0; i < kRun; ++i) s.t[i] = kernels::Fma(draw.coefficient, z[i], s.t[i]);
      if constexpr (kSource == Wire::kBF16 || kSource == Wire::kF16) {
        if (launch.rounds && (draw.flags & kLastOfStep) != 0) RoundStep(launch, rect, draw.step, s);
      }
    }
  }

  // Other threads add, too. Seldom: a weight that is cut to the largest finite value means a run that diverges.
  static ZO2_HD void AddTo(uint64_t* sum, uint64_t value) {
#if defined(__CUDA_ARCH__)
    atomicAdd(reinterpret_cast<unsigned long long*>(sum), static_cast<unsigned long long>(value));
#else
    std::atomic_ref<uint64_t>(*sum).fetch_add(value, std::memory_order_relaxed);
#endif
  }

  // store() of a step, and what it stored widened again.
  static ZO2_HD void RoundStep(const PrepareLaunch& launch, const PrepareRect& rect, uint64_t step, State& s) {
    uint32_t saturated = 0;
    kernels::Words bits = {};
    if (launch.stochastic) bits = kernels::NoiseWords(kernels::RoundingKey(KeyOf(launch, rect)), step, s.element >> 3);
    ZO2_UNROLL
    for (int i = 0; i < kRun; ++i) {
      const uint32_t r = (bits.w[i / 2 % 4] >> (16 * (i & 1))) & 0xFFFF;  // RoundBits; the run begins a block
      uint64_t cut = 0;
      uint16_t half;
      if constexpr (kSource == Wire::kBF16) {
        half =
            launch.stochastic ? kernels::StoreBf16Stochastic(s.t[i], r, &cut) : kernels::StoreBf16Nearest(s.t[i], &cut);
      } else {
        half =
            launch.stochastic ? kernels::StoreF16Stochastic(s.t[i], r, &cut) : kernels::StoreF16Nearest(s.t[i], &cut);
      }
      s.t[i] = Widen(half);
      if (cut != 0 && Has(s, i)) ++saturated;
    }
    if (saturated != 0 && launch.saturated != nullptr) AddTo(launch.saturated, saturated);
  }

  static ZO2_HD void WriteFloats(std::byte* to, const float (&x)[kRun], const State& s) {
    if ((s.inside & kWhole) == kWhole && Aligned<16>(to)) {
      ZO2_UNROLL
      for (int k = 0; k < kRun; k += 4) {
        StoreAs(to + 4 * k, Pack<16>{{kernels::Bits(x[k]), kernels::Bits(x[k + 1]), kernels::Bits(x[k + 2]),
                                      kernels::Bits(x[k + 3])}});
      }
      return;
    }
    ZO2_UNROLL
    for (int i = 0; i < kRun; ++i) {
      if (Has(s, i)) StoreAs(to + 4 * i, x[i]);
    }
  }
  static ZO2_HD void WriteHalves(std::byte* to, const uint16_t (&x)[kRun], const State& s) {
    if ((s.inside & kWhole) == kWhole && Aligned<2 * kRun>(to)) {
      Pack<2 * kRun> pack;
      ZO2_UNROLL
      for (int k = 0; k < kRun / 2; ++k) pack.w[k] = x[2 * k] | static_cast<uint32_t>(x[2 * k + 1]) << 16;
      StoreAs(to, pack);
      return;
    }
    ZO2_UNROLL
    for (int i = 0; i < kRun; ++i) {
      if (Has(s, i)) StoreAs(to + 2 * i, x[i]);
    }
  }
  static ZO2_HD void Write(Storage dtype, std::byte* to, const float (&x)[kRun], const State& s) {
    if (dtype == Storage::kF32) return WriteFloats(to, x, s);
    uint16_t halves[kRun];
    ZO2_UNROLL
    for (int i = 0; i < kRun; ++i)
      halves[i] = dtype == Storage::kBF16 ? kernels::NarrowBf16(x[i]) : kernels::NarrowF16(x[i]);
    WriteHalves(to, halves, s);
  }

  // Writes the master and the branches. All of the run has been read.
  static ZO2_HD void Finish(const PrepareLaunch& launch, const PrepareRect& rect, const PrepareShared& shared,
                            const State& s) {
    if (s.inside == 0) return;
    if constexpr (!kernels::HasScales(kSource)) {
      // t is a value of the storage, so narrowing it is exact.
      constexpr Storage kStorage = static_cast<Storage>(kSource);
      if (rect.master != nullptr)
        Write(kStorage, rect.master + s.row * rect.master_stride + s.col * kernels::BytesOf(kStorage), s.t, s);
    }
    float z[kRun];
    int32_t drawn = -1;  // the sample whose noise z is
    for (int o = 0; o < launch.output_count; ++o) {
      const PrepareOutput& output = launch.outputs[o];
      float x[kRun];
      ZO2_UNROLL
      for (int i = 0; i < kRun; ++i) x[i] = s.t[i];
      const int32_t terms = rect.trainable && (s.inside & kNoRow) == 0 ? output.term_end : output.term_begin;
      for (int32_t k = output.term_begin; k < terms; ++k) {
        const int32_t sample = launch.terms[k].sample;
        if (sample != drawn) {
          const int64_t direction = shared.step * launch.samples + sample;
          Draw(KeyOf(launch, rect), static_cast<uint64_t>(direction), s.element, z);
          drawn = sample;
        }
        ZO2_UNROLL
        for (int i = 0; i < kRun; ++i) x[i] = kernels::Fma(shared.coefficients[k], z[i], x[i]);
      }
      Write(rect.compute,
            output.data + rect.branch_offset + s.row * rect.branch_stride + s.col * kernels::BytesOf(rect.compute), x,
            s);
    }
  }

  // All of one block.
  template <class Team>
  static ZO2_HD void Run(const PrepareLaunch* launch, int block, PrepareShared* shared, Team& team) {
    const PrepareRect* rect = RectOf(*launch, block);
    team.Each([=](int thread, State&) { Start(*launch, *rect, thread, shared); });
    team.Sync();
    const int64_t draws = shared->draws_pending;
    const int64_t begin = static_cast<int64_t>(block - rect->block_begin) * kPrepareThreads;
    const int64_t stride = static_cast<int64_t>(rect->block_end - rect->block_begin) * kPrepareThreads;
    const int64_t end = rect->rows * rect->units;
    for (int64_t unit = begin; unit < end; unit += stride) {
      team.Each([=](int thread, State& s) { Load(*launch, *rect, unit + thread, s); });
      for (int64_t d = 0; d < draws; d += kDraws) {
        if (unit == begin || draws > kDraws) {  // else the block has them from its first round
          team.Sync();
          team.Each([=](int thread, State&) { Fill(*launch, *rect, d, thread, shared); });
          team.Sync();
        }
        const int count = static_cast<int>(draws - d < kDraws ? draws - d : kDraws);
        team.Each([=](int, State& s) { Apply(*launch, *rect, count, *shared, s); });
      }
      team.Each([=](int, State& s) { Finish(*launch, *rect, *shared, s); });
    }
    team.Sync();
  }
};

// Calls f with the body that a launch wants, as a value.
template <class F>
auto WithPrepareBody(const PrepareLaunch& launch, F&& f) {
  const auto with = [&]<Wire kSource>() {
    return launch.rademacher ? f(PrepareBody<kSource, true>()) : f(PrepareBody<kSource, false>());
  };
  switch (launch.source) {
    case Wire::kF32:
      return with.template operator()<Wire::kF32>();
    case Wire::kBF16:
      return with.template operator()<Wire::kBF16>();
    case Wire::kF16:
      return with.template operator()<Wire::kF16>();
    case Wire::kE4M3:
      return with.template operator()<Wire::kE4M3>();
    case Wire::kI8:
      return with.template operator()<Wire::kI8>();
    default:
      return with.template operator()<Wire::kI4>();
  }
}

}  // namespace zo2::cuda

#endif  // ZO2_RUNTIME_CUDA_PREPARE_BODY_H_
