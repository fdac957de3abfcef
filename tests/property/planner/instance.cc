#include "tests/property/planner/instance.h"

#include "planner/precision.h"

namespace zo2 {

std::unique_ptr<Instance> MakeInstance(const Graph& graph, const Machine& machine, const PlanOptions& options) {
  auto instance = std::make_unique<Instance>();
  Instance& in = *instance;
  in.machine = machine;
  in.options = options;
  auto typed = ApplyPrecision(graph, machine, options);
  if (!typed.ok() || typed->loss.node < 0) return nullptr;
  in.graph = std::move(*typed);
  auto partition = MakePartition(in.graph, in.machine, in.options);
  if (!partition.ok()) return nullptr;
  in.partition = std::move(*partition);
  in.cost = std::make_unique<CostModel>(in.graph, in.machine, in.options.samples);
  auto train = MakeLayout(in.graph, in.partition, in.machine, in.options, Purpose::kTrain, false);
  auto evaluate = MakeLayout(in.graph, in.partition, in.machine, in.options, Purpose::kEvaluate, false);
  if (!train.ok() || !evaluate.ok()) return nullptr;
  in.train = std::move(*train);
  in.evaluate = std::move(*evaluate);
  in.input = {&in.graph, &in.machine, &in.options, &in.partition, in.cost.get(), &in.train, &in.evaluate};
  in.demand = MeasureDemand(in.input);
  return instance;
}

}  // namespace zo2
