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

ZO2_INLINE Reg AddPairs(const Pairs& a, const Pairs& b, const Reg& sum) {
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

// OperandsF32 of simd_gemm.h for bf16.
struct OperandsBf16 {
  using Element = uint16_t;
  using Register = Pairs;
  static constexpr int64_t kStep = kPairLanes;
  static constexpr int64_t kDotDepth = 2048;
  static ZO2_INLINE Pairs LoadA(const uint16_t* p) { return LoadPairs(p); }
  static ZO2_INLINE Pairs LoadA(const uint16_t* p, int64_t n) { return LoadPairs(p, n); }
  static ZO2_INLINE Reg AddProducts(const Pairs& a, const Pairs& b, const Reg& sum) { return AddPairs(a, b, sum); }

  using Panel = uint32_t;  // two rows of b side by side
  static constexpr int64_t kOuterStep = 2;
  static constexpr int64_t kOuterDepth = 512;
  static ZO2_INLINE Pairs LoadPanel(const uint32_t* p) { return LoadPairs(p); }
  static ZO2_INLINE Pairs SplatA(const uint16_t* a) { return SplatPair(a); }  // rows of a are padded to pairs
  static ZO2_INLINE void Pack(uint32_t* to, const uint16_t* b, int64_t ldb, int64_t left, int64_t n) {
    StorePairs(to, b, left > 1 ? b + ldb : nullptr, n);
  }
};

void DotBf16(const DotBf16Job& j) {
  const FlushSubnormals mode;
  RunDot<OperandsBf16>(j);
}
void OuterBf16(const OuterBf16Job& j) {
  const FlushSubnormals mode;
  RunOuter<OperandsBf16>(j);
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
