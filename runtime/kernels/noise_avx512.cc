#include "runtime/kernels/noise_isa.h"
#include "runtime/kernels/noise_tiles.h"
#include "runtime/kernels/simd_avx512.h"

namespace zo2::kernels::avx512 {

void GaussianFill(NoiseKey key, uint64_t direction, uint64_t start, int64_t count, float* out) {
  FillByTiles(MakeStream(key, direction), start, count, out, [](const PhiloxStream& s, uint64_t tile, float* z) {
    GaussianTile<Avx512>(s, tile, z);
  });
}

void RademacherFill(NoiseKey key, uint64_t direction, uint64_t start, int64_t count, float* out) {
  FillByTiles(MakeStream(key, direction), start, count, out, [](const PhiloxStream& s, uint64_t tile, float* z) {
    RademacherTile<Avx512>(s, tile, z);
  });
}

void RoundBitsFill(NoiseKey key, uint64_t step, uint64_t start, int64_t count, uint16_t* out) {
  FillByTiles(MakeStream(RoundingKey(key), step), start, count, out,
              [](const PhiloxStream& s, uint64_t tile, uint16_t* r) { RoundBitsTile<Avx512>(s, tile, r); });
}

}  // namespace zo2::kernels::avx512
