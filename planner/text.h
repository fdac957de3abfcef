// Text of reports.
#ifndef ZO2_PLANNER_TEXT_H_
#define ZO2_PLANNER_TEXT_H_

#include <string>

namespace zo2 {

// As printf has it; cut after 511 bytes.
std::string Line(const char* format, ...) __attribute__((format(printf, 1, 2)));

}  // namespace zo2

#endif  // ZO2_PLANNER_TEXT_H_
