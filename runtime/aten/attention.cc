// Scaled dot product attention: softmax(scale q k^T + mask) v for every batch entry and head.
//
// Scores never exist as a whole (T. Dao et al., "FlashAttention", 2022): for a block of queries of one head,
// keys come in blocks; a running maximum and sum per query make the softmax exact, and what was summed so far
// is rescaled where the maximum grows. Scores lie transposed, [key][query], so that a softmax runs down
// columns, sixteen queries at a time. Everything fits into the caches and the stack: no workspace. What a
// block of queries computes does not depend on the thread that does it.
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"
#include "runtime/aten/simd.h"

namespace zo2::aten {
namespace {

constexpr int64_t kQueries = 64, kKeys = 128;  // of a block
constexpr int64_t kDepth = 128;                // of the head size at a time
constexpr int64_t kWidth = 16;                 // queries of a block are rounded up to it
constexpr float kLowest = -std::numeric_limits<float>::infinity();

// One operand as [batch, heads, seq, size] with the last axis dense.
struct Heads {
  int64_t heads, seq, size;
  int64_t of_batch, of_head, of_seq;  // strides, elements
};

Heads AsHeads(const TensorView& v, bool bshd) {
  const size_t h = bshd ? 2 : 1, s = bshd ? 1 : 2;
  return {v.shape[h], v.shape[s], v.shape[3], v.strides[0], v.strides[h], v.strides[s]};
}

struct Problem {
  Heads q, k, v, y;
  const void *q_data, *k_data, *v_data;
  void* y_data;
  const TensorView* mask;             // nullptr: none
  std::vector<int64_t> mask_strides;  // to [batch, heads, queries, keys]
  int64_t batch, group;               // query heads per key head
  double scale;
  bool causal, zero_masked_rows;
};

// A block of queries [first, first + rows) of one head. `width` = rows, rounded up to whole vectors.
struct Block {
  int64_t first, rows, width;
  const float *q, *k, *v;  // of this head
  float* y;
  int64_t mask;  // element of the mask for query 0, key 0
};

// q^T[depth, width] of dimensions [d0, d0 + depth); the queries that fill up the last vector are 0.
void TransposeQueries(const Problem& p, const Block& b, int64_t d0, int64_t depth, float* to) {
  for (int64_t i = 0; i < b.width; ++i)
    for (int64_t d = 0; d < depth; ++d)
      to[d * b.width + i] = i < b.rows ? b.q[(b.first + i) * p.q.of_seq + d0 + d] : 0.0f;
}

// scores[keys, width] = k q^T, unscaled. `q` holds kDepth dimensions of q^T; where that is all, it is made
// only once.
void Scores(const Problem& p, const Block& b, int64_t key, int64_t keys, float* q, float* scores) {
  int64_t d0 = 0;
  do {
    const int64_t depth = std::min(kDepth, p.q.size - d0);
    if (key == 0 || p.q.size > kDepth) TransposeQueries(p, b, d0, depth, q);
    GetSimd().outer({keys, b.width, depth, b.k + key * p.k.of_seq + d0, p.k.of_seq, 1, q, b.width, nullptr,
                     scores, b.width, d0 > 0});
    d0 += kDepth;
  } while (d0 < p.q.size);
}

// What is added to all scores of a key, where the mask does not depend on the query.
void KeyMask(const Problem& p, const Block& b, int64_t key, int64_t keys, float* added) {
  const int64_t step = p.mask_strides[3], at = b.mask + key * step;
  for (int64_t j = 0; j < keys; ++j)
    added[j] = p.mask->dtype != DType::kBool ? static_cast<const float*>(p.mask->data)[at + j * step]
               : static_cast<const bool*>(p.mask->data)[at + j * step] ? 0.0f
                                                                       : kLowest;
}

// Scales scores and applies a mask that has a row of its own for every query.
void ApplyMask(const Problem& p, const Block& b, int64_t key, int64_t keys, float* scores) {
  const auto scale = static_cast<float>(p.scale);
  for (int64_t i = 0; i < b.rows; ++i) {
    const int64_t step = p.mask_strides[3], at = b.mask + (b.first + i) * p.mask_strides[2] + key * step;
    float* s = scores + i;
    if (p.mask->dtype == DType::kBool) {
      const auto* kept = static_cast<const bool*>(p.mask->data) + at;
      for (int64_t j = 0; j < keys; ++j) s[j * b.width] = kept[j * step] ? s[j * b.width] * scale : kLowest;
    } else {
      const auto* added = static_cast<const float*>(p.mask->data) + at;
      for (int64_t j = 0; j < keys; ++j) s[j * b.width] = s[j * b.width] * scale + added[j * step];
    }
  }
}

void Attend(const Problem& p, const Block& b) {
  alignas(64) float q[kDepth * kQueries], scores[kKeys * kQueries], added[kKeys], maximum[kQueries],
      sum[kQueries], factor[kQueries];
  std::fill(maximum, maximum + kQueries, kLowest);
  std::fill(sum, sum + kQueries, 0.0f);
  const int64_t end = p.causal ? std::min(p.k.seq, b.first + b.rows) : p.k.seq;
  for (int64_t key = 0; key < end; key += kKeys) {
    const int64_t keys = std::min(kKeys, end - key);
    Scores(p, b, key, keys, q, scores);
    SoftmaxJob softmax = {scores, keys, b.width, static_cast<float>(p.scale), nullptr, maximum, sum, factor};
    if (p.mask != nullptr && p.mask_strides[2] == 0) {
      KeyMask(p, b, key, keys, added);
      softmax.added = added;
    } else if (p.mask != nullptr) {
      ApplyMask(p, b, key, keys, scores);
      softmax.scale = 1;
    }
    if (p.causal)  // query i sees keys up to i
      for (int64_t j = std::max<int64_t>(0, b.first + 1 - key); j < keys; ++j)
        std::fill_n(scores + j * b.width, std::min(b.width, key + j - b.first), kLowest);
    GetSimd().softmax(softmax);
    for (int64_t i = 0; key > 0 && i < b.rows; ++i)
      if (factor[i] != 1.0f) GetSimd().scale(b.y + i * p.y.of_seq, p.y.size, factor[i]);
    GetSimd().outer({b.rows, p.v.size, keys, scores, 1, b.width, b.v + key * p.v.of_seq, p.v.of_seq, nullptr,
                     b.y, p.y.of_seq, key > 0});
  }
  for (int64_t i = 0; i < b.rows; ++i) {
    const bool masked = maximum[i] == kLowest && sum[i] == 0.0f;  // every key
    float* y = b.y + i * p.y.of_seq;
    if (masked)
      std::fill(y, y + p.y.size, p.zero_masked_rows ? 0.0f : std::numeric_limits<float>::quiet_NaN());
    else
      GetSimd().scale(y, p.y.size, 1.0f / sum[i]);
  }
}

void AttentionF32(const KernelCall& call, const Problem& p) {
  const int64_t blocks = (p.q.seq + kQueries - 1) / kQueries, items = p.batch * p.q.heads * blocks;
  const double ns = static_cast<double>(std::min(kQueries, p.q.seq) * p.k.seq) *
                    (1.0 + 0.04 * static_cast<double>(p.q.size));
  Parallel(call, items, ns, [&](int64_t begin, int64_t end) {
    for (int64_t item = begin; item < end; ++item) {
      const int64_t h = item / blocks % p.q.heads, n = item / blocks / p.q.heads;
      Block b;
      b.first = item % blocks * kQueries;
      b.rows = std::min(kQueries, p.q.seq - b.first);
      b.width = (b.rows + kWidth - 1) / kWidth * kWidth;
      b.q = static_cast<const float*>(p.q_data) + n * p.q.of_batch + h * p.q.of_head;
      b.k = static_cast<const float*>(p.k_data) + n * p.k.of_batch + h / p.group * p.k.of_head;
      b.v = static_cast<const float*>(p.v_data) + n * p.v.of_batch + h / p.group * p.v.of_head;
      b.y = static_cast<float*>(p.y_data) + n * p.y.of_batch + h * p.y.of_head + b.first * p.y.of_seq;
      b.mask = p.mask == nullptr ? 0 : n * p.mask_strides[0] + h * p.mask_strides[1];
      Attend(p, b);
    }
  });
}

// Binary64, one query after the other: for checking, not for speed. `scores` holds one row.
void AttentionF64(const Problem& p, double* scores) {
  for (int64_t item = 0; item < p.batch * p.q.heads * p.q.seq; ++item) {
    const int64_t i = item % p.q.seq, h = item / p.q.seq % p.q.heads, n = item / p.q.seq / p.q.heads;
    const double* q =
        static_cast<const double*>(p.q_data) + n * p.q.of_batch + h * p.q.of_head + i * p.q.of_seq;
    const double* k = static_cast<const double*>(p.k_data) + n * p.k.of_batch + h / p.group * p.k.of_head;
    const double* v = static_cast<const double*>(p.v_data) + n * p.v.of_batch + h / p.group * p.v.of_head;
    double* y = static_cast<double*>(p.y_data) + n * p.y.of_batch + h * p.y.of_head + i * p.y.of_seq;
    const double lowest = -std::numeric_limits<double>::infinity();
    double max = lowest, sum = 0;
    bool nan = false;
    for (int64_t j = 0; j < p.k.seq; ++j) {
      double s = 0;
      for (int64_t d = 0; d < p.q.size; ++d) s += q[d] * k[j * p.k.of_seq + d];
      s *= p.scale;
      if (p.mask != nullptr) {
        const std::vector<int64_t>& st = p.mask_strides;
        const int64_t at = n * st[0] + h * st[1] + i * st[2] + j * st[3];
        if (p.mask->dtype != DType::kBool)
          s += static_cast<const double*>(p.mask->data)[at];
        else if (!static_cast<const bool*>(p.mask->data)[at])
          s = lowest;
      }
      scores[j] = p.causal && j > i ? lowest : s;
      max = scores[j] > max ? scores[j] : max;
      nan |= scores[j] != scores[j];
    }
    for (int64_t j = 0; j < p.k.seq; ++j) sum += scores[j] = std::exp(scores[j] - max);
    std::fill(y, y + p.y.size, 0.0);
    if (p.zero_masked_rows && max == lowest && !nan) continue;
    for (int64_t j = 0; j < p.k.seq; ++j)
      for (int64_t d = 0; d < p.v.size; ++d) y[d] += scores[j] / sum * v[j * p.v.of_seq + d];
  }
}

Status Solve(const KernelCall& call, std::span<const TensorView> in, const TensorView& y) {
  const TensorView &q = in[0], &k = in[1], &v = in[2];
  const bool bshd = AttrString(*call.attrs, "layout", "bhsd") == "bshd";
  Problem p;
  p.q = AsHeads(q, bshd);
  p.k = AsHeads(k, bshd);
  p.v = AsHeads(v, bshd);
  p.y = AsHeads(y, bshd);
  p.q_data = q.data;
  p.k_data = k.data;
  p.v_data = v.data;
  p.y_data = y.data;
  p.batch = q.shape[0];
  p.group = p.q.heads / p.k.heads;
  p.mask = in.size() > 3 && in[3].data != nullptr ? &in[3] : nullptr;
  if (p.mask != nullptr) p.mask_strides = BroadcastStrides(*p.mask, {p.batch, p.q.heads, p.q.seq, p.k.seq});
  p.scale = AttrDouble(*call.attrs, "scale", 1 / std::sqrt(static_cast<double>(p.q.size)));
  p.causal = AttrInt(*call.attrs, "causal", 0) != 0;
  p.zero_masked_rows = AttrInt(*call.attrs, "zero_masked_rows", 0) != 0;
  if (NumElements(y.shape) == 0) return Status();
  if (q.dtype == DType::kF32) {
    AttentionF32(call, p);
    return Status();
  }
  auto* row = static_cast<double*>(TakeWorkspace(p.k.seq * 8));
  if (p.k.seq > 0 && row == nullptr)
    return Internal("attention: the workspace does not hold ", p.k.seq, " scores");
  AttentionF64(p, row);
  return Status();
}

}  // namespace

Status Attention(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView& y = call.outputs[0];
  if (y.dtype == DType::kF32 || y.dtype == DType::kF64) return Solve(call, call.inputs, y);
  // Sixteen-bit operands are computed in f32.
  std::vector<at::Tensor> wide;
  std::vector<TensorView> in(call.inputs.begin(), call.inputs.end());
  TensorView out = y;
  const auto widen = [&](TensorView* view) {
    wide.push_back(at::empty(view->shape, at::kFloat));
    view->data = wide.back().data_ptr();
    view->dtype = DType::kF32;
  };
  for (TensorView& view : in) {
    if (view.data == nullptr || !IsFloat(view.dtype)) continue;
    const at::Tensor narrow = ToTensor(view);
    widen(&view);
    wide.back().copy_(narrow);
  }
  widen(&out);
  ZO2_TRY(Solve(call, in, out));
  ToTensor(y).copy_(wide.back());
  return Status();
}

}  // namespace zo2::aten
