// Dot and Outer of simd.h; see simd_loops.h.
#include "runtime/aten/simd_vector.h"

namespace zo2::aten {
namespace {

// Sixteen lanes: one register or several.
struct Reg {
  V v[kLanes / kWidth];
};
constexpr int kVectors = kLanes / kWidth;
ZO2_INLINE Reg Zero() { return Reg(); }
ZO2_INLINE Reg LoadReg(const float* p) {
  Reg r;
  ZO2_UNROLL for (int i = 0; i < kVectors; ++i) r.v[i] = Load(p + i * kWidth);
  return r;
}
ZO2_INLINE void StoreReg(float* p, const Reg& r) {
  ZO2_UNROLL for (int i = 0; i < kVectors; ++i) Store(p + i * kWidth, r.v[i]);
}
// The first n elements of sixteen, n > 0; the others are 0, and are left alone.
ZO2_INLINE Reg LoadReg(const float* p, int64_t n) {
  Reg r = Zero();
  ZO2_UNROLL for (int i = 0; i < kVectors; ++i) {
    const int64_t left = n - i * kWidth;
    if (left >= kWidth) r.v[i] = Load(p + i * kWidth);
    if (left > 0 && left < kWidth) r.v[i] = LoadFirst(p + i * kWidth, left);
  }
  return r;
}
ZO2_INLINE void StoreReg(float* p, const Reg& r, int64_t n) {
  ZO2_UNROLL for (int i = 0; i < kVectors; ++i) {
    const int64_t left = n - i * kWidth;
    if (left >= kWidth) Store(p + i * kWidth, r.v[i]);
    if (left > 0 && left < kWidth) StoreFirst(p + i * kWidth, r.v[i], left);
  }
}
ZO2_INLINE Reg SplatReg(float x) {
  Reg r;
  ZO2_UNROLL for (int i = 0; i < kVectors; ++i) r.v[i] = Splat(x);
  return r;
}
ZO2_INLINE Reg Fma(const Reg& a, const Reg& b, const Reg& c) {
  Reg r;
  ZO2_UNROLL for (int i = 0; i < kVectors; ++i) r.v[i] = Fma(a.v[i], b.v[i], c.v[i]);
  return r;
}
ZO2_INLINE Reg Add(const Reg& a, const Reg& b) {
  Reg r;
  ZO2_UNROLL for (int i = 0; i < kVectors; ++i) r.v[i] = a.v[i] + b.v[i];
  return r;
}

// The sums of the lanes of four registers, in one order: within blocks of four lanes, then over the four
// blocks.
#if defined(ZO2_SIMD_AVX512)
ZO2_INLINE void SumLanes(const Reg& ra, const Reg& rb, const Reg& rc, const Reg& rd, float* sums) {
  const __m512 a = reinterpret_cast<__m512>(ra.v[0]), b = reinterpret_cast<__m512>(rb.v[0]),
               c = reinterpret_cast<__m512>(rc.v[0]), d = reinterpret_cast<__m512>(rd.v[0]);
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  const __m512d x = _mm512_castps_pd(ab), y = _mm512_castps_pd(cd);
  const __m512 s =
      _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(x, y)), _mm512_castpd_ps(_mm512_unpackhi_pd(x, y)));
  const __m256 low = _mm512_castps512_ps256(s),
               high = _mm256_castpd_ps(_mm512_extractf64x4_pd(_mm512_castps_pd(s), 1));
  const __m256 t = _mm256_add_ps(low, high);
  _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1)));
}
constexpr int kDotRows = 4, kDotColumns = 6;      // registers: 24 sums, 4 of a, 1 of b
constexpr int kOuterRows = 6, kOuterVectors = 4;  // 24 sums, 4 of b, 1 of a
#elif defined(ZO2_SIMD_AVX2)
ZO2_INLINE __m256 SumBlocks(__m256 a, __m256 b, __m256 c, __m256 d) {
  const __m256 ab = _mm256_add_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
  const __m256 cd = _mm256_add_ps(_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
  const __m256d x = _mm256_castps_pd(ab), y = _mm256_castps_pd(cd);
  return _mm256_add_ps(_mm256_castpd_ps(_mm256_unpacklo_pd(x, y)),
                       _mm256_castpd_ps(_mm256_unpackhi_pd(x, y)));
}
ZO2_INLINE void SumLanes(const Reg& a, const Reg& b, const Reg& c, const Reg& d, float* sums) {
  const __m256 low = SumBlocks(reinterpret_cast<__m256>(a.v[0]), reinterpret_cast<__m256>(b.v[0]),
                               reinterpret_cast<__m256>(c.v[0]), reinterpret_cast<__m256>(d.v[0]));
  const __m256 high = SumBlocks(reinterpret_cast<__m256>(a.v[1]), reinterpret_cast<__m256>(b.v[1]),
                                reinterpret_cast<__m256>(c.v[1]), reinterpret_cast<__m256>(d.v[1]));
  const __m256 t = _mm256_add_ps(low, high);
  _mm_storeu_ps(sums, _mm_add_ps(_mm256_castps256_ps128(t), _mm256_extractf128_ps(t, 1)));
}
constexpr int kDotRows = 2, kDotColumns = 3;      // registers: 12 sums, 2 of a, 1 of b
constexpr int kOuterRows = 6, kOuterVectors = 1;  // 12 sums, 2 of b, 1 of a
#else
ZO2_INLINE void SumLanes(const Reg& a, const Reg& b, const Reg& c, const Reg& d, float* sums) {
  const Reg* all[] = {&a, &b, &c, &d};
  for (int i = 0; i < 4; ++i) {
    float x[kLanes], block[4];
    StoreReg(x, *all[i]);
    for (int k = 0; k < 4; ++k) block[k] = (x[4 * k] + x[4 * k + 2]) + (x[4 * k + 1] + x[4 * k + 3]);
    sums[i] = (block[0] + block[2]) + (block[1] + block[3]);
  }
}
constexpr int kDotRows = 1, kDotColumns = 2;
constexpr int kOuterRows = 2, kOuterVectors = 1;
#endif

constexpr int64_t kDotBlockRows = 128;  // rows of a that stay in the second-level cache

// What a product is made of where its operands are f32. A register holds kStep elements along k (Dot), or
// kLanes columns of kOuterStep rows of b (Outer).
struct OperandsF32 {
  using Element = float;
  using Register = Reg;
  static constexpr int64_t kStep = kLanes;
  static constexpr int64_t kDotDepth = 1024;  // of k at a time: a tile's operands fit into the first-level cache
  static ZO2_INLINE Reg LoadA(const float* p) { return LoadReg(p); }
  static ZO2_INLINE Reg LoadA(const float* p, int64_t n) { return LoadReg(p, n); }
  // sum + a b, lane by lane.
  static ZO2_INLINE Reg AddProducts(const Reg& a, const Reg& b, const Reg& sum) { return Fma(a, b, sum); }

  using Panel = float;  // a lane of a panel's row
  static constexpr int64_t kOuterStep = 1;
  static constexpr int64_t kOuterDepth = 256;  // of k at a time: b's panel fits into the second-level cache
  static ZO2_INLINE Reg LoadPanel(const float* p) { return LoadReg(p); }
  static ZO2_INLINE Reg SplatA(const float* a) { return SplatReg(*a); }
  // A panel's row from the first n > 0 columns, at most kLanes, of b's row; one row of `left` that are left.
  static ZO2_INLINE void Pack(float* to, const float* b, int64_t, int64_t, int64_t n) {
    StoreReg(to, n >= kLanes ? LoadReg(b) : LoadReg(b, n));
  }
};

// c[Rows, columns], columns <= kDotColumns: for those that are missing the first one is computed again.
template <typename T, int Rows>
ZO2_INLINE void DotTile(const DotOf<typename T::Element>& j, int64_t row, int64_t column, int64_t columns, int64_t k0,
                        int64_t k) {
  using Element = typename T::Element;
  const Element* a[Rows];
  const Element* b[kDotColumns];
  ZO2_UNROLL for (int i = 0; i < Rows; ++i) a[i] = j.a + (row + i) * j.lda + k0;
  ZO2_UNROLL for (int i = 0; i < kDotColumns; ++i) b[i] = j.b + (column + (i < columns ? i : 0)) * j.ldb + k0;
  Reg sums[Rows][kDotColumns];
  ZO2_UNROLL for (int i = 0; i < Rows; ++i) ZO2_UNROLL for (int q = 0; q < kDotColumns; ++q) sums[i][q] =
      Zero();
  const auto step = [&](int64_t p, auto load) __attribute__((always_inline)) {
    typename T::Register x[Rows];
    ZO2_UNROLL for (int i = 0; i < Rows; ++i) x[i] = load(a[i] + p);
    ZO2_UNROLL for (int q = 0; q < kDotColumns; ++q) {
      const typename T::Register w = load(b[q] + p);
      ZO2_UNROLL for (int i = 0; i < Rows; ++i) sums[i][q] = T::AddProducts(x[i], w, sums[i][q]);
    }
  };
  int64_t p = 0;
  for (; p + T::kStep <= k; p += T::kStep)
    step(
        p, [](const Element* from) __attribute__((always_inline)) { return T::LoadA(from); });
  if (p < k)
    step(
        p, [n = k - p](const Element* from) __attribute__((always_inline)) { return T::LoadA(from, n); });
  ZO2_UNROLL for (int q = 0; q < kDotColumns; ++q) {
    float s[4];
    SumLanes(sums[0][q], Rows > 1 ? sums[1 % Rows][q] : Zero(), Rows > 2 ? sums[2 % Rows][q] : Zero(),
             Rows > 3 ? sums[3 % Rows][q] : Zero(), s);
    if (q >= columns) continue;
    ZO2_UNROLL for (int i = 0; i < Rows; ++i) {
      float* c = j.c + (row + i) * j.ldc + column + q;
      *c = (k0 > 0 ? *c : j.bias != nullptr ? j.bias[column + q] : 0.0f) + s[i];
    }
  }
}

// noinline: bf16 changes the mode of arithmetic around it.
template <typename T>
__attribute__((noinline)) void RunDot(const DotOf<typename T::Element>& j) {
  for (int64_t top = 0; top < j.m; top += kDotBlockRows) {
    const int64_t bottom = Least(j.m, top + kDotBlockRows);
    int64_t k0 = 0;
    do {  // once where k is 0: c is the bias then
      const int64_t k = Least(T::kDotDepth, j.k - k0);
      for (int64_t column = 0; column < j.n; column += kDotColumns) {
        const int64_t columns = Least(kDotColumns, j.n - column);
        int64_t row = top;
        for (; row + kDotRows <= bottom; row += kDotRows) DotTile<T, kDotRows>(j, row, column, columns, k0, k);
        for (; row < bottom; ++row) DotTile<T, 1>(j, row, column, columns, k0, k);
      }
      k0 += T::kDotDepth;
    } while (k0 < j.k);
  }
}

// c[Rows, columns] += a[Rows, k] panel[k, 16 Vectors], columns <= 16 Vectors.
template <typename T, int Rows, int Vectors>
ZO2_INLINE void OuterTile(const OuterOf<typename T::Element>& j, const typename T::Panel* panel, int64_t row,
                          int64_t column, int64_t columns, int64_t k0, int64_t k) {
  const typename T::Element* a = j.a + row * j.a_row + k0 * j.a_column;
  Reg sums[Rows][Vectors];
  ZO2_UNROLL for (int i = 0; i < Rows; ++i) ZO2_UNROLL for (int v = 0; v < Vectors; ++v) sums[i][v] = Zero();
  for (int64_t p = 0; p < k; p += T::kOuterStep) {
    typename T::Register b[Vectors];
    ZO2_UNROLL for (int v = 0; v < Vectors; ++v) b[v] =
        T::LoadPanel(panel + (p / T::kOuterStep * Vectors + v) * kLanes);
    ZO2_UNROLL for (int i = 0; i < Rows; ++i) {
      const typename T::Register x = T::SplatA(a + i * j.a_row + p * j.a_column);
      ZO2_UNROLL for (int v = 0; v < Vectors; ++v) sums[i][v] = T::AddProducts(x, b[v], sums[i][v]);
    }
  }
  ZO2_UNROLL for (int i = 0; i < Rows; ++i) ZO2_UNROLL for (int v = 0; v < Vectors; ++v) {
    const int64_t n = Least(kLanes, columns - kLanes * v);
    float* c = j.c + (row + i) * j.ldc + column + kLanes * v;
    const float* start = k0 > 0 || j.accumulate ? c
                         : j.bias != nullptr    ? j.bias + column + kLanes * v
                                                : nullptr;
    if (n == kLanes) {
      StoreReg(c, Add(start != nullptr ? LoadReg(start) : Zero(), sums[i][v]));
    } else {
      StoreReg(c, Add(start != nullptr ? LoadReg(start, n) : Zero(), sums[i][v]), n);
    }
  }
}

template <typename T, int Vectors>
void OuterPanel(const OuterOf<typename T::Element>& j, int64_t column, int64_t columns) {
  alignas(64) typename T::Panel panel[T::kOuterDepth / T::kOuterStep * kLanes * Vectors];
  int64_t k0 = 0;
  do {
    const int64_t k = Least(T::kOuterDepth, j.k - k0);
    for (int64_t p = 0; p < k; p += T::kOuterStep) {  // b's rows lie far apart: bring those of the panel together
      const typename T::Element* from = j.b + (k0 + p) * j.ldb + column;
      ZO2_UNROLL for (int v = 0; v < Vectors; ++v)
          T::Pack(panel + (p / T::kOuterStep * Vectors + v) * kLanes, from + kLanes * v, j.ldb, k - p,
                  columns - kLanes * v);
    }
    int64_t row = 0;
    for (; row + kOuterRows <= j.m; row += kOuterRows)
      OuterTile<T, kOuterRows, Vectors>(j, panel, row, column, columns, k0, k);
    for (; row + 2 <= j.m; row += 2) OuterTile<T, 2, Vectors>(j, panel, row, column, columns, k0, k);
    for (; row < j.m; ++row) OuterTile<T, 1, Vectors>(j, panel, row, column, columns, k0, k);
    k0 += T::kOuterDepth;
  } while (k0 < j.k);
}

template <typename T>
__attribute__((noinline)) void RunOuter(const OuterOf<typename T::Element>& j) {
  constexpr int64_t kWide = kLanes * kOuterVectors;
  int64_t column = 0;
  for (; column + kWide <= j.n; column += kWide) OuterPanel<T, kOuterVectors>(j, column, kWide);
  const int64_t columns = j.n - column;
  if (columns <= 0) return;
  if constexpr (kOuterVectors > 1) {
    if (columns > 3 * kLanes) return OuterPanel<T, 4>(j, column, columns);
    if (columns > 2 * kLanes) return OuterPanel<T, 3>(j, column, columns);
    if (columns > kLanes) return OuterPanel<T, 2>(j, column, columns);
  }
  OuterPanel<T, 1>(j, column, columns);
}

void Dot(const DotJob& j) { RunDot<OperandsF32>(j); }
void Outer(const OuterJob& j) { RunOuter<OperandsF32>(j); }

}  // namespace
}  // namespace zo2::aten
