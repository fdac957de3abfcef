// Every strategy on ten thousand random graphs: what it decides is emitted, fits the budgets and passes the verifier,
// and is no faster than the bound.
#include "planner/strategy.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdio>
#include <map>

#include "ir/schedule/verify.h"
#include "planner/exhaustive.h"
#include "planner/simulate.h"
#include "tests/property/planner/instance.h"
#include "tests/property/planner/random_graph.h"
#include "tests/property/planner/rounds.h"

namespace zo2 {
namespace {

constexpr const char* kStrategies[] = {"greedy", "z3", "exhaustive", "stream", "resident", "zo2"};
constexpr double kFewDecisions = 64;  // more take the oracle too long here
constexpr int kSolver = 25;           // one graph in so many is for the solver
constexpr int kSlices = 5, kGraphs = 2000;

// A random graph, machine and budget, and now and then forced slots and write-backs; null where it cannot be trained.
std::unique_ptr<Instance> RandomInstance(Random& r) {
  const Graph graph = RandomGraph(r, {2, 16, true});
  const Machine machine = RandomMachine(r);
  PlanOptions o = RandomNumerics(r, machine);
  if (r.Chance(0.4)) o.slots = static_cast<int>(r.Int(1, 7));
  if (r.Chance(0.4)) o.writeback_every = static_cast<int>(r.Int(1, 6));
  auto in = MakeInstance(graph, machine, o);
  if (in == nullptr) return nullptr;
  Decision none;
  none.slots = 1;
  none.resident.assign(in->partition.tiles.size(), false);
  uint64_t weights = 0;
  for (const Tile& t : in->partition.tiles) weights += t.bytes;
  const double share = r.Real(-0.1, 1.3) * static_cast<double>(weights);
  in->options.budget = MeasureMemory(in->input, none).device() + static_cast<uint64_t>(static_cast<int64_t>(share));
  in->options.host_budget = r.Chance(0.1) ? weights / 2 : uint64_t{1} << 50;
  return in;
}

class StrategyProperty : public ::testing::TestWithParam<int> {};

TEST_P(StrategyProperty, WhatIsDecidedPassesTheVerifier) {
  std::map<std::string, int> plans;
  int graphs = 0, infeasible = 0;
  const int wanted = Rounds(kGraphs);
  for (int seed = FirstSeed() + GetParam() * 1000000; graphs < wanted; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random r(static_cast<uint64_t>(seed));
    auto in = RandomInstance(r);
    if (in == nullptr) continue;
    ++graphs;
    double bound = -1;
    for (const char* name : kStrategies) {
      auto strategy = MakeStrategy(name);
      if (strategy == nullptr) continue;  // built without it
      if (strategy->name() == "z3" && graphs % kSolver != 0) continue;
      if (strategy->name() == "exhaustive" && CountDecisions(in->input, DecisionSpace()) > kFewDecisions) continue;
      auto candidates = strategy->Decide(in->input, in->demand, 1);
      if (!candidates.ok()) {
        infeasible += candidates.status().code() == Code::kInfeasible;
        ASSERT_TRUE(candidates.status().code() == Code::kInfeasible ||
                    candidates.status().message().find("no numbered blocks") != std::string::npos ||
                    (name == std::string("zo2") && in->options.writeback_every > 1 &&
                     candidates.status().message().find("in every step") != std::string::npos))
            << name << ": " << candidates.status().message();
        continue;
      }
      ASSERT_FALSE(candidates->empty()) << name;
      auto schedule = Emit(in->input, candidates->front().decision);
      ASSERT_TRUE(schedule.ok()) << name << ": " << schedule.status().message();
      auto verified = Verify(*schedule);
      ASSERT_TRUE(verified.ok()) << name << ": " << verified.status().message();
      EXPECT_LE(schedule->arenas[0].bytes, in->options.budget) << name;
      EXPECT_LE(schedule->arenas[1].bytes, in->options.host_budget) << name;
      if (bound < 0) bound = LowerBound(in->input, in->demand, in->options.budget).seconds;
      for (Program& p : schedule->programs) {
        if (p.purpose != Purpose::kTrain) continue;
        EXPECT_GE(Predict(&p, in->machine).period, bound * (1 - 1e-9)) << name;
      }
      ++plans[strategy->name()];
    }
  }
  std::printf("  %d graphs, %d refusals; plans:", graphs, infeasible);
  for (const auto& [name, n] : plans) std::printf(" %d %s", n, name.c_str());
  std::printf("\n");
  if (wanted < 100) return;
  for (const char* name : kStrategies) {
    if (MakeStrategy(name) == nullptr) continue;
    EXPECT_GT(plans[name], graphs / 100) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Slices, StrategyProperty, ::testing::Range(0, kSlices));

TEST(StrategyProperty, GreedyEndsAtTheDeadline) {
  int shorter = 0;
  for (int seed = 1; seed <= 20; ++seed) {
    Random r(static_cast<uint64_t>(seed));
    PlanOptions o;
    o.tile = 2000;
    o.host_budget = uint64_t{1} << 40;
    auto in = MakeInstance(RandomGraph(r), BuiltinMachines()[0], o);
    if (in == nullptr) continue;
    Decision none;
    none.slots = 2;
    none.resident.assign(in->partition.tiles.size(), false);
    in->options.budget = MeasureMemory(in->input, none).device();
    const auto all = MakeGreedy()->Decide(in->input, in->demand, 1 << 20);
    if (!all.ok()) continue;
    in->input.deadline = std::chrono::steady_clock::now();
    const auto some = MakeGreedy()->Decide(in->input, in->demand, 1 << 20);
    ASSERT_TRUE(some.ok()) << some.status().message();
    ASSERT_GE(some->size(), 1u);
    EXPECT_LE(some->size(), all->size());
    if (!(*some)[0].out_of_time) continue;  // all is resident
    EXPECT_FALSE((*all)[0].out_of_time);
    shorter += some->size() < all->size();
  }
  EXPECT_GT(shorter, 0);
}

}  // namespace
}  // namespace zo2
