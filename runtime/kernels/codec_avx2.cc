#include "runtime/kernels/codec_tiles.h"
#include "runtime/kernels/noise_isa.h"
#include "runtime/kernels/simd_avx2.h"

namespace zo2::kernels::avx2 {

uint64_t EncodeRange(const EncodeJob& job) { return CodecTiles<Avx2>::EncodeRange(job); }
void DecodeRange(const DecodeJob& job) { CodecTiles<Avx2>::DecodeRange(job); }

}  // namespace zo2::kernels::avx2
