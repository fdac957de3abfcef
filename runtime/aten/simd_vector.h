// Vectors of the chosen instruction set, in GCC's vector extension; see simd_loops.h.
#include <cstring>

// Vectors are passed by value, but only between functions that are all inlined.
#pragma GCC diagnostic ignored "-Wpsabi"

namespace zo2::aten {
namespace {

#define ZO2_UNROLL _Pragma("GCC unroll 16")
#define ZO2_INLINE inline __attribute__((always_inline))

#if defined(ZO2_SIMD_AVX512)
constexpr int kWidth = 16;
#elif defined(ZO2_SIMD_AVX2)
constexpr int kWidth = 8;
#else
constexpr int kWidth = 4;
#endif
constexpr int kLanes = 16;  // in which sums run, of any vectors

typedef float V __attribute__((vector_size(4 * kWidth)));
typedef uint32_t Vi __attribute__((vector_size(4 * kWidth)));
typedef double D __attribute__((vector_size(4 * kWidth)));  // half as many
typedef uint64_t Di __attribute__((vector_size(4 * kWidth)));
typedef float HalfV __attribute__((vector_size(2 * kWidth)));

// Not std::min: not inlined, it would be compiled for this instruction set and shared with the whole program.
ZO2_INLINE int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }

ZO2_INLINE V Load(const float* p) {
  V v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
ZO2_INLINE void Store(float* p, V v) { std::memcpy(p, &v, sizeof v); }
ZO2_INLINE V Splat(float x) { return V{} + x; }

// The first n elements, 0 < n < kWidth; the others are `fill`, and are left alone.
#if defined(ZO2_SIMD_AVX512)
ZO2_INLINE __mmask16 First(int64_t n) { return static_cast<__mmask16>((1u << n) - 1); }
ZO2_INLINE V LoadFirst(const float* p, int64_t n, float fill = 0) {
  return reinterpret_cast<V>(_mm512_mask_loadu_ps(_mm512_set1_ps(fill), First(n), p));
}
ZO2_INLINE void StoreFirst(float* p, V v, int64_t n) {
  _mm512_mask_storeu_ps(p, First(n), reinterpret_cast<__m512>(v));
}
#else
ZO2_INLINE V LoadFirst(const float* p, int64_t n, float fill = 0) {
  V v = Splat(fill);
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
}
ZO2_INLINE void StoreFirst(float* p, V v, int64_t n) {
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}
#endif

// a b + c, rounded once where the instruction set can.
#if defined(ZO2_SIMD_AVX512)
ZO2_INLINE V Fma(V a, V b, V c) {
  return reinterpret_cast<V>(
      _mm512_fmadd_ps(reinterpret_cast<__m512>(a), reinterpret_cast<__m512>(b), reinterpret_cast<__m512>(c)));
}
ZO2_INLINE D Fma(D a, D b, D c) {
  return reinterpret_cast<D>(_mm512_fmadd_pd(reinterpret_cast<__m512d>(a), reinterpret_cast<__m512d>(b),
                                             reinterpret_cast<__m512d>(c)));
}
#elif defined(ZO2_SIMD_AVX2)
ZO2_INLINE V Fma(V a, V b, V c) {
  return reinterpret_cast<V>(
      _mm256_fmadd_ps(reinterpret_cast<__m256>(a), reinterpret_cast<__m256>(b), reinterpret_cast<__m256>(c)));
}
ZO2_INLINE D Fma(D a, D b, D c) {
  return reinterpret_cast<D>(_mm256_fmadd_pd(reinterpret_cast<__m256d>(a), reinterpret_cast<__m256d>(b),
                                             reinterpret_cast<__m256d>(c)));
}
#else
ZO2_INLINE V Fma(V a, V b, V c) { return a * b + c; }
ZO2_INLINE D Fma(D a, D b, D c) { return a * b + c; }
#endif

// e^x to 2 units in the last place for x in [-87.3, 88.7]; what it is elsewhere means nothing.
ZO2_INLINE V ExpInRange(V x) {
  const V magic = Splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const V shifted = Fma(x, Splat(1.44269504f), magic), n = shifted - magic;
  const V r = Fma(n, Splat(2.12194440e-4f), Fma(n, Splat(-0.693359375f), x));  // x - n ln 2
  V p = Splat(1.9875691500e-4f);
  p = Fma(p, r, Splat(1.3981999507e-3f));
  p = Fma(p, r, Splat(8.3334519073e-3f));
  p = Fma(p, r, Splat(4.1665795894e-2f));
  p = Fma(p, r, Splat(1.6666665459e-1f));
  p = Fma(p, r, Splat(5.0000001201e-1f));
  p = Fma(p * r, r, r) + 1.0f;
  // times 2^n, by its exponent
  return reinterpret_cast<V>(reinterpret_cast<Vi>(p) +
                             ((reinterpret_cast<Vi>(shifted) - reinterpret_cast<Vi>(magic)) << 23));
}
// e^x: 0 below -87.3, infinity above 88.7, NaN stays.
ZO2_INLINE V Exp(V x) {
  const V y = ExpInRange(x);
  const V upper = x > 88.7f ? Splat(__builtin_inff()) : y;
  return x >= -87.3f ? upper : (x == x ? V{} : x);
}
// The same for x <= 0.
ZO2_INLINE V ExpNegative(V x) {
  const V y = ExpInRange(x);
  return x >= -87.3f ? y : (x == x ? V{} : x);
}

// e^x for x <= 0 to a few units in the last place of binary64; 0 below -708, NaN stays.
ZO2_INLINE D ExpNegative(D x) {
  const D magic = D{} + 6755399441055744.0;  // 1.5 * 2^52
  const D clamped = x < -708.0 ? D{} - 708.0 : x;
  const D shifted = Fma(clamped, D{} + 1.4426950408889634, magic), n = shifted - magic;
  const D r = Fma(n, D{} - 1.90821492927058770002e-10, Fma(n, D{} - 6.93147180369123816490e-01, clamped));
  D p = D{} + 1.0 / 6227020800;  // Taylor: |r| <= 0.35, and 0.35^14 / 14! is below 2^-53
  const double reciprocal_factorials[] = {
      1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040, 1.0 / 720,
      1.0 / 120,       1.0 / 24,       1.0 / 6,       0.5,          1.0,         1.0};
  ZO2_UNROLL for (int i = 0; i < 13; ++i) p = Fma(p, r, D{} + reciprocal_factorials[i]);
  const Di exponent = reinterpret_cast<Di>(shifted) - reinterpret_cast<Di>(magic);
  const D y = p * reinterpret_cast<D>((exponent + 1023) << 52);
  return x < -708.0 ? D{} : (x == x ? y : x);
}

}  // namespace
}  // namespace zo2::aten
