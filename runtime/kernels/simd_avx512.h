// AVX-512 (F, BW, VL, DQ) as a policy for noise_tiles.h, codec_tiles.h and prepare_tiles.h. Include only from *_avx512.cc.
#ifndef ZO2_RUNTIME_KERNELS_SIMD_AVX512_H_
#define ZO2_RUNTIME_KERNELS_SIMD_AVX512_H_

// GCC 12 takes the "undefined" pass-through operand inside its own intrinsics for a bug of ours (GCC PR 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstdint>

#include "runtime/kernels/noise_core.h"

namespace zo2::kernels {

struct Avx512 {
  using F = __m512;
  using I = __m512i;
  static constexpr int kLanes = 16;        // of 32 bits
  static constexpr int kGroupsAtOnce = 2;  // 4 registers of 64-bit lanes per counter word: 16 of the 32 registers

  // ---- memory ----
  static ZO2_HD F Load(const float* p) { return _mm512_loadu_ps(p); }
  static ZO2_HD void Store(float* p, F v) { _mm512_storeu_ps(p, v); }
  static ZO2_HD I LoadU16(const uint16_t* p) {
    return _mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static ZO2_HD void StoreU16(uint16_t* p, I v) {  // the low 16 bits of each lane
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(v));
  }
  static ZO2_HD I LoadU8(const uint8_t* p) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static ZO2_HD I LoadI8(const uint8_t* p) {
    return _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
  }
  static ZO2_HD void StoreU8(uint8_t* p, I v) {  // the low 8 bits of each lane
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtepi32_epi8(v));
  }
  // Signed halves of bytes, the low half first: byte b of a 64-bit lane becomes b in its low word and b >> 4 in its high
  // one; then all but 4 bits are shifted out. And back.
  static ZO2_HD I LoadNibbles(const uint8_t* p) {
    const I b = _mm512_cvtepu8_epi64(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    return _mm512_srai_epi32(_mm512_slli_epi32(Or(b, _mm512_slli_epi64(b, 28)), 28), 28);
  }
  static ZO2_HD void StoreNibbles(uint8_t* p, I v) {
    const I n = And(v, SetWord(0xF)), b = Or(n, _mm512_srli_epi64(n, 28));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(p), _mm512_cvtepi64_epi8(b));
  }

  // ---- floats ----
  static ZO2_HD F Set(float a) { return _mm512_set1_ps(a); }
  static ZO2_HD F Add(F a, F b) { return _mm512_add_ps(a, b); }
  static ZO2_HD F Sub(F a, F b) { return _mm512_sub_ps(a, b); }
  static ZO2_HD F Mul(F a, F b) { return _mm512_mul_ps(a, b); }
  static ZO2_HD F Fma(F a, F b, F c) { return _mm512_fmadd_ps(a, b, c); }
  static ZO2_HD F Sqrt(F a) { return _mm512_sqrt_ps(a); }
  static ZO2_HD F Div(F a, F b) { return _mm512_div_ps(a, b); }
  static ZO2_HD F Clamp(F a, float largest) {
    return _mm512_min_ps(_mm512_max_ps(a, Set(-largest)), Set(largest));
  }

  // ---- words ----
  static ZO2_HD I SetWord(uint32_t a) { return _mm512_set1_epi32(static_cast<int>(a)); }
  static ZO2_HD I Add(I a, I b) { return _mm512_add_epi32(a, b); }
  static ZO2_HD I Sub(I a, I b) { return _mm512_sub_epi32(a, b); }
  static ZO2_HD I And(I a, I b) { return _mm512_and_si512(a, b); }
  static ZO2_HD I Or(I a, I b) { return _mm512_or_si512(a, b); }
  static ZO2_HD I Xor(I a, I b) { return _mm512_xor_si512(a, b); }
  static ZO2_HD I Xor3(I a, I b, I c) { return _mm512_ternarylogic_epi32(a, b, c, 0x96); }
  static ZO2_HD I Min(I a, I b) { return _mm512_min_epu32(a, b); }
  static ZO2_HD I Max(I a, I b) { return _mm512_max_epu32(a, b); }
  static ZO2_HD uint32_t Largest(I a) { return _mm512_reduce_max_epu32(a); }  // of all lanes
  static ZO2_HD I LaneNumbers() { return _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15); }
  template <int kBits>
  static ZO2_HD I ShiftRight(I a) {
    return _mm512_srli_epi32(a, kBits);
  }
  template <int kBits>
  static ZO2_HD I ShiftLeft(I a) {
    return _mm512_slli_epi32(a, kBits);
  }
  // Bit l: lane l of a is the greater, as unsigned words.
  static ZO2_HD uint32_t GreaterMask(I a, I b) { return _mm512_cmpgt_epu32_mask(a, b); }
  // a < b ? x : y, as signed words; and for floats.
  static ZO2_HD I SelectLess(I a, I b, I x, I y) { return _mm512_mask_blend_epi32(_mm512_cmplt_epi32_mask(a, b), y, x); }
  static ZO2_HD I SelectLess(F a, F b, I x, I y) {
    return _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), y, x);
  }

  // ---- conversions ----
  static ZO2_HD I AsI(F a) { return _mm512_castps_si512(a); }
  static ZO2_HD F AsF(I a) { return _mm512_castsi512_ps(a); }
  static ZO2_HD F FromWord(I a) { return _mm512_cvtepu32_ps(a); }
  static ZO2_HD F FromInt(I a) { return _mm512_cvtepi32_ps(a); }
  static ZO2_HD I Truncate(F a) { return _mm512_cvttps_epi32(a); }
  static ZO2_HD F WidenBf16(const uint16_t* p) { return AsF(_mm512_slli_epi32(LoadU16(p), 16)); }
  static ZO2_HD F WidenF16(const uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static ZO2_HD void NarrowF16(uint16_t* p, F v) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
  }

  // ---- Philox: 64-bit lanes whose low halves count ----
  static ZO2_HD I MulEven(I a, I b) { return _mm512_mul_epu32(a, b); }
  static ZO2_HD I HighDown(I a) { return _mm512_srli_epi64(a, 32); }
  // Even lanes from the low (high) halves of a, odd lanes from those of b.
  static ZO2_HD I MergeLow(I a, I b) { return AsI(_mm512_mask_moveldup_ps(AsF(a), 0xAAAA, AsF(b))); }
  static ZO2_HD I MergeHigh(I a, I b) { return AsI(_mm512_mask_movehdup_ps(AsF(b), 0x5555, AsF(a))); }
  // Blocks of the first half group; the second's are these + 4.
  static ZO2_HD I BlockOffsets() { return _mm512_set_epi64(11, 3, 10, 2, 9, 1, 8, 0); }

  // c, s = cos, sin in quadrant k & 3 of those in quadrant 0.
  static ZO2_HD void Quadrant(I k, F* c, F* s) {
    const __mmask16 odd = _mm512_test_epi32_mask(k, SetWord(1));
    const I top = SetWord(0x80000000u);
    const I sin_sign = _mm512_slli_epi32(k, 30), cos_sign = _mm512_slli_epi32(Add(k, SetWord(1)), 30);
    const F cc = _mm512_mask_blend_ps(odd, *c, *s), ss = _mm512_mask_blend_ps(odd, *s, *c);
    *c = AsF(_mm512_ternarylogic_epi32(AsI(cc), cos_sign, top, 0x78));  // a ^ (b & c)
    *s = AsF(_mm512_ternarylogic_epi32(AsI(ss), sin_sign, top, 0x78));
  }
  // The 4 x 4 transpose within each 128-bit lane.
  static ZO2_HD void Transpose(F (&z)[4]) {
    const F a = _mm512_unpacklo_ps(z[0], z[1]), b = _mm512_unpackhi_ps(z[0], z[1]);
    const F c = _mm512_unpacklo_ps(z[2], z[3]), d = _mm512_unpackhi_ps(z[2], z[3]);
    z[0] = _mm512_shuffle_ps(a, c, 0x44);
    z[1] = _mm512_shuffle_ps(a, c, 0xEE);
    z[2] = _mm512_shuffle_ps(b, d, 0x44);
    z[3] = _mm512_shuffle_ps(b, d, 0xEE);
  }
  // +1 where bit i of `bits` is set, else -1, i the lane.
  static ZO2_HD F Signs(uint32_t bits) {
    return _mm512_mask_blend_ps(static_cast<__mmask16>(bits), Set(-1.0f), Set(1.0f));
  }
};

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_SIMD_AVX512_H_
