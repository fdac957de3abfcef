#include "runtime/aten/multiply.h"

#include <ATen/ops/add.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "runtime/aten/simd.h"

namespace zo2::aten {
namespace {

int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

// T: float, or uint16_t for bf16. dot and outer take a piece each.
template <typename T, typename Dot, typename Outer>
void MultiplyPieces(const MatrixProduct& p, const KernelCall& call, const Dot& dot, const Outer& outer) {
  const auto *x = static_cast<const T*>(p.x), *w = static_cast<const T*>(p.w);
  const auto* bias = p.bias == nullptr ? nullptr : static_cast<const float*>(p.bias->data);
  auto* y = static_cast<float*>(p.y);
  // Pieces: rows that share what a kernel reads of w, and columns in multiples of every kernel's own; some
  // for each thread, so that none waits long for the last.
  const int64_t rows = std::min<int64_t>(p.m, p.transposed ? 128 : 384), row_pieces = CeilDiv(p.m, rows);
  const int64_t unit = p.transposed ? 24 : 64, wanted = CeilDiv(int64_t{8} * call.threads, row_pieces);
  const int64_t columns = std::clamp(CeilDiv(CeilDiv(p.n, wanted), unit) * unit, unit, 4 * unit);
  const int64_t column_pieces = CeilDiv(p.n, columns);
  const double ns = 0.005 * sizeof(T) * static_cast<double>(rows * columns) * static_cast<double>(p.k);
  Parallel(call, row_pieces * column_pieces, ns, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / column_pieces * rows, column = i % column_pieces * columns;
      const int64_t m = std::min(rows, p.m - row), n = std::min(columns, p.n - column);
      const T* from = x + row * p.x_stride;
      const float* b = bias == nullptr ? nullptr : bias + column;
      float* to = y + row * p.y_stride + column;
      if (p.transposed)
        dot({m, n, p.k, from, p.x_stride, w + column * p.w_stride, p.w_stride, b, to, p.y_stride});
      else
        outer(m, n, from, w + column, b, to);
    }
  });
}

void MultiplyF32(const MatrixProduct& p, const KernelCall& call) {
  MultiplyPieces<float>(p, call, GetSimd().dot,
                        [&](int64_t m, int64_t n, const float* x, const float* w, const float* bias, float* y) {
                          GetSimd().outer({m, n, p.k, x, p.x_stride, 1, w, p.w_stride, bias, y, p.y_stride, false});
                        });
}

void MultiplyBf16(const MatrixProduct& p, const KernelCall& call) {
  MultiplyPieces<uint16_t>(
      p, call, GetSimd().dot_bf16,
      [&](int64_t m, int64_t n, const uint16_t* x, const uint16_t* w, const float* bias, float* y) {
        GetSimd().outer_bf16({m, n, p.k, x, p.x_stride, 1, w, p.w_stride, bias, y, p.y_stride, false});
      });
}

at::Tensor Matrix(const void* data, DType dtype, int64_t rows, int64_t columns, int64_t stride) {
  return ToTensor({const_cast<void*>(data), dtype, {rows, columns}, {stride, 1}});
}

}  // namespace

void Multiply(const MatrixProduct& p, const KernelCall& call) {
  if (p.m == 0 || p.n == 0) return;
  if (p.y_dtype == DType::kF32 && (p.bias == nullptr || p.bias->dtype == DType::kF32)) {
    if (p.dtype == DType::kF32) return MultiplyF32(p, call);
    if (p.dtype == DType::kBF16) return MultiplyBf16(p, call);
  }
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

Result<RoundedRows> RoundToBf16(const KernelCall& call, const float* x, int64_t stride, int64_t rows,
                                int64_t columns) {
  const int64_t padded = columns + columns % 2;
  auto* to = static_cast<uint16_t*>(TakeWorkspace(rows * padded * SizeOf(DType::kBF16)));
  if (to == nullptr && rows * columns > 0)
    return Internal(Name(call.op), ": the workspace does not hold ", rows, " rows of ", columns, " in bf16");
  Parallel(call, rows, 0.1 * static_cast<double>(columns), [&](int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; ++r) {
      GetSimd().round_to_bf16(x + r * stride, to + r * padded, columns);
      if (padded > columns) to[r * padded + columns] = 0;
    }
  });
  return RoundedRows{to, padded};
}

}  // namespace zo2::aten
