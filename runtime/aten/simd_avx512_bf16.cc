// simd.h for AVX-512 with AVX512_BF16: the products of bf16, and the rest of AVX-512.
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstring>

#include "runtime/aten/simd.h"

// GCC's own header makes "undefined" registers of uninitialised variables.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC diagnostic ignored "-Wunused-function"  // the headers' other loops
#define ZO2_SIMD_AVX512
#define ZO2_SIMD_DPBF16
#pragma GCC target("avx512bf16,avx512f,avx512dq,avx512bw,avx512vl,avx2,fma")
#include "runtime/aten/simd_gemm.h"
#include "runtime/aten/simd_gemm_bf16.h"

namespace zo2::aten {

Simd SimdAvx512Bf16() {
  Simd simd = SimdAvx512();
  simd.dot_bf16 = DotBf16;
  simd.outer_bf16 = OuterBf16;
  return simd;
}

}  // namespace zo2::aten
