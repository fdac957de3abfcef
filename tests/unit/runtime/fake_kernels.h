// Plain loops in place of the kernel library: enough ops for the tiny schedules.
#ifndef ZO2_TESTS_UNIT_RUNTIME_FAKE_KERNELS_H_
#define ZO2_TESTS_UNIT_RUNTIME_FAKE_KERNELS_H_

#include <cmath>
#include <cstdint>
#include <vector>

#include "runtime/kernel_table.h"

namespace zo2::fake {

inline const float* In(const KernelCall& call, size_t i) { return static_cast<const float*>(call.inputs[i].data); }

// y[r, j] for the part's columns j; the output view is the slice.
inline Status Linear(const KernelCall& call) {
  const TensorView &w = call.inputs[1], &y = call.outputs[0];
  const int64_t in = w.shape[1], out = w.shape[0];
  const float* bias = call.inputs.size() > 2 ? In(call, 2) : nullptr;
  int64_t rows = 1;
  for (size_t d = 0; d + 1 < y.shape.size(); ++d) rows *= y.shape[d];
  const int64_t pitch = y.strides[y.strides.size() - 2];
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t j = 0; j < out; ++j) {
      float sum = bias ? bias[j] : 0;
      for (int64_t k = 0; k < in; ++k) sum += In(call, 0)[r * in + k] * In(call, 1)[j * in + k];
      static_cast<float*>(y.data)[r * pitch + j] = sum;
    }
  return Status();
}

inline Status Relu(const KernelCall& call) {
  const int64_t n = NumElements(call.outputs[0].shape);
  for (int64_t i = 0; i < n; ++i) {
    const float x = In(call, 0)[i];
    static_cast<float*>(call.outputs[0].data)[i] = x > 0 || x != x ? x : 0;
  }
  return Status();
}

inline Status Add(const KernelCall& call) {  // b is broadcast over leading axes
  const int64_t n = NumElements(call.outputs[0].shape), m = NumElements(call.inputs[1].shape);
  for (int64_t i = 0; i < n; ++i) static_cast<float*>(call.outputs[0].data)[i] = In(call, 0)[i] + In(call, 1)[i % m];
  return Status();
}

inline Status ClassifyLoss(const KernelCall& call) {
  const int64_t batch = call.inputs[0].shape[0], classes = call.inputs[0].shape[1];
  const int64_t* labels = static_cast<const int64_t*>(call.inputs[1].data);
  for (int64_t e = 0; e < batch; ++e) {
    double sum = 0;
    for (int64_t c = 0; c < classes; ++c) sum += std::exp(static_cast<double>(In(call, 0)[e * classes + c]));
    const bool counts = labels[e] != -100;
    static_cast<double*>(call.outputs[0].data)[e] =
        counts ? std::log(sum) - static_cast<double>(In(call, 0)[e * classes + labels[e]]) : 0;
    static_cast<double*>(call.outputs[1].data)[e] = counts ? 1 : 0;
  }
  return Status();
}

// Parts of the vocabulary in order; `state`, or with one part a local, holds per token the sum of exponentials.
inline Status CausalLmLoss(const KernelCall& call) {
  const int64_t batch = call.inputs[0].shape[0], tokens = call.inputs[0].shape[1], width = call.inputs[0].shape[2];
  const int64_t* labels = static_cast<const int64_t*>(call.inputs[1].data);
  const int64_t rows = call.inputs[2].shape[0];
  const float* bias = call.inputs.size() > 3 ? In(call, 3) : nullptr;
  double *sum = static_cast<double*>(call.outputs[0].data), *count = static_cast<double*>(call.outputs[1].data);
  float* exps = static_cast<float*>(call.state);
  for (int64_t e = 0; e < batch; ++e) {
    if (call.first_part) sum[e] = count[e] = 0;
    for (int64_t t = 0; t + 1 < tokens; ++t) {
      float& total = exps[e * tokens + t];
      if (call.first_part) total = 0;
      for (int64_t v = 0; v < rows; ++v) {
        float logit = bias ? bias[v] : 0;
        for (int64_t k = 0; k < width; ++k) logit += In(call, 0)[(e * tokens + t) * width + k] * In(call, 2)[v * width + k];
        total += std::exp(logit);
        if (labels[e * tokens + t + 1] == call.part_begin + v) sum[e] -= static_cast<double>(logit);
      }
      if (call.last_part) {
        sum[e] += std::log(static_cast<double>(total));
        count[e] += 1;
      }
    }
  }
  return Status();
}

inline KernelTable Kernels() {
  KernelTable table;
  table.call[static_cast<size_t>(Op::kLinear)] = Linear;
  table.call[static_cast<size_t>(Op::kRelu)] = Relu;
  table.call[static_cast<size_t>(Op::kAdd)] = Add;
  table.call[static_cast<size_t>(Op::kClassifyLoss)] = ClassifyLoss;
  table.call[static_cast<size_t>(Op::kCausalLmLoss)] = CausalLmLoss;
  return table;
}

}  // namespace zo2::fake

#endif  // ZO2_TESTS_UNIT_RUNTIME_FAKE_KERNELS_H_
