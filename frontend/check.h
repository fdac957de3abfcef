// What `zo2-plan check` prints: what the frontend made of a model, for a person.
#ifndef ZO2_FRONTEND_CHECK_H_
#define ZO2_FRONTEND_CHECK_H_

#include <string>

#include "ir/graph/graph.h"

namespace zo2 {

// Sizes, inputs, outputs, loss, ops (model ops that fusion made first, then what stayed generic), weights by
// role and whether they train, ties, other names, and every note of the import and the passes.
std::string CheckReport(const Graph& graph);

}  // namespace zo2

#endif  // ZO2_FRONTEND_CHECK_H_
