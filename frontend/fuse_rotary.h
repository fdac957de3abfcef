// Pass: rotary position embedding (Su et al., RoFormer, in the two-halves form) written out becomes rotary.
//   x * cos + concat(-x[d/2:], x[:d/2]) * sin -> rotary(x, cos, sin)   for x [batch, heads, seq, d]
#ifndef ZO2_FRONTEND_FUSE_ROTARY_H_
#define ZO2_FRONTEND_FUSE_ROTARY_H_

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

Result<void> FuseRotary(Graph& graph);

}  // namespace zo2

#endif  // ZO2_FRONTEND_FUSE_ROTARY_H_
