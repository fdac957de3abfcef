// All loops of simd.h, for the instruction set that the including file has chosen: ZO2_SIMD_... and a target
// pragma. It must include everything else before that, so that no shared inline function is compiled for that
// set.
#include "runtime/aten/simd_gemm.h"

namespace zo2::aten {
namespace {

// y[i] = f(x[i]) along [0, n): whole vectors, then what is left.
template <typename F>
ZO2_INLINE void Map(const float* x, float* y, int64_t n, const F& f) {
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) Store(y + i, f(Load(x + i)));
  if (i < n) StoreFirst(y + i, f(LoadFirst(x + i, n - i)), n - i);
}

// x (1/2 + erf(x / sqrt(2)) / 2). The second summand is x P(x^2) / Q(x^2) within 6e-9 before rounding (fitted for the
// least largest error on [0, 5.45]), and 1/2 with the sign of x beyond, where it rounds to that. As it comes out, the
// error is at most 2.4e-7 |x|.
void Gelu(const float* x, float* y, int64_t n) {
  Map(
      x, y, n, [](V v) __attribute__((always_inline)) {
        const V s = v * v;
        V p = Splat(2.3064229e-8f), q = Splat(1.2068389e-6f);
        p = Fma(p, s, Splat(6.3545990e-6f));
        q = Fma(q, s, Splat(7.2998616e-5f));
        p = Fma(p, s, Splat(1.6650951e-4f));
        q = Fma(q, s, Splat(1.8713342e-3f));
        p = Fma(p, s, Splat(4.6636133e-3f));
        q = Fma(q, s, Splat(2.8508923e-2f));
        p = Fma(p, s, Splat(3.3607075e-2f));
        q = Fma(q, s, Splat(2.5090645e-1f));
        p = Fma(p, s, Splat(3.9894224e-1f));
        q = Fma(q, s, Splat(1.0f));
        const V near = v * p / q, far = v < 0.0f ? Splat(-0.5f) : Splat(0.5f);
        return v * (0.5f + (s > 29.7025f ? far : near));
      });
}
// 0.5 x (1 + tanh u) = x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3)
void GeluTanh(const float* x, float* y, int64_t n) {
  Map(
      x, y, n, [](V v) __attribute__((always_inline)) {
        const V u = -1.5957691216f * Fma(Splat(0.044715f) * (v * v), v, v);
        return v / (1.0f + Exp(u));
      });
}
void Silu(const float* x, float* y, int64_t n) {
  Map(
      x, y, n, [](V v) __attribute__((always_inline)) { return v / (1.0f + Exp(-v)); });
}
void Scale(float* x, int64_t n, float factor) {
  Map(
      x, x, n, [factor](V v) __attribute__((always_inline)) { return v * factor; });
}

ZO2_INLINE float SumReg(const Reg& r) {
  float s[4];
  SumLanes(r, r, r, r, s);
  return s[0];
}

void Norm(const float* x, const float* scale, const float* bias, float* y, int64_t n, double eps,
          bool centre) {
  float mean = 0;
  int64_t i;
  if (centre) {
    Reg sum = Zero();
    for (i = 0; i + kLanes <= n; i += kLanes) sum = Add(sum, LoadReg(x + i));
    if (i < n) sum = Add(sum, LoadReg(x + i, n - i));
    mean = SumReg(sum) / static_cast<float>(n);
  }
  Reg squares = Zero();
  const Reg minus_mean = SplatReg(-mean);
  for (i = 0; i + kLanes <= n; i += kLanes) {
    const Reg d = Add(LoadReg(x + i), minus_mean);
    squares = Fma(d, d, squares);
  }
  float rest = 0;
  for (; i < n; ++i) rest += (x[i] - mean) * (x[i] - mean);
  const double variance =
      (static_cast<double>(SumReg(squares)) + static_cast<double>(rest)) / static_cast<double>(n);
  const auto factor = static_cast<float>(1 / std::sqrt(variance + eps));
  for (i = 0; i + kWidth <= n; i += kWidth) {
    const V v = (Load(x + i) - mean) * factor;
    Store(y + i, bias != nullptr ? Fma(v, Load(scale + i), Load(bias + i)) : v * Load(scale + i));
  }
  if (i < n) {
    const V v = (LoadFirst(x + i, n - i) - mean) * factor, s = LoadFirst(scale + i, n - i);
    StoreFirst(y + i, bias != nullptr ? Fma(v, s, LoadFirst(bias + i, n - i)) : v * s, n - i);
  }
}

void Rotate(const float* x, const float* cos, const float* sin, float* y, int64_t n) {
  const auto turn = [&](int64_t i, auto load, auto store) __attribute__((always_inline)) {
    const V a = load(x + i), b = load(x + n + i);
    store(y + i, Fma(a, load(cos + i), -(b * load(sin + i))));
    store(y + n + i, Fma(b, load(cos + n + i), a * load(sin + n + i)));
  };
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth)
    turn(
        i, [](const float* p) __attribute__((always_inline)) { return Load(p); },
        [](float* p, V v) __attribute__((always_inline)) { Store(p, v); });
  const int64_t left = n - i;
  if (left > 0)
    turn(
        i, [left](const float* p) __attribute__((always_inline)) { return LoadFirst(p, left); },
        [left](float* p, V v) __attribute__((always_inline)) { StoreFirst(p, v, left); });
}

void Softmax(const SoftmaxJob& j) {
  const float lowest = -__builtin_inff();
  for (int64_t column = 0; column < j.width; column += kWidth) {
    float* scores = j.scores + column;
    const V before = Load(j.maximum + column);
    V max = before;
    for (int64_t key = 0; key < j.keys; ++key) {
      V s = Load(scores + key * j.width) * j.scale;
      if (j.added != nullptr) s += j.added[key];
      max = s > max ? s : max;
      Store(scores + key * j.width, s);
    }
    const V under = max == lowest ? V{} : max;  // nothing but -infinity: exponentials of 0, not NaN
    const V factor = ExpNegative(before - under);
    V sum = Load(j.sum + column) * factor;
    for (int64_t key = 0; key < j.keys; ++key) {
      const V e = ExpNegative(Load(scores + key * j.width) - under);
      sum += e;
      Store(scores + key * j.width, e);
    }
    Store(j.maximum + column, max);
    Store(j.sum + column, sum);
    Store(j.factor + column, factor);
  }
}

void LogSum(const float* x, int64_t n, double* maximum, double* sum) {
  float top = -__builtin_inff();
  V tops = Splat(top);
  Vi nan = {};
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    const V v = Load(x + i);
    tops = v > tops ? v : tops;
    nan |= v != v;
  }
  bool any = false;
  for (int k = 0; k < kWidth; ++k) {
    top = tops[k] > top ? tops[k] : top;
    any |= nan[k] != 0;
  }
  for (; i < n; ++i) {
    top = x[i] > top ? x[i] : top;
    any |= x[i] != x[i];
  }
  const double max = static_cast<double>(top) > *maximum ? static_cast<double>(top) : *maximum;
  if (any || max == static_cast<double>(__builtin_inff())) {
    *sum = __builtin_nan("");
    return;
  }
  if (max == -static_cast<double>(__builtin_inff())) return;  // nothing but -infinity so far
  constexpr int kHalf = kWidth / 2;
  D parts[8 / kHalf] = {};  // eight lanes
  double rest = 0;
  for (i = 0; i + 8 <= n; i += 8) ZO2_UNROLL for (int k = 0; k < 8 / kHalf; ++k) {
      HalfV v;
      std::memcpy(&v, x + i + k * kHalf, sizeof v);
      parts[k] += ExpNegative(__builtin_convertvector(v, D) - max);
    }
  for (; i < n; ++i) rest += ExpNegative(D{} + static_cast<double>(x[i]) - max)[0];
  double lanes[8];
  std::memcpy(lanes, parts, sizeof lanes);
  for (const double lane : lanes) rest += lane;
  *sum = (*sum == 0 ? 0 : *sum * std::exp(*maximum - max)) + rest;
  *maximum = max;
}

}  // namespace
}  // namespace zo2::aten
