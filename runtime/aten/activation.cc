// GELU, SiLU and the rotation of queries and keys.
#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>

#include <type_traits>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"
#include "runtime/aten/simd.h"

namespace zo2::aten {
namespace {

void Map(const KernelCall& call, void (*f)(const float*, float*, int64_t)) {
  const auto* from = static_cast<const float*>(call.inputs[0].data);
  auto* to = static_cast<float*>(call.outputs[0].data);
  Parallel(call, NumElements(call.inputs[0].shape), 0.4,
           [=](int64_t begin, int64_t end) { f(from + begin, to + begin, end - begin); });
}

// y = x cos + rotate_half(x) sin; d is the head size, c_step and s_step are 0 where a table's last axis is 1.
template <typename T>
void RotateRow(const T* x, const T* cos, const T* sin, T* y, int64_t d, int64_t c_step, int64_t s_step,
               bool interleaved) {
  const int64_t half = d / 2;
  if constexpr (std::is_same_v<T, float>)
    if (!interleaved && c_step == 1 && s_step == 1) return GetSimd().rotate(x, cos, sin, y, half);
  for (int64_t p = 0; p < half; ++p) {
    const int64_t i = interleaved ? 2 * p : p, j = interleaved ? 2 * p + 1 : p + half;
    const T a = x[i], b = x[j];
    y[i] = a * cos[i * c_step] - b * sin[i * s_step];
    y[j] = b * cos[j * c_step] + a * sin[j * s_step];
  }
}

template <typename T>
void Rotate(const KernelCall& call) {
  const TensorView &x = call.inputs[0], &c = call.inputs[1], &s = call.inputs[2];
  const bool interleaved = AttrInt(*call.attrs, "interleaved", 0) != 0;
  const std::vector<int64_t> cs = BroadcastStrides(c, x.shape), ss = BroadcastStrides(s, x.shape);
  const int64_t d = x.shape[3], rows = d == 0 ? 0 : NumElements(x.shape) / d, n2 = x.shape[2],
                n1 = x.shape[1];
  Parallel(call, rows, 0.3 * static_cast<double>(d), [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const int64_t i2 = r % n2, i1 = r / n2 % n1, i0 = r / n2 / n1;
      RotateRow(static_cast<const T*>(x.data) + r * d,
                static_cast<const T*>(c.data) + i0 * cs[0] + i1 * cs[1] + i2 * cs[2],
                static_cast<const T*>(s.data) + i0 * ss[0] + i1 * ss[1] + i2 * ss[2],
                static_cast<T*>(call.outputs[0].data) + r * d, d, cs[3], ss[3], interleaved);
    }
  });
}

}  // namespace

Status Gelu(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const bool tanh = AttrInt(*call.attrs, "tanh", 0) != 0;
  if (call.inputs[0].dtype != DType::kF32) {
    at::Tensor y = ToTensor(call.outputs[0]);
    at::gelu_out(y, ToTensor(call.inputs[0]), tanh ? "tanh" : "none");
  } else {
    Map(call, tanh ? GetSimd().gelu_tanh : GetSimd().gelu);
  }
  return Status();
}

Status Silu(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  if (call.inputs[0].dtype == DType::kF32) {
    Map(call, GetSimd().silu);
  } else {
    at::Tensor y = ToTensor(call.outputs[0]);
    at::silu_out(y, ToTensor(call.inputs[0]));
  }
  return Status();
}

Status Rotary(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  return ByFloat(call.inputs[0].dtype, [&](auto t) {
    Rotate<decltype(t)>(call);
    return Status();
  });
}

}  // namespace zo2::aten
