// zo-noise v1, one element at a time, straight from the specification (docs/NOISE.md). Slow and plain: the judge
// of the runtime's kernels, with which it shares no code. Rounding to 16 bits is done by exact binary64
// arithmetic rather than by the kernels' tricks with bits.
#ifndef ZO2_TESTS_TOOLS_SCALAR_NOISE_H_
#define ZO2_TESTS_TOOLS_SCALAR_NOISE_H_

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

namespace zo2::scalar {

// ---- words ----
inline std::array<uint32_t, 4> Philox(std::array<uint32_t, 4> c, uint32_t k0, uint32_t k1) {
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53} * c[0], p1 = uint64_t{0xCD9E8D57} * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += 0x9E3779B9;
    k1 += 0xBB67AE85;
  }
  return c;
}
// The words of block b of a direction.
inline std::array<uint32_t, 4> Block(uint64_t seed, uint64_t direction, uint32_t tensor_id, uint64_t b) {
  const auto low = [](uint64_t v) { return static_cast<uint32_t>(v & 0xFFFFFFFF); };
  return Philox({low(b), low(b >> 32), tensor_id, low(direction)}, low(seed),
                low((seed >> 32) + (direction >> 32)));
}

// ---- Gaussian ----
inline float Uniform(uint32_t u) { return std::fma(static_cast<float>(u), 0x1p-32f, 0x1p-33f); }

inline float Radius(float u) {
  constexpr float kLc[8] = {-0.5f,           0x1.555528p-2f, -0x1.000b1cp-2f, 0x1.99c32ep-3f,
                            -0x1.515a6cp-3f, 0x1.1f9568p-3f, -0x1.35b3cep-3f, 0x1.1b0c9ep-3f};
  const uint32_t ix = std::bit_cast<uint32_t>(u);
  const uint32_t eb = (ix - 0x3F2AAAAB) & 0xFF800000;
  const float f = std::bit_cast<float>(ix - eb) - 1.0f;
  const float s = f * f;
  float p = kLc[7];
  for (int i = 6; i >= 0; --i) p = std::fma(p, f, kLc[i]);
  const float y = std::fma(s, p, f);
  const float l = std::fma(static_cast<float>(static_cast<int32_t>(eb)), 0x1.62e430p-24f, y);
  return std::sqrt(-2.0f * l);
}

inline void CosSin(float u, float* c, float* s) {
  constexpr float kSc[4] = {0x1.921fb6p+0f, -0x1.4abc24p-1f, 0x1.4680a4p-4f, -0x1.33198ep-8f};
  constexpr float kCc[5] = {1.0f, -0x1.3bd3ccp+0f, 0x1.03c1b0p-2f, -0x1.55b2b4p-6f, 0x1.d4f608p-11f};
  const float t = 4.0f * u, q = t + 12582912.0f;
  const uint32_t k = std::bit_cast<uint32_t>(q);
  const float d = t - (q - 12582912.0f), x = d * d;
  float sp = kSc[3], cp = kCc[4];
  for (int i = 2; i >= 0; --i) sp = std::fma(sp, x, kSc[i]);
  for (int i = 3; i >= 0; --i) cp = std::fma(cp, x, kCc[i]);
  sp = d * sp;
  if (k & 1) std::swap(cp, sp);
  *c = (k + 1) & 2 ? -cp : cp;
  *s = k & 2 ? -sp : sp;
}

// z of one element.
inline float Gaussian(uint64_t seed, uint64_t direction, uint32_t tensor_id, uint64_t element) {
  const auto u = Block(seed, direction, tensor_id, element >> 2);
  const size_t pair = (element & 2) ? 2 : 0;
  float c, s;
  CosSin(Uniform(u[pair + 1]), &c, &s);
  return Radius(Uniform(u[pair])) * ((element & 1) ? s : c);
}

// ---- Rademacher ----
inline float Rademacher(uint64_t seed, uint64_t direction, uint32_t tensor_id, uint64_t element) {
  const auto u = Block(seed, direction, tensor_id, element >> 7);
  const uint32_t bit = static_cast<uint32_t>(element & 127);
  return u[bit >> 5] >> (bit & 31) & 1 ? 1.0f : -1.0f;
}

// ---- stochastic rounding's 16 bits of one element at `step` ----
inline uint32_t RoundBits(uint64_t seed, uint64_t step, uint32_t tensor_id, uint64_t element) {
  const uint64_t b = element >> 3;
  const auto low = [](uint64_t v) { return static_cast<uint32_t>(v & 0xFFFFFFFF); };
  const auto w = Philox({low(b), low(b >> 32), tensor_id, low(step)}, low(seed),
                        low(((seed >> 32) ^ 0x53524E44) + (step >> 32)));
  return w[(element & 7) >> 1] >> (element & 1 ? 16 : 0) & 0xFFFF;
}

// ---- formats of 16 bits ----
struct Format {
  int fraction_bits;  // stored
  int min_exponent;   // of the smallest normal number
  int max_exponent;
  double Largest() const { return std::ldexp(2.0 - std::ldexp(1.0, -fraction_bits), max_exponent); }
  uint16_t Infinity() const {
    return static_cast<uint16_t>((max_exponent - min_exponent + 2) << fraction_bits);
  }
};
inline constexpr Format kBf16{7, -126, 127}, kFp16{10, -14, 15};

// The value of finite bits.
inline float Value(Format f, uint16_t bits) {
  const int exponent = (bits & 0x7FFF) >> f.fraction_bits, fraction = bits & ((1 << f.fraction_bits) - 1);
  const double magnitude = exponent == 0 ? std::ldexp(fraction, f.min_exponent - f.fraction_bits)
                                         : std::ldexp(fraction + (1 << f.fraction_bits),
                                                      exponent - 1 + f.min_exponent - f.fraction_bits);
  return static_cast<float>(bits & 0x8000 ? -magnitude : magnitude);
}
// The bits of a magnitude that the format has, at most its largest.
inline uint16_t Encode(Format f, double magnitude) {
  if (magnitude < std::ldexp(1.0, f.min_exponent))
    return static_cast<uint16_t>(std::ldexp(magnitude, f.fraction_bits - f.min_exponent));
  const int exponent = std::ilogb(magnitude);
  const double fraction = std::ldexp(std::ldexp(magnitude, -exponent) - 1, f.fraction_bits);
  return static_cast<uint16_t>(((exponent - f.min_exponent + 1) << f.fraction_bits) +
                               static_cast<int>(fraction));
}
// |t| rounded to the nearest multiple of its last place, ties to even; may be past the largest.
inline double Nearest(Format f, float t) {
  const double a = std::fabs(static_cast<double>(t));
  if (a == 0) return 0;
  const double place = std::ldexp(1.0, std::max(std::ilogb(a), f.min_exponent) - f.fraction_bits);
  return std::nearbyint(a / place) * place;
}
inline uint16_t Sign(float t) { return std::signbit(t) ? 0x8000 : 0; }

// Of a branch: past the largest finite value is infinity.
inline uint16_t Narrow(Format f, float t) {
  const double a = std::isinf(t) ? std::numeric_limits<double>::infinity() : Nearest(f, t);
  return Sign(t) | (a > f.Largest() ? f.Infinity() : Encode(f, a));
}
// store() of a master.
inline uint16_t StoreNearest(Format f, float t, uint64_t* saturated) {
  const double a = Nearest(f, t);
  *saturated += a > f.Largest();
  return Sign(t) | Encode(f, std::min(a, f.Largest()));
}
inline uint16_t StoreStochastic(Format f, float t, uint32_t r, uint64_t* saturated) {
  const uint32_t bits = std::bit_cast<uint32_t>(t) & 0x7FFFFFFF;
  uint64_t magnitude;
  if (f.fraction_bits == kBf16.fraction_bits) {
    magnitude = (bits + r) >> 16;
  } else if (std::fabs(t) >= 0x1p-14f) {
    magnitude = ((bits + (r & 0x1FFF)) >> 13) - ((127 - 15) << 10);
  } else {
    const double v = std::ldexp(std::fabs(static_cast<double>(t)), 24), n = std::floor(v);
    magnitude = static_cast<uint64_t>(n) + (std::ldexp(r, -16) + 0x1p-17 < v - n ? 1 : 0);
  }
  const uint64_t largest = f.Infinity() - 1u;
  *saturated += magnitude > largest;
  return static_cast<uint16_t>(Sign(t) | std::min(magnitude, largest));
}

// ---- one element of a prepare ----
enum class Storage { kF32, kBf16, kFp16 };
inline float Widen(Storage s, uint32_t bits) {
  return s == Storage::kF32 ? std::bit_cast<float>(bits)
                            : Value(s == Storage::kBf16 ? kBf16 : kFp16, static_cast<uint16_t>(bits));
}

struct Update {
  uint64_t step = 0;
  double lr = 0;
  bool skipped = false;
  std::vector<double> g;  // [q]
};
struct Weight {
  uint64_t seed = 0;
  uint32_t tensor_id = 0;
  double lr_mul = 1, weight_decay = 0;
  bool rademacher = false;
  Storage storage = Storage::kF32;
  bool stochastic = false;
  float Z(uint64_t direction, uint64_t element) const {
    return rademacher ? Rademacher(seed, direction, tensor_id, element)
                      : Gaussian(seed, direction, tensor_id, element);
  }
};

// The stored bits after the updates.
inline uint32_t Updated(const Weight& w, uint32_t bits, uint64_t element, const std::vector<Update>& updates,
                        uint64_t* saturated) {
  for (const Update& u : updates) {
    if (u.skipped) continue;
    float t = Widen(w.storage, bits);
    if (w.weight_decay != 0) t = static_cast<float>(1.0 - u.lr * w.weight_decay) * t;
    const uint64_t q = u.g.size();
    for (uint64_t i = 0; i < q; ++i) {
      const float c = static_cast<float>(-(((u.lr * w.lr_mul) * u.g[i]) / static_cast<double>(q)));
      t = std::fma(c, w.Z(u.step * q + i, element), t);
    }
    if (w.storage == Storage::kF32) {
      bits = std::bit_cast<uint32_t>(t);
      continue;
    }
    const Format f = w.storage == Storage::kBf16 ? kBf16 : kFp16;
    bits = w.stochastic ? StoreStochastic(f, t, RoundBits(w.seed, u.step, w.tensor_id, element), saturated)
                        : StoreNearest(f, t, saturated);
  }
  return bits;
}

// The bits of a branch in its compute dtype, from the stored bits; terms are (direction, coefficient).
inline uint32_t Branch(const Weight& w, uint32_t bits, uint64_t element, Storage compute,
                       const std::vector<std::pair<uint64_t, float>>& terms) {
  float x = Widen(w.storage, bits);
  for (const auto& [direction, coefficient] : terms) x = std::fma(coefficient, w.Z(direction, element), x);
  if (compute == Storage::kF32) return std::bit_cast<uint32_t>(x);
  return Narrow(compute == Storage::kBf16 ? kBf16 : kFp16, x);
}

}  // namespace zo2::scalar

#endif  // ZO2_TESTS_TOOLS_SCALAR_NOISE_H_
