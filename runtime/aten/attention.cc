// Scaled dot product attention: softmax(scale q k^T + mask) v for every batch entry and head.
//
// Work is cut into blocks of queries of one head. A block's scores fit into a cache; under a causal mask keys past the
// block's last query are never touched. Each thread has one block of scores in the workspace. What a block computes
// does not depend on the thread that does it.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"
#include "runtime/aten/vector.h"

// BLAS, which LibTorch carries; inside a parallel region it stays on the calling thread.
extern "C" void sgemm_(const char*, const char*, const int*, const int*, const int*, const float*, const float*,
                       const int*, const float*, const int*, const float*, float*, const int*);
extern "C" void dgemm_(const char*, const char*, const int*, const int*, const int*, const double*, const double*,
                       const int*, const double*, const int*, const double*, double*, const int*);

namespace zo2::aten {
namespace {

constexpr int64_t kQueriesPerBlock = 64;

// One operand as [batch, heads, seq, size] with the last axis dense.
struct Heads {
  int64_t heads, seq, size;
  int64_t of_batch, of_head, of_seq;  // strides, elements
};

Heads AsHeads(const TensorView& v, bool bshd) {
  const size_t h = bshd ? 2 : 1, s = bshd ? 1 : 2;
  return {v.shape[h], v.shape[s], v.shape[3], v.strides[0], v.strides[h], v.strides[s]};
}

// A row of what is added to, or chosen from, the scores.
template <typename T>
struct MaskRow {
  const T* added = nullptr;
  const bool* kept = nullptr;
  int64_t step = 0;
};

template <typename T>
void ApplyMask(T* scores, const MaskRow<T>& mask, int64_t n) {
  if (mask.added != nullptr)
    for (int64_t j = 0; j < n; ++j) scores[j] += mask.added[j * mask.step];
  if (mask.kept != nullptr)
    for (int64_t j = 0; j < n; ++j)
      if (!mask.kept[j * mask.step]) scores[j] = -std::numeric_limits<T>::infinity();
}

// Exponentials of the scores under their maximum, in place; returns their sum. -infinity in every place gives NaN.
ZO2_INLINE float ExpRow(float* s, int64_t n, float* maximum) {
  const float lowest = -std::numeric_limits<float>::infinity();
  Floats max = Splat(lowest);
  for (int64_t j = 0; j < n; j += kWidth) {
    const Floats v = Load(s + j, n - j, lowest);
    max = v > max ? v : max;
  }
  *maximum = Max(max);
  Floats sum = {};
  for (int64_t j = 0; j < n; j += kWidth) {
    const Floats v = Exp(Load(s + j, n - j, lowest) - *maximum);
    sum += v;
    Store(s + j, v, n - j);
  }
  return Sum(sum);
}

ZO2_INLINE double ExpRow(double* s, int64_t n, double* maximum) {
  *maximum = -std::numeric_limits<double>::infinity();
  for (int64_t j = 0; j < n; ++j) *maximum = s[j] > *maximum ? s[j] : *maximum;
  double sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += s[j] = std::exp(s[j] - *maximum);
  return sum;
}

// Softmax of scores[0, seen); the places up to `n` become 0.
template <typename T>
ZO2_INLINE void SoftmaxRow(T* scores, int64_t seen, int64_t n, bool zero_masked_rows) {
  T maximum = 0;
  bool nan = false;
  if (zero_masked_rows)
    for (int64_t j = 0; j < seen; ++j) nan |= scores[j] != scores[j];
  const T sum = ExpRow(scores, seen, &maximum);
  if (zero_masked_rows && !nan && maximum == -std::numeric_limits<T>::infinity()) {
    seen = 0;
  } else {
    const T factor = 1 / sum;
    for (int64_t j = 0; j < seen; ++j) scores[j] *= factor;
  }
  std::fill(scores + seen, scores + n, T(0));
}

struct Problem {
  Heads q, k, v, y;
  const void *q_data, *k_data, *v_data;
  void* y_data;
  const TensorView* mask;             // f32/f64 as q, or bool
  std::vector<int64_t> mask_strides;  // to [batch, heads, queries, keys]
  int64_t batch, group;               // query heads per key head
  double scale;
  bool causal, zero_masked_rows;
};

// c(m x n) = alpha op(a) b, column-major.
template <typename T>
void Gemm(char op, int64_t m, int64_t n, int64_t k, T alpha, const T* a, int64_t lda, const T* b, int64_t ldb, T* c,
          int64_t ldc) {
  const int im = static_cast<int>(m), in = static_cast<int>(n), ik = static_cast<int>(k), ia = static_cast<int>(lda),
            ib = static_cast<int>(ldb), ic = static_cast<int>(ldc);
  const T zero = 0;
  if constexpr (std::is_same_v<T, float>)
    sgemm_(&op, "N", &im, &in, &ik, &alpha, a, &ia, b, &ib, &zero, c, &ic);
  else
    dgemm_(&op, "N", &im, &in, &ik, &alpha, a, &ia, b, &ib, &zero, c, &ic);
}

template <typename T>
void Block(const Problem& p, int64_t b, int64_t h, int64_t first, int64_t rows, T* scores) {
  const int64_t keys = p.causal ? std::min(p.k.seq, first + rows) : p.k.seq;
  const T* q = static_cast<const T*>(p.q_data) + b * p.q.of_batch + h * p.q.of_head + first * p.q.of_seq;
  const T* k = static_cast<const T*>(p.k_data) + b * p.k.of_batch + h / p.group * p.k.of_head;
  const T* v = static_cast<const T*>(p.v_data) + b * p.v.of_batch + h / p.group * p.v.of_head;
  T* y = static_cast<T*>(p.y_data) + b * p.y.of_batch + h * p.y.of_head + first * p.y.of_seq;
  // BLAS is column-major: its (keys x rows) is our [rows, keys].
  Gemm('T', keys, rows, p.q.size, static_cast<T>(p.scale), k, p.k.of_seq, q, p.q.of_seq, scores, keys);
  RunVectorised([&] {
    for (int64_t i = 0; i < rows; ++i) {
      T* row = scores + i * keys;
      const int64_t seen = p.causal ? std::min(keys, first + i + 1) : keys;
      if (p.mask != nullptr) {
        const std::vector<int64_t>& s = p.mask_strides;
        const int64_t at = b * s[0] + h * s[1] + (first + i) * s[2];
        MaskRow<T> mask;
        mask.step = s[3];
        if (p.mask->dtype == DType::kBool)
          mask.kept = static_cast<const bool*>(p.mask->data) + at;
        else
          mask.added = static_cast<const T*>(p.mask->data) + at;
        ApplyMask(row, mask, seen);
      }
      SoftmaxRow(row, seen, keys, p.zero_masked_rows);
    }
  });
  Gemm('N', p.v.size, rows, keys, T(1), v, p.v.of_seq, scores, keys, y, p.y.of_seq);
}

template <typename T>
Status Run(const Problem& p, int threads) {
  const int64_t block = std::min(kQueriesPerBlock, p.q.seq);
  if (p.batch * p.q.heads * p.q.seq == 0) return Status();
  const int64_t blocks = (p.q.seq + block - 1) / block, items = p.batch * p.q.heads * blocks;
  const int64_t active = std::min<int64_t>(threads, items), each = block * p.k.seq;
  auto* scores = static_cast<T*>(TakeWorkspace(active * each * static_cast<int64_t>(sizeof(T))));
  if (scores == nullptr) return Internal("attention: the workspace does not hold ", active, " blocks of scores");
  const double work = 4.0 * static_cast<double>(each) * static_cast<double>(p.q.size);
  Parallel(items, work, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t first = i % blocks * block, h = i / blocks % p.q.heads, b = i / blocks / p.q.heads;
      Block<T>(p, b, h, first, std::min(block, p.q.seq - first), scores + at::get_thread_num() * each);
    }
  });
  return Status();
}

}  // namespace

Status Attention(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &q = call.inputs[0], &k = call.inputs[1], &v = call.inputs[2], &y = call.outputs[0];
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
  p.mask = Optional(call, 3);
  if (p.mask != nullptr) p.mask_strides = BroadcastStrides(*p.mask, {p.batch, p.q.heads, p.q.seq, p.k.seq});
  p.scale = AttrDouble(*call.attrs, "scale", 1 / std::sqrt(static_cast<double>(p.q.size)));
  p.causal = AttrInt(*call.attrs, "causal", 0) != 0;
  p.zero_masked_rows = AttrInt(*call.attrs, "zero_masked_rows", 0) != 0;
  if (q.dtype == DType::kF32) return Run<float>(p, call.threads);
  if (q.dtype == DType::kF64) return Run<double>(p, call.threads);
  return Internal("attention: the kernels take f32 and f64, not ", ToString(q));
}

}  // namespace zo2::aten
