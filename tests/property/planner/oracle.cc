#include "tests/property/planner/oracle.h"

#include <algorithm>

#include "planner/precision.h"
#include "planner/simulate.h"

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

Best Enumerate(const Instance& instance, int most_slots, const std::vector<int>& every) {
  const PlanInput& in = instance.input;
  Best best;
  const size_t n = in.partition->tiles.size();
  for (uint64_t set = 0; set < uint64_t{1} << n; ++set) {
    Decision d;
    for (size_t t = 0; t < n; ++t) d.resident.push_back((set >> t) & 1);
    const bool streamed = set + 1 < uint64_t{1} << n;
    for (d.slots = streamed ? 1 : 0; d.slots <= (streamed ? most_slots : 0); ++d.slots) {
      for (int k : every) {
        if (!streamed && k > 1) continue;
        d.writeback_every = k;
        MemoryUse use = MeasureMemory(in, d);
        if (use.device() > in.options->budget || use.host() > in.options->host_budget) continue;
        auto schedule = Emit(in, d);
        if (!schedule.ok()) continue;
        const double period = Simulate(*schedule->Find(Purpose::kTrain)).period;
        ++best.decisions;
        if (best.period == 0 || period < best.period) {
          best.period = period;
          best.decision = d;
        }
      }
    }
  }
  return best;
}

}  // namespace zo2
