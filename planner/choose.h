// Choose: the candidates of every strategy, simulated; the best one, refined.
#ifndef ZO2_PLANNER_CHOOSE_H_
#define ZO2_PLANNER_CHOOSE_H_

#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "planner/bound.h"
#include "planner/emit.h"
#include "planner/simulate.h"
#include "planner/strategy.h"

namespace zo2 {

// A plan that was considered: the winner's rivals in the report.
struct Rival {
  std::string name;  // "resident", "stream", "zo2", "greedy S=3 K=1", ...
  bool feasible = false;
  double period = 0;  // simulated, seconds
  uint64_t device_bytes = 0;
  std::string why;  // infeasible: the sentence
};

struct Chosen {
  Candidate candidate;
  Schedule schedule;
  Simulation simulation;  // of train (of evaluate where there is no loss)
};

// Trivial plans are scored always, and win where they are better, unless the options force decisions. kInfeasible (or
// kInvalid) with the sentence of the strategy that was asked for.
Result<Chosen> Choose(const PlanInput& input, const Demand& demand, std::vector<Rival>* rivals);

}  // namespace zo2

#endif  // ZO2_PLANNER_CHOOSE_H_
