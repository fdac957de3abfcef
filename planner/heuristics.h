// The planner's heuristics, each of which can be turned off (--without), so that it can show what it is worth
// (tests/bench/ablation.py; a test holds that each is worth something).
//
// Whatever is off, a plan is a plan: within the budgets and correct, only slower or not found.
#ifndef ZO2_PLANNER_HEURISTICS_H_
#define ZO2_PLANNER_HEURISTICS_H_

#include <span>
#include <string>

#include "ir/support/status.h"
#include "planner/options.h"

namespace zo2 {

struct Heuristic {
  const char* name;
  const char* what;  // one line
};
std::span<const Heuristic> Heuristics();

// Whether the options leave this one on.
bool Uses(const PlanOptions& options, const char* name);
// kInvalid for a name that is none, with all that are.
Result<void> CheckWithout(const PlanOptions& options);

}  // namespace zo2

#endif  // ZO2_PLANNER_HEURISTICS_H_
