// The loops that are compiled once per instruction set: f32 (and products of bf16), on the calling thread, no memory but
// the stack.
//
// An element's bits are a fixed sequence of operations, whatever its place in a vector, the length of the
// vectors, the piece of work it is in or its address; AVX2 and AVX-512 agree. Where there is no FMA, products
// and sums round apart.
//
// Matrix products are our own for that reason, for a second one (no library keeps memory behind the arena's
// back), and because they are faster than LibTorch's MKL wherever that does not recognise the processor (2.2
// times on a Zen 5). Blocking follows K. Goto and R. van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication" (2008): a tile of results stays in registers while k runs.
#ifndef ZO2_RUNTIME_ATEN_SIMD_H_
#define ZO2_RUNTIME_ATEN_SIMD_H_

#include <cstdint>

namespace zo2::aten {

// Products of f32 operands, or of bf16 ones (Element: their bits), which are summed in f32 by the steps of
// simd_gemm_bf16.h.

// c[m, n] = a[m, k] b[n, k]^T + bias[n]; rows of a, b and c are dense, lda, ldb and ldc elements apart. The
// sum over k runs in 16 lanes (of bf16: of pairs), blocks of 1024 (2048).
template <typename Element>
struct DotOf {
  int64_t m, n, k;
  const Element* a;
  int64_t lda;
  const Element* b;
  int64_t ldb;
  const float* bias;  // nullptr: none
  float* c;
  int64_t ldc;
};
using DotJob = DotOf<float>;
using DotBf16Job = DotOf<uint16_t>;

// c[m, n] = a[m, k] b[k, n] + bias[n], or c + a b where `accumulate`; element (i, p) of a is a[i * a_row + p
// * a_column]. The sum over k runs in order (of bf16: pair after pair), blocks of 256 (512). Of bf16 a_column is
// 1, and where k is odd rows of a have a zero more.
template <typename Element>
struct OuterOf {
  int64_t m, n, k;
  const Element* a;
  int64_t a_row, a_column;
  const Element* b;
  int64_t ldb;
  const float* bias;  // nullptr: none
  float* c;
  int64_t ldc;
  bool accumulate;
};
using OuterJob = OuterOf<float>;
using OuterBf16Job = OuterOf<uint16_t>;

// One step of a softmax that runs down columns: scores[keys, width] become e^(scale * score + added[key] -
// maximum) under the running maximum of their column; sum is that of all steps so far, and factor is what
// earlier exponentials must be multiplied by. width is a multiple of 16.
struct SoftmaxJob {
  float* scores;
  int64_t keys, width;
  float scale;
  const float* added;             // nullptr: 0
  float *maximum, *sum, *factor;  // [width]
};

struct Simd {
  void (*dot)(const DotJob&);
  void (*outer)(const OuterJob&);
  void (*softmax)(const SoftmaxJob&);
  // y[i] = f(x[i]); x and y may be one.
  void (*gelu)(const float* x, float* y, int64_t n);
  void (*gelu_tanh)(const float* x, float* y, int64_t n);
  void (*silu)(const float* x, float* y, int64_t n);
  void (*scale)(float* x, int64_t n, float factor);
  // y = (x - mean) / sqrt(variance + eps) * scale + bias (centre), or x / sqrt(mean of x^2 + eps) * scale.
  void (*norm)(const float* x, const float* scale, const float* bias, float* y, int64_t n, double eps,
               bool centre);
  // The halves a and b of a head turned: a cos - b sin and b cos + a sin; tables of n for either half.
  void (*rotate)(const float* x, const float* cos, const float* sin, float* y, int64_t n);
  // Log-sum-exp of what came so far and x[n], as maximum and sum of exponentials under it, in binary64. A NaN
  // or +infinity makes the sum NaN.
  void (*log_sum)(const float* x, int64_t n, double* maximum, double* sum);
  void (*dot_bf16)(const DotBf16Job&);
  void (*outer_bf16)(const OuterBf16Job&);
  void (*round_to_bf16)(const float* x, uint16_t* y, int64_t n);
};

// Of this processor.
const Simd& GetSimd();

// One instruction set each; a processor that lacks it must not run what they return.
Simd SimdAvx512Bf16();  // AVX-512 with AVX512_BF16
Simd SimdAvx512();
Simd SimdAvx2();
Simd SimdGeneric();

}  // namespace zo2::aten

#endif  // ZO2_RUNTIME_ATEN_SIMD_H_
