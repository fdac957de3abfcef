// The binary64 arithmetic of a step, once for every device: coefficients of updates and branches, sums of losses, g.
// As noise_core.h is for binary32: one IEEE operation per function, rounded to nearest even, so that no compiler can
// contract or reorder them. The bits of a NaN alone are left open; a step that has one is skipped.
#ifndef ZO2_RUNTIME_KERNELS_STEP_CORE_H_
#define ZO2_RUNTIME_KERNELS_STEP_CORE_H_

#include <cstdint>

#include "runtime/kernels/noise_core.h"

namespace zo2::kernels {

#if defined(__CUDA_ARCH__)
ZO2_HD double Add64(double a, double b) { return __dadd_rn(a, b); }
ZO2_HD double Sub64(double a, double b) { return __dsub_rn(a, b); }
ZO2_HD double Mul64(double a, double b) { return __dmul_rn(a, b); }
ZO2_HD double Div64(double a, double b) { return __ddiv_rn(a, b); }
ZO2_HD uint64_t Bits64(double a) { return static_cast<uint64_t>(__double_as_longlong(a)); }
ZO2_HD double QuietNan64() { return __longlong_as_double(0x7FF8000000000000); }
#else
ZO2_HD double Add64(double a, double b) { return a + b; }
ZO2_HD double Sub64(double a, double b) { return a - b; }
ZO2_HD double Mul64(double a, double b) { return a * b; }
ZO2_HD double Div64(double a, double b) { return a / b; }
ZO2_HD uint64_t Bits64(double a) { return std::bit_cast<uint64_t>(a); }
ZO2_HD double QuietNan64() { return std::bit_cast<double>(uint64_t{0x7FF8000000000000}); }
#endif

ZO2_HD bool IsFinite(double a) { return (Bits64(a) & 0x7FF0000000000000) != 0x7FF0000000000000; }

// The three coefficients of the method, each rounded to binary32 once from a binary64 expression. Every device takes
// them from here.
//
// sign * float(eps e) for sign = +1 or -1; e is the weight's own multiplier of eps, 1 unless set.
ZO2_HD float BranchCoefficient(double sign, double eps, double eps_mul = 1.0) {
  return static_cast<float>(Mul64(sign, Mul64(eps, eps_mul)));
}
// c_i of one sample; h is the weight's own multiplier of lr.
ZO2_HD float UpdateCoefficient(double lr, double lr_mul, double g, int q) {
  return static_cast<float>(-Div64(Mul64(Mul64(lr, lr_mul), g), static_cast<double>(q)));
}
ZO2_HD float DecayFactor(double lr, double weight_decay) {
  return static_cast<float>(Sub64(1.0, Mul64(lr, weight_decay)));
}

// sum + values[0] + values[1] + ..., in this order.
ZO2_HD double AddInOrder(double sum, const double* values, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum = Add64(sum, values[i]);
  return sum;
}

// g[i] of q samples from the means of their losses, clipped to [-clip, clip] if clip > 0. False if a loss or a g was
// not finite: the step is to be skipped.
ZO2_HD bool ProjectedGradients(const double* plus, const double* minus, int q, double eps, double clip, double* g) {
  bool finite = true;
  for (int i = 0; i < q; ++i) {
    double value = Div64(Sub64(plus[i], minus[i]), Mul64(2, eps));
    if (!IsFinite(plus[i]) || !IsFinite(minus[i]) || !IsFinite(value)) finite = false;
    if (clip > 0 && value > clip) value = clip;
    if (clip > 0 && value < -clip) value = -clip;
    g[i] = value;
  }
  return finite;
}

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_STEP_CORE_H_
