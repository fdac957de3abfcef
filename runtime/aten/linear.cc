// Matrix products.
#include <ATen/ops/add.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/mm.h>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"

namespace zo2::aten {

// x[rows, in] W[out, in]^T + b into y[rows, out]; y may be a slice of a wider matrix (stride of its rows > out).
Status Linear(const KernelCall& call) {
  const TensorView &x = call.inputs[0], &w = call.inputs[1], &y = call.outputs[0];
  const TensorView* bias = Optional(call, 2);
  if (w.dtype != x.dtype)
    return Internal("linear: the kernels multiply equal dtypes, not ", ToString(x), " by ", ToString(w));
  ZO2_ASSIGN(const Rows xr, AsRows(x));
  ZO2_ASSIGN(const Rows yr, AsRows(y));
  const at::Tensor xt = ToTensor(x, {xr.rows, xr.columns}, {xr.stride, 1});
  at::Tensor yt = ToTensor(y, {yr.rows, yr.columns}, {yr.stride, 1});
  const at::Tensor wt = AttrInt(*call.attrs, "trans_w", 1) != 0 ? ToTensor(w).t() : ToTensor(w);
  if (bias != nullptr && bias->dtype == x.dtype) {
    at::addmm_out(yt, ToTensor(*bias), xt, wt);
  } else {
    at::mm_out(yt, xt, wt);
    if (bias != nullptr) at::add_out(yt, yt, ToTensor(*bias));
  }
  return Status();
}

// numpy matmul. Batch axes are walked one by one but for the innermost, which is one batched product; an operand that
// broadcasts has stride 0 there and is not copied.
Status MatMul(const KernelCall& call) {
  TensorView a = call.inputs[0], b = call.inputs[1], y = call.outputs[0];
  if (a.shape.size() == 1) {
    a.shape.insert(a.shape.begin(), 1);
    a.strides.insert(a.strides.begin(), 0);
    y.shape.insert(y.shape.end() - (b.shape.size() > 1 ? 1 : 0), 1);
    y.strides.insert(y.strides.end() - (b.shape.size() > 1 ? 1 : 0), 1);
  }
  if (b.shape.size() == 1) {
    b.shape.push_back(1);
    b.strides.push_back(1);
    y.shape.push_back(1);
    y.strides.push_back(1);
  }
  ZO2_TRY(NeedDense(call));
  const Shape batch(y.shape.begin(), y.shape.end() - 2);
  const int64_t m = a.shape[a.shape.size() - 2], k = a.shape.back(), n = b.shape.back();
  TensorView ab = a, bb = b;  // the batch axes alone
  for (TensorView* v : {&ab, &bb}) {
    v->shape.resize(v->shape.size() - 2);
    v->strides.resize(v->shape.size());
  }
  Shape merged = batch;
  std::vector<int64_t> sa = BroadcastStrides(ab, batch), sb = BroadcastStrides(bb, batch), sy(y.strides.begin(), y.strides.end() - 2);
  for (size_t i = merged.size(); i-- > 1;) {  // neighbouring axes that both operands walk evenly become one
    if (sa[i - 1] != sa[i] * merged[i] || sb[i - 1] != sb[i] * merged[i] || sy[i - 1] != sy[i] * merged[i]) continue;
    merged[i] *= merged[i - 1];
    for (auto* v : {&merged, &sa, &sb, &sy}) v->erase(v->begin() + static_cast<int64_t>(i) - 1);
  }
  if (merged.empty()) {
    for (auto* v : {&merged, &sa, &sb, &sy}) v->push_back(0);
    merged[0] = 1;
  }
  const size_t last = merged.size() - 1;
  const int64_t outer = Product(merged, 0, last), inner = merged[last];
  if (outer * inner * m * n == 0) return Status();
  for (int64_t o = 0; o < outer; ++o) {
    int64_t at_a = 0, at_b = 0, at_y = 0, rest = o;
    for (size_t i = last; i-- > 0;) {
      const int64_t index = rest % merged[i];
      rest /= merged[i];
      at_a += index * sa[i];
      at_b += index * sb[i];
      at_y += index * sy[i];
    }
    if (inner == 1 || (sb[last] == 0 && sa[last] == m * k && sy[last] == m * n)) {  // one product, rows stacked
      at::Tensor yt = ToTensor(y, {inner * m, n}, {n, 1}, at_y);
      at::mm_out(yt, ToTensor(a, {inner * m, k}, {k, 1}, at_a), ToTensor(b, {k, n}, {n, 1}, at_b));
    } else {
      at::Tensor yt = ToTensor(y, {inner, m, n}, {sy[last], n, 1}, at_y);
      at::bmm_out(yt, ToTensor(a, {inner, m, k}, {sa[last], k, 1}, at_a),
                  ToTensor(b, {inner, k, n}, {sb[last], n, 1}, at_b));
    }
  }
  return Status();
}

}  // namespace zo2::aten
