// What a plan is decided from, made by itself: to judge bound and strategies one by one (exhaustive.h is the oracle).
#ifndef ZO2_TESTS_PROPERTY_PLANNER_INSTANCE_H_
#define ZO2_TESTS_PROPERTY_PLANNER_INSTANCE_H_

#include <memory>

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

}  // namespace zo2

#endif  // ZO2_TESTS_PROPERTY_PLANNER_INSTANCE_H_
