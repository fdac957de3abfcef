// One plan per budget: how period, residency and bound move with device memory.
#ifndef ZO2_PLANNER_SWEEP_H_
#define ZO2_PLANNER_SWEEP_H_

#include <cstdint>
#include <string>
#include <utility>

#include "ir/graph/graph.h"
#include "ir/support/status.h"
#include "planner/machine.h"
#include "planner/options.h"

namespace zo2 {

// "1GiB..24GiB" -> bytes.
Result<std::pair<uint64_t, uint64_t>> ParseSizeRange(const std::string& text);
// A table with a row per budget, `points` of them in geometric steps from `low` to `high`. Infeasible budgets are rows
// too. `json`: one array of objects instead.
Result<std::string> Sweep(const Graph& graph, const Machine& machine, const PlanOptions& options, uint64_t low,
                          uint64_t high, int points, bool json);

}  // namespace zo2

#endif  // ZO2_PLANNER_SWEEP_H_
