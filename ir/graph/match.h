// Weights by name, as flags name them.
#ifndef ZO2_IR_GRAPH_MATCH_H_
#define ZO2_IR_GRAPH_MATCH_H_

#include <string>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

// Per weight: whether its name, or another name of it (a tie), contains a match of `regex` (ECMAScript). kInvalid, with
// `flag` named: it is no regular expression, or no weight matches.
Result<std::vector<bool>> MatchWeights(const Graph& graph, const std::string& flag, const std::string& regex);

}  // namespace zo2

#endif  // ZO2_IR_GRAPH_MATCH_H_
