// Texts about plans that exist already: one weight of a plan, and the differences between two.
#ifndef ZO2_PLANNER_COMPARE_H_
#define ZO2_PLANNER_COMPARE_H_

#include <string>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"

namespace zo2 {

// What differs: numerics field by field (equal fingerprints: equal bits), decisions, memory, time.
Result<std::string> CompareText(const Schedule& a, const Schedule& b);
// A weight by its name or an alias: dtypes, places, tiles, where each lives, when each is used.
Result<std::string> WeightText(const Schedule& schedule, const std::string& name);

}  // namespace zo2

#endif  // ZO2_PLANNER_COMPARE_H_
