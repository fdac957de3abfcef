// Pass: every product of an activation and a two-dimensional weight becomes a linear, with its bias when one
// is added.
//   matmul(x, @W) -> linear(x, @W) {trans_w=0}      matmul(x, transpose(@W)) -> linear(x, @W) {trans_w=1}
//   add(linear(x, @W), @b), either order -> linear(x, @W, @b)
#ifndef ZO2_FRONTEND_CANONICAL_LINEAR_H_
#define ZO2_FRONTEND_CANONICAL_LINEAR_H_

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

Result<void> CanonicalLinear(Graph& graph);

}  // namespace zo2

#endif  // ZO2_FRONTEND_CANONICAL_LINEAR_H_
