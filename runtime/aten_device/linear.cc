// Matrix products: those of the two ops that are nothing else, and those that others ask for.
#include <ATen/ops/add.h>
#include <ATen/ops/addcmul.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/mm.h>

#include <algorithm>

#include "runtime/aten_device/call.h"
#include "runtime/aten_device/kernels.h"

namespace zo2::aten_device {
namespace {

// y (f32) = x w of 16-bit matrices, summed in f32.
void ProductToF32(at::Tensor& y, const at::Tensor& x, const at::Tensor& w) {
#if ZO2_CUDA
  at::mm_out(y, x, w, at::kFloat);
#else
  // ATen has this product for GPUs only. In its stead: blocks of both operands, widened.
  constexpr int64_t kBlock = 512 << 10;  // bytes of one
  const int64_t m = y.size(0), n = y.size(1), k = x.size(1);
  const int64_t each = std::max<int64_t>(1, kBlock / std::max<int64_t>(1, 4 * k));
  for (int64_t column = 0; column < n; column += each) {
    const WorkspaceFrame of_columns;
    const int64_t columns = std::min(each, n - column);
    at::Tensor b = Temporary({columns, k}, at::kFloat);
    b.copy_(w.narrow(1, column, columns).t());
    for (int64_t row = 0; row < m; row += each) {
      const WorkspaceFrame of_rows;
      const int64_t rows = std::min(each, m - row);
      at::Tensor a = Temporary({rows, k}, at::kFloat);
      a.copy_(x.narrow(0, row, rows));
      at::Tensor out = y.narrow(0, row, rows).narrow(1, column, columns);
      at::mm_out(out, a, b.t());
    }
  }
#endif
}

// y[m, n] += bias[n], rounded once to the dtype of y.
void AddBias(at::Tensor& y, const at::Tensor& bias) {
  if (kCuda || bias.scalar_type() == y.scalar_type()) {
    at::add_out(y, y, bias);
    return;
  }
  // A CPU would convert all of y: row by row instead.
  const at::ScalarType wide = c10::promoteTypes(y.scalar_type(), bias.scalar_type());
  at::Tensor added = Temporary({1, y.size(1)}, wide), sum = Temporary({1, y.size(1)}, wide);
  added.copy_(bias);
  for (int64_t i = 0; i < y.size(0); ++i) {
    sum.copy_(y.narrow(0, i, 1));
    sum.add_(added);
    y.narrow(0, i, 1).copy_(sum);
  }
}

}  // namespace

void Product(at::Tensor y, const at::Tensor& x, const at::Tensor& w, const TensorView* bias) {
  if (y.numel() == 0) return;
  if (x.size(1) == 0) {
    y.zero_();
  } else if (y.scalar_type() != x.scalar_type()) {
    ProductToF32(y, x, w);
  } else if (bias != nullptr && aten::ToAten(bias->dtype) == y.scalar_type()) {
    at::addmm_out(y, ToTensor(*bias), x, w);
    return;
  } else {
    at::mm_out(y, x, w);
  }
  if (bias != nullptr) AddBias(y, ToTensor(*bias));
}

// x[rows, in] W[out, in]^T + b into y[rows, out]; y may be a slice of a wider matrix (stride of its rows >
// out), and W a slice of columns. W in bf16 with x in f32: x is rounded to bf16, sums and y are f32.
Status Linear(const KernelCall& call) {
  const TensorView &x = call.inputs[0], &w = call.inputs[1], &y = call.outputs[0];
  const TensorView* bias = aten::Optional(call, 2);
  const bool rounds = x.dtype == DType::kF32 && w.dtype == DType::kBF16;
  if (w.dtype != x.dtype && !rounds)
    return Internal("linear: the kernels multiply equal dtypes, or f32 by bf16, not ", aten::ToString(x), " by ",
                    aten::ToString(w));
  if (rounds && bias != nullptr && bias->dtype != DType::kF32)
    return Internal("linear: a product of f32 by bf16 adds a bias in f32, not ", aten::ToString(*bias));
  ZO2_ASSIGN(const aten::Rows xr, aten::AsRows(x));
  ZO2_ASSIGN(const aten::Rows wr, aten::AsRows(w));
  ZO2_ASSIGN(const aten::Rows yr, aten::AsRows(y));
  at::Tensor from = Matrix(x, xr), matrix = Matrix(w, wr);
  if (rounds) {
    at::Tensor rounded = Temporary({xr.rows, xr.columns}, at::kBFloat16);
    from = rounded.copy_(from);
  }
  Product(Matrix(y, yr), from, AttrInt(*call.attrs, "trans_w", 1) != 0 ? matrix.t() : matrix, bias);
  return Status();
}

namespace {

// A batch of products [m, k] [k, n]; strides of the batch, 0 where an operand is the same for all.
struct Batch {
  int64_t count, m, k, n;
  int64_t a_stride, b_stride, y_stride;
};

void MultiplyBatch(const KernelCall& call, const Batch& p, int64_t at_a, int64_t at_b, int64_t at_y) {
  const TensorView &a = call.inputs[0], &b = call.inputs[1], &y = call.outputs[0];
  const bool stacked = p.b_stride == 0 && p.a_stride == p.m * p.k && p.y_stride == p.m * p.n;
  if (p.count == 1 || stacked) {  // one product
    const int64_t m = p.count * p.m;
    Product(ToTensor(y, {m, p.n}, {p.n, 1}, at_y), ToTensor(a, {m, p.k}, {p.k, 1}, at_a),
            ToTensor(b, {p.k, p.n}, {p.n, 1}, at_b), nullptr);
    return;
  }
  at::Tensor out = ToTensor(y, {p.count, p.m, p.n}, {p.y_stride, p.n, 1}, at_y);
  const at::Tensor left = ToTensor(a, {p.count, p.m, p.k}, {p.a_stride, p.k, 1}, at_a),
                   right = ToTensor(b, {p.count, p.k, p.n}, {p.b_stride, p.n, 1}, at_b);
  at::bmm_out(out, left, right);
}

// GPUs multiply no integer matrices: one index of the inner axis after the other, exact and without temporaries.
void MultiplyIntegers(const TensorView& a, const Shape& as, const TensorView& b, const Shape& bs, at::Tensor y) {
  const at::Tensor left = Reshaped(a, as), right = Reshaped(b, bs);
  y.zero_();
  for (int64_t i = 0; i < as.back(); ++i) at::addcmul_out(y, y, left.narrow(-1, i, 1), right.narrow(-2, i, 1));
}

}  // namespace

// numpy matmul. Neighbouring batch axes that both operands walk evenly are one; the innermost of what remains
// is a batch, the others are walked. An operand that broadcasts stands still.
Status MatMul(const KernelCall& call) {
  ZO2_TRY(aten::NeedDense(call));
  Shape a = call.inputs[0].shape, b = call.inputs[1].shape, y = call.outputs[0].shape;
  if (a.size() == 1) {
    a.insert(a.begin(), 1);
    y.insert(y.end() - (b.size() > 1 ? 1 : 0), 1);
  }
  if (b.size() == 1) {
    b.push_back(1);
    y.push_back(1);
  }
  if (NumElements(y) == 0) return Status();
  if (!IsFloat(call.outputs[0].dtype)) {
    MultiplyIntegers(call.inputs[0], a, call.inputs[1], b, Reshaped(call.outputs[0], y));
    return Status();
  }
  const int64_t m = a[a.size() - 2], k = a.back(), n = b.back();
  Shape axes(y.begin(), y.end() - 2);
  // Strides of the batch axes alone, in elements.
  const auto strides = [&](Shape shape, int64_t matrix) {
    shape.resize(shape.size() - 2);
    std::vector<int64_t> s =
        aten::BroadcastStrides({nullptr, DType::kF32, shape, aten::DenseStrides(shape)}, axes);
    for (int64_t& stride : s) stride *= matrix;
    return s;
  };
  std::vector<int64_t> sa = strides(a, m * k), sb = strides(b, k * n), sy = strides(y, m * n);
  for (size_t i = axes.size(); i-- > 1;) {
    if (sa[i - 1] != sa[i] * axes[i] || sb[i - 1] != sb[i] * axes[i] || sy[i - 1] != sy[i] * axes[i]) continue;
    axes[i] *= axes[i - 1];
    for (auto* v : {&axes, &sa, &sb, &sy}) v->erase(v->begin() + static_cast<int64_t>(i) - 1);
  }
  if (axes.empty()) {
    axes.push_back(1);
    for (auto* v : {&sa, &sb, &sy}) v->push_back(0);
  }
  const size_t last = axes.size() - 1;
  for (int64_t o = 0, outer = aten::Product(axes, 0, last); o < outer; ++o) {
    int64_t at_a = 0, at_b = 0, at_y = 0, rest = o;
    for (size_t i = last; i-- > 0;) {
      at_a += rest % axes[i] * sa[i];
      at_b += rest % axes[i] * sb[i];
      at_y += rest % axes[i] * sy[i];
      rest /= axes[i];
    }
    MultiplyBatch(call, {axes[last], m, k, n, sa[last], sb[last], sy[last]}, at_a, at_b, at_y);
  }
  return Status();
}

}  // namespace zo2::aten_device
