// Scaled dot product attention: softmax(scale q k^T + mask) v for every batch entry and head, through ATen's fused
// kernels, which keep no scores: flash attention and memory-efficient attention on a GPU, flash attention on a CPU
// (T. Dao et al., "FlashAttention", 2022; M. Rabe and C. Staats, "Self-attention does not need O(n^2) memory", 2021).
// Every mask becomes one that is added, in the dtype of q. f64 has no fused kernel on a GPU: it works head by head.
//
// How much is done at once is device::CutAttention's affair.
#include <ATen/ops/_softmax.h>
#include <ATen/ops/amax.h>
#include <ATen/ops/arange.h>
#include <ATen/ops/eq.h>
#include <ATen/ops/gt.h>
#include <ATen/ops/logical_not.h>
#include <ATen/ops/mm.h>
#if ZO2_CUDA
#include <ATen/ops/_scaled_dot_product_efficient_attention.h>
#include <ATen/ops/_scaled_dot_product_flash_attention.h>
#else
#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#endif

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "runtime/aten_device/call.h"
#include "runtime/aten_device/kernels.h"

namespace zo2::aten_device {
namespace {

constexpr double kLowest = -std::numeric_limits<double>::infinity();

struct Problem {
  at::Tensor q, k, v, y;           // [batch, heads, seq, size], any strides but 1 of the last axis
  std::optional<at::Tensor> mask;  // four axes, of size 1 where it broadcasts; as the call has it
  device::AttentionCut cut;
  double scale = 1;
  bool causal = false, zero_masked_rows = false;
};

// A range of an axis, of a tensor that may broadcast along it.
at::Tensor Narrow(const at::Tensor& t, int64_t axis, int64_t begin, int64_t n) {
  return t.size(axis) == 1 ? t : t.narrow(axis, begin, n);
}

// What is added to the scores of batch entries [b, b + nb) and heads [h, h + nh): 0 or -infinity for a mask of bools.
// Finite numbers stay above -1e30: fused kernels multiply them by log2(e), which must not make them infinite.
at::Tensor AddedMask(const Problem& p, int64_t b, int64_t nb, int64_t h, int64_t nh) {
  const device::AttentionCut& c = p.cut;
  const at::ScalarType dtype = p.q.scalar_type();
  at::Tensor all = Temporary({c.mask_batch > 1 ? nb : 1, c.mask_heads > 1 ? nh : 1, c.mask_queries, c.mask_row}, dtype);
  at::Tensor added = all.narrow(3, 0, c.keys);
  if (!p.mask) {
    added.zero_();
  } else {
    const at::Tensor given = Narrow(Narrow(*p.mask, 0, b, nb), 1, h, nh);
    if (given.scalar_type() == at::kBool) {
      added.zero_();
      added.masked_fill_(at::logical_not(given), kLowest);
    } else {
      added.copy_(given);
      if (dtype != at::kHalf) {
        added.clamp_min_(-1e30);
        added.masked_fill_(at::eq(given, kLowest), kLowest);
      }
    }
  }
  if (p.causal) {  // query i sees keys up to i
    at::Tensor query = Temporary({c.queries}, at::kInt), key = Temporary({c.keys}, at::kInt);
    at::arange_out(query, c.queries);
    at::arange_out(key, c.keys);
    added.masked_fill_(at::gt(key.unsqueeze(0), query.unsqueeze(1)), kLowest);
  }
  return added;
}

// What a row with every key masked gives.
void FillMaskedRows(const at::Tensor& y, const at::Tensor& added, bool zero) {
  const at::Tensor masked = at::eq(at::amax(added, 3, /*keepdim=*/true), kLowest);
  y.masked_fill_(masked, zero ? 0 : std::numeric_limits<double>::quiet_NaN());
}

// [b, h, seq, size] with `size` filled up with zeros, dense.
at::Tensor Padded(const at::Tensor& t, int64_t size) {
  at::Tensor all = Temporary({t.size(0), t.size(1), t.size(2), size}, t.scalar_type());
  if (size > t.size(3)) all.narrow(3, t.size(3), size - t.size(3)).zero_();
  all.narrow(3, 0, t.size(3)).copy_(t);
  return all;
}

// Every head of keys once for each of its heads of queries, dense.
at::Tensor Repeated(const at::Tensor& t, int64_t group) {
  at::Tensor all = Temporary({t.size(0), t.size(1), group, t.size(2), t.size(3)}, t.scalar_type());
  all.copy_(t.unsqueeze(2));
  return all.view({t.size(0), t.size(1) * group, t.size(2), t.size(3)});
}

// Flash attention takes no mask, 16 bits only, and groups of heads as they are.
bool TakesFlash(const Problem& p) {
  return kCuda && !p.cut.masks && p.q.element_size() == 2 && p.cut.padded <= 256 &&
         (!p.causal || p.cut.queries == p.cut.keys);
}

// As many heads in k and v as in q, unless TakesFlash. With `added`, causal is in it already.
at::Tensor Fused(const Problem& p, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                 const std::optional<at::Tensor>& added) {
  const bool causal = p.causal && !added;
#if ZO2_CUDA
  if (TakesFlash(p))
    return std::get<0>(at::_scaled_dot_product_flash_attention(q, k, v, 0.0, causal, false, p.scale));
  std::optional<at::Tensor> bias;
  if (added) bias = added->expand({q.size(0), q.size(1), q.size(2), k.size(2)});
  return std::get<0>(at::_scaled_dot_product_efficient_attention(q, k, v, bias, false, 0.0, causal, p.scale));
#else
  return std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal, added, p.scale));
#endif
}

void SolveFused(const Problem& p) {
  const device::AttentionCut& c = p.cut;
  for (int64_t b = 0; b < c.batch; b += c.at_once_batch)
    for (int64_t h = 0; h < c.kv_heads; h += c.at_once_kv_heads) {
      const WorkspaceFrame frame;
      const int64_t nb = std::min(c.at_once_batch, c.batch - b), nh = std::min(c.at_once_kv_heads, c.kv_heads - h);
      const auto part = [&](const at::Tensor& t, int64_t group) {
        return t.narrow(0, b, nb).narrow(1, h * group, nh * group);
      };
      at::Tensor q = part(p.q, c.group), k = part(p.k, 1), v = part(p.v, 1);
      if (c.pads) {
        q = Padded(q, c.padded);
        k = Padded(k, c.padded);
        v = Padded(v, c.padded);
      }
      if (c.group > 1 && !TakesFlash(p)) {
        k = Repeated(k, c.group);
        v = Repeated(v, c.group);
      }
      std::optional<at::Tensor> added;
      if (c.masks) added = AddedMask(p, b, nb, h * c.group, nh * c.group);
      at::Tensor y = part(p.y, c.group);
      y.copy_(Fused(p, q, k, v, added).narrow(3, 0, c.v_size));
      if (added) FillMaskedRows(y, *added, p.zero_masked_rows);
    }
}

void SolvePlain(const Problem& p) {
  const device::AttentionCut& c = p.cut;
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h) {
      const WorkspaceFrame frame;
      const auto head = [&](const at::Tensor& t, int64_t at) { return t.select(0, b).select(0, at); };
      std::optional<at::Tensor> added;
      if (c.masks) added = AddedMask(p, b, 1, h, 1).view({c.mask_queries, c.keys});
      const at::Tensor k = head(p.k, h / c.group), v = head(p.v, h / c.group);
      for (int64_t i = 0; i < c.queries; i += c.at_once_queries) {
        const WorkspaceFrame of_queries;
        const int64_t n = std::min(c.at_once_queries, c.queries - i);
        at::Tensor scores = Temporary({n, c.keys}, at::kDouble), weights = Temporary({n, c.keys}, at::kDouble);
        at::mm_out(scores, head(p.q, h).narrow(0, i, n), k.t());
        scores.mul_(p.scale);
        if (added) scores.add_(Narrow(*added, 0, i, n));
        at::_softmax_out(weights, scores, 1, /*half_to_float=*/false);
        at::Tensor y = head(p.y, h).narrow(0, i, n);
        at::mm_out(y, weights, v);
      }
      if (!added) continue;
      at::Tensor y = p.y.narrow(0, b, 1).narrow(1, h, 1);
      FillMaskedRows(y, added->view({1, 1, c.mask_queries, c.keys}), p.zero_masked_rows);
    }
}

}  // namespace

Status Attention(const KernelCall& call) {
  ZO2_TRY(aten::NeedDense(call));
  const TensorView &q = call.inputs[0], &k = call.inputs[1], &v = call.inputs[2], *mask = aten::Optional(call, 3);
  const bool bshd = aten::AttrString(*call.attrs, "layout", "bhsd") == "bshd";
  TensorType mask_type;
  if (mask != nullptr) mask_type = TypeOf(*mask);
  Problem p;
  p.cut = device::CutAttention(TypeOf(q), TypeOf(k), TypeOf(v), mask != nullptr ? &mask_type : nullptr, *call.attrs);
  p.zero_masked_rows = AttrInt(*call.attrs, "zero_masked_rows", 0) != 0;
  p.causal = AttrInt(*call.attrs, "causal", 0) != 0;
  p.scale = AttrDouble(*call.attrs, "scale", 1 / std::sqrt(static_cast<double>(p.cut.size)));
  const auto heads = [bshd](const TensorView& view) {
    return bshd ? ToTensor(view).transpose(1, 2) : ToTensor(view);
  };
  p.y = heads(call.outputs[0]);
  if (p.y.numel() == 0) return Status();
  if (p.cut.keys == 0) {
    p.y.fill_(p.zero_masked_rows ? 0 : std::numeric_limits<double>::quiet_NaN());
    return Status();
  }
  p.q = heads(q);
  p.k = heads(k);
  p.v = heads(v);
  if (mask != nullptr) {
    Shape shape(4 - mask->shape.size(), 1);
    shape.insert(shape.end(), mask->shape.begin(), mask->shape.end());
    p.mask = Reshaped(*mask, shape);
  }
  p.cut.plain ? SolvePlain(p) : SolveFused(p);
  return Status();
}

}  // namespace zo2::aten_device
