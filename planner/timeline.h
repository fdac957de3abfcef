// Looking at a schedule in time, as the simulator predicts it.
#ifndef ZO2_PLANNER_TIMELINE_H_
#define ZO2_PLANNER_TIMELINE_H_

#include <string>

#include "ir/schedule/schedule.h"

namespace zo2 {

// What both show: two steps of train (of evaluate where there is no train) in the steady state, or one more than the K
// steps of a write-back's period (8 at most), from the first kernel of a step on.

// Chrome/Perfetto trace events (JSON), one track per lane.
std::string PerfettoJson(const Schedule& schedule);
// One self-contained page that works without a network: figures, lanes, device memory over time, the report. Past some
// tens of thousands of instructions, short neighbours of one kind become one rectangle.
std::string TimelineHtml(const Schedule& schedule);

}  // namespace zo2

#endif  // ZO2_PLANNER_TIMELINE_H_
