// Where an iteration's time goes, as a table: measured beside predicted, by instruction kind and op.
#ifndef ZO2_RUNTIME_TRACE_TABLE_H_
#define ZO2_RUNTIME_TRACE_TABLE_H_

#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "runtime/executor.h"

namespace zo2 {

// Per traced program and lane: calls, measured seconds, predicted seconds of the same instructions, measured / predicted
// and the share of the iteration, all per iteration. A start's first iteration, which touches memory for the first time,
// counts only where it is the only one. "waiting" is for other lanes, "rest" what a lane spent on neither (the host's part
// of an iteration, or nothing to do). Empty where nothing was traced.
std::string TraceTable(const Schedule& schedule, const std::vector<TracedRun>& runs);

}  // namespace zo2

#endif  // ZO2_RUNTIME_TRACE_TABLE_H_
