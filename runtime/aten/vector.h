// Sixteen floats at a time, in GCC's vector extension, so that a loop is written once and compiled for AVX-512, AVX2
// and the baseline. Only +, -, *, / and exact operations are used and nothing is contracted, so an element's bits
// depend neither on the instruction set nor on where in a vector it falls: tails go through the same operations.
#ifndef ZO2_RUNTIME_ATEN_VECTOR_H_
#define ZO2_RUNTIME_ATEN_VECTOR_H_

#include <cstdint>
#include <cstring>
#include <limits>

// Vectors are passed by value between functions that are all inlined: their calling convention does not matter.
#pragma GCC diagnostic ignored "-Wpsabi"

#define ZO2_INLINE inline __attribute__((always_inline))

namespace zo2::aten {

constexpr int64_t kWidth = 16;
typedef float Floats __attribute__((vector_size(4 * kWidth)));
typedef int32_t Ints __attribute__((vector_size(4 * kWidth)));
typedef double Doubles __attribute__((vector_size(8 * 8)));
typedef int64_t Longs __attribute__((vector_size(8 * 8)));

ZO2_INLINE Floats Load(const float* p) {
  Floats v;
  std::memcpy(&v, p, sizeof v);
  return v;
}
ZO2_INLINE void Store(float* p, Floats v) { std::memcpy(p, &v, sizeof v); }
// The first n elements; the others are `fill`.
ZO2_INLINE Floats Load(const float* p, int64_t n, float fill) {
  if (n >= kWidth) return Load(p);
  float all[kWidth];
  for (int64_t i = 0; i < kWidth; ++i) all[i] = i < n ? p[i] : fill;
  return Load(all);
}
ZO2_INLINE void Store(float* p, Floats v, int64_t n) {
  if (n >= kWidth) return Store(p, v);
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
}
ZO2_INLINE Floats Splat(float x) { return Floats{} + x; }
ZO2_INLINE Ints Bits(Floats v) { return reinterpret_cast<Ints>(v); }
ZO2_INLINE Floats FromBits(Ints v) { return reinterpret_cast<Floats>(v); }

// Sums and maxima in one fixed order.
ZO2_INLINE float Sum(Floats v) {
  float s[kWidth];
  Store(s, v);
  for (int64_t step = kWidth / 2; step > 0; step /= 2)
    for (int64_t i = 0; i < step; ++i) s[i] += s[i + step];
  return s[0];
}
// A NaN anywhere in `v` may or may not be the result: whoever needs NaN to show must let it show elsewhere.
ZO2_INLINE float Max(Floats v) {
  float m = v[0];
  for (int64_t i = 1; i < kWidth; ++i) m = v[i] > m ? v[i] : m;
  return m;
}

// e^x within 1.5 units in the last place; 0 below -87.3, infinity above 88.7, NaN stays.
ZO2_INLINE Floats Exp(Floats x) {
  const Floats magic = Splat(12582912.0f);  // 1.5 * 2^23: adding it rounds to an integer
  const Floats clamped = x < -87.3f ? Splat(-87.3f) : (x > 88.7f ? Splat(88.7f) : x);
  const Floats shifted = clamped * 1.44269504f + magic;
  const Floats n = shifted - magic;
  // x = n ln 2 + r; ln 2 in two pieces, n times the first is exact.
  const Floats r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  Floats p = Splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = (p * r) * r + r + 1.0f;
  // times 2^n, in two steps so that neither exponent overflows
  const Ints exponent = Bits(shifted) - Bits(magic);
  const Ints half = exponent >> 1;
  const Floats y = (p * FromBits((half + 127) << 23)) * FromBits((exponent - half + 127) << 23);
  const Floats inf = Splat(std::numeric_limits<float>::infinity());
  return x < -87.3f ? Floats{} : (x > 88.7f ? inf : (x == x ? y : x));
}

// Runs f() compiled for what this processor has. f and all it calls must be inlinable.
template <typename F>
__attribute__((target("avx512f,avx512dq,avx512bw,avx512vl,avx2,fma"), flatten, noinline)) void RunAvx512(const F& f) {
  f();
}
template <typename F>
__attribute__((target("avx2,fma"), flatten, noinline)) void RunAvx2(const F& f) {
  f();
}
template <typename F>
void RunVectorised(const F& f) {
  if (__builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl"))
    RunAvx512(f);
  else if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
    RunAvx2(f);
  else
    f();
}

}  // namespace zo2::aten

#endif  // ZO2_RUNTIME_ATEN_VECTOR_H_
