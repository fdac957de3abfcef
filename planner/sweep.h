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

// Plans for `points` budgets in geometric steps from `low` to `high`. One JSON object:
//   model, machine, weight_bytes
//   rows       one per budget, the smallest first: budget, feasible, then of the plan: device_bytes,
//   host_bytes,
//              resident_tiles, tiles, resident_share (of the weights' bytes), strategy, slots,
//              writeback_every, period, bound, gap, binding, out_of_time, up_bytes, down_bytes (per step),
//              tokens_per_second, pareto (no other row is as small and faster, or as fast and smaller); or
//              why nothing fits, and smallest_budget (null: unknown)
//   trivial    plans that take no decision: name, device_bytes, period; whatever their budget
//   chosen     index of the row with the smallest budget whose period is within kSweepNear of the least;
//   null: no row chosen_cause   in words
inline constexpr double kSweepNear = 0.01;
Result<std::string> SweepJson(const Graph& graph, const Machine& machine, const PlanOptions& options,
                              uint64_t low, uint64_t high, int points);
// That object as a table, or as one self-contained page that works without a network: a plot and the table.
std::string SweepText(const std::string& sweep_json);
std::string SweepHtml(const std::string& sweep_json);

}  // namespace zo2

#endif  // ZO2_PLANNER_SWEEP_H_
