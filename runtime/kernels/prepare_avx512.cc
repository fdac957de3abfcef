#include "runtime/kernels/noise_isa.h"
#include "runtime/kernels/prepare_tiles.h"
#include "runtime/kernels/simd_avx512.h"

namespace zo2::kernels::avx512 {

uint64_t PrepareRange(const PrepareJob& job, int64_t begin, int64_t end, const PrepareScratch& scratch) {
  return PrepareTiles<Avx512>::RunRange(job, begin, end, scratch);
}

}  // namespace zo2::kernels::avx512
