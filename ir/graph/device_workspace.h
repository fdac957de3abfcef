// How the device's kernels cut their work, and so how much temporary memory they take. The kernels
// (runtime/aten_device) and WorkspaceBytes() go by the same functions: they depend on types and shapes alone, never on
// what happens to be free, because a cut shows in the bits.
#ifndef ZO2_IR_GRAPH_DEVICE_WORKSPACE_H_
#define ZO2_IR_GRAPH_DEVICE_WORKSPACE_H_

#include <cstdint>
#include <span>

#include "ir/graph/op.h"

namespace zo2::device {

// Bytes: allocations are rounded up to it, as a GPU's allocators do.
inline constexpr int64_t kGrain = 512;
// Bytes: temporaries that work row by row come in pieces of so much (one row where a row is larger).
inline constexpr int64_t kPiece = int64_t{16} << 20;
// The same for exponentials of logits, which are many: half as many launches for each doubling.
inline constexpr int64_t kLogitsPiece = int64_t{32} << 20;

// Rows of `row_bytes` bytes that a piece holds, at least 1 and at most `rows` (0 where there are none).
int64_t RowsAtOnce(int64_t rows, int64_t row_bytes, int64_t piece = kPiece);

// Norms work in the dtype of x where scale and bias have it too; else, and for rms_norm, in f64 for f64 and f32 for
// all others.
struct NormCut {
  bool mixed = false;     // operands are converted first
  int64_t wide = 4;       // bytes of an element of what is converted
  int64_t rows = 0;       // at once
  int64_t row_bytes = 0;  // temporaries of one row
};
NormCut CutNorm(Op op, const TensorType& x, const TensorType& scale, const TensorType* bias);

// Attention, [batch, heads, queries, size] over [batch, kv_heads, keys, size]: some heads of keys (and the heads of
// queries that go with them) of some batch entries at once. f64: one head, some queries at once.
struct AttentionCut {
  int64_t batch = 0, heads = 0, kv_heads = 0, queries = 0, keys = 0;
  int64_t size = 0, v_size = 0;
  int64_t group = 1;                               // heads / kv_heads
  int64_t padded = 0;                              // both sizes rounded up to one that fused kernels take
  bool pads = false;                               // they are not that already
  bool masks = false;                              // an additive mask is made
  bool plain = false;                              // f64: no fused kernel
  int64_t mask_batch = 1, mask_heads = 1, mask_queries = 1;  // axes of that mask; keys is its last
  int64_t mask_row = 0;                            // elements from row to row
  int64_t at_once_batch = 0, at_once_kv_heads = 0;  // plain: 1 and 1
  int64_t at_once_queries = 0;                     // fused: all
  int64_t bytes = 0;                               // of all temporaries at once
};
// mask: nullptr where there is none. Operands as InferAttention takes them.
AttentionCut CutAttention(const TensorType& q, const TensorType& k, const TensorType& v, const TensorType* mask,
                          const Attrs& attrs);

}  // namespace zo2::device

#endif  // ZO2_IR_GRAPH_DEVICE_WORKSPACE_H_
