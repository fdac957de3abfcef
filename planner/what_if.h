// "What if the link were twice as fast, and 4 GiB more memory?": the same model planned again for a changed
// machine or budget, beside the plan that is.
#ifndef ZO2_PLANNER_WHAT_IF_H_
#define ZO2_PLANNER_WHAT_IF_H_

#include <string>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/support/status.h"
#include "planner/plan.h"

namespace zo2 {

// One of link, link-up, link-down (rates), budget, host-budget (sizes), compute (all kernels, by a factor),
// noise (normals per second; prepare goes with it).
struct WhatIfChange {
  std::string key, value;  // value as typed: 2x, +4GiB, -10%, or absolute (but for compute)
};

// "link=2x,budget=+4GiB" -> changes, in that order. kInvalid names the key or value that is wrong.
Result<std::vector<WhatIfChange>> ParseWhatIf(const std::string& text);

// Budgets of 0 become the machine's before they change. kInvalid: the result is no size or rate above 0.
Result<void> ApplyWhatIf(const std::vector<WhatIfChange>& changes, Machine* machine, PlanOptions* options);

// Plans for the changed machine and options and compares with `base`. JSON: {what_if, feasible, comparison
// (compare.h)} or {what_if, feasible: false, why}; that the change makes everything infeasible is an answer,
// not an error.
struct WhatIfAnswer {
  std::string text, json;
  bool out_of_time = false;  // the time limit ended the search
};
Result<WhatIfAnswer> WhatIf(const Graph& graph, const Machine& machine, const PlanOptions& options,
                            const Plan& base, const std::string& spec);

}  // namespace zo2

#endif  // ZO2_PLANNER_WHAT_IF_H_
