#include "runtime/aten/multiply.h"

#include <ATen/ops/add.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "runtime/aten/simd.h"

namespace zo2::aten {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

void MultiplyF32(const MatrixProduct& p, const KernelCall& call) {
  const auto *x = static_cast<const float*>(p.x), *w = static_cast<const float*>(p.w);
  const auto* bias = p.bias == nullptr ? nullptr : static_cast<const float*>(p.bias->data);
  auto* y = static_cast<float*>(p.y);
  // Pieces: rows that share what a kernel reads of w, and columns in multiples of every kernel's own; some
  // for each thread, so that none waits long for the last.
  const int64_t rows = std::min<int64_t>(p.m, p.transposed ? 128 : 384), row_pieces = CeilDiv(p.m, rows);
  const int64_t unit = p.transposed ? 24 : 64, wanted = CeilDiv(int64_t{8} * call.threads, row_pieces);
  const int64_t columns = std::clamp(CeilDiv(CeilDiv(p.n, wanted), unit) * unit, unit, 4 * unit);
  const int64_t column_pieces = CeilDiv(p.n, columns);
  const double ns = 0.02 * static_cast<double>(rows * columns) * static_cast<double>(p.k);
  Parallel(call, row_pieces * column_pieces, ns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / column_pieces * rows, column = i % column_pieces * columns;
      const int64_t m = std::min(rows, p.m - row), n = std::min(columns, p.n - column);
      const float *from = x + row * p.x_stride, *b = bias == nullptr ? nullptr : bias + column;
      float* to = y + row * p.y_stride + column;
      if (p.transposed)
        GetSimd().dot({m, n, p.k, from, p.x_stride, w + column * p.w_stride, p.w_stride, b, to, p.y_stride});
      else
        GetSimd().outer({m, n, p.k, from, p.x_stride, 1, w + column, p.w_stride, b, to, p.y_stride, false});
    }
  });
}

at::Tensor Matrix(const void* data, DType dtype, int64_t rows, int64_t columns, int64_t stride) {
  return ToTensor({const_cast<void*>(data), dtype, {rows, columns}, {stride, 1}});
}

}  // namespace

void Multiply(const MatrixProduct& p, const KernelCall& call) {
  if (p.m == 0 || p.n == 0) return;
  if (p.dtype == DType::kF32 && (p.bias == nullptr || p.bias->dtype == DType::kF32))
    return MultiplyF32(p, call);
  UseAtenThreads(call.threads);
  at::Tensor y = Matrix(p.y, p.dtype, p.m, p.n, p.y_stride);
  const at::Tensor x = Matrix(p.x, p.dtype, p.m, p.k, p.x_stride);
  const at::Tensor w = p.transposed ? Matrix(p.w, p.dtype, p.n, p.k, p.w_stride).t()
                                    : Matrix(p.w, p.dtype, p.k, p.n, p.w_stride);
  if (p.bias != nullptr && p.bias->dtype == p.dtype) {
    at::addmm_out(y, ToTensor(*p.bias), x, w);
  } else {
    at::mm_out(y, x, w);
    if (p.bias != nullptr) at::add_out(y, y, ToTensor(*p.bias));
  }
}

}  // namespace zo2::aten
