// The two ops that are nothing but matrix products.
#include <ATen/ops/bmm.h>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"
#include "runtime/aten/multiply.h"
#include "runtime/aten/simd.h"

namespace zo2::aten {

// x[rows, in] W[out, in]^T + b into y[rows, out]; y may be a slice of a wider matrix (stride of its rows >
// out), and W a slice of columns. W in bf16 with x in f32: x is rounded to bf16, sums and y are f32.
Status Linear(const KernelCall& call) {
  const TensorView &x = call.inputs[0], &w = call.inputs[1], &y = call.outputs[0];
  const bool rounds = x.dtype == DType::kF32 && w.dtype == DType::kBF16;
  if (w.dtype != x.dtype && !rounds)
    return Internal("linear: the kernels multiply equal dtypes, or f32 by bf16, not ", ToString(x), " by ",
                    ToString(w));
  if (const TensorView* bias = Optional(call, 2); rounds && bias != nullptr && bias->dtype != DType::kF32)
    return Internal("linear: a product of f32 by bf16 adds a bias in f32, not ", ToString(*bias));
  ZO2_ASSIGN(const Rows xr, AsRows(x));
  ZO2_ASSIGN(const Rows wr, AsRows(w));
  ZO2_ASSIGN(const Rows yr, AsRows(y));
  RoundedRows from = {x.data, xr.stride};
  if (rounds) {
    ZO2_ASSIGN(from, RoundToBf16(call, static_cast<const float*>(x.data), xr.stride, xr.rows, xr.columns));
  }
  Multiply({yr.rows, yr.columns, xr.columns, w.dtype, y.dtype, from.data, from.stride, w.data, wr.stride,
            AttrInt(*call.attrs, "trans_w", 1) != 0, Optional(call, 2), y.data, yr.stride},
           call);
  return Status();
}

namespace {

// A batch of products [m, k] [k, n]; strides of the batch, 0 where an operand is the same for all.
struct Batch {
  int64_t count, m, k, n;
  int64_t a_stride, b_stride, y_stride;
};

Status MultiplyBatch(const KernelCall& call, const Batch& batch, int64_t at_a, int64_t at_b, int64_t at_y) {
  const TensorView &a = call.inputs[0], &b = call.inputs[1], &y = call.outputs[0];
  const int64_t m = batch.m, k = batch.k, n = batch.n;
  const bool stacked = batch.b_stride == 0 && batch.a_stride == m * k && batch.y_stride == m * n;
  const auto data = [](const TensorView& v, int64_t at) {
    return static_cast<std::byte*>(v.data) + at * SizeOf(v.dtype);
  };
  if (batch.count == 1 || stacked) {  // one product
    Multiply({batch.count * m, n, k, y.dtype, y.dtype, data(a, at_a), k, data(b, at_b), n, false, nullptr,
              data(y, at_y), n},
             call);
  } else if (y.dtype == DType::kF32) {
    const auto *pa = static_cast<const float*>(a.data) + at_a, *pb = static_cast<const float*>(b.data) + at_b;
    auto* py = static_cast<float*>(y.data) + at_y;
    Parallel(call, batch.count, 0.02 * static_cast<double>(m * k) * static_cast<double>(n),
             [&](int64_t first, int64_t last) {
               for (int64_t i = first; i < last; ++i)
                 GetSimd().outer({m, n, k, pa + i * batch.a_stride, k, 1, pb + i * batch.b_stride, n, nullptr,
                                  py + i * batch.y_stride, n, false});
             });
  } else {
    at::Tensor out = ToTensor(y, {batch.count, m, n}, {batch.y_stride, n, 1}, at_y);
    at::bmm_out(out, ToTensor(a, {batch.count, m, k}, {batch.a_stride, k, 1}, at_a),
                ToTensor(b, {batch.count, k, n}, {batch.b_stride, n, 1}, at_b));
  }
  return Status();
}

}  // namespace

// numpy matmul. Neighbouring batch axes that both operands walk evenly are one; the innermost of what remains
// is a batch, the others are walked. An operand that broadcasts stands still and is not copied.
Status MatMul(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  Shape a = call.inputs[0].shape, b = call.inputs[1].shape, y = call.outputs[0].shape;
  if (a.size() == 1) {
    a.insert(a.begin(), 1);
    y.insert(y.end() - (b.size() > 1 ? 1 : 0), 1);
  }
  if (b.size() == 1) {
    b.push_back(1);
    y.push_back(1);
  }
  const int64_t m = a[a.size() - 2], k = a.back(), n = b.back();
  Shape axes(y.begin(), y.end() - 2);
  // Strides of the batch axes alone, in elements.
  const auto strides = [&](Shape shape, int64_t matrix) {
    shape.resize(shape.size() - 2);
    std::vector<int64_t> s = BroadcastStrides({nullptr, DType::kF32, shape, DenseStrides(shape)}, axes);
    for (int64_t& stride : s) stride *= matrix;
    return s;
  };
  std::vector<int64_t> sa = strides(a, m * k), sb = strides(b, k * n), sy = strides(y, m * n);
  for (size_t i = axes.size(); i-- > 1;) {
    if (sa[i - 1] != sa[i] * axes[i] || sb[i - 1] != sb[i] * axes[i] || sy[i - 1] != sy[i] * axes[i])
      continue;
    axes[i] *= axes[i - 1];
    for (auto* v : {&axes, &sa, &sb, &sy}) v->erase(v->begin() + static_cast<int64_t>(i) - 1);
  }
  if (axes.empty()) {
    axes.push_back(1);
    for (auto* v : {&sa, &sb, &sy}) v->push_back(0);
  }
  const size_t last = axes.size() - 1;
  if (NumElements(y) == 0) return Status();
  for (int64_t o = 0, outer = Product(axes, 0, last); o < outer; ++o) {
    int64_t at_a = 0, at_b = 0, at_y = 0, rest = o;
    for (size_t i = last; i-- > 0;) {
      at_a += rest % axes[i] * sa[i];
      at_b += rest % axes[i] * sb[i];
      at_y += rest % axes[i] * sy[i];
      rest /= axes[i];
    }
    ZO2_TRY(MultiplyBatch(call, {axes[last], m, k, n, sa[last], sb[last], sy[last]}, at_a, at_b, at_y));
  }
  return Status();
}

}  // namespace zo2::aten
