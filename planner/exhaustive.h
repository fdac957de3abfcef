// The exhaustive strategy: every decision of a tiny instance, emitted and simulated.
//
// An oracle. Residents, slots and write-backs span a space of decisions; the least period in it is what other
// strategies and the bound are judged by. It shares with them what a decision means (emit.h) and how long a program
// takes (simulate.h), and nothing of how they search: no closed form, no prices, no pruning but what the budgets rule
// out.
#ifndef ZO2_PLANNER_EXHAUSTIVE_H_
#define ZO2_PLANNER_EXHAUSTIVE_H_

#include <cstdint>
#include <memory>

#include "planner/bound.h"
#include "planner/emit.h"
#include "planner/strategy.h"

namespace zo2 {

// Every subset of tiles as residents, with 1 to `most_slots` slots and write-backs every 1 to `most_every` steps; what
// the options force (--slots, --writeback-every, --resident) is the only choice. Write-backs matter only where something
// trained is streamed, slots where anything is.
struct DecisionSpace {
  int most_slots = 8, most_every = 16;
};

// At most this many instructions are emitted and simulated: decisions in the space times instructions of a step.
inline constexpr double kMostExhaustive = 5e7;
// Decisions in the space (an upper limit: without regard to the budgets).
double CountDecisions(const PlanInput& input, const DecisionSpace& space);

struct Best {
  double period = 0;  // seconds; 0: no decision fits the budgets
  Decision decision;
  int64_t decisions = 0;     // simulated
  bool out_of_time = false;  // input.deadline passed before all were
  // Of the decision that comes closest to the budgets: least device memory; least host memory where that is enough.
  MemoryUse least;
};
// Goes on past input.deadline until one decision fits.
Best BestDecision(const PlanInput& input, const DecisionSpace& space);

// One candidate, its period simulated. kInvalid when kMostExhaustive is exceeded, kInfeasible when nothing fits.
std::unique_ptr<Strategy> MakeExhaustive();

}  // namespace zo2

#endif  // ZO2_PLANNER_EXHAUSTIVE_H_
