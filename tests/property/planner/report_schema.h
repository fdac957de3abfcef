// Judges a plan's report by docs/REPORT.md and by arithmetic, without any of the planner's code.
#ifndef ZO2_TESTS_PROPERTY_PLANNER_REPORT_SCHEMA_H_
#define ZO2_TESTS_PROPERTY_PLANNER_REPORT_SCHEMA_H_

#include <string>

#include "ir/schedule/schedule.h"

namespace zo2 {

// What is wrong with the report of this schedule; "" when nothing is: every documented field is there with its type, no
// field is there that is not documented, sums add up, figures agree with the schedule.
std::string ReportFault(const Schedule& schedule);

}  // namespace zo2

#endif  // ZO2_TESTS_PROPERTY_PLANNER_REPORT_SCHEMA_H_
