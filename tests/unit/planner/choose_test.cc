// What a search says of itself: refusals, the bound of two ways, what ended it.
#include "planner/choose.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "planner/plan.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

Machine SlowLink() {
  Machine machine = BuiltinMachines()[0];
  machine.link_up_bytes_per_s = machine.link_down_bytes_per_s = 1e8;
  return machine;
}

bool Mentions(const std::vector<std::string>& causes, const std::string& text) {
  return std::any_of(causes.begin(), causes.end(),
                     [&](const std::string& cause) { return cause.find(text) != std::string::npos; });
}

TEST(Choose, Zo2WritesBackInEveryStep) {
  PlanOptions o;
  o.strategy = "zo2";
  for (int every : {0, 1}) {
    o.writeback_every = every;
    auto plan = CompilePlan(SmallGraph(), SlowLink(), o);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    EXPECT_GE(plan->simulation.period, plan->bound.seconds * (1 - 1e-9));
  }
  o.writeback_every = 3;
  auto plan = CompilePlan(SmallGraph(), SlowLink(), o);
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), Code::kInvalid);
  EXPECT_NE(plan.status().message().find("not every 3"), std::string::npos) << plan.status().message();
  // Masters that are refreshed have a K of their own.
  o.writeback_every = 0;
  o.wire = WireFormat::kI8;
  o.wire_update = WireUpdate::kRefresh;
  o.refresh_every = 3;
  plan = CompilePlan(SmallGraph(), SlowLink(), o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->decision.writeback_every, 3);
}

TEST(Choose, LimitsAreNumbers) {
  for (double bad : {std::numeric_limits<double>::infinity(), std::numeric_limits<double>::quiet_NaN()}) {
    PlanOptions gap, limit;
    gap.gap = limit.time_limit = bad;
    auto plan = CompilePlan(SmallGraph(), SlowLink(), gap);
    ASSERT_FALSE(plan.ok());
    EXPECT_NE(plan.status().message().find("--gap"), std::string::npos);
    plan = CompilePlan(SmallGraph(), SlowLink(), limit);
    ASSERT_FALSE(plan.ok());
    EXPECT_NE(plan.status().message().find("--time-limit"), std::string::npos);
  }
}

TEST(Choose, NoGapIsAFewRoundings) {
  PlanOptions o;
  o.gap = 0;
  Bound bound;
  bound.seconds = 0.1;
  EXPECT_GT(NearEnough(o, bound), 0.1 * (1 + 4e-14));
  EXPECT_LT(NearEnough(o, bound), 0.1 * (1 + 1e-8));
}

TEST(Choose, BoundIsOfBothWaysToUpdate) {
  for (double host : {1e5, 1e12}) {
    Machine m = SlowLink();
    m.link_up_bytes_per_s = m.link_down_bytes_per_s = 3e6;
    m.host_update_params_per_s = host;
    m.encode_bytes_per_s = 4 * host;
    PlanOptions o;
    o.wire = WireFormat::kI4;
    o.tile = 2048;
    o.strategy = "stream";
    auto streamed = CompilePlan(SmallGraph(), m, o);
    ASSERT_TRUE(streamed.ok()) << streamed.status().message();
    o.strategy = "auto";
    o.budget = streamed->memory.device() + 4096;  // refresh has larger slots
    std::vector<double> bounds;
    for (WireUpdate way : {WireUpdate::kHost, WireUpdate::kRefresh, WireUpdate::kAuto}) {
      o.wire_update = way;
      auto plan = CompilePlan(SmallGraph(), m, o);
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      bounds.push_back(plan->bound.seconds);
      if (way == WireUpdate::kAuto) {
        EXPECT_TRUE(Mentions(plan->causes, "would take"));
      }
    }
    EXPECT_DOUBLE_EQ(bounds[2], std::min(bounds[0], bounds[1]));
    EXPECT_NE(bounds[0], bounds[1]);
  }
  // All on the device: there is nothing to choose.
  PlanOptions o;
  o.wire = WireFormat::kI4;
  o.resident = UINT64_MAX;
  auto plan = CompilePlan(SmallGraph(), SlowLink(), o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_FALSE(Mentions(plan->causes, "wire update: "));
  for (const Rival& rival : plan->rivals) EXPECT_EQ(rival.name.find("wire update"), std::string::npos) << rival.name;
}

// Time is over before the first decision is made: one is made and said to be what it is.
TEST(Choose, ExhaustiveKeepsTheTimeLimit) {
  PlanOptions o;
  o.strategy = "exhaustive";
  o.slots = 1;
  o.writeback_every = 2;
  o.tile = uint64_t{1} << 20;
  o.gap = 0;
  o.time_limit = 1e-9;
  SmallGraphOptions g;
  g.layers = 1;
  const Graph graph = SmallGraph(g);
  auto plan = CompilePlan(graph, SlowLink(), o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_TRUE(plan->out_of_time);
  EXPECT_TRUE(Mentions(plan->causes, "before the time limit"));
  EXPECT_EQ(plan->bound.lp, 0);  // nor is the bound raised
  o.time_limit = 1e6;
  auto whole = CompilePlan(graph, SlowLink(), o);
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  EXPECT_FALSE(whole->out_of_time);
  EXPECT_LT(whole->simulation.period, plan->simulation.period);
}

// What the process did before is of the limit too.
TEST(Choose, NothingIsTriedOnceTheLimitIsSpent) {
  PlanOptions o;
  o.gap = 0;
  o.time_limit = 1e6;
  auto budget = CompilePlan(SmallGraph(), SlowLink(), o);
  ASSERT_TRUE(budget.ok()) << budget.status().message();
  o.budget = budget->memory.device() * 2 / 3;
  const auto trivial = [](const Plan& plan) {
    return std::count_if(plan.rivals.begin(), plan.rivals.end(),
                         [](const Rival& r) { return r.name.find("stream") == 0 || r.name.find("zo2") == 0; });
  };
  auto whole = CompilePlan(SmallGraph(), SlowLink(), o);
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  EXPECT_FALSE(whole->out_of_time);
  EXPECT_GT(trivial(*whole), 0);
  o.time_spent = o.time_limit;
  auto late = CompilePlan(SmallGraph(), SlowLink(), o);
  ASSERT_TRUE(late.ok()) << late.status().message();
  EXPECT_TRUE(late->out_of_time);
  EXPECT_EQ(trivial(*late), 0);
  EXPECT_EQ(late->rivals.size(), 1u);
  EXPECT_EQ(late->bound.lp, 0);
  EXPECT_FALSE(late->exact.ran);
}

TEST(Choose, ASearchEndsInTimeForItsPlanToBeWritten) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now();
  EXPECT_EQ(SearchEnd(Clock::time_point::max(), std::chrono::seconds(1)), Clock::time_point::max());
  EXPECT_EQ(SearchEnd(deadline, Clock::duration(0)), deadline);
  EXPECT_LE(SearchEnd(deadline, std::chrono::seconds(2)), deadline - std::chrono::seconds(4));
}

}  // namespace
}  // namespace zo2
