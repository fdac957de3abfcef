// AVX2 with FMA and F16C as a policy for noise_tiles.h, codec_tiles.h and prepare_tiles.h. Include only from *_avx2.cc.
#ifndef ZO2_RUNTIME_KERNELS_SIMD_AVX2_H_
#define ZO2_RUNTIME_KERNELS_SIMD_AVX2_H_

#include <immintrin.h>

#include <cstdint>

#include "runtime/kernels/noise_core.h"

namespace zo2::kernels {

struct Avx2 {
  using F = __m256;
  using I = __m256i;
  static constexpr int kLanes = 8;         // of 32 bits
  static constexpr int kGroupsAtOnce = 1;  // 2 registers of 64-bit lanes per counter word: 8 of the 16 registers

  // ---- memory ----
  static ZO2_HD F Load(const float* p) { return _mm256_loadu_ps(p); }
  static ZO2_HD void Store(float* p, F v) { _mm256_storeu_ps(p, v); }
  static ZO2_HD I LoadU16(const uint16_t* p) {
    return _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static ZO2_HD void StoreU16(uint16_t* p, I v) {  // the low 16 bits of each lane, which the callers keep below 2^16
    const I packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(v, v), 0xD8);
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_castsi256_si128(packed));
  }
  static ZO2_HD I LoadU8(const uint8_t* p) {
    return _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static ZO2_HD I LoadI8(const uint8_t* p) {
    return _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
  }
  static ZO2_HD void StoreU8(uint8_t* p, I v) {  // the low 8 bits of each lane
    const I low = _mm256_shuffle_epi8(v, _mm256_set1_epi32(0x0C080400));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p),
                     _mm_unpacklo_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
  }
  // Signed halves of bytes, the low half first: byte b of a 64-bit lane becomes b in its low word and b >> 4 in its high
  // one; then all but 4 bits are shifted out. And back.
  static ZO2_HD I LoadNibbles(const uint8_t* p) {
    const I b = _mm256_cvtepu8_epi64(_mm_loadu_si32(p));
    return _mm256_srai_epi32(_mm256_slli_epi32(Or(b, _mm256_slli_epi64(b, 28)), 28), 28);
  }
  static ZO2_HD void StoreNibbles(uint8_t* p, I v) {
    const I n = And(v, SetWord(0xF)), b = Or(n, _mm256_srli_epi64(n, 28));
    const I low = _mm256_shuffle_epi8(b, _mm256_set1_epi32(0x0800));
    _mm_storeu_si32(p, _mm_unpacklo_epi16(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1)));
  }

  // ---- floats ----
  static ZO2_HD F Set(float a) { return _mm256_set1_ps(a); }
  static ZO2_HD F Add(F a, F b) { return _mm256_add_ps(a, b); }
  static ZO2_HD F Sub(F a, F b) { return _mm256_sub_ps(a, b); }
  static ZO2_HD F Mul(F a, F b) { return _mm256_mul_ps(a, b); }
  static ZO2_HD F Fma(F a, F b, F c) { return _mm256_fmadd_ps(a, b, c); }
  static ZO2_HD F Sqrt(F a) { return _mm256_sqrt_ps(a); }
  static ZO2_HD F Div(F a, F b) { return _mm256_div_ps(a, b); }
  static ZO2_HD F Clamp(F a, float largest) {
    return _mm256_min_ps(_mm256_max_ps(a, Set(-largest)), Set(largest));
  }

  // ---- words ----
  static ZO2_HD I SetWord(uint32_t a) { return _mm256_set1_epi32(static_cast<int>(a)); }
  static ZO2_HD I Add(I a, I b) { return _mm256_add_epi32(a, b); }
  static ZO2_HD I Sub(I a, I b) { return _mm256_sub_epi32(a, b); }
  static ZO2_HD I And(I a, I b) { return _mm256_and_si256(a, b); }
  static ZO2_HD I Or(I a, I b) { return _mm256_or_si256(a, b); }
  static ZO2_HD I Xor(I a, I b) { return _mm256_xor_si256(a, b); }
  static ZO2_HD I Xor3(I a, I b, I c) { return Xor(Xor(a, b), c); }
  static ZO2_HD I Min(I a, I b) { return _mm256_min_epu32(a, b); }
  static ZO2_HD I Max(I a, I b) { return _mm256_max_epu32(a, b); }
  static ZO2_HD uint32_t Largest(I a) {  // of all lanes
    __m128i m = _mm_max_epu32(_mm256_castsi256_si128(a), _mm256_extracti128_si256(a, 1));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0x4E));
    m = _mm_max_epu32(m, _mm_shuffle_epi32(m, 0xB1));
    return static_cast<uint32_t>(_mm_cvtsi128_si32(m));
  }
  static ZO2_HD I LaneNumbers() { return _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7); }
  template <int kBits>
  static ZO2_HD I ShiftRight(I a) {
    return _mm256_srli_epi32(a, kBits);
  }
  template <int kBits>
  static ZO2_HD I ShiftLeft(I a) {
    return _mm256_slli_epi32(a, kBits);
  }
  // Bit l: lane l of a is the greater, as signed words; callers stay below 2^31.
  static ZO2_HD uint32_t GreaterMask(I a, I b) {
    return static_cast<uint32_t>(_mm256_movemask_ps(AsF(_mm256_cmpgt_epi32(a, b))));
  }
  // a < b ? x : y, as signed words; and for floats.
  static ZO2_HD I SelectLess(I a, I b, I x, I y) { return _mm256_blendv_epi8(y, x, _mm256_cmpgt_epi32(b, a)); }
  static ZO2_HD I SelectLess(F a, F b, I x, I y) {
    return _mm256_blendv_epi8(y, x, AsI(_mm256_cmp_ps(a, b, _CMP_LT_OQ)));
  }

  // ---- conversions ----
  static ZO2_HD I AsI(F a) { return _mm256_castps_si256(a); }
  static ZO2_HD F AsF(I a) { return _mm256_castsi256_ps(a); }
  // There is no conversion of unsigned words: both halves are exact, the addition rounds once.
  static ZO2_HD F FromWord(I a) {
    const F high = FromInt(ShiftRight<16>(a)), low = FromInt(_mm256_blend_epi16(a, _mm256_setzero_si256(), 0xAA));
    return Fma(high, Set(65536.0f), low);
  }
  static ZO2_HD F FromInt(I a) { return _mm256_cvtepi32_ps(a); }
  static ZO2_HD I Truncate(F a) { return _mm256_cvttps_epi32(a); }
  static ZO2_HD F WidenBf16(const uint16_t* p) { return AsF(_mm256_slli_epi32(LoadU16(p), 16)); }
  static ZO2_HD F WidenF16(const uint16_t* p) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static ZO2_HD void NarrowF16(uint16_t* p, F v) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  // ---- Philox: 64-bit lanes whose low halves count ----
  static ZO2_HD I MulEven(I a, I b) { return _mm256_mul_epu32(a, b); }
  static ZO2_HD I HighDown(I a) { return _mm256_srli_epi64(a, 32); }
  // Even lanes from the low (high) halves of a, odd lanes from those of b.
  static ZO2_HD I MergeLow(I a, I b) { return _mm256_blend_epi32(a, _mm256_slli_epi64(b, 32), 0xAA); }
  static ZO2_HD I MergeHigh(I a, I b) { return _mm256_blend_epi32(_mm256_srli_epi64(a, 32), b, 0xAA); }
  // Blocks of the first half group; the second's are these + 2.
  static ZO2_HD I BlockOffsets() { return _mm256_set_epi64x(5, 1, 4, 0); }

  // c, s = cos, sin in quadrant k & 3 of those in quadrant 0.
  static ZO2_HD void Quadrant(I k, F* c, F* s) {
    const F odd = AsF(_mm256_slli_epi32(k, 31));  // a blend looks at the top bit
    const I top = SetWord(0x80000000u);
    const I sin_sign = And(_mm256_slli_epi32(k, 30), top), cos_sign = Xor(sin_sign, AsI(odd));
    const F cc = _mm256_blendv_ps(*c, *s, odd), ss = _mm256_blendv_ps(*s, *c, odd);
    *c = AsF(Xor(AsI(cc), cos_sign));
    *s = AsF(Xor(AsI(ss), sin_sign));
  }
  // The 4 x 4 transpose within each 128-bit lane.
  static ZO2_HD void Transpose(F (&z)[4]) {
    const F a = _mm256_unpacklo_ps(z[0], z[1]), b = _mm256_unpackhi_ps(z[0], z[1]);
    const F c = _mm256_unpacklo_ps(z[2], z[3]), d = _mm256_unpackhi_ps(z[2], z[3]);
    z[0] = _mm256_shuffle_ps(a, c, 0x44);
    z[1] = _mm256_shuffle_ps(a, c, 0xEE);
    z[2] = _mm256_shuffle_ps(b, d, 0x44);
    z[3] = _mm256_shuffle_ps(b, d, 0xEE);
  }
  // +1 where bit i of `bits` is set, else -1, i the lane.
  static ZO2_HD F Signs(uint32_t bits) {
    const I lane_bit = _mm256_setr_epi32(1, 2, 4, 8, 16, 32, 64, 128);
    const I set = _mm256_cmpeq_epi32(And(SetWord(bits), lane_bit), lane_bit);
    return _mm256_blendv_ps(Set(-1.0f), Set(1.0f), AsF(set));
  }
};

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_SIMD_AVX2_H_
