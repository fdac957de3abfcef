// Losses: a (sum, count) pair in f64 per example.
#include <ATen/ops/amax.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/gather.h>
#include <ATen/ops/log.h>
#include <ATen/ops/maximum.h>
#include <ATen/ops/ne.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/sum.h>
#include <ATen/ops/where.h>

#include <limits>

#include "runtime/aten_device/call.h"
#include "runtime/aten_device/kernels.h"

namespace zo2::aten_device {
namespace {

constexpr int64_t kIgnored = -100;
constexpr double kLowest = -std::numeric_limits<double>::infinity();

// log sum e^x over the logits that were seen, and the label's own, of every token: f64 columns [rows, 1]. NaN and
// +infinity make the loss NaN. So does a label that is no class: it is not found, and `label` begins as NaN.
struct Running {
  at::Tensor max, sum, label;
  explicit Running(const at::Tensor& state)  // [rows, 3]
      : max(state.narrow(1, 0, 1)), sum(state.narrow(1, 1, 1)), label(state.narrow(1, 2, 1)) {}
  Running(const Running& all, int64_t at, int64_t rows)
      : max(all.max.narrow(0, at, rows)), sum(all.sum.narrow(0, at, rows)), label(all.label.narrow(0, at, rows)) {}
  void Start() {
    max.fill_(kLowest);
    sum.zero_();
    label.fill_(std::numeric_limits<double>::quiet_NaN());
  }
};

// Adds logits z[rows, n] of classes [begin, begin + n). `target` is [rows, 1]. Exponentials are in f64.
void AddLogits(Running& all, const at::Tensor& z, const at::Tensor& target, int64_t begin) {
  const int64_t rows = z.size(0), n = z.size(1), each = device::RowsAtOnce(rows, n * 8, device::kLogitsPiece);
  const WorkspaceFrame of_labels;
  const Positions p = ToPositions(target, begin, n, /*wraps=*/false);
  at::Tensor picked = Temporary({rows, 1}, z.scalar_type());
  at::gather_out(picked, z, 1, p.index);
  at::where_out(all.label, p.outside, all.label, picked);
  for (int64_t at = 0; at < rows; at += each) {
    const WorkspaceFrame frame;
    const int64_t m = std::min(each, rows - at);
    Running r(all, at, m);
    at::Tensor e = Temporary({m, n}, at::kDouble), top = Temporary({m, 1}, at::kDouble),
               base = Temporary({m, 1}, at::kDouble), factor = Temporary({m, 1}, at::kDouble);
    e.copy_(z.narrow(0, at, m));
    at::amax_out(top, e, 1, /*keepdim=*/true);
    at::maximum_out(top, top, r.max);
    base.copy_(top);
    base.masked_fill_(at::eq(top, kLowest), 0);  // nothing but -infinity so far: e^(-infinity - 0) = 0
    at::sub_out(factor, r.max, base);
    factor.exp_();
    r.sum.mul_(factor);
    e.sub_(base).exp_();
    at::sum_out(factor, e, 1, /*keepdim=*/true);
    r.sum.add_(factor);
    r.max.copy_(top);
  }
}

// The label that judges each token, [batch * seq, 1]: with shift, that of the next token.
at::Tensor Targets(const TensorView& labels, int64_t batch, int64_t seq, bool shift) {
  const at::Tensor all = Reshaped(labels, {batch, seq});
  if (!shift) return all.view({batch * seq, 1});
  at::Tensor target = Temporary({batch, seq}, at::kLong);
  target.fill_(kIgnored);
  if (seq > 1) target.narrow(1, 0, seq - 1).copy_(all.narrow(1, 1, seq - 1));
  return target.view({batch * seq, 1});
}

// Per example, from what its tokens have seen.
void SumTokens(const KernelCall& call, const Running& r, const at::Tensor& target, int64_t batch, int64_t seq) {
  at::Tensor sum = ToTensor(call.outputs[0]), count = ToTensor(call.outputs[1]);
  at::Tensor loss = Temporary({batch * seq, 1}, at::kDouble);
  at::log_out(loss, r.sum);
  loss.add_(r.max).sub_(r.label);
  loss.masked_fill_(at::eq(target, kIgnored), 0);
  at::sum_out(sum, loss.view({batch, seq}), 1, /*keepdim=*/false);
  loss.copy_(at::ne(target, kIgnored));
  at::sum_out(count, loss.view({batch, seq}), 1, /*keepdim=*/false);
}

void Zero(const KernelCall& call) {
  for (const TensorView& y : call.outputs) ToTensor(y).zero_();
}

}  // namespace

Status CausalLmLoss(const KernelCall& call) {
  const TensorView &hidden = call.inputs[0], &labels = call.inputs[1], &w = call.inputs[2];
  const TensorView* bias = aten::Optional(call, 3);
  if (!aten::IsDense(hidden) || !aten::IsDense(labels))
    return Internal("causal_lm_loss: hidden and labels must be dense");
  const bool rounds = hidden.dtype == DType::kF32 && w.dtype == DType::kBF16;  // as linear does
  if (hidden.dtype != w.dtype && !rounds)
    return Internal("causal_lm_loss: the kernels multiply equal dtypes, or f32 by bf16, not ", aten::ToString(hidden),
                    " by ", aten::ToString(w));
  const bool trans = AttrInt(*call.attrs, "trans_w", 1) != 0, shift = AttrInt(*call.attrs, "shift", 0) != 0;
  const int64_t batch = hidden.shape[0], seq = hidden.shape[1], rows = batch * seq, h = hidden.shape[2];
  if (rows == 0) {
    Zero(call);
    return Status();
  }
  if (call.state == nullptr) return Internal("causal_lm_loss: the call has no state");
  Running running(Reshaped({call.state, DType::kF64, {rows, 3}, {3, 1}}, {rows, 3}));
  if (call.first_part) running.Start();
  const at::Tensor target = Targets(labels, batch, seq, shift);

  ZO2_ASSIGN(const aten::Rows wr, aten::AsRows(w));
  at::Tensor x = Reshaped(hidden, {rows, h}), matrix = Matrix(w, wr);
  if (trans) matrix = matrix.t();
  if (rounds) x = Temporary({rows, h}, at::kBFloat16).copy_(x);
  if (const int64_t n = matrix.size(1); n > 0) {
    const at::Tensor logits = Temporary({rows, n}, hidden.dtype == DType::kF64 ? at::kDouble : at::kFloat);
    Product(logits, x, matrix, bias);
    AddLogits(running, logits, target, call.part_begin);
  }
  if (call.last_part) SumTokens(call, running, target, batch, seq);
  return Status();
}

// Cross entropy of logits that exist.
static Status CrossEntropy(const KernelCall& call, int64_t batch, int64_t seq, bool shift) {
  ZO2_TRY(aten::NeedDense(call));
  const TensorView& logits = call.inputs[0];
  const int64_t classes = logits.shape.back(), rows = batch * seq;
  if (rows == 0) {
    Zero(call);
    return Status();
  }
  Running running(Temporary({rows, 3}, at::kDouble));
  running.Start();
  const at::Tensor target = Targets(call.inputs[1], batch, seq, shift);
  if (classes > 0) AddLogits(running, Reshaped(logits, {rows, classes}), target, 0);
  SumTokens(call, running, target, batch, seq);
  return Status();
}

Status TokenLoss(const KernelCall& call) {
  const Shape& shape = call.inputs[0].shape;
  return CrossEntropy(call, shape[0], shape[1], AttrInt(*call.attrs, "shift", 0) != 0);
}

Status ClassifyLoss(const KernelCall& call) { return CrossEntropy(call, call.inputs[0].shape[0], 1, false); }

// Sums over all but the first axis, in f64; of (x - target)^2 where there is a target.
static Status SumPerExample(const KernelCall& call, const TensorView* target) {
  ZO2_TRY(aten::NeedDense(call));
  const TensorView& x = call.inputs[0];
  const int64_t batch = x.shape.empty() ? 1 : x.shape[0];
  const int64_t each = x.shape.empty() ? 1 : aten::Product(x.shape, 1, x.shape.size());
  const at::Tensor sum = ToTensor(call.outputs[0]);
  sum.zero_();
  ToTensor(call.outputs[1]).fill_(static_cast<double>(each));
  if (batch * each == 0) return Status();
  const at::Tensor from = Reshaped(x, {batch, each});
  const int64_t columns = device::RowsAtOnce(each, batch * 16);
  for (int64_t at = 0; at < each; at += columns) {
    const WorkspaceFrame frame;
    const int64_t n = std::min(columns, each - at);
    at::Tensor part = Temporary({batch}, at::kDouble), d = Temporary({batch, n}, at::kDouble);
    d.copy_(from.narrow(1, at, n));
    if (target != nullptr) {
      at::Tensor wanted = Temporary({batch, n}, at::kDouble);
      wanted.copy_(Reshaped(*target, {batch, each}).narrow(1, at, n));
      d.sub_(wanted);
      d.mul_(d);
    }
    at::sum_out(part, d, 1, /*keepdim=*/false);
    sum.add_(part);
  }
  return Status();
}

Status MseLoss(const KernelCall& call) { return SumPerExample(call, &call.inputs[1]); }
Status OutputLoss(const KernelCall& call) { return SumPerExample(call, nullptr); }

}  // namespace zo2::aten_device
