// GELU, SiLU and the rotation of queries and keys.
#include <ATen/ops/gelu.h>
#include <ATen/ops/silu.h>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"
#include "runtime/aten/vector.h"

namespace zo2::aten {
namespace {

// erf within 1.5 units in the last place: an odd polynomial near 0, 1 - e^-p(|x|) elsewhere (N. Juffa's coefficients).
ZO2_INLINE Floats Erf(Floats x) {
  const Floats t = x < 0.0f ? -x : x, s = x * x;
  Floats q = -1.72853470e-5f * t + 3.83197126e-4f;
  q = q * s + (-3.88396438e-3f * t + 2.42546219e-2f);
  q = q * t - 1.06777877e-1f;
  q = q * t - 6.34846687e-1f;
  q = q * t - 1.28717512e-1f;
  q = q * t - t;
  const Floats large = 1.0f - Exp(q);
  Floats p = Splat(-5.96761703e-4f);
  p = p * s + 4.99119423e-3f;
  p = p * s - 2.67681349e-2f;
  p = p * s + 1.12819925e-1f;
  p = p * s - 3.76125336e-1f;
  p = p * s + 1.28379166e-1f;
  const Floats small = p * x + x;
  return t > 0.927734375f ? (x < 0.0f ? -large : large) : small;
}

ZO2_INLINE Floats GeluErf(Floats x) { return 0.5f * x * (1.0f + Erf(x * 0.70710678f)); }
// 0.5 x (1 + tanh u) = x / (1 + e^-2u) with u = sqrt(2 / pi) (x + 0.044715 x^3)
ZO2_INLINE Floats GeluTanh(Floats x) {
  const Floats u = 1.5957691216f * (x + 0.044715f * (x * x * x));
  return x / (1.0f + Exp(-u));
}
ZO2_INLINE Floats SiluOf(Floats x) { return x / (1.0f + Exp(-x)); }

template <typename F>
void Map(const KernelCall& call, const F& f) {
  const auto* from = static_cast<const float*>(call.inputs[0].data);
  auto* to = static_cast<float*>(call.outputs[0].data);
  const int64_t n = NumElements(call.inputs[0].shape);
  Parallel((n + kWidth - 1) / kWidth, 10 * kWidth, [&](int64_t first, int64_t last) {
    RunVectorised([=] {
      for (int64_t i = first * kWidth; i < last * kWidth; i += kWidth) Store(to + i, f(Load(from + i, n - i, 0)), n - i);
    });
  });
}

// y = x cos + rotate_half(x) sin; d is the head size, c_step and s_step are 0 where a table's last axis is 1.
template <typename T>
void RotateRow(const T* x, const T* cos, const T* sin, T* y, int64_t d, int64_t c_step, int64_t s_step,
               bool interleaved) {
  const int64_t half = d / 2;
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
  const int64_t d = x.shape[3], rows = d == 0 ? 0 : NumElements(x.shape) / d, n2 = x.shape[2], n1 = x.shape[1];
  Parallel(rows, static_cast<double>(4 * d), [&](int64_t first, int64_t last) {
    for (int64_t r = first; r < last; ++r) {
      const int64_t i2 = r % n2, i1 = r / n2 % n1, i0 = r / n2 / n1;
      RotateRow(static_cast<const T*>(x.data) + r * d, static_cast<const T*>(c.data) + i0 * cs[0] + i1 * cs[1] + i2 * cs[2],
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
  } else if (tanh) {
    Map(call, [](Floats x) __attribute__((always_inline)) { return GeluTanh(x); });
  } else {
    Map(call, [](Floats x) __attribute__((always_inline)) { return GeluErf(x); });
  }
  return Status();
}

Status Silu(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  if (call.inputs[0].dtype == DType::kF32) {
    Map(call, [](Floats x) __attribute__((always_inline)) { return SiluOf(x); });
  } else {
    at::Tensor y = ToTensor(call.outputs[0]);
    at::silu_out(y, ToTensor(call.inputs[0]));
  }
  return Status();
}

Status Rotary(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  switch (call.inputs[0].dtype) {
    case DType::kF32:
      Rotate<float>(call);
      return Status();
    case DType::kF64:
      Rotate<double>(call);
      return Status();
    case DType::kBF16:
      Rotate<c10::BFloat16>(call);
      return Status();
    case DType::kF16:
      Rotate<c10::Half>(call);
      return Status();
    default:
      return Internal("rotary: no kernel for ", Name(call.inputs[0].dtype));
  }
}

}  // namespace zo2::aten
