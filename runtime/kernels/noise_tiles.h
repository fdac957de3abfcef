// zo-noise over vectors, written once for every SIMD instruction set. The policy V gives the operations of one set
// (simd_avx2.h, simd_avx512.h). Included only by files compiled for that set.
//
// Work goes by tiles: 128 elements whose first is a multiple of 128. A tile is 32 blocks of Gaussians, 16 blocks of
// rounding bits, or 1 block of signs, and no tile crosses a multiple of 2^32 blocks.
//
// Arrangement. Philox multiplies 32 x 32 -> 64 bits, so a register of 64-bit lanes holds one counter word of
// kLanes / 2 blocks; the upper halves may hold garbage, the multiplication ignores them. Two such registers are merged
// into one of 32-bit lanes in the last round, lane l = 4L + j holding block (kLanes / 4) j + L of the group: then the
// 4 x 4 transpose within 128-bit lanes alone yields contiguous output.
#ifndef ZO2_RUNTIME_KERNELS_NOISE_TILES_H_
#define ZO2_RUNTIME_KERNELS_NOISE_TILES_H_

#include <cstdint>
#include <cstring>

#include "runtime/kernels/noise_core.h"

namespace zo2::kernels {

constexpr int kTile = 128;  // elements

// One direction of one tensor with its round keys.
struct PhiloxStream {
  uint32_t key0[kPhiloxRounds], key1[kPhiloxRounds];
  uint32_t tensor_id, direction;  // the direction's low word, its high word is in the key
};

ZO2_HD PhiloxStream MakeStream(NoiseKey key, uint64_t direction) {
  PhiloxStream s;
  uint32_t k0 = static_cast<uint32_t>(key.seed);
  uint32_t k1 = static_cast<uint32_t>(key.seed >> 32) + static_cast<uint32_t>(direction >> 32);
  for (int i = 0; i < kPhiloxRounds; ++i) {
    s.key0[i] = k0;
    s.key1[i] = k1;
    k0 += kPhiloxW0;
    k1 += kPhiloxW1;
  }
  s.tensor_id = key.tensor_id;
  s.direction = static_cast<uint32_t>(direction);
  return s;
}

// Words of G groups of kLanes blocks from block b0, a multiple of G * kLanes: words[g][i] is word i in lane order.
template <class V, int G>
ZO2_HD void PhiloxGroups(const PhiloxStream& s, uint64_t b0, typename V::I (&words)[G][4]) {
  using I = typename V::I;
  constexpr int H = 2 * G;  // half groups
  const I m0 = V::SetWord(kPhiloxM0), m1 = V::SetWord(kPhiloxM1);

  // Rounds 1 and 2: what does not depend on the low word of b is the same in all lanes.
  const uint64_t r1 = static_cast<uint64_t>(kPhiloxM1) * s.tensor_id;
  const uint32_t r1c0 = static_cast<uint32_t>(r1 >> 32) ^ static_cast<uint32_t>(b0 >> 32) ^ s.key0[0];
  const uint64_t r2 = static_cast<uint64_t>(kPhiloxM0) * r1c0;
  const I r1x2 = V::SetWord(s.direction ^ s.key1[0]);
  const I r2x0 = V::SetWord(static_cast<uint32_t>(r1) ^ s.key0[1]);
  const I r2x2 = V::SetWord(static_cast<uint32_t>(r2 >> 32) ^ s.key1[1]);
  const I r2c3 = V::SetWord(static_cast<uint32_t>(r2));
  I c0[H], c1[H], c2[H], c3[H];
#pragma GCC unroll 8
  for (int h = 0; h < H; ++h) {
    const uint32_t first = static_cast<uint32_t>(b0) + (h / 2) * V::kLanes + (h % 2) * (V::kLanes / 4);
    const I p0 = V::MulEven(V::Add(V::SetWord(first), V::BlockOffsets()), m0);
    const I p1 = V::MulEven(V::Xor(V::HighDown(p0), r1x2), m1);
    c0[h] = V::Xor(V::HighDown(p1), r2x0);
    c1[h] = p1;
    c2[h] = V::Xor(p0, r2x2);
    c3[h] = r2c3;
  }
#pragma GCC unroll 8
  for (int round = 2; round < kPhiloxRounds - 1; ++round) {
    const I k0 = V::SetWord(s.key0[round]), k1 = V::SetWord(s.key1[round]);
#pragma GCC unroll 8
    for (int h = 0; h < H; ++h) {
      const I p0 = V::MulEven(c0[h], m0), p1 = V::MulEven(c2[h], m1);
      c0[h] = V::Xor3(V::HighDown(p1), c1[h], k0);
      c2[h] = V::Xor3(V::HighDown(p0), c3[h], k1);
      c1[h] = p1;
      c3[h] = p0;
    }
  }
  const I k0 = V::SetWord(s.key0[kPhiloxRounds - 1]), k1 = V::SetWord(s.key1[kPhiloxRounds - 1]);
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g) {
    const int a = 2 * g, b = a + 1;
    const I p0a = V::MulEven(c0[a], m0), p0b = V::MulEven(c0[b], m0);
    const I p1a = V::MulEven(c2[a], m1), p1b = V::MulEven(c2[b], m1);
    words[g][0] = V::Xor3(V::MergeHigh(p1a, p1b), V::MergeLow(c1[a], c1[b]), k0);
    words[g][1] = V::MergeLow(p1a, p1b);
    words[g][2] = V::Xor3(V::MergeHigh(p0a, p0b), V::MergeLow(c3[a], c3[b]), k1);
    words[g][3] = V::MergeLow(p0a, p0b);
  }
}

// The P pairs go through each operation together: the chains are long and the processor's window is short.
template <class V, int P>
ZO2_HD void RadiusOf(const typename V::I (&u)[P], typename V::F (&r)[P]) {
  using F = typename V::F;
  using I = typename V::I;
  F f[P], p[P], e[P];
#pragma GCC unroll 8
  for (int i = 0; i < P; ++i) {
    const I ix = V::AsI(V::Fma(V::FromWord(u[i]), V::Set(0x1p-32f), V::Set(0x1p-33f)));
    const I eb = V::And(V::Sub(ix, V::SetWord(kTwoThirds)), V::SetWord(0xFF800000u));
    f[i] = V::Sub(V::AsF(V::Sub(ix, eb)), V::Set(1.0f));
    e[i] = V::FromInt(eb);
    p[i] = V::Fma(V::Set(kLog7), f[i], V::Set(kLog6));
  }
  const float c[6] = {kLog5, kLog4, kLog3, kLog2, kLog1, kLog0};
#pragma GCC unroll 8
  for (int k = 0; k < 6; ++k) {
#pragma GCC unroll 8
    for (int i = 0; i < P; ++i) p[i] = V::Fma(p[i], f[i], V::Set(c[k]));
  }
#pragma GCC unroll 8
  for (int i = 0; i < P; ++i) {
    const F y = V::Fma(V::Mul(f[i], f[i]), p[i], f[i]);
    r[i] = V::Sqrt(V::Mul(V::Set(-2.0f), V::Fma(e[i], V::Set(kLn2Scaled), y)));
  }
}

template <class V, int P>
ZO2_HD void CosSinOf(const typename V::I (&u)[P], typename V::F (&c)[P], typename V::F (&s)[P]) {
  using F = typename V::F;
  using I = typename V::I;
  F d[P], x[P];
  I k[P];
#pragma GCC unroll 8
  for (int i = 0; i < P; ++i) {
    // 4 U in one operation: scaling by a power of two commutes with the rounding.
    const F t = V::Fma(V::FromWord(u[i]), V::Set(0x1p-30f), V::Set(0x1p-31f));
    const F q = V::Add(t, V::Set(kRoundToInteger));
    k[i] = V::AsI(q);
    d[i] = V::Sub(t, V::Sub(q, V::Set(kRoundToInteger)));
    x[i] = V::Mul(d[i], d[i]);
    s[i] = V::Fma(V::Set(kSin3), x[i], V::Set(kSin2));
    c[i] = V::Fma(V::Set(kCos4), x[i], V::Set(kCos3));
  }
#pragma GCC unroll 8
  for (int i = 0; i < P; ++i) {
    s[i] = V::Fma(s[i], x[i], V::Set(kSin1));
    c[i] = V::Fma(c[i], x[i], V::Set(kCos2));
  }
#pragma GCC unroll 8
  for (int i = 0; i < P; ++i) {
    s[i] = V::Fma(s[i], x[i], V::Set(kSin0));
    c[i] = V::Fma(c[i], x[i], V::Set(kCos1));
  }
#pragma GCC unroll 8
  for (int i = 0; i < P; ++i) {
    s[i] = V::Mul(d[i], s[i]);
    c[i] = V::Fma(c[i], x[i], V::Set(kCos0));
    V::Quadrant(k[i], &c[i], &s[i]);
  }
}

// Gaussians of G groups of kLanes blocks from block b0 to out[4 * kLanes * G], aligned to nothing.
template <class V, int G>
ZO2_HD void GaussianGroups(const PhiloxStream& stream, uint64_t b0, float* out) {
  using F = typename V::F;
  using I = typename V::I;
  I words[G][4];
  PhiloxGroups<V, G>(stream, b0, words);
  I for_radius[2 * G], for_angle[2 * G];
#pragma GCC unroll 8
  for (int i = 0; i < 2 * G; ++i) {
    for_radius[i] = words[i / 2][i % 2 * 2];
    for_angle[i] = words[i / 2][i % 2 * 2 + 1];
  }
  F r[2 * G], c[2 * G], s[2 * G];
  RadiusOf<V, 2 * G>(for_radius, r);
  CosSinOf<V, 2 * G>(for_angle, c, s);
#pragma GCC unroll 8
  for (int g = 0; g < G; ++g) {
    F z[4] = {V::Mul(r[2 * g], c[2 * g]), V::Mul(r[2 * g], s[2 * g]),  //
              V::Mul(r[2 * g + 1], c[2 * g + 1]), V::Mul(r[2 * g + 1], s[2 * g + 1])};
    V::Transpose(z);
#pragma GCC unroll 4
    for (int j = 0; j < 4; ++j) V::Store(out + (4 * g + j) * V::kLanes, z[j]);
  }
}

// z of elements tile * 128 ... + 127.
template <class V>
ZO2_HD void GaussianTile(const PhiloxStream& stream, uint64_t tile, float* out) {
  constexpr int kStep = V::kGroupsAtOnce * V::kLanes;  // blocks
  for (int b = 0; b < kTile / 4; b += kStep) {
    GaussianGroups<V, V::kGroupsAtOnce>(stream, tile * (kTile / 4) + b, out + 4 * b);
  }
}

template <class V>
ZO2_HD void RademacherTile(const PhiloxStream& s, uint64_t tile, float* out) {
  const Words u = Philox4x32(
      {static_cast<uint32_t>(tile), static_cast<uint32_t>(tile >> 32), s.tensor_id, s.direction}, s.key0[0], s.key1[0]);
  for (int i = 0; i < kTile; i += V::kLanes) V::Store(out + i, V::Signs(u.w[i / 32] >> (i % 32)));
}

// The words of 16 blocks in order are, on a little-endian machine, the 16-bit halves of their 128 elements in order.
template <class V>
ZO2_HD void RoundBitsTile(const PhiloxStream& stream, uint64_t tile, uint16_t* out) {
  for (int b = 0; b < kTile / 8; b += V::kLanes) {
    typename V::I words[1][4];
    PhiloxGroups<V, 1>(stream, tile * (kTile / 8) + b, words);
    typename V::F w[4] = {V::AsF(words[0][0]), V::AsF(words[0][1]), V::AsF(words[0][2]), V::AsF(words[0][3])};
    V::Transpose(w);
    for (int j = 0; j < 4; ++j) {
      V::Store(reinterpret_cast<float*>(out + 8 * b + 2 * j * V::kLanes), w[j]);
    }
  }
}

// Any range from a generator of whole tiles: `tile_fn(stream, tile, T* out)`.
template <class T, class TileFn>
ZO2_HD void FillByTiles(const PhiloxStream& stream, uint64_t start, int64_t count, T* out, TileFn tile_fn) {
  alignas(64) T part[kTile];
  while (count > 0) {
    const uint64_t tile = start / kTile;
    const int64_t skip = static_cast<int64_t>(start % kTile);
    const int64_t n = kTile - skip < count ? kTile - skip : count;
    if (n == kTile) {
      tile_fn(stream, tile, out);
    } else {
      tile_fn(stream, tile, part);
      std::memcpy(out, part + skip, static_cast<size_t>(n) * sizeof(T));
    }
    start += static_cast<uint64_t>(n);
    out += n;
    count -= n;
  }
}

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_NOISE_TILES_H_
