// The report of a plan: JSON (docs/REPORT.md says what it means, docs/report.schema.json how it is formed) and a page of
// text.
#ifndef ZO2_PLANNER_REPORT_H_
#define ZO2_PLANNER_REPORT_H_

#include <string>
#include <vector>

#include "ir/support/status.h"
#include "planner/plan.h"
#include "planner/shortage.h"

namespace zo2 {

// Counts up when a field changes its meaning or goes away; docs/report.schema.json describes this one.
inline constexpr int kReportSchema = 2;

std::string ReportJson(const Plan& plan, const Machine& machine, const PlanOptions& options);
// The report where nothing fits: "feasible" is false. `shortage`: null where no memory is short, but the schedule too
// long.
std::string InfeasibleJson(const std::string& why, const Shortage* shortage, const Graph& graph,
                           const Partition& partition, const std::vector<Rival>& rivals, const Machine& machine,
                           const PlanOptions& options);
// A page of text from a report's JSON: what `compile` and `inspect` print.
Result<std::string> ReportText(const std::string& report_json);

}  // namespace zo2

#endif  // ZO2_PLANNER_REPORT_H_
