// simd.h for AVX2.
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "runtime/aten/simd.h"

#define ZO2_SIMD_AVX2
#pragma GCC target("avx2,fma")
#include "runtime/aten/simd_loops.h"
#include "runtime/aten/simd_gemm_bf16.h"

namespace zo2::aten {

Simd SimdAvx2() {
  return {Dot,    Outer,   Softmax, Gelu,      GeluTanh,    Silu, Scale, Norm,
          Rotate, LogSum, DotBf16, OuterBf16, RoundToBf16};
}

}  // namespace zo2::aten
