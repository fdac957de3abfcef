#include "runtime/aten/simd.h"

namespace zo2::aten {

const Simd& GetSimd() {
  static const Simd simd = [] {
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl");
    const bool bf16 = avx512 && __builtin_cpu_supports("avx512bf16");
    return bf16 ? SimdAvx512Bf16() : avx512 ? SimdAvx512() : avx2 ? SimdAvx2() : SimdGeneric();
  }();
  return simd;
}

}  // namespace zo2::aten
