// Layer and RMS normalisation of the last axis.
#include <cmath>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"
#include "runtime/aten/simd.h"

namespace zo2::aten {
namespace {

double At(const TensorView& v, int64_t i) {
  double value = 0;
  (void)ByFloat(v.dtype, [&](auto t) {
    value = static_cast<double>(static_cast<const decltype(t)*>(v.data)[i]);
    return Status();
  });
  return value;
}

// Any other mixture of dtypes, one row in binary64.
template <typename T>
void NormRowAny(const T* x, const TensorView& scale, const TensorView* bias, T* y, int64_t n, double eps,
                bool centre) {
  double mean = 0, square = 0;
  for (int64_t i = 0; centre && i < n; ++i) mean += static_cast<double>(x[i]) / static_cast<double>(n);
  for (int64_t i = 0; i < n; ++i) {
    const double d = static_cast<double>(x[i]) - mean;
    square += d * d / static_cast<double>(n);
  }
  const double factor = 1 / std::sqrt(square + eps);
  for (int64_t i = 0; i < n; ++i)
    y[i] = static_cast<T>((static_cast<double>(x[i]) - mean) * factor * At(scale, i) +
                          (bias != nullptr ? At(*bias, i) : 0.0));
}

Status Norm(const KernelCall& call, bool centre) {
  const TensorView &x = call.inputs[0], &scale = call.inputs[1], &y = call.outputs[0];
  const TensorView* bias = Optional(call, 2);
  ZO2_TRY(NeedDense(call));
  const double eps = AttrDouble(*call.attrs, "eps", 1e-5);
  const int64_t n = x.shape.back(), rows = n == 0 ? 0 : NumElements(x.shape) / n;
  const bool all_f32 =
      x.dtype == DType::kF32 && scale.dtype == DType::kF32 && (bias == nullptr || bias->dtype == DType::kF32);
  Parallel(call, rows, 0.2 * static_cast<double>(n), [&](int64_t first, int64_t last) {
    if (all_f32) {
      const auto *from = static_cast<const float*>(x.data), *s = static_cast<const float*>(scale.data);
      const auto* b = bias != nullptr ? static_cast<const float*>(bias->data) : nullptr;
      auto* to = static_cast<float*>(y.data);
      for (int64_t r = first; r < last; ++r) GetSimd().norm(from + r * n, s, b, to + r * n, n, eps, centre);
    } else {
      (void)ByFloat(x.dtype, [&](auto t) {
        using T = decltype(t);
        for (int64_t r = first; r < last; ++r)
          NormRowAny(static_cast<const T*>(x.data) + r * n, scale, bias, static_cast<T*>(y.data) + r * n, n,
                     eps, centre);
        return Status();
      });
    }
  });
  return Status();
}

}  // namespace

Status LayerNorm(const KernelCall& call) { return Norm(call, true); }
Status RmsNorm(const KernelCall& call) { return Norm(call, false); }

}  // namespace zo2::aten
