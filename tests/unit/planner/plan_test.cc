#include "planner/plan.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>

#include "ir/schedule/verify.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

// Every plan of the grid passes the verifier (CompilePlan runs it), keeps its budget, has one fingerprint.
TEST(Plan, GridOfDecisionsKeepsFingerprintAndBudget) {
  Graph graph = SmallGraph();
  ASSERT_TRUE(VerifyGraph(graph).ok()) << VerifyGraph(graph).status().message();
  for (int samples : {1, 2}) {
    for (int micro : {1, 2}) {
      std::set<std::string> fingerprints;
      int plans = 0;
      for (const char* strategy : {"auto", "greedy", "stream", "resident", "zo2"}) {
        for (int slots : {0, 1, 3, 5}) {
          for (int every : {0, 1, 3}) {
            if (every > 1 && strategy == std::string("zo2")) continue;  // refused
            for (uint64_t budget : {uint64_t{0}, uint64_t{110} << 10}) {
              PlanOptions o;
              o.prices = false;
              o.samples = samples;
              o.micro_batches = micro;
              o.strategy = strategy;
              o.slots = slots;
              o.writeback_every = every;
              o.budget = budget;
              o.tile = 2048;
              auto plan = CompilePlan(graph, Cpu(), o);
              if (!plan.ok()) {
                EXPECT_EQ(plan.status().code(), Code::kInfeasible)
                    << strategy << " S=" << slots << " K=" << every << " " << budget << ": " << plan.status().message();
                EXPECT_NE(budget, 0u);
                continue;
              }
              ++plans;
              fingerprints.insert(plan->schedule.fingerprint);
              const Arena& device = plan->schedule.arenas[0];
              if (budget > 0) {
                EXPECT_LE(device.bytes, budget);
              }
              EXPECT_EQ(device.bytes, plan->memory.device());
              EXPECT_EQ(plan->schedule.arenas[1].bytes, plan->memory.host());
              EXPECT_GT(plan->simulation.period, 0);
              EXPECT_GE(plan->simulation.period, plan->bound.seconds * (1 - 1e-6))
                  << strategy << " S=" << slots << " K=" << every << " " << budget;
            }
          }
        }
      }
      EXPECT_EQ(fingerprints.size(), 1u);
      EXPECT_GT(plans, 60);
    }
  }
}

TEST(Plan, ResidentAndStreamedMixtures) {
  for (DType storage : {DType::kF32, DType::kBF16, DType::kF16}) {
    SmallGraphOptions g;
    g.storage = storage;
    Graph graph = SmallGraph(g);
    for (uint64_t resident = 0; resident < 60000; resident += 5000) {
      for (uint64_t tile : {uint64_t{0}, uint64_t{512}, uint64_t{4096}}) {
        PlanOptions o;
        o.prices = false;
        o.resident = resident;
        o.tile = tile;
        o.writeback_every = resident % 3 == 0 ? 3 : 0;
        auto plan = CompilePlan(graph, Cpu(), o);
        ASSERT_TRUE(plan.ok()) << plan.status().message();
        EXPECT_LE(plan->memory.resident, resident == 0 ? 0 : resident);
      }
    }
  }
}

TEST(Plan, AllFrozenButOne) {
  Graph graph = SmallGraph();
  for (Weight& w : graph.weights) w.trainable = w.name == "model.layers.2.fc1.bias";
  PlanOptions o;
  o.resident = 0;
  o.tile = 1024;
  auto plan = CompilePlan(graph, Cpu(), o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  // Frozen masters never travel back.
  EXPECT_LT(plan->down_bytes, 2048u);
  EXPECT_GT(plan->up_bytes, 50000u);
}

TEST(Plan, WhatDecidesBitsChangesTheFingerprint) {
  Graph graph = SmallGraph();
  std::set<std::string> seen;
  auto add = [&](const Graph& g, const PlanOptions& o, const Machine& m) {
    auto plan = CompilePlan(g, m, o);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    EXPECT_TRUE(seen.insert(plan->schedule.fingerprint).second);
  };
  PlanOptions o;
  add(graph, o, Cpu());
  o.tile = 1024;
  add(graph, o, Cpu());
  o = {};
  o.samples = 2;
  add(graph, o, Cpu());
  o = {};
  o.micro_batches = 2;
  add(graph, o, Cpu());
  o = {};
  o.rounding = Rounding::kNearest;
  add(graph, o, Cpu());
  o = {};
  o.rademacher = true;
  add(graph, o, Cpu());
  Machine four = Cpu();
  four.compute_threads = 4;
  add(graph, {}, four);
  Graph other = graph;
  other.weights[0].decay = !other.weights[0].decay;
  add(other, {}, Cpu());
}

TEST(Plan, InfeasibleSaysByHowMuchWhereAndWhatHelps) {
  Graph graph = SmallGraph();
  PlanOptions o;
  o.budget = 20000;
  auto plan = CompilePlan(graph, Cpu(), o);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), Code::kInfeasible);
  const std::string& text = plan.status().message();
  EXPECT_NE(text.find("device memory"), std::string::npos) << text;
  EXPECT_NE(text.find("smallest budget that works"), std::string::npos) << text;
  // The budget it names does work, and one byte less does not.
  size_t open = text.find('(');
  uint64_t least = std::stoull(text.substr(open + 1));
  o.budget = least;
  EXPECT_TRUE(CompilePlan(graph, Cpu(), o).ok());
  o.budget = least - 1;
  EXPECT_FALSE(CompilePlan(graph, Cpu(), o).ok());

  o = {};
  o.resident = 0;
  o.host_budget = 1000;
  plan = CompilePlan(graph, Cpu(), o);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), Code::kInfeasible);
  EXPECT_NE(plan.status().message().find("host memory"), std::string::npos);
}

TEST(Plan, BadOptionsAndGraphsAreNamed) {
  Graph graph = SmallGraph();
  PlanOptions o;
  o.strategy = "magic";
  EXPECT_EQ(CompilePlan(graph, Cpu(), o).status().code(), Code::kInvalid);
  o = {};
  o.samples = 0;
  EXPECT_EQ(CompilePlan(graph, Cpu(), o).status().code(), Code::kInvalid);
  for (Weight& w : graph.weights) w.trainable = false;
  auto plan = CompilePlan(graph, Cpu(), {});
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.status().message().find("--train"), std::string::npos);
}

TEST(Plan, TooManyInstructionsAreRefused) {
  SmallGraphOptions g;
  g.layers = 8;
  PlanOptions o;
  o.samples = 128;
  o.micro_batches = 16;
  o.tile = 512;
  auto plan = CompilePlan(SmallGraph(g), Cpu(), o);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), Code::kInfeasible);
  EXPECT_NE(plan.status().message().find("larger tiles"), std::string::npos);
}

TEST(Plan, PlannerNeverLosesToTrivialPlans) {
  SmallGraphOptions g;
  g.width = 64;
  Graph graph = SmallGraph(g);
  for (double rate : {1e6, 1e7, 1e8, 1e9, 1e10}) {
    Machine m = Cpu();
    m.link_up_bytes_per_s = rate;
    m.link_down_bytes_per_s = rate / 3;
    for (uint64_t budget : {uint64_t{250} << 10, uint64_t{500} << 10, uint64_t{0}}) {
      PlanOptions o;
      o.prices = false;
      o.tile = 4096;
      o.budget = budget;
      auto plan = CompilePlan(graph, m, o);
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      for (const Rival& r : plan->rivals) {
        if (!r.feasible) continue;
        EXPECT_LE(plan->simulation.period, r.period * (1 + 1e-9)) << r.name << " at " << rate;
      }
    }
  }
}

// OPT-175B's sizes: a plan within 1.25 GiB of device memory, few enough instructions.
TEST(Plan, Opt175bSizesFitAGigabyteAndAQuarter) {
  SmallGraphOptions g;
  g.batch = 1;
  g.seq = 2048;
  g.vocabulary = 50272;
  g.width = 12288;
  g.layers = 96;
  g.frozen = false;
  g.storage = DType::kF16;
  g.unused = false;
  Graph graph = SmallGraph(g);
  PlanOptions o;
  o.budget = uint64_t{1280} << 20;
  auto machine = LoadMachine("h100-pcie5");
  ASSERT_TRUE(machine.ok());
  auto plan = CompilePlan(graph, *machine, o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_LE(plan->schedule.arenas[0].bytes, o.budget);
  EXPECT_LT(NumInstructions(plan->schedule), kMaxInstructions);
  EXPECT_LT(plan->simulation.period, 1.05 * plan->bound.seconds);
}

}  // namespace
}  // namespace zo2
