// One matrix product of a call, cut among the lane's threads.
#ifndef ZO2_RUNTIME_ATEN_MULTIPLY_H_
#define ZO2_RUNTIME_ATEN_MULTIPLY_H_

#include <cstdint>

#include "runtime/aten/call.h"

namespace zo2::aten {

// y[m, n] = x[m, k] w[n, k]^T + bias (transposed), or x w[k, n] + bias. Rows are dense, their strides free.
struct MatrixProduct {
  int64_t m, n, k;
  DType dtype;    // of x and w
  DType y_dtype;  // the same, or f32 where x and w are bf16
  const void* x;
  int64_t x_stride;  // elements from row to row, as the other strides
  const void* w;
  int64_t w_stride;
  bool transposed;
  const TensorView* bias;  // nullptr: none; any float dtype
  void* y;
  int64_t y_stride;
};
// f32, and bf16 into f32, by simd.h: the cut does not show in the bits. Other dtypes by ATen.
//
// Where bf16 gives f32, rows of x have a zero behind them if k is odd.
void Multiply(const MatrixProduct& product, const KernelCall& call);

// f32 rows as such a product takes them, in workspace. An error where that has no room.
struct RoundedRows {
  const void* data;
  int64_t stride;
};
Result<RoundedRows> RoundToBf16(const KernelCall& call, const float* x, int64_t stride, int64_t rows, int64_t columns);

}  // namespace zo2::aten

#endif  // ZO2_RUNTIME_ATEN_MULTIPLY_H_
