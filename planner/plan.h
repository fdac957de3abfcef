// The planner on one page: graph + machine + options -> plan.
#ifndef ZO2_PLANNER_PLAN_H_
#define ZO2_PLANNER_PLAN_H_

#include <map>
#include <string>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "planner/bound.h"
#include "planner/choose.h"
#include "planner/class_bound.h"
#include "planner/emit.h"
#include "planner/machine.h"
#include "planner/options.h"
#include "planner/simulate.h"

namespace zo2 {

// Seconds that each stage of the planner took.
struct StageTime {
  std::string stage;
  double seconds = 0;
};

struct Plan {
  Schedule schedule;
  Decision decision;
  std::vector<std::string> causes;  // of each decision
  MemoryUse memory;
  Bound bound;
  ShadowPrices prices;
  ExactSearch exact;         // how far Z3 came
  bool out_of_time = false;  // the time limit ended the search before the gap was as small as asked for
  Simulation simulation;  // of train (of evaluate where there is no loss)
  std::vector<Rival> rivals;
  std::vector<StageTime> stages;
  std::map<BufferKind, uint64_t> temporaries;  // peaks by kind in the program that needs most
  double flops_per_step = 0;                   // model arithmetic, all passes and branches
  double tokens_per_step = 0;  // rows times sequence of one step's batch; rows where there is no sequence
  uint64_t partition_target = 0;
  int tile_classes = 0;
  uint64_t up_bytes = 0, down_bytes = 0;  // over the link per step, weights only
};

// Errors: kInvalid (options or graph), kInfeasible (budgets), kInternal (our verifier rejects our schedule).
// schedule.report holds ReportJson(plan); where it is kInfeasible, *infeasible (not null) gets InfeasibleJson().
Result<Plan> CompilePlan(const Graph& graph, const Machine& machine, const PlanOptions& options,
                         std::string* infeasible = nullptr);

// Canonical JSON of everything that decides bits, and its digest.
// `schedule`: its tiles and train program (coded tiles).
std::string NumericsJson(const Graph& graph, const Partition& partition, const Machine& machine,
                         const PlanOptions& options, const Schedule& schedule);

}  // namespace zo2

#endif  // ZO2_PLANNER_PLAN_H_
