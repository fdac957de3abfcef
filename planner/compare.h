// What differs between two plans, and why one is faster.
#ifndef ZO2_PLANNER_COMPARE_H_
#define ZO2_PLANNER_COMPARE_H_

#include <string>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"

namespace zo2 {

// What the two are called in tables and in sentences.
struct PlanNames {
  std::string a = "A", b = "B", plan_a = "plan A", plan_b = "plan B";
};

// One object:
//   numerics     equal, and a list of field, a, b where they differ (equal: the same losses, g and weights to
//   the bit) sentences    which one is faster and why, what it costs in memory, what binds figures      rows
//   of name, path (in the reports), unit ("seconds", "bytes", "count" or "share"), a, b differences  every
//   other leaf of the two reports that differs: path, a, b
// Errors: a plan without a report.
Result<std::string> CompareJson(const Schedule& a, const Schedule& b, const PlanNames& names = {});
// The same as a page.
Result<std::string> CompareText(const Schedule& a, const Schedule& b, const PlanNames& names = {});

}  // namespace zo2

#endif  // ZO2_PLANNER_COMPARE_H_
