// The bound and every strategy that searches against all decisions of tiny instances (exhaustive.h).
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <map>

#include "planner/bound.h"
#include "planner/exhaustive.h"
#include "planner/plan.h"
#include "tests/property/planner/instance.h"
#include "tests/property/planner/random_graph.h"
#include "tests/property/planner/rounds.h"

namespace zo2 {
namespace {

// A tiny instance with a budget for some of the weights; null when this seed gives none. `balanced`: the link takes
// about as long as the compute lane, where decisions matter most.
std::unique_ptr<Instance> TinyInstance(Random& r, bool balanced, Machine* machine, Graph* graph) {
  *graph = RandomGraph(r, {2, 32, true});
  *machine = RandomMachine(r);
  PlanOptions o = RandomNumerics(r, *machine);
  o.budget = o.host_budget = uint64_t{1} << 50;
  if (balanced) {
    *machine = BuiltinMachines()[machine->cuda ? 1 : 0];
    machine->link_duplex = r.Real(0.4, 1);
    machine->copy_latency_s = 0;
  }
  auto in = MakeInstance(*graph, *machine, o);
  if (in == nullptr || in->partition.tiles.size() < 2 || in->partition.tiles.size() > 7) return nullptr;
  if (balanced) {
    double up = 0;
    for (size_t t = 0; t < in->partition.tiles.size(); ++t)
      up += in->demand.uploads[t] * in->cost->Upload(in->partition.tiles[t].wire_bytes);
    machine->link_up_bytes_per_s *= up / in->demand.compute * r.Power(-0.5, 0.5);
    machine->link_down_bytes_per_s = machine->link_up_bytes_per_s * r.Power(-0.5, 0.5);
    machine->copy_latency_s = r.Chance(0.5) ? 0 : 0.02 * in->demand.compute * r.Real(0, 1);
  }
  Decision none;
  none.slots = 1;
  none.resident.assign(in->partition.tiles.size(), false);
  const uint64_t least = MeasureMemory(in->input, none).device();
  uint64_t weights = 0;
  for (const Tile& t : in->partition.tiles) weights += t.bytes;
  o.budget = least + static_cast<uint64_t>(r.Real(0, 1.2) * static_cast<double>(weights));
  return MakeInstance(*graph, *machine, o);
}

double At(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
}

// Where a strategy missed the best.
void Show(int seed, const Instance& in, const Plan& plan, const Best& best, const Bound& bound) {
  std::printf("seed %d: %s %.4g (S=%d K=%d) best %.4g (S=%d K=%d) bound %.4g\n", seed, plan.decision.strategy.c_str(),
              plan.simulation.period, plan.decision.slots, plan.decision.writeback_every, best.period,
              best.decision.slots, best.decision.writeback_every, bound.seconds);
  for (size_t t = 0; t < in.partition.tiles.size(); ++t)
    std::printf("   tile %zu %llu bytes train %d uploads %d resident: plan %d best %d\n", t,
                static_cast<unsigned long long>(in.partition.tiles[t].bytes), in.partition.tiles[t].trainable,
                in.demand.uploads[t], static_cast<int>(plan.decision.resident[t]),
                static_cast<int>(best.decision.resident[t]));
}

// Bound <= exhaustive <= every strategy that searches the same decisions, on every small instance; and these come near.
TEST(BoundProperty, NoDecisionIsFasterAndStrategiesAreNear) {
  for (bool balanced : {false, true}) {
    std::map<std::string, std::vector<double>> ratio;  // per strategy: its period / the best one
    std::vector<double> gap;
    int64_t decisions = 0;
    const int first = FirstSeed(), rounds = Rounds(500);
    for (int seed = first; seed < first + rounds; ++seed) {
      SCOPED_TRACE("seed " + std::to_string(seed) + (balanced ? " balanced" : " wild"));
      Random r(static_cast<uint64_t>(seed));
      Machine machine;
      Graph graph;
      auto in = TinyInstance(r, balanced, &machine, &graph);
      if (in == nullptr) continue;
      // Now and then a choice is forced: more instances in the same time.
      if (r.Chance(0.5)) in->options.slots = static_cast<int>(r.Int(1, 8));
      if (r.Chance(0.5)) in->options.writeback_every = static_cast<int>(r.Int(1, 5));
      DecisionSpace space;
      if (CountDecisions(in->input, space) > 2048) continue;
      std::map<std::string, Plan> plans;
      for (const char* name : {"greedy", "z3"}) {
        if (MakeStrategy(name) == nullptr) continue;
        PlanOptions o = in->options;
        o.strategy = name;
        auto plan = CompilePlan(graph, machine, o);
        if (!plan.ok()) {
          EXPECT_EQ(plan.status().code(), Code::kInfeasible) << plan.status().message();
          continue;
        }
        space.most_slots = std::max(space.most_slots, plan->decision.slots);
        space.most_every = std::max(space.most_every, plan->decision.writeback_every);
        plans[name] = std::move(*plan);
      }
      const Best best = BestDecision(in->input, space);
      if (best.decisions == 0) {
        EXPECT_TRUE(plans.empty());
        continue;
      }
      decisions += best.decisions;
      if (plans.count("greedy") && plans.count("z3")) {
        EXPECT_LE(plans["z3"].simulation.period, plans["greedy"].simulation.period * (1 + 1e-9));
      }
      const Bound bound = LowerBound(in->input, in->demand, in->options.budget);
      EXPECT_LE(bound.seconds, best.period * (1 + 1e-9));
      gap.push_back(best.period / bound.seconds);
      for (const auto& [name, plan] : plans) {
        EXPECT_LE(best.period, plan.simulation.period * (1 + 1e-9)) << name;
        ratio[name].push_back(plan.simulation.period / best.period);
        if (ratio[name].back() > 1.02 && std::getenv("ZO2_PROPERTY_VERBOSE")) Show(seed, *in, plan, best, bound);
      }
    }
    ASSERT_FALSE(ratio["greedy"].empty());
    std::sort(gap.begin(), gap.end());
    std::printf("  %s: %zu instances, %lld decisions; best / bound: median %.3f, 90 %% %.3f\n",
                balanced ? "balanced" : "wild", gap.size(), static_cast<long long>(decisions), At(gap, 0.5),
                At(gap, 0.9));
    for (auto& [name, v] : ratio) {
      std::sort(v.begin(), v.end());
      const double near = static_cast<double>(std::upper_bound(v.begin(), v.end(), 1.02) - v.begin()) /
                          static_cast<double>(v.size());
      std::printf("    %s / best: median %.3f, 90 %% %.3f, 95 %% %.3f, worst %.3f; within 2 %%: %.1f %% of %zu\n",
                  name.c_str(), At(v, 0.5), At(v, 0.9), At(v, 0.95), v.back(), 100 * near, v.size());
      EXPECT_GT(near, 0.9) << name;
    }
  }
}

// A refusal says that nothing fits: no decision with one slot does, then. (Which weights fill a host budget to the last
// byte is a subset sum; one instance in ten thousand may be refused though one choice would just fit.)
TEST(BoundProperty, RefusalsAreTrue) {
  int refused = 0, fitted = 0, wrong = 0;
  const int first = FirstSeed(), rounds = Rounds(600);
  for (int seed = first; seed < first + rounds; ++seed) {
    Random r(static_cast<uint64_t>(seed));
    Machine machine;
    Graph graph;
    auto in = TinyInstance(r, false, &machine, &graph);
    if (in == nullptr) continue;
    const size_t n = in->partition.tiles.size();
    Decision d;
    d.slots = 1;
    d.resident.assign(n, false);
    const MemoryUse none = MeasureMemory(in->input, d);
    PlanOptions o = in->options;
    o.strategy = "greedy";
    o.host_budget = none.host() - static_cast<uint64_t>(r.Real(0, 1) * static_cast<double>(none.host_masters));
    bool fits = false;
    for (uint64_t set = 0; set < uint64_t{1} << n && !fits; ++set) {
      for (size_t t = 0; t < n; ++t) d.resident[t] = (set >> t) & 1;
      const MemoryUse use = MeasureMemory(in->input, d);
      fits = use.device() <= o.budget && use.host() <= o.host_budget;
    }
    const auto plan = CompilePlan(graph, machine, o);
    EXPECT_TRUE(fits || !plan.ok()) << "seed " << seed;
    (fits ? fitted : refused) += 1;
    wrong += fits && !plan.ok();
  }
  std::printf("  %d instances fit, %d do not; %d of the former were refused\n", fitted, refused, wrong);
  EXPECT_LE(wrong, fitted / 1000);
  EXPECT_GT(std::min(fitted, refused), rounds / 60);
}

}  // namespace
}  // namespace zo2
