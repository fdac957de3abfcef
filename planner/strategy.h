// Decide: what is resident, how many slots, how often masters are written back.
//
// Strategies share one interface so that they can be compared: `greedy` (greedy.cc) and the fixed ones that stand for
// what one would do without a planner (fixed.cc): all resident, stream everything, the published ZO2 schedule. An exact
// solver and an exhaustive oracle fit the same interface.
#ifndef ZO2_PLANNER_STRATEGY_H_
#define ZO2_PLANNER_STRATEGY_H_

#include <memory>
#include <string>
#include <vector>

#include "ir/support/status.h"
#include "planner/bound.h"
#include "planner/emit.h"

namespace zo2 {

// A decision, its predicted period, and why it is so.
struct Candidate {
  Decision decision;
  double period = 0;                // closed form; seconds
  std::vector<std::string> causes;  // one sentence per choice
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual std::string name() const = 0;
  // The best decisions it knows, best first, at most `most`; all within the budgets of the options. kInfeasible with
  // one sentence - how many bytes are missing, in which memory, what would help - when there is none.
  virtual Result<std::vector<Candidate>> Decide(const PlanInput& input, const Demand& demand, int most) const = 0;
};

// "greedy", "resident", "stream", "zo2"; null for other names.
std::unique_ptr<Strategy> MakeStrategy(const std::string& name);

// Closed form of the period of a decision: the largest of what each lane takes, and of the slots' turnaround
// (x + c + d) / S summed over streamed tiles (upload, prepare, write-back hold a slot).
double EstimatePeriod(const PlanInput& input, const Demand& demand, const Decision& decision);

// OK, or kInfeasible with the sentence.
Status CheckBudgets(const PlanInput& input, const Decision& decision);
// The least device memory any decision can do with: one slot, nothing resident (or all resident, if that is less).
uint64_t LeastDeviceBytes(const PlanInput& input);

}  // namespace zo2

#endif  // ZO2_PLANNER_STRATEGY_H_
