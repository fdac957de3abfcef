#include "runtime/kernels/noise.h"

#include <algorithm>
#include <cstdlib>

#include "runtime/kernels/noise_isa.h"

namespace zo2::kernels {
namespace {

Isa Capped(Isa isa) { return std::min(isa, DetectedIsa()); }

// Any range from blocks of 1 << kLog2 elements: `block_fn(Words, T out[1 << kLog2])`.
template <int kLog2, class T, class BlockFn>
void FillByBlocks(NoiseKey key, uint64_t direction, uint64_t start, int64_t count, T* out, BlockFn block_fn) {
  constexpr int64_t kBlock = int64_t{1} << kLog2;
  T block[kBlock];
  while (count > 0) {
    block_fn(NoiseWords(key, direction, start >> kLog2), block);
    const int64_t skip = static_cast<int64_t>(start & (kBlock - 1)), n = std::min(kBlock - skip, count);
    std::copy_n(block + skip, n, out);
    start += static_cast<uint64_t>(n);
    out += n;
    count -= n;
  }
}

}  // namespace

std::string_view Name(Isa isa) {
  switch (isa) {
    case Isa::kAvx512: return "avx512";
    case Isa::kAvx2: return "avx2";
    default: return "scalar";
  }
}

Isa DetectedIsa() {
  static const Isa detected = [] {
    // F16C came before AVX2 in every processor that has both; clang 14 cannot ask for it.
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) return Isa::kScalar;
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    return avx512 ? Isa::kAvx512 : Isa::kAvx2;
  }();
  return detected;
}

Isa BestIsa() {
  static const Isa best = [] {
    const char* cap = std::getenv("ZO2_ISA");
    for (const Isa isa : {Isa::kScalar, Isa::kAvx2}) {
      if (cap != nullptr && cap == Name(isa)) return Capped(isa);
    }
    return DetectedIsa();
  }();
  return best;
}

void GaussianFill(NoiseKey key, uint64_t direction, uint64_t start, int64_t count, float* out, Isa isa) {
  switch (Capped(isa)) {
    case Isa::kAvx512: return avx512::GaussianFill(key, direction, start, count, out);
    case Isa::kAvx2: return avx2::GaussianFill(key, direction, start, count, out);
    default: return FillByBlocks<2>(key, direction, start, count, out, [](Words u, float* z) { GaussianBlock(u, z); });
  }
}

void RademacherFill(NoiseKey key, uint64_t direction, uint64_t start, int64_t count, float* out, Isa isa) {
  switch (Capped(isa)) {
    case Isa::kAvx512: return avx512::RademacherFill(key, direction, start, count, out);
    case Isa::kAvx2: return avx2::RademacherFill(key, direction, start, count, out);
    default:
      return FillByBlocks<7>(key, direction, start, count, out, [](Words u, float* z) {
        for (uint32_t i = 0; i < 128; ++i) z[i] = RademacherSign(u, i);
      });
  }
}

void RoundBitsFill(NoiseKey key, uint64_t step, uint64_t start, int64_t count, uint16_t* out, Isa isa) {
  switch (Capped(isa)) {
    case Isa::kAvx512: return avx512::RoundBitsFill(key, step, start, count, out);
    case Isa::kAvx2: return avx2::RoundBitsFill(key, step, start, count, out);
    default:
      return FillByBlocks<3>(RoundingKey(key), step, start, count, out, [](Words u, uint16_t* r) {
        for (uint32_t i = 0; i < 8; ++i) r[i] = static_cast<uint16_t>(RoundBits(u, i));
      });
  }
}

}  // namespace zo2::kernels
