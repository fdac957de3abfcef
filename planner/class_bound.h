// The bound over class counts: the least T of the class model over reals, in the best setting of K and slots.
//
// At least the roofline of bound.h, which lets each lane have the residents that are best for it, and at most
// the period of any decision: K is one number for all tiles, as it is in every decision, and counts may be
// fractions.
#ifndef ZO2_PLANNER_CLASS_BOUND_H_
#define ZO2_PLANNER_CLASS_BOUND_H_

#include <map>
#include <optional>
#include <string>

#include "planner/bound.h"

namespace zo2 {

struct ClassBound {
  double seconds = 0;
  std::map<std::string, double> lanes;  // what each takes, by ClassProgram::Lane::name; the most is `seconds`
  double resident_bytes = 0;
  int programs = 0;  // solved
  bool capped = false;  // there were too many: the others count with their lanes' own least
};
// Absent where the build has no Z3, nothing fits the budgets, or input.deadline passes.
std::optional<ClassBound> SolveClassBound(const PlanInput& input, const Demand& demand, Z3Solver* solver);

// By how many seconds the bound falls when one figure of the machine or the budget is raised a little: the
// bound computed again (LowerBound) and subtracted. Steps are as large as the names say, so a scarce resource
// may be worth less by the piece than a smaller step would suggest. Past input.deadline: of the roofline alone.
struct ShadowPrices {
  double mib_of_budget = 0, gb_per_s_up = 0, gb_per_s_down = 0, host_thread = 0;
};
ShadowPrices PriceResources(const PlanInput& input, const Demand& demand, const Bound& bound);

}  // namespace zo2

#endif  // ZO2_PLANNER_CLASS_BOUND_H_
