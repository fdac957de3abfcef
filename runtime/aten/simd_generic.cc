// simd.h for any processor.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "runtime/aten/simd.h"
#include "runtime/aten/simd_loops.h"

namespace zo2::aten {

Simd SimdGeneric() { return {Dot, Outer, Softmax, Gelu, GeluTanh, Silu, Scale, Norm, Rotate, LogSum}; }

}  // namespace zo2::aten
