// simd.h for AVX-512.
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "runtime/aten/simd.h"

// GCC's own header makes "undefined" registers of uninitialised variables.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define ZO2_SIMD_AVX512
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#include "runtime/aten/simd_loops.h"
#include "runtime/aten/simd_gemm_bf16.h"

namespace zo2::aten {

Simd SimdAvx512() {
  return {Dot,    Outer,   Softmax, Gelu,      GeluTanh,    Silu, Scale, Norm,
          Rotate, LogSum, DotBf16, OuterBf16, RoundToBf16};
}

}  // namespace zo2::aten
