// Losses: a (sum, count) pair in binary64 per example.
#include <ATen/ops/addmm.h>
#include <ATen/ops/mm.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cmath>
#include <limits>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"

namespace zo2::aten {
namespace {

constexpr int64_t kIgnored = -100;
constexpr double kLowest = -std::numeric_limits<double>::infinity();

// Calls f(T()) with the C++ type of a float dtype.
template <typename F>
Status ByFloat(const TensorView& v, const F& f) {
  switch (v.dtype) {
    case DType::kF32:
      return f(float());
    case DType::kF64:
      return f(double());
    case DType::kBF16:
      return f(c10::BFloat16());
    case DType::kF16:
      return f(c10::Half());
    default:
      return Internal("a loss of ", ToString(v), " has no kernel");
  }
}

// log sum e^x over what it has seen, and the label's own x. NaN and +infinity make the loss NaN.
struct Running {
  double max = kLowest, sum = 0, label = 0;
  double Loss() const { return std::log(sum) + max - label; }
};

template <typename T>
void AddLogits(const T* x, int64_t n, Running* r) {
  double max = r->max;
  bool nan = false;
  for (int64_t i = 0; i < n; ++i) {
    const auto v = static_cast<double>(x[i]);
    max = v > max ? v : max;
    nan |= v != v;
  }
  if (nan) {
    r->sum = std::numeric_limits<double>::quiet_NaN();
    return;
  }
  if (max == kLowest) return;  // nothing but -infinity so far
  double sum = r->sum * std::exp(r->max - max);
  for (int64_t i = 0; i < n; ++i) sum += std::exp(static_cast<double>(x[i]) - max);
  r->max = max;
  r->sum = sum;
}

// Label of position t, or kIgnored: with shift, position t is judged by the label of t + 1.
int64_t LabelAt(const int64_t* labels, int64_t seq, int64_t t, bool shift) {
  if (!shift) return labels[t];
  return t + 1 < seq ? labels[t + 1] : kIgnored;
}

Status CheckLabels(const KernelCall& call, const TensorView& labels, int64_t classes, bool know_classes) {
  const auto* label = static_cast<const int64_t*>(labels.data);
  for (int64_t i = 0, n = NumElements(labels.shape); i < n; ++i) {
    if (label[i] == kIgnored || (label[i] >= 0 && (label[i] < classes || !know_classes))) continue;
    if (!know_classes) return Invalid(Name(call.op), ": label ", label[i], " at position ", i, " is negative");
    return Invalid(Name(call.op), ": label ", label[i], " at position ", i, " is neither -100 nor in [0, ", classes, ")");
  }
  return Status();
}

// Per example, from per-token losses in token order.
void SumTokens(const KernelCall& call, const int64_t* labels, int64_t batch, int64_t seq, bool shift,
               const std::function<double(int64_t token)>& loss) {
  auto *sum = static_cast<double*>(call.outputs[0].data), *count = static_cast<double*>(call.outputs[1].data);
  for (int64_t b = 0; b < batch; ++b) {
    sum[b] = count[b] = 0;
    for (int64_t t = 0; t < seq; ++t) {
      if (LabelAt(labels + b * seq, seq, t, shift) == kIgnored) continue;
      sum[b] += loss(b * seq + t);
      count[b] += 1;
    }
  }
}

}  // namespace

Status CausalLmLoss(const KernelCall& call) {
  const TensorView &hidden = call.inputs[0], &labels = call.inputs[1], &w = call.inputs[2];
  const TensorView* bias = Optional(call, 3);
  if (!IsDense(hidden) || !IsDense(labels)) return Internal("causal_lm_loss: hidden and labels must be dense");
  if (hidden.dtype != w.dtype)
    return Internal("causal_lm_loss: the kernels multiply equal dtypes, not ", ToString(hidden), " by ", ToString(w));
  const bool trans = AttrInt(*call.attrs, "trans_w", 1) != 0, shift = AttrInt(*call.attrs, "shift", 0) != 0;
  const int64_t batch = hidden.shape[0], seq = hidden.shape[1], rows = batch * seq;
  const int64_t begin = call.part_begin, n = w.shape[trans ? 0 : 1], end = begin + n;
  ZO2_TRY(CheckLabels(call, labels, end, call.last_part));
  const auto* label = static_cast<const int64_t*>(labels.data);
  auto* state = static_cast<Running*>(call.state);
  if (rows > 0 && state == nullptr) return Internal("causal_lm_loss: the call has no state");
  if (call.first_part) std::fill(state, state + rows, Running());

  return ByFloat(hidden, [&](auto t) -> Status {
    using T = decltype(t);
    auto* logits = static_cast<T*>(TakeWorkspace(rows * n * static_cast<int64_t>(sizeof(T))));
    if (logits == nullptr) return Internal("causal_lm_loss: the workspace does not hold ", rows, " x ", n, " logits");
    if (rows * n > 0) {
      at::Tensor out = ToTensor({logits, hidden.dtype, {rows, n}, {n, 1}});
      const at::Tensor x = ToTensor(hidden, {rows, hidden.shape[2]}, {hidden.shape[2], 1});
      const at::Tensor wt = trans ? ToTensor(w).t() : ToTensor(w);
      at::mm_out(out, x, wt);
      if (bias != nullptr) out.add_(ToTensor(*bias));
    }
    Parallel(rows, static_cast<double>(40 * n), [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t id = LabelAt(label + i / seq * seq, seq, i % seq, shift);
        if (id == kIgnored) continue;
        if (id >= begin && id < end) state[i].label = static_cast<double>(logits[i * n + id - begin]);
        AddLogits(logits + i * n, n, &state[i]);
      }
    });
    if (call.last_part)
      SumTokens(call, label, batch, seq, shift, [&](int64_t i) { return state[i].Loss(); });
    return Status();
  });
}

// Cross entropy of logits that exist. `rows` = batch * seq.
static Status CrossEntropy(const KernelCall& call, int64_t batch, int64_t seq, bool shift) {
  ZO2_TRY(NeedDense(call));
  const TensorView &logits = call.inputs[0], &labels = call.inputs[1];
  const int64_t classes = logits.shape.back(), rows = batch * seq;
  ZO2_TRY(CheckLabels(call, labels, classes, true));
  const auto* label = static_cast<const int64_t*>(labels.data);
  auto* loss = static_cast<double*>(TakeWorkspace(rows * 8));
  if (loss == nullptr) return Internal(Name(call.op), ": the workspace does not hold ", rows, " losses");
  return ByFloat(logits, [&](auto t) -> Status {
    using T = decltype(t);
    const auto* x = static_cast<const T*>(logits.data);
    Parallel(rows, static_cast<double>(40 * classes), [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const int64_t id = LabelAt(label + i / seq * seq, seq, i % seq, shift);
        if (id == kIgnored) continue;
        Running running;
        running.label = static_cast<double>(x[i * classes + id]);
        AddLogits(x + i * classes, classes, &running);
        loss[i] = running.Loss();
      }
    });
    SumTokens(call, label, batch, seq, shift, [&](int64_t i) { return loss[i]; });
    return Status();
  });
}

Status TokenLoss(const KernelCall& call) {
  const Shape& shape = call.inputs[0].shape;
  return CrossEntropy(call, shape[0], shape[1], AttrInt(*call.attrs, "shift", 0) != 0);
}

Status ClassifyLoss(const KernelCall& call) { return CrossEntropy(call, call.inputs[0].shape[0], 1, false); }

Status MseLoss(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &pred = call.inputs[0], &target = call.inputs[1];
  const int64_t batch = pred.shape[0], each = Product(pred.shape, 1, pred.shape.size());
  auto *sum = static_cast<double*>(call.outputs[0].data), *count = static_cast<double*>(call.outputs[1].data);
  return ByFloat(pred, [&](auto tp) -> Status {
    return ByFloat(target, [&](auto tt) -> Status {
      const auto* p = static_cast<const decltype(tp)*>(pred.data);
      const auto* y = static_cast<const decltype(tt)*>(target.data);
      for (int64_t b = 0; b < batch; ++b) {
        sum[b] = 0;
        count[b] = static_cast<double>(each);
        for (int64_t i = b * each; i < (b + 1) * each; ++i) {
          const double d = static_cast<double>(p[i]) - static_cast<double>(y[i]);
          sum[b] += d * d;
        }
      }
      return Status();
    });
  });
}

Status OutputLoss(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView& value = call.inputs[0];
  const int64_t batch = value.shape.empty() ? 1 : value.shape[0];
  const int64_t each = value.shape.empty() ? 1 : Product(value.shape, 1, value.shape.size());
  auto *sum = static_cast<double*>(call.outputs[0].data), *count = static_cast<double*>(call.outputs[1].data);
  return ByFloat(value, [&](auto t) -> Status {
    const auto* x = static_cast<const decltype(t)*>(value.data);
    for (int64_t b = 0; b < batch; ++b) {
      sum[b] = 0;
      count[b] = static_cast<double>(each);
      for (int64_t i = b * each; i < (b + 1) * each; ++i) sum[b] += static_cast<double>(x[i]);
    }
    return Status();
  });
}

}  // namespace zo2::aten
