// Decide: what is resident, how many slots, how often masters are written back.
//
// Strategies share one interface so that they can be compared: `greedy` (greedy.cc) and the fixed ones that stand for
// what one would do without a planner (fixed.cc): all resident, stream everything, the published ZO2 schedule. `z3`
// (exact.h) finds the best class counts, and the exhaustive oracle (exhaustive.cc) judges them all.
#ifndef ZO2_PLANNER_STRATEGY_H_
#define ZO2_PLANNER_STRATEGY_H_

#include <memory>
#include <string>
#include <vector>

#include "ir/support/status.h"
#include "planner/bound.h"
#include "planner/emit.h"
#include "planner/shortage.h"

namespace zo2 {

// A decision, its predicted period, and why it is so.
struct Candidate {
  Decision decision;
  double period = 0;                // closed form (estimate.h); seconds
  int way = 0;                      // in which the strategy came to it, where it has several
  bool out_of_time = false;         // input.deadline ended the search for it
  std::vector<std::string> causes;  // one sentence per choice
};

class Strategy {
 public:
  virtual ~Strategy() = default;
  virtual std::string name() const = 0;
  // The best decisions it knows, best first, at most `most`; past input.deadline those it knew by then, one at
  // least; all within the budgets of the options. kInfeasible with
  // one sentence - how many bytes are missing, in which memory, what would help - when there is none.
  virtual Result<std::vector<Candidate>> Decide(const PlanInput& input, const Demand& demand, int most) const = 0;
};

// "greedy" ("auto" begins with it), "z3" (null in a build without it), "exhaustive", "resident", "stream", "zo2"; null
// for other names.
std::unique_ptr<Strategy> MakeStrategy(const std::string& name);
std::unique_ptr<Strategy> MakeGreedy();
std::vector<std::string> ExplainGreedy(const PlanInput& input, const Decision& decision);  // causes
std::unique_ptr<Strategy> MakeFixed(const std::string& name);

// The decision that needs the least device memory with these slots and write-backs, nothing else asked: the largest
// tiles are resident where that costs less than slots for them.
Decision Smallest(const PlanInput& input, int slots, int every);

bool Fits(const PlanInput& input, const MemoryUse& use);  // if not, shortage.h says why

}  // namespace zo2

#endif  // ZO2_PLANNER_STRATEGY_H_
