// Looking at a schedule in time, as the simulator predicts it.
#ifndef ZO2_PLANNER_TIMELINE_H_
#define ZO2_PLANNER_TIMELINE_H_

#include <string>

#include "ir/schedule/schedule.h"

namespace zo2 {

// Chrome/Perfetto trace events (JSON) of three steady iterations of the main program; one track per lane.
std::string PerfettoJson(const Schedule& schedule);
// One self-contained page: the report's text above, the lanes of three iterations below, drawn in SVG. Instructions too
// short to see are merged with their neighbours of the same kind.
std::string TimelineHtml(const Schedule& schedule);

}  // namespace zo2

#endif  // ZO2_PLANNER_TIMELINE_H_
