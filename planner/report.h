// The report of a plan: JSON (schema in docs/REPORT.md) and a page of text.
#ifndef ZO2_PLANNER_REPORT_H_
#define ZO2_PLANNER_REPORT_H_

#include <string>

#include "ir/support/status.h"
#include "planner/plan.h"

namespace zo2 {

std::string ReportJson(const Plan& plan, const Machine& machine, const PlanOptions& options);
// A page of text from a report's JSON: what `compile` and `inspect` print.
Result<std::string> ReportText(const std::string& report_json);

}  // namespace zo2

#endif  // ZO2_PLANNER_REPORT_H_
