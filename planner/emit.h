// Emit: a decision -> the whole schedule: buffers, programs, lanes, edges.
//
// What runs in one train iteration, in the serial order: inputs and control go up; for each pass, for each call in
// order, for each part of its weights: upload into slot j mod S, prepare (which brings the master up to date, in the
// slot), download when a write-back is due, the call once per branch. Then the gradient; record and losses go down.
//
// Edges only where two lanes meet: upload -> prepare (or first reader); prepare -> download; whatever released slot
// s -> the next upload into s (in the next iteration for the first ones); download -> a later upload of the same tile.
// All the rest follows from the lanes' own order, so the next iteration's uploads run under this one's tail.
//
// Coded tiles (schedule.h) go up as codes. Where the host updates masters, a host lane does so at the end of the
// iteration, in the order of the tiles' last uploads: last upload -> host update -> first upload of the next iteration.
// Where masters are refreshed, the master goes up instead at the tile's residue, and the host update that encodes it
// waits for its download.
#ifndef ZO2_PLANNER_EMIT_H_
#define ZO2_PLANNER_EMIT_H_

#include <chrono>
#include <string>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "planner/cost.h"
#include "planner/layout.h"
#include "planner/machine.h"
#include "planner/options.h"
#include "planner/partition.h"

namespace zo2 {

// What the planner decided for one plan.
struct Decision {
  std::string strategy;
  std::vector<bool> resident;    // per tile: its master is on the device
  int slots = 0;                 // S; 0 when nothing is streamed
  int writeback_every = 1;       // K
  bool block_granular = false;   // the published ZO2 schedule's order: see fixed.cc
};

struct Shortage;  // shortage.h

// Everything that does not depend on decisions.
struct PlanInput {
  const Graph* graph = nullptr;
  const Machine* machine = nullptr;
  const PlanOptions* options = nullptr;
  const Partition* partition = nullptr;
  const CostModel* cost = nullptr;
  const Layout* train = nullptr;     // null: the graph has no loss
  const Layout* evaluate = nullptr;  // null: neither loss nor outputs
  std::chrono::steady_clock::time_point deadline = std::chrono::steady_clock::time_point::max();  // of the search
  std::vector<Shortage>* shortages = nullptr;  // what strategies found not to fit is added here; null: not asked for
};

// Bytes of each kind of memory under a decision.
struct MemoryUse {
  uint64_t resident = 0, slots = 0, constants = 0, records = 0, temporary = 0;  // device
  uint64_t host_masters = 0, host_codes = 0, host_staging = 0;                  // host
  uint64_t device() const { return resident + slots + constants + records + temporary; }
  uint64_t host() const { return host_masters + host_codes + host_staging; }
};
MemoryUse MeasureMemory(const PlanInput& input, const Decision& decision);

// kInfeasible: a schedule of that many instructions is refused; what to do.
Status TooManyInstructions(int64_t count, uint64_t tile_target);

// Arenas, tables, programs. Arena budgets are those of the options (or the machine). Does not check that they hold.
Result<Schedule> Emit(const PlanInput& input, const Decision& decision);

}  // namespace zo2

#endif  // ZO2_PLANNER_EMIT_H_
