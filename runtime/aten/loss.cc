// Losses: a (sum, count) pair in binary64 per example.
#include <cmath>
#include <limits>
#include <type_traits>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"
#include "runtime/aten/multiply.h"
#include "runtime/aten/simd.h"

namespace zo2::aten {
namespace {

constexpr int64_t kIgnored = -100;
constexpr double kLowest = -std::numeric_limits<double>::infinity();

// log sum e^x over what it has seen, and the label's own x. NaN and +infinity make the loss NaN.
struct Running {
  double max = kLowest, sum = 0, label = 0;
  double Loss() const { return std::log(sum) + max - label; }
};

template <typename T>
void AddLogits(const T* x, int64_t n, Running* r) {
  if constexpr (std::is_same_v<T, float>) return GetSimd().log_sum(x, n, &r->max, &r->sum);
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
    if (!know_classes)
      return Invalid(Name(call.op), ": label ", label[i], " at position ", i, " is negative");
    return Invalid(Name(call.op), ": label ", label[i], " at position ", i, " is neither -100 nor in [0, ",
                   classes, ")");
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
  if (!IsDense(hidden) || !IsDense(labels))
    return Internal("causal_lm_loss: hidden and labels must be dense");
  const bool rounds = hidden.dtype == DType::kF32 && w.dtype == DType::kBF16;  // as linear does
  if (hidden.dtype != w.dtype && !rounds)
    return Internal("causal_lm_loss: the kernels multiply equal dtypes, or f32 by bf16, not ", ToString(hidden), " by ",
                    ToString(w));
  const bool trans = AttrInt(*call.attrs, "trans_w", 1) != 0, shift = AttrInt(*call.attrs, "shift", 0) != 0;
  const int64_t batch = hidden.shape[0], seq = hidden.shape[1], rows = batch * seq;
  const int64_t begin = call.part_begin, n = w.shape[trans ? 0 : 1], end = begin + n;
  ZO2_TRY(CheckLabels(call, labels, end, call.last_part));
  const auto* label = static_cast<const int64_t*>(labels.data);
  auto* state = static_cast<Running*>(call.state);
  if (rows > 0 && state == nullptr) return Internal("causal_lm_loss: the call has no state");
  if (call.first_part) std::fill(state, state + rows, Running());

  ZO2_ASSIGN(const Rows wr, AsRows(w));
  const int64_t h = hidden.shape[2];
  RoundedRows x = {hidden.data, h};
  if (rounds) {
    ZO2_ASSIGN(x, RoundToBf16(call, static_cast<const float*>(hidden.data), h, rows, h));
  }
  // As many tokens at a time as the workspace holds logits of: all of them in f32.
  const int64_t each = n * SizeOf(hidden.dtype),
                block = std::min(rows, each == 0 ? rows : WorkspaceLeft() / each);
  void* logits = TakeWorkspace(block * each);
  if (rows > 0 && (block == 0 || logits == nullptr))
    return Internal("causal_lm_loss: the workspace does not hold ", n, " logits of one token");
  for (int64_t at = 0; at < rows; at += block) {
    const int64_t m = std::min(block, rows - at);
    const auto* from = static_cast<const std::byte*>(x.data) + at * x.stride * SizeOf(w.dtype);
    Multiply({m, n, h, w.dtype, hidden.dtype, from, x.stride, w.data, wr.stride, trans, bias, logits, n}, call);
    ZO2_TRY(ByFloat(hidden.dtype, [&](auto t) -> Status {
      const auto* z = static_cast<const decltype(t)*>(logits);
      Parallel(call, m, static_cast<double>(n), [&](int64_t first, int64_t last) {
        for (int64_t i = first; i < last; ++i) {
          const int64_t token = at + i, id = LabelAt(label + token / seq * seq, seq, token % seq, shift);
          if (id == kIgnored) continue;
          if (id >= begin && id < end) state[token].label = static_cast<double>(z[i * n + id - begin]);
          AddLogits(z + i * n, n, &state[token]);
        }
      });
      return Status();
    }));
  }
  if (call.last_part) SumTokens(call, label, batch, seq, shift, [&](int64_t i) { return state[i].Loss(); });
  return Status();
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
  return ByFloat(logits.dtype, [&](auto t) -> Status {
    using T = decltype(t);
    const auto* x = static_cast<const T*>(logits.data);
    Parallel(call, rows, static_cast<double>(classes), [&](int64_t first, int64_t last) {
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
  return ByFloat(pred.dtype, [&](auto tp) -> Status {
    return ByFloat(target.dtype, [&](auto tt) -> Status {
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
  return ByFloat(value.dtype, [&](auto t) -> Status {
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
