// simd.h for any processor.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "runtime/aten/simd.h"
#include "runtime/aten/simd_loops.h"
#include "runtime/aten/simd_gemm_bf16.h"

namespace zo2::aten {

Simd SimdGeneric() {
  return {Dot,    Outer,   Softmax, Gelu,      GeluTanh,    Silu, Scale, Norm,
          Rotate, LogSum, DotBf16, OuterBf16, RoundToBf16};
}

}  // namespace zo2::aten
