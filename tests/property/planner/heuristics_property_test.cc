// Heuristics that can be turned off earn their place: on some instance of a fixed set the plan gets worse without it.
// Those that others stand in for on every instance of the set are not asked for. (How much each is worth on real shapes: tests/bench/ablation.py.)
#include "planner/heuristics.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <iterator>
#include <map>

#include "planner/plan.h"
#include "tests/property/planner/instance.h"
#include "tests/property/planner/random_graph.h"

namespace zo2 {
namespace {

constexpr int kInstances = 150;
constexpr double kWorse = 1.004;
constexpr const char* kShown[] = {"lanes", "even", "equal", "spread", "sizes", "ways", "simulate", "refine"};

struct Problem {
  Graph graph;
  Machine machine;
  PlanOptions options;
  double period = 0;  // with all heuristics
};

// A model whose link takes about as long as its compute, a budget for some of the weights, now and then little host
// memory: where decisions matter. False where this seed gives none.
bool MakeProblem(int seed, Problem* p) {
  Random r(static_cast<uint64_t>(seed));
  p->graph = RandomGraph(r, {4, 24, true});
  p->machine = BuiltinMachines()[r.Chance(0.5) ? 0 : 1];
  p->options = PlanOptions();
  p->options.tile = r.Chance(0.5) ? 512 : 2000;
  p->options.strategy = r.Chance(0.15) ? "auto" : "greedy";
  p->machine.copy_latency_s = 0;
  p->machine.call_overhead_s *= 0.1;
  auto in = MakeInstance(p->graph, p->machine, p->options);
  if (in == nullptr || in->partition.tiles.size() < 6 || in->demand.instructions > 300) return false;
  double up = 0;
  uint64_t weights = 0;
  for (size_t t = 0; t < in->partition.tiles.size(); ++t) {
    up += in->demand.uploads[t] * in->cost->Upload(in->partition.tiles[t].wire_bytes);
    weights += in->partition.tiles[t].bytes;
  }
  p->machine.link_up_bytes_per_s *= up / in->demand.compute * r.Power(-0.5, 0.2);
  p->machine.link_down_bytes_per_s = p->machine.link_up_bytes_per_s * r.Power(-0.5, 0.5);
  Decision none;
  none.slots = 1;
  none.resident.assign(in->partition.tiles.size(), false);
  const MemoryUse use = MeasureMemory(in->input, none);
  p->options.budget = use.device() + static_cast<uint64_t>(r.Real(0, 0.9) * static_cast<double>(weights));
  if (r.Chance(0.3)) p->options.host_budget = use.host() - static_cast<uint64_t>(r.Real(0, 0.9) * static_cast<double>(weights));
  const auto plan = CompilePlan(p->graph, p->machine, p->options);
  if (!plan.ok()) return false;
  p->period = plan->simulation.period;
  return p->period > plan->bound.seconds * 1.001;
}

TEST(HeuristicsProperty, EachEarnsItsPlace) {
  std::map<std::string, int> found;  // the first seed that shows it
  std::map<std::string, double> worst;
  for (int seed = 1; seed <= kInstances && found.size() < std::size(kShown); ++seed) {
    Problem p;
    if (!MakeProblem(seed, &p)) continue;
    for (const char* name : kShown) {
      if (found.count(name)) continue;
      p.options.without = {name};
      const auto plan = CompilePlan(p.graph, p.machine, p.options);
      if (!plan.ok()) {
        EXPECT_EQ(plan.status().code(), Code::kInfeasible) << name << ": " << plan.status().message();
      } else if (plan->simulation.period < kWorse * p.period) {
        continue;
      }
      found[name] = seed;
      worst[name] = plan.ok() ? plan->simulation.period / p.period : 0;
    }
  }
  for (const char* name : kShown) {
    EXPECT_TRUE(found.count(name)) << name << " is worth nothing on " << kInstances << " instances";
    if (found.count(name) == 0) continue;
    std::printf("  without %-10s ", name);
    if (worst[name] > 0) std::printf("%.3f of the period, seed %d\n", worst[name], found[name]);
    else std::printf("nothing fits, seed %d\n", found[name]);
  }
}

TEST(HeuristicsProperty, AnUnknownNameIsAnError) {
  PlanOptions o;
  o.without = {"even", "lnaes"};
  const auto checked = CheckWithout(o);
  ASSERT_FALSE(checked.ok());
  EXPECT_EQ(checked.status().code(), Code::kInvalid);
  EXPECT_NE(checked.status().message().find("--without lnaes: there is no such heuristic; there are lanes, uploads"),
            std::string::npos)
      << checked.status().message();
}

}  // namespace
}  // namespace zo2
