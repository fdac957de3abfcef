// The scalar core of zo-noise v1: Philox words, the Gaussian and sign transforms, conversions of stored elements, and
// stochastic rounding. It is the bit specification in code: every other path (SIMD, CUDA) must produce these bits.
//
// Bits are fixed by using only IEEE binary32 add, sub, mul, fma and sqrt, each rounded to nearest even, integer
// operations and int-to-float conversions, one function per operation, so that nothing can be contracted or reordered
// and each maps to one CUDA intrinsic. No libm, no fast-math, no flush-to-zero.
//
// Source of the generator: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011), Philox4x32-10;
// Box and Muller (1958) for the transform; the polynomials are our own minimax fits.
#ifndef ZO2_RUNTIME_KERNELS_NOISE_CORE_H_
#define ZO2_RUNTIME_KERNELS_NOISE_CORE_H_

#include <bit>
#include <cmath>
#include <cstdint>

// Always inlined: an out-of-line copy of a header's function may come from a file compiled for AVX-512, and the linker
// is free to give that copy to the code that runs on a machine without it.
#if defined(__CUDACC__)
#define ZO2_HD __host__ __device__ __forceinline__
#else
#define ZO2_HD inline __attribute__((always_inline))
#endif

namespace zo2::kernels {

// ---- one IEEE operation each ----
#if defined(__CUDA_ARCH__)
ZO2_HD float Add(float a, float b) { return __fadd_rn(a, b); }
ZO2_HD float Sub(float a, float b) { return __fsub_rn(a, b); }
ZO2_HD float Mul(float a, float b) { return __fmul_rn(a, b); }
ZO2_HD float Fma(float a, float b, float c) { return __fmaf_rn(a, b, c); }
ZO2_HD float Sqrt(float a) { return __fsqrt_rn(a); }
ZO2_HD float ToFloat(uint32_t a) { return __uint2float_rn(a); }
ZO2_HD float ToFloat(int32_t a) { return __int2float_rn(a); }
ZO2_HD uint32_t Bits(float a) { return __float_as_uint(a); }
ZO2_HD float FromBits(uint32_t a) { return __uint_as_float(a); }
#else
ZO2_HD float Add(float a, float b) { return a + b; }
ZO2_HD float Sub(float a, float b) { return a - b; }
ZO2_HD float Mul(float a, float b) { return a * b; }
ZO2_HD float Fma(float a, float b, float c) { return std::fma(a, b, c); }
ZO2_HD float Sqrt(float a) { return std::sqrt(a); }
ZO2_HD float ToFloat(uint32_t a) { return static_cast<float>(a); }
ZO2_HD float ToFloat(int32_t a) { return static_cast<float>(a); }
ZO2_HD uint32_t Bits(float a) { return std::bit_cast<uint32_t>(a); }
ZO2_HD float FromBits(uint32_t a) { return std::bit_cast<float>(a); }
#endif

// ---- words ----
constexpr uint32_t kPhiloxM0 = 0xD2511F53, kPhiloxM1 = 0xCD9E8D57;
constexpr uint32_t kPhiloxW0 = 0x9E3779B9, kPhiloxW1 = 0xBB67AE85;
constexpr int kPhiloxRounds = 10;

struct Words {
  uint32_t w[4];
};

ZO2_HD Words Philox4x32(Words counter, uint32_t key0, uint32_t key1) {
  Words c = counter;
  for (int round = 0; round < kPhiloxRounds; ++round) {
    const uint64_t p0 = static_cast<uint64_t>(kPhiloxM0) * c.w[0];
    const uint64_t p1 = static_cast<uint64_t>(kPhiloxM1) * c.w[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c.w[1] ^ key0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c.w[3] ^ key1, static_cast<uint32_t>(p0)};
    key0 += kPhiloxW0;
    key1 += kPhiloxW1;
  }
  return c;
}

// Which stream of noise: one per run seed and weight component; tensor_id is the component's id in the plan.
struct NoiseKey {
  uint64_t seed = 0;
  uint32_t tensor_id = 0;
};

// The stream of stochastic rounding is the noise of another seed, with the step in place of the direction.
ZO2_HD NoiseKey RoundingKey(NoiseKey key) { return {key.seed ^ (uint64_t{0x53524E44} << 32), key.tensor_id}; }

// Block b of a direction: 128 bits.
ZO2_HD Words NoiseWords(NoiseKey key, uint64_t direction, uint64_t b) {
  return Philox4x32({static_cast<uint32_t>(b), static_cast<uint32_t>(b >> 32), key.tensor_id, static_cast<uint32_t>(direction)},
                    static_cast<uint32_t>(key.seed),
                    static_cast<uint32_t>(key.seed >> 32) + static_cast<uint32_t>(direction >> 32));
}

// ---- Gaussian: elements 4b .. 4b+3 from block b ----
constexpr float kLog0 = -0.5f, kLog1 = 0x1.555528p-2f, kLog2 = -0x1.000b1cp-2f, kLog3 = 0x1.99c32ep-3f,
                kLog4 = -0x1.515a6cp-3f, kLog5 = 0x1.1f9568p-3f, kLog6 = -0x1.35b3cep-3f, kLog7 = 0x1.1b0c9ep-3f;
constexpr float kSin0 = 0x1.921fb6p+0f, kSin1 = -0x1.4abc24p-1f, kSin2 = 0x1.4680a4p-4f, kSin3 = -0x1.33198ep-8f;
constexpr float kCos0 = 1.0f, kCos1 = -0x1.3bd3ccp+0f, kCos2 = 0x1.03c1b0p-2f, kCos3 = -0x1.55b2b4p-6f,
                kCos4 = 0x1.d4f608p-11f;
constexpr float kLn2Scaled = 0x1.62e430p-24f;    // ln 2 / 2^23
constexpr uint32_t kTwoThirds = 0x3F2AAAAB;      // bits of 2/3: mantissas are taken in [2/3, 4/3)
constexpr float kRoundToInteger = 12582912.0f;   // 1.5 * 2^23

// In [2^-33, 1].
ZO2_HD float Uniform(uint32_t u) { return Fma(ToFloat(u), 0x1p-32f, 0x1p-33f); }

// sqrt(-2 ln u)
ZO2_HD float Radius(float u) {
  const uint32_t ix = Bits(u);
  const uint32_t eb = (ix - kTwoThirds) & 0xFF800000u;
  const float f = Sub(FromBits(ix - eb), 1.0f);
  const float s = Mul(f, f);
  float p = Fma(kLog7, f, kLog6);
  p = Fma(p, f, kLog5);
  p = Fma(p, f, kLog4);
  p = Fma(p, f, kLog3);
  p = Fma(p, f, kLog2);
  p = Fma(p, f, kLog1);
  p = Fma(p, f, kLog0);
  const float y = Fma(s, p, f);
  return Sqrt(Mul(-2.0f, Fma(ToFloat(static_cast<int32_t>(eb)), kLn2Scaled, y)));
}

// cos and sin of 2 pi u
ZO2_HD void CosSin(float u, float* c, float* s) {
  const float t = Mul(4.0f, u);
  const float q = Add(t, kRoundToInteger);
  const uint32_t k = Bits(q);
  const float d = Sub(t, Sub(q, kRoundToInteger));
  const float x = Mul(d, d);
  float sp = Fma(kSin3, x, kSin2);
  sp = Fma(sp, x, kSin1);
  sp = Fma(sp, x, kSin0);
  sp = Mul(d, sp);
  float cp = Fma(kCos4, x, kCos3);
  cp = Fma(cp, x, kCos2);
  cp = Fma(cp, x, kCos1);
  cp = Fma(cp, x, kCos0);
  const bool odd = (k & 1) != 0;
  *c = FromBits(Bits(odd ? sp : cp) ^ (((k + 1) & 2) << 30));
  *s = FromBits(Bits(odd ? cp : sp) ^ ((k & 2) << 30));
}

ZO2_HD void GaussianBlock(Words u, float z[4]) {
  float c, s;
  float r = Radius(Uniform(u.w[0]));
  CosSin(Uniform(u.w[1]), &c, &s);
  z[0] = Mul(r, c);
  z[1] = Mul(r, s);
  r = Radius(Uniform(u.w[2]));
  CosSin(Uniform(u.w[3]), &c, &s);
  z[2] = Mul(r, c);
  z[3] = Mul(r, s);
}

// ---- Rademacher: element e is bit e & 127 of block e >> 7 ----
ZO2_HD float RademacherSign(Words u, uint32_t bit) { return (u.w[bit >> 5] >> (bit & 31)) & 1 ? 1.0f : -1.0f; }

// ---- 16 bits per element for stochastic rounding, from block element >> 3 of RoundingKey ----
ZO2_HD uint32_t RoundBits(Words u, uint32_t element) {
  return (u.w[(element & 7) >> 1] >> (16 * (element & 1))) & 0xFFFF;
}

// ---- elements of 16 bits ----
// Widening is exact. NaNs become quiet, as the hardware's conversion makes them.
ZO2_HD float WidenBf16(uint16_t v) { return FromBits(static_cast<uint32_t>(v) << 16); }
ZO2_HD float WidenF16(uint16_t v) {
  const uint32_t sign = static_cast<uint32_t>(v & 0x8000) << 16, m = v & 0x7FFF;
  if (m >= 0x7C00) return FromBits(sign | (m << 13) | 0x7F800000u | (m > 0x7C00 ? 0x400000u : 0));
  if (m >= 0x0400) return FromBits(sign | ((m << 13) + (112u << 23)));
  return FromBits(sign | Bits(Mul(ToFloat(m), 0x1p-24f)));
}

// Round to nearest, ties to even, as IEEE has it: past the largest finite value is infinity. For branches: an infinite
// parameter makes the loss infinite, and that step is skipped.
ZO2_HD uint16_t NarrowBf16(float t) {
  const uint32_t x = Bits(t);
  if ((x & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((x >> 16) | 0x40);
  return static_cast<uint16_t>((x + 0x7FFF + ((x >> 16) & 1)) >> 16);
}
ZO2_HD uint32_t NearestF16Magnitude(uint32_t a) {  // a: bits of |t|; a result above 0x7BFF is past the largest finite
  // 0.5 has the ulp 2^-24 of fp16's subnormals, so the addition rounds to it.
  if (a < 0x38800000u) return Bits(Add(FromBits(a), 0.5f)) - 0x3F000000u;
  return ((a + 0xFFF + ((a >> 13) & 1)) >> 13) - (112u << 10);
}
ZO2_HD uint16_t NarrowF16(float t) {
  const uint32_t x = Bits(t), a = x & 0x7FFFFFFFu, sign = (x >> 16) & 0x8000;
  if (a > 0x7F800000u) return static_cast<uint16_t>(sign | 0x7E00 | ((x >> 13) & 0x3FF));
  const uint32_t m = NearestF16Magnitude(a);
  return static_cast<uint16_t>(sign | (m < 0x7C00 ? m : 0x7C00));
}

// The master's store(): every value stays finite. What is past the largest finite value becomes that, with its sign,
// and adds one to *saturated.
ZO2_HD uint16_t Saturate(uint32_t x, uint32_t magnitude, uint32_t largest, uint64_t* saturated) {
  if (magnitude > largest) {
    magnitude = largest;
    ++*saturated;
  }
  return static_cast<uint16_t>(((x >> 16) & 0x8000) | magnitude);
}
ZO2_HD uint16_t StoreBf16Nearest(float t, uint64_t* saturated) {
  const uint32_t x = Bits(t), a = x & 0x7FFFFFFFu;
  return Saturate(x, (a + 0x7FFF + ((a >> 16) & 1)) >> 16, 0x7F7F, saturated);
}
ZO2_HD uint16_t StoreF16Nearest(float t, uint64_t* saturated) {
  const uint32_t x = Bits(t);
  return Saturate(x, NearestF16Magnitude(x & 0x7FFFFFFFu), 0x7BFF, saturated);
}
// r: 16 random bits.
ZO2_HD uint16_t StoreBf16Stochastic(float t, uint32_t r, uint64_t* saturated) {
  const uint32_t x = Bits(t);
  return Saturate(x, ((x & 0x7FFFFFFFu) + r) >> 16, 0x7F7F, saturated);
}
ZO2_HD uint16_t StoreF16Stochastic(float t, uint32_t r, uint64_t* saturated) {
  const uint32_t x = Bits(t), a = x & 0x7FFFFFFFu;
  if (a >= 0x38800000u) return Saturate(x, ((a + (r & 0x1FFF)) >> 13) - (112u << 10), 0x7BFF, saturated);
  const float v = Mul(FromBits(a), 0x1p24f);  // in units of fp16's smallest, below 1024: all exact from here on
  const uint32_t n = static_cast<uint32_t>(v);
  const float threshold = Fma(ToFloat(r), 0x1p-16f, 0x1p-17f);
  const uint32_t up = threshold < Sub(v, ToFloat(n)) ? 1 : 0;
  return static_cast<uint16_t>(((x >> 16) & 0x8000) | (n + up));
}

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_NOISE_CORE_H_
