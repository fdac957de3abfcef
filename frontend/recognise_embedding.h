// Pass: rows of a two-dimensional weight taken by ids become embedding: gather along axis 0, and a slice of
// rows (learned positions), whose ids are then a constant.
#ifndef ZO2_FRONTEND_RECOGNISE_EMBEDDING_H_
#define ZO2_FRONTEND_RECOGNISE_EMBEDDING_H_

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

Result<void> RecogniseEmbedding(Graph& graph);

}  // namespace zo2

#endif  // ZO2_FRONTEND_RECOGNISE_EMBEDDING_H_
