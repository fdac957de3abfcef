#include "runtime/kernels/codec_tiles.h"
#include "runtime/kernels/noise_isa.h"
#include "runtime/kernels/simd_avx512.h"

namespace zo2::kernels::avx512 {

uint64_t EncodeRange(const EncodeJob& job) { return CodecTiles<Avx512>::EncodeRange(job); }
void DecodeRange(const DecodeJob& job) { CodecTiles<Avx512>::DecodeRange(job); }

}  // namespace zo2::kernels::avx512
