// Heuristics that can be turned off earn their place: on some instance of a fixed set the plan gets worse without it, or
// nothing fits. (How much each is worth on real shapes: tests/bench/ablation.py.)
#include "planner/heuristics.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <map>

#include "planner/plan.h"
#include "planner/strategy.h"
#include "tests/property/planner/instance.h"
#include "tests/property/planner/random_graph.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

constexpr int kInstances = 300;
constexpr double kWorse = 1.004;
constexpr const char* kShown[] = {"lanes", "uploads", "downloads", "even", "equal",
                                  "spread", "sizes", "ways", "simulate", "refine"};

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

// A chain of linears that ends in a mean squared error.
class Chain {
 public:
  explicit Chain(int64_t width) : x_(b_.Input("x", DType::kF32, {2, width})), width_(width) {}
  void Linear(const std::string& name, int64_t to, bool trained) {
    x_ = b_.One(Op::kLinear, {x_, b_.Weight(name, {to, width_}, WeightRole::kMatrix, DType::kF32, trained)});
    width_ = to;
  }
  void Calls(int n) {
    for (int i = 0; i < n; ++i) x_ = b_.One(Op::kTanh, {x_});
  }
  Graph End() {
    const ValueId labels = b_.Input("labels", DType::kF32, {2, width_});
    b_.Call(Op::kMseLoss, {x_, labels});
    b_.graph.name = "chain";
    b_.graph.model_digest = "digest";
    b_.graph.loss.kind = "mse";
    b_.graph.loss.node = static_cast<NodeId>(b_.graph.nodes.size() - 1);
    b_.graph.loss.labels = labels;
    return b_.graph;
  }

 private:
  GraphBuilder b_;
  ValueId x_;
  int64_t width_;
};

// Of large programs few decisions are simulated; the closed form alone picks slots badly then.
TEST(HeuristicsProperty, SlotsMatterWhereFewAreSimulated) {
  constexpr int kFew = 4;
  int shown = 0;
  for (int seed = 1; seed <= kInstances && shown == 0; ++seed) {
    Problem p;
    if (!MakeProblem(seed, &p)) continue;
    if (p.options.host_budget == 0) p.options.host_budget = p.machine.host_bytes;
    double best[2] = {1e300, 1e300};  // with it, without
    for (int without : {0, 1}) {
      if (without == 1) p.options.without = {"slots"};
      auto in = MakeInstance(p.graph, p.machine, p.options);
      ASSERT_NE(in, nullptr);
      const auto candidates = MakeGreedy()->Decide(in->input, in->demand, kFew);
      ASSERT_TRUE(candidates.ok()) << candidates.status().message();
      ASSERT_LE(candidates->size(), size_t{kFew});
      for (const Candidate& c : *candidates) {
        auto schedule = Emit(in->input, c.decision);
        ASSERT_TRUE(schedule.ok()) << schedule.status().message();
        for (Program& program : schedule->programs)
          if (program.purpose == Purpose::kTrain)
            best[without] = std::min(best[without], Predict(&program, p.machine).period);
      }
    }
    if (best[1] < kWorse * best[0]) continue;
    std::printf("  without slots: %.3f of the period, seed %d\n", best[1] / best[0], seed);
    ++shown;
  }
  EXPECT_GT(shown, 0) << "slots is worth nothing";
}

// Where the host's memory is short: what no price of time leaves it room for fits when the largest tiles stay.
TEST(HeuristicsProperty, BytesFitWhereNoPriceDoes) {
  int shown = 0;
  for (uint64_t seed = 1; seed <= 300 && shown == 0; ++seed) {
    Random r(seed);
    Chain chain(16);
    const int64_t layers = r.Int(4, 7);
    for (int64_t i = 0; i < layers; ++i)
      chain.Linear("w" + std::to_string(i), 8 * r.Int(1, 12), r.Chance(0.5));
    chain.Linear("last", 16, true);
    const Graph graph = chain.End();
    PlanOptions o;
    o.tile = 1 << 20;
    o.slots = 1;
    o.strategy = "stream";
    auto plan = CompilePlan(graph, Cpu(), o);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    double weights = 0;
    for (const Tile& t : plan->schedule.tiles) weights += static_cast<double>(t.bytes);
    o.budget = plan->memory.device() + static_cast<uint64_t>(r.Real(0, 0.8) * weights);
    o.slots = 0;
    o.strategy = "greedy";
    o.without = {"lanes", "uploads", "downloads", "even"};
    plan = CompilePlan(graph, Cpu(), o);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    o.host_budget = plan->memory.host();
    o.without = {};
    EXPECT_TRUE(CompilePlan(graph, Cpu(), o).ok()) << "seed " << seed;
    o.without = {"bytes"};
    plan = CompilePlan(graph, Cpu(), o);
    if (!plan.ok()) {
      EXPECT_EQ(plan.status().code(), Code::kInfeasible);
      ++shown;
    }
  }
  EXPECT_GT(shown, 0) << "bytes is worth nothing";
}

// Blocks of many weights in quick succession, then long compute without any: the published schedule has room for three
// whole blocks, more slots than greedy tries.
TEST(HeuristicsProperty, ATrivialPlanMayWin) {
  Chain chain(32);
  for (int block = 0; block < 24; ++block) {
    for (int w = 0; w < 12; ++w)
      chain.Linear("layers." + std::to_string(block) + ".w" + std::to_string(w), 32, block == 0 && w == 0);
    chain.Calls(60);
  }
  const Graph graph = chain.End();
  Machine m = Cpu();
  m.copy_latency_s = 0;
  m.link_duplex = 1;
  PlanOptions o;
  o.tile = 4096;
  o.strategy = "zo2";
  auto plan = CompilePlan(graph, m, o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  m.link_up_bytes_per_s = m.link_down_bytes_per_s = static_cast<double>(plan->up_bytes) / plan->bound.compute;
  o.budget = plan->memory.device();
  o.strategy = "auto";
  plan = CompilePlan(graph, m, o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->decision.strategy, "zo2");
  o.without = {"trivial"};
  auto without = CompilePlan(graph, m, o);
  ASSERT_TRUE(without.ok()) << without.status().message();
  EXPECT_GT(without->simulation.period, kWorse * plan->simulation.period);
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
