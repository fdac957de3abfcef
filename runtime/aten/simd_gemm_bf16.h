// DotBf16 and OuterBf16 of simd.h; see simd_loops.h, which has included simd_gemm.h.
//
// The step is that of AVX512_BF16's vdpbf16ps: a lane takes a pair of bf16 from either side, and
//
//   sum = fma(a[odd], b[odd], sum);  sum = fma(a[even], b[even], sum)
//
// in f32, to nearest even, with subnormal operands read as 0 and subnormal results flushed to 0. Where there is no such
// instruction two fmas do the same, under the same treatment of subnormals: products of bf16 are exact in f32. (Without
// fma, products below 2^-126 are flushed by themselves: bits can differ there, and nowhere else.)
#include <immintrin.h>

namespace zo2::aten {
namespace {

constexpr int kPairLanes = 2 * kLanes;  // elements of bf16 that the sixteen lanes take at a time

// Subnormals as above while it lives. What computes under it must not be inlined into the function that holds it:
// compilers know nothing of this mode.
class FlushSubnormals {
 public:
  FlushSubnormals() : before_(_mm_getcsr()) { _mm_setcsr(before_ | 0x8040); }
  ~FlushSubnormals() { _mm_setcsr(before_); }
  FlushSubnormals(const FlushSubnormals&) = delete;
  FlushSubnormals& operator=(const FlushSubnormals&) = delete;

 private:
  const unsigned before_;
};

// A pair of bf16 in each of the sixteen lanes, the even one in the low half.
struct Pairs {
  Vi v[kVectors];
};
ZO2_INLINE Pairs LoadPairs(const void* p) {
  Pairs r;
  std::memcpy(&r, p, sizeof r);
  return r;
}
// The first n elements of 32, n > 0; the others are 0.
ZO2_INLINE Pairs LoadPairs(const uint16_t* p, int64_t n) {
#if defined(ZO2_SIMD_AVX512)
  Pairs r;
  r.v[0] = reinterpret_cast<Vi>(_mm512_maskz_loadu_epi16(static_cast<__mmask32>((uint64_t{1} << n) - 1), p));
  return r;
#else
  uint16_t padded[kPairLanes] = {};
  std::memcpy(padded, p, static_cast<size_t>(n) * sizeof *p);
  return LoadPairs(padded);
#endif
}
ZO2_INLINE Pairs SplatPair(const uint16_t* p) {
  uint32_t pair;
  std::memcpy(&pair, p, sizeof pair);
  Pairs r;
  ZO2_UNROLL for (int i = 0; i < kVectors; ++i) r.v[i] = Vi{} + pair;
  return r;
}

ZO2_INLINE Reg AddProducts(const Pairs& a, const Pairs& b, const Reg& sum) {
  Reg r;
#if defined(ZO2_SIMD_DPBF16)
  r.v[0] = reinterpret_cast<V>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum.v[0]), reinterpret_cast<__m512bh>(a.v[0]),
                                                reinterpret_cast<__m512bh>(b.v[0])));
#else
  ZO2_UNROLL for (int i = 0; i < kVectors; ++i) {
    const V odd = Fma(reinterpret_cast<V>(a.v[i] & 0xFFFF0000u), reinterpret_cast<V>(b.v[i] & 0xFFFF0000u), sum.v[i]);
    r.v[i] = Fma(reinterpret_cast<V>(a.v[i] << 16), reinterpret_cast<V>(b.v[i] << 16), odd);
  }
#endif
  return r;
}

constexpr int64_t kDotBf16Depth = 2048;   // of k at a time, as kDotDepth of f32
constexpr int64_t kOuterBf16Depth = 512;  // as kOuterDepth

template <int Rows>
ZO2_INLINE void DotBf16Tile(const DotBf16Job& j, int64_t row, int64_t column, int64_t columns, int64_t k0,
                            int64_t k) {
  const uint16_t* a[Rows];
  const uint16_t* b[kDotColumns];
  ZO2_UNROLL for (int i = 0; i < Rows; ++i) a[i] = j.a + (row + i) * j.lda + k0;
  ZO2_UNROLL for (int i = 0; i < kDotColumns; ++i) b[i] = j.b + (column + (i < columns ? i : 0)) * j.ldb + k0;
  Reg sums[Rows][kDotColumns];
  ZO2_UNROLL for (int i = 0; i < Rows; ++i) ZO2_UNROLL for (int q = 0; q < kDotColumns; ++q) sums[i][q] =
      Zero();
  const auto step = [&](int64_t p, auto load) __attribute__((always_inline)) {
    Pairs x[Rows];
    ZO2_UNROLL for (int i = 0; i < Rows; ++i) x[i] = load(a[i] + p);
    ZO2_UNROLL for (int q = 0; q < kDotColumns; ++q) {
      const Pairs w = load(b[q] + p);
      ZO2_UNROLL for (int i = 0; i < Rows; ++i) sums[i][q] = AddProducts(x[i], w, sums[i][q]);
    }
  };
  int64_t p = 0;
  for (; p + kPairLanes <= k; p += kPairLanes)
    step(
        p, [](const uint16_t* from) __attribute__((always_inline)) { return LoadPairs(from); });
  if (p < k)
    step(
        p, [n = k - p](const uint16_t* from) __attribute__((always_inline)) { return LoadPairs(from, n); });
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

__attribute__((noinline)) void DotBf16Flushing(const DotBf16Job& j) {
  for (int64_t top = 0; top < j.m; top += kDotBlockRows) {
    const int64_t bottom = Least(j.m, top + kDotBlockRows);
    int64_t k0 = 0;
    do {  // once where k is 0: c is the bias then
      const int64_t k = Least(kDotBf16Depth, j.k - k0);
      for (int64_t column = 0; column < j.n; column += kDotColumns) {
        const int64_t columns = Least(kDotColumns, j.n - column);
        int64_t row = top;
        for (; row + kDotRows <= bottom; row += kDotRows)
          DotBf16Tile<kDotRows>(j, row, column, columns, k0, k);
        for (; row < bottom; ++row) DotBf16Tile<1>(j, row, column, columns, k0, k);
      }
      k0 += kDotBf16Depth;
    } while (k0 < j.k);
  }
}

// c[Rows, columns] += a[Rows, k] panel, whose rows hold pairs of b's rows side by side.
template <int Rows, int Vectors>
ZO2_INLINE void OuterBf16Tile(const OuterBf16Job& j, const uint32_t* panel, int64_t row, int64_t column,
                              int64_t columns, int64_t k0, int64_t k) {
  const uint16_t* a = j.a + row * j.lda + k0;
  Reg sums[Rows][Vectors];
  ZO2_UNROLL for (int i = 0; i < Rows; ++i) ZO2_UNROLL for (int v = 0; v < Vectors; ++v) sums[i][v] = Zero();
  for (int64_t p = 0; p < k; p += 2) {  // a's rows are padded to pairs
    Pairs b[Vectors];
    ZO2_UNROLL for (int v = 0; v < Vectors; ++v) b[v] =
        LoadPairs(panel + (p / 2 * Vectors + v) * kLanes);
    ZO2_UNROLL for (int i = 0; i < Rows; ++i) {
      const Pairs x = SplatPair(a + i * j.lda + p);
      ZO2_UNROLL for (int v = 0; v < Vectors; ++v) sums[i][v] = AddProducts(x, b[v], sums[i][v]);
    }
  }
  ZO2_UNROLL for (int i = 0; i < Rows; ++i) ZO2_UNROLL for (int v = 0; v < Vectors; ++v) {
    const int64_t n = Least(kLanes, columns - kLanes * v);
    float* c = j.c + (row + i) * j.ldc + column + kLanes * v;
    const float* start = k0 > 0 ? c : j.bias != nullptr ? j.bias + column + kLanes * v : nullptr;
    if (n == kLanes) {
      StoreReg(c, Add(start != nullptr ? LoadReg(start) : Zero(), sums[i][v]));
    } else {
      StoreReg(c, Add(start != nullptr ? LoadReg(start, n) : Zero(), sums[i][v]), n);
    }
  }
}

typedef uint16_t Vh __attribute__((vector_size(2 * kWidth)));

// Sixteen lanes of the pairs (even[l], odd[l]) for l < n, n > 0; an absent odd row counts as zeros.
ZO2_INLINE void StorePairs(uint32_t* to, const uint16_t* even, const uint16_t* odd, int64_t n) {
  uint16_t padded[2][kLanes] = {};
  if (n < kLanes) {
    std::memcpy(padded[0], even, static_cast<size_t>(n) * sizeof *even);
    if (odd != nullptr) std::memcpy(padded[1], odd, static_cast<size_t>(n) * sizeof *odd);
    even = padded[0];
    odd = padded[1];
  }
  if (odd == nullptr) odd = padded[1];
  ZO2_UNROLL for (int i = 0; i < kVectors; ++i) {
    Vh low, high;
    std::memcpy(&low, even + i * kWidth, sizeof low);
    std::memcpy(&high, odd + i * kWidth, sizeof high);
    const Vi pairs = __builtin_convertvector(low, Vi) | (__builtin_convertvector(high, Vi) << 16);
    std::memcpy(to + i * kWidth, &pairs, sizeof pairs);
  }
}

template <int Vectors>
void OuterBf16Panel(const OuterBf16Job& j, int64_t column, int64_t columns) {
  alignas(64) uint32_t panel[kOuterBf16Depth / 2 * kLanes * Vectors];
  int64_t k0 = 0;
  do {
    const int64_t k = Least(kOuterBf16Depth, j.k - k0);
    for (int64_t p = 0; p < k; p += 2) {
      const uint16_t* even = j.b + (k0 + p) * j.ldb + column;
      const uint16_t* odd = p + 1 < k ? even + j.ldb : nullptr;
      ZO2_UNROLL for (int v = 0; v < Vectors; ++v)
          StorePairs(panel + (p / 2 * Vectors + v) * kLanes, even + kLanes * v,
                     odd != nullptr ? odd + kLanes * v : nullptr, Least(kLanes, columns - kLanes * v));
    }
    int64_t row = 0;
    for (; row + kOuterRows <= j.m; row += kOuterRows)
      OuterBf16Tile<kOuterRows, Vectors>(j, panel, row, column, columns, k0, k);
    for (; row + 2 <= j.m; row += 2) OuterBf16Tile<2, Vectors>(j, panel, row, column, columns, k0, k);
    for (; row < j.m; ++row) OuterBf16Tile<1, Vectors>(j, panel, row, column, columns, k0, k);
    k0 += kOuterBf16Depth;
  } while (k0 < j.k);
}

__attribute__((noinline)) void OuterBf16Flushing(const OuterBf16Job& j) {
  constexpr int64_t kWide = kLanes * kOuterVectors;
  int64_t column = 0;
  for (; column + kWide <= j.n; column += kWide) OuterBf16Panel<kOuterVectors>(j, column, kWide);
  const int64_t columns = j.n - column;
  if (columns <= 0) return;
  if constexpr (kOuterVectors > 1) {
    if (columns > 3 * kLanes) return OuterBf16Panel<4>(j, column, columns);
    if (columns > 2 * kLanes) return OuterBf16Panel<3>(j, column, columns);
    if (columns > kLanes) return OuterBf16Panel<2>(j, column, columns);
  }
  OuterBf16Panel<1>(j, column, columns);
}

void DotBf16(const DotBf16Job& j) {
  const FlushSubnormals mode;
  DotBf16Flushing(j);
}
void OuterBf16(const OuterBf16Job& j) {
  const FlushSubnormals mode;
  OuterBf16Flushing(j);
}

// To nearest even; a NaN stays one.
void RoundToBf16(const float* x, uint16_t* y, int64_t n) {
  for (int64_t i = 0; i < n; i += kWidth) {
    const int64_t left = n - i;
    const Vi u = reinterpret_cast<Vi>(left >= kWidth ? Load(x + i) : LoadFirst(x + i, left));
    const Vi nearest = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
    const Vi half = (u & 0x7FFFFFFFu) > 0x7F800000u ? (u >> 16) | 0x40u : nearest;
    const Vh h = __builtin_convertvector(half, Vh);
    std::memcpy(y + i, &h, static_cast<size_t>(Least(left, kWidth)) * sizeof *y);
  }
}

}  // namespace
}  // namespace zo2::aten
