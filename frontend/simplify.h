// Pass: drops what does nothing. Reshape of a reshape, transpose of a transpose, identities of either, casts
// and expands to the type a value has, x + 0, x * 1, and(true, x), and gathers whose constant ids enumerate
// the whole operand in order (the exporters' way to say mask[batch, key]), which become reshapes. Equal
// expressions are computed once.
#ifndef ZO2_FRONTEND_SIMPLIFY_H_
#define ZO2_FRONTEND_SIMPLIFY_H_

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

Result<void> Simplify(Graph& graph);

}  // namespace zo2

#endif  // ZO2_FRONTEND_SIMPLIFY_H_
