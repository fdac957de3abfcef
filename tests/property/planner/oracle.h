// Every decision of a tiny instance, simulated: the best there is, to judge bound and strategies by.
#ifndef ZO2_TESTS_PROPERTY_PLANNER_ORACLE_H_
#define ZO2_TESTS_PROPERTY_PLANNER_ORACLE_H_

#include <memory>
#include <vector>

#include "planner/bound.h"
#include "planner/emit.h"

namespace zo2 {

// What CompilePlan makes before it decides.
struct Instance {
  Graph graph;
  Machine machine;
  PlanOptions options;
  Partition partition;
  std::unique_ptr<CostModel> cost;
  Layout train, evaluate;
  PlanInput input;
  Demand demand;
};
// Null where the graph cannot be trained.
std::unique_ptr<Instance> MakeInstance(const Graph& graph, const Machine& machine, const PlanOptions& options);

struct Best {
  double period = 0;  // seconds; 0: nothing fits
  Decision decision;
  int64_t decisions = 0;  // simulated
};
// Over every residency subset, S in [1, most_slots], K in `every`, within the budget of the instance's options.
Best Enumerate(const Instance& instance, int most_slots, const std::vector<int>& every);

}  // namespace zo2

#endif  // ZO2_TESTS_PROPERTY_PLANNER_ORACLE_H_
