// Pass: scaled dot-product attention written out becomes attention.
//
//   matmul(softmax(scale * matmul(q, transpose(k)) + mask), v) -> attention(q, k, v, mask?) {scale, causal,
//   ...}
//
// The scale may sit on q, on k, on both or on the scores; masks are floats added to the scores or bools that
// choose -infinity; a where(isnan(p), 0, p) behind the softmax becomes zero_masked_rows; keys and values
// repeated for grouped heads (unsqueeze, expand, reshape) are read before the repetition; casts to f32 around
// the softmax vanish. Attention nodes that the model already had are refined the same way. attention_mask.h
// says what becomes of the mask.
#ifndef ZO2_FRONTEND_FUSE_ATTENTION_H_
#define ZO2_FRONTEND_FUSE_ATTENTION_H_

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

Result<void> FuseAttention(Graph& graph);

// Pass: where q, k and v (also behind rotary) and the result are transposed from and to [batch, seq, heads,
// size], the transposes vanish and attention reads that layout ("bshd").
Result<void> AttentionLayout(Graph& graph);

}  // namespace zo2

#endif  // ZO2_FRONTEND_FUSE_ATTENTION_H_
