// Z3 against brute force, and the deadline of a search.
#include "planner/z3_solver.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <limits>
#include <random>

#include "ir/schedule/verify.h"
#include "planner/plan.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

#if ZO2_HAVE_Z3

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Up to four classes of up to four tiles, three lanes, bytes that are small integers.
ClassProgram RandomProgram(std::mt19937* random) {
  auto real = [&](double low, double high) {
    return std::uniform_real_distribution<double>(low, high)(*random);
  };
  auto integer = [&](int low, int high) { return std::uniform_int_distribution<int>(low, high)(*random); };
  ClassProgram p;
  const auto n = static_cast<size_t>(integer(1, 4));
  for (const char* name : {"compute", "h2d", "d2h"}) {
    ClassProgram::Lane lane{name, real(0, 2), {}};
    for (size_t c = 0; c < n; ++c) lane.per_tile.push_back(real(c == 0 ? -0.2 : 0, 1));
    p.lanes.push_back(lane);
  }
  ClassProgram::Limit device{0, {}, true}, host{0, {}, true};
  int all = 0;
  for (size_t c = 0; c < n; ++c) {
    p.most.push_back(integer(0, 4));
    const int bytes = integer(1, 9);
    all += bytes * static_cast<int>(p.most[c]);
    device.per_tile.push_back(-bytes);
    host.per_tile.push_back(integer(1, 9));
  }
  device.most = -integer(0, all + all / 4);
  host.most = integer(0, 2 * all + 1);
  p.limits = {device, host};
  return p;
}

bool Within(const ClassProgram& p, const std::vector<double>& x) {
  for (const ClassProgram::Limit& l : p.limits) {
    double sum = 0;
    for (size_t c = 0; c < x.size(); ++c) sum += l.per_tile[c] * x[c];
    if (sum > l.most + 1e-9) return false;
  }
  return true;
}

// The least T over multiples of 1 / parts.
double BruteForce(const ClassProgram& p, int parts) {
  double best = kInfinity;
  std::vector<double> x(p.most.size(), 0);
  std::function<void(size_t)> choose = [&](size_t c) {
    if (c == x.size()) {
      if (Within(p, x)) best = std::min(best, p.Seconds(x));
      return;
    }
    for (int64_t i = 0; i <= p.most[c] * parts; ++i) {
      x[c] = static_cast<double>(i) / parts;
      choose(c + 1);
    }
  };
  choose(0);
  return best;
}

TEST(Z3Solver, AgreesWithBruteForce) {
  std::mt19937 random(1);
  Z3Solver solver;
  int feasible = 0, infeasible = 0;
  for (int round = 0; round < 300; ++round) {
    SCOPED_TRACE(round);
    const ClassProgram p = RandomProgram(&random);
    const double integers = BruteForce(p, 1);
    double least = 0;
    std::vector<double> real;
    const Answer answer = solver.Minimise(p, Deadline::max(), &least, &real);
    std::vector<int64_t> x;
    if (integers == kInfinity) {  // fractions may do what integers cannot
      EXPECT_EQ(solver.Decide(p, 1e6, 0, Deadline::max(), &x), Answer::kNo);
      infeasible += answer == Answer::kNo;
      if (answer == Answer::kNo) {
        EXPECT_EQ(BruteForce(p, 2), kInfinity);
      }
      continue;
    }
    ++feasible;
    ASSERT_EQ(answer, Answer::kYes);
    EXPECT_TRUE(Within(p, real));
    EXPECT_NEAR(p.Seconds(real), least, 1e-8);
    EXPECT_LE(p.Least(), least + 1e-8);
    EXPECT_LE(least, BruteForce(p, p.most.size() < 4 ? 4 : 2) + 1e-12);
    ASSERT_EQ(solver.Decide(p, integers * (1 + 1e-9) + 1e-9, 0, Deadline::max(), &x), Answer::kYes);
    const std::vector<double> found(x.begin(), x.end());
    EXPECT_TRUE(Within(p, found));
    EXPECT_NEAR(p.Seconds(found), integers, 1e-8);
    EXPECT_EQ(solver.Decide(p, integers * (1 - 1e-9) - 1e-9, 0, Deadline::max(), &x), Answer::kNo);
  }
  EXPECT_GT(feasible, 50);
  EXPECT_GT(infeasible, 20);
}

TEST(Z3Solver, GivesUpInTimeAndForEffort) {
  // An equality of many large numbers: hard over integers.
  std::mt19937_64 random(2);
  ClassProgram p;
  ClassProgram::Limit at_least{-123456789012, {}, true}, at_most{123456789012, {}, true};
  for (int c = 0; c < 40; ++c) {
    const auto bytes = static_cast<double>(1000000000 + 2 * (random() % 900000000));  // even, the sum is odd
    p.most.push_back(50);
    at_least.per_tile.push_back(-bytes - (c == 0));
    at_most.per_tile.push_back(bytes + (c == 0));
  }
  p.limits = {at_least, at_most};
  p.lanes.push_back({"compute", 1, std::vector<double>(40, 0.01)});
  Z3Solver solver;
  std::vector<int64_t> x;
  EXPECT_EQ(solver.Decide(p, 100, 1000, Deadline::max(), &x), Answer::kUndecided);
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(solver.Decide(p, 100, 0, start + std::chrono::milliseconds(200), &x), Answer::kUndecided);
  EXPECT_EQ(solver.Decide(p, 100, 0, start, &x), Answer::kUndecided);
}

// A gap that no plan reaches: the search goes on until its time is over, and no longer.
TEST(Z3Solver, TimeLimitEndsASearch) {
  SmallGraphOptions g;
  g.layers = 8;
  const Graph graph = SmallGraph(g);
  Machine machine = BuiltinMachines()[0];
  machine.link_up_bytes_per_s = 3e8;
  PlanOptions o;
  o.strategy = "z3";
  o.tile = 512;
  o.gap = 0;
  auto whole = CompilePlan(graph, machine, [&] {
    PlanOptions free = o;
    free.strategy = "resident";
    return free;
  }());
  ASSERT_TRUE(whole.ok()) << whole.status().message();
  o.budget = whole->memory.device() - whole->memory.resident / 2;
  o.time_limit = 0.4;
  const auto start = std::chrono::steady_clock::now();
  auto plan = CompilePlan(graph, machine, o);
  std::printf("  %.3f s of %.1f s\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), o.time_limit);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_TRUE(plan->out_of_time);
  EXPECT_GT(plan->simulation.period, plan->bound.seconds);
  EXPECT_TRUE(Verify(plan->schedule).ok());
  o.time_limit = 1e4;
  o.gap = 1e3;  // any plan will do
  plan = CompilePlan(graph, machine, o);
  ASSERT_TRUE(plan.ok());
  EXPECT_FALSE(plan->out_of_time);
}

#endif  // ZO2_HAVE_Z3

TEST(Z3Solver, WithoutItAStrategyIsRefusedInOneSentence) {
  PlanOptions o;
  o.strategy = "z3";
  auto plan = CompilePlan(SmallGraph(), BuiltinMachines()[0], o);
  EXPECT_EQ(plan.ok(), Z3Solver::IsBuilt());
  if (plan.ok()) return;
  EXPECT_EQ(plan.status().code(), Code::kInvalid);
  EXPECT_NE(plan.status().message().find("without Z3"), std::string::npos);
  o.strategy = "auto";
  EXPECT_TRUE(CompilePlan(SmallGraph(), BuiltinMachines()[0], o).ok());
}

}  // namespace
}  // namespace zo2
