// Pass: moves reshapes that only merge leading axes ([batch, seq, features] -> [batch * seq, features])
// behind the ops that work on each row alone, until they meet the reshape that splits the axes again and both
// vanish. Exporters write Gemm and torch's addmm on two axes; afterwards activations are [batch, seq,
// features] throughout.
#ifndef ZO2_FRONTEND_SINK_RESHAPES_H_
#define ZO2_FRONTEND_SINK_RESHAPES_H_

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

Result<void> SinkReshapes(Graph& graph);

}  // namespace zo2

#endif  // ZO2_FRONTEND_SINK_RESHAPES_H_
