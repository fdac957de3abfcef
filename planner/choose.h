// Choose: the candidates of every strategy, simulated; the best one, refined.
#ifndef ZO2_PLANNER_CHOOSE_H_
#define ZO2_PLANNER_CHOOSE_H_

#include <chrono>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "planner/bound.h"
#include "planner/emit.h"
#include "planner/exact.h"
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
  Bound bound;
  WireUpdate bound_of = WireUpdate::kHost;  // the way to update coded tiles that `bound` is of
  ExactSearch exact;         // how far Z3 came
  std::chrono::steady_clock::duration slowest{};  // to emit and simulate one plan
  bool out_of_time = false;  // input.deadline ended the search, and the gap is larger than was asked for
};

// A period that is near enough to this bound for options.gap; no gap at all is one of a few roundings.
double NearEnough(const PlanOptions& options, const Bound& bound);

// When a search has to end for its plan to be verified, reported and written before `deadline`.
std::chrono::steady_clock::time_point SearchEnd(std::chrono::steady_clock::time_point deadline,
                                                std::chrono::steady_clock::duration slowest);

// Trivial plans are scored always (but for the time), and win where they are better, unless the options force decisions.
// kInfeasible (or kInvalid) with the sentence of the strategy that was asked for.
//
// `auto` is greedy, and Z3 where greedy's gap is larger than the options ask for; `z3` is both, always, and a
// longer search around the winner. So period(z3) <= period(greedy). A search ends when the gap is small
// enough, when nothing is left to try, or in time for the plan to be verified before input.deadline; one plan
// is always made.
Result<Chosen> Choose(const PlanInput& input, const Demand& demand, std::vector<Rival>* rivals);

}  // namespace zo2

#endif  // ZO2_PLANNER_CHOOSE_H_
