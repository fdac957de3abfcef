// One weight's life through a period: where its bytes are, what moves and changes them, who uses them.
#ifndef ZO2_PLANNER_WEIGHT_LIFE_H_
#define ZO2_PLANNER_WEIGHT_LIFE_H_

#include <string>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"

namespace zo2 {

// By its name or an alias; the schedule must be one that the verifier accepts. One object:
//   weight     name, aliases, shape, role, trained, decays, storage, wire, compute, noise_id, places in files
//   program, period (K), step_seconds
//   per_step   of all its tiles, on average over K steps: up_bytes, down_bytes, and seconds of upload,
//   prepare, call
//              (those that use this weight), download and host_update
//   tiles      each with its number, bytes, segments of this weight, lives ("resident" or "streamed"), master
//   and codes
//              (tier, offset, bytes; null: none), per_step, and events in the serial order:
//              what, lane, pass, residues (of step mod K on which it runs), bytes (copies), seconds, start
//              (seconds from the first kernel of the step, in the steady state; below 0: under the tail of
//              the step before), text
Result<std::string> WeightJson(const Schedule& schedule, const std::string& name);
// The same as a page: every tile; the events of those of one kind once.
Result<std::string> WeightText(const Schedule& schedule, const std::string& name);

}  // namespace zo2

#endif  // ZO2_PLANNER_WEIGHT_LIFE_H_
