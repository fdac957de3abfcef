// zo-noise v1: counter-based noise z(seed, tensor, direction)[element], the same bits on every device.
//
// A direction is step · q + sample. Elements are linear indices in the weight's logical row-major layout, so any range
// of any weight can be generated anywhere, in any order. Scalar code, AVX2 and AVX-512 give the same bits; they differ
// in speed only (see docs/benchmarks.md).
#ifndef ZO2_RUNTIME_KERNELS_NOISE_H_
#define ZO2_RUNTIME_KERNELS_NOISE_H_

#include <cstdint>
#include <string_view>

#include "runtime/kernels/noise_core.h"

namespace zo2::kernels {

// Ordered: each instruction set includes those before it.
enum class Isa : uint8_t { kScalar = 0, kAvx2 = 1, kAvx512 = 2 };
std::string_view Name(Isa isa);  // "scalar", "avx2", "avx512"

// The best that this CPU has.
Isa DetectedIsa();
// The same, capped by the environment variable ZO2_ISA=scalar|avx2|avx512. Fixed at the first call.
Isa BestIsa();

// out[i] = z[start + i], i in [0, count). An `isa` that the CPU lacks falls back to the best that it has.
void GaussianFill(NoiseKey key, uint64_t direction, uint64_t start, int64_t count, float* out, Isa isa = BestIsa());
void RademacherFill(NoiseKey key, uint64_t direction, uint64_t start, int64_t count, float* out, Isa isa = BestIsa());
// The 16 bits per element that stochastic rounding takes at `step`.
void RoundBitsFill(NoiseKey key, uint64_t step, uint64_t start, int64_t count, uint16_t* out, Isa isa = BestIsa());

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_NOISE_H_
