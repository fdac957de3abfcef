// Lanes and edges of one program. Private to emit.cc.
#ifndef ZO2_PLANNER_EMIT_PROGRAM_H_
#define ZO2_PLANNER_EMIT_PROGRAM_H_

#include <map>
#include <vector>

#include "planner/emit.h"

namespace zo2 {

// Buffers that the program's instructions name.
struct Placement {
  std::vector<BufferId> slots;
  BufferId record = -1, record_host = -1;
  std::vector<BufferId> temps;  // per Temp of the layout
};
struct StagedProgram {
  std::map<ValueId, BufferId> input;
  BufferId control = -1;
  std::vector<BufferId> loss_sum, loss_count;  // per branch
  std::vector<BufferId> output;                // per Layout::outputs
};

// `tables`: masters and constants are placed already.
Program EmitProgram(const PlanInput& input, const Decision& decision, const Layout& layout, const Placement& placement,
                    const StagedProgram& staged, const Schedule& tables);
// Every trained master is brought up to date.
Program EmitFlush(const PlanInput& input, const Decision& decision, const Placement& placement, const Schedule& tables);

}  // namespace zo2

#endif  // ZO2_PLANNER_EMIT_PROGRAM_H_
