// A run's instructions as a Chrome/Perfetto trace (ui.perfetto.dev): for every traced program one process with the
// measured lanes and one with the same iterations as the plan predicts them (instructions start as soon as lane order
// and edges let them, and take their predicted seconds).
#ifndef ZO2_RUNTIME_TRACE_H_
#define ZO2_RUNTIME_TRACE_H_

#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/executor.h"

namespace zo2 {

std::string TraceJson(const Schedule& schedule, const std::vector<TracedRun>& runs);
Status WriteTrace(const Schedule& schedule, const std::vector<TracedRun>& runs, const std::string& path);

}  // namespace zo2

#endif  // ZO2_RUNTIME_TRACE_H_
