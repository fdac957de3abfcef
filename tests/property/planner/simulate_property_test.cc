// The max-plus simulation against an independent event simulation: every start and finish, to the bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdio>

#include "planner/plan.h"
#include "planner/simulate.h"
#include "tests/property/planner/event_simulator.h"
#include "tests/property/planner/random_graph.h"
#include "tests/property/planner/rounds.h"

namespace zo2 {
namespace {

// Any program that a verifier could let pass as far as time goes: edges of this iteration follow the serial order.
Program RandomProgram(Random& r) {
  Program p;
  p.period = static_cast<int32_t>(r.Chance(0.5) ? 1 : r.Int(2, 6));
  p.lanes.resize(static_cast<size_t>(r.Int(1, 5)));
  const auto n = r.Int(1, 25);
  std::vector<std::pair<LaneId, int32_t>> order;
  for (int64_t seq = 0; seq < n; ++seq) {
    const auto lane = static_cast<LaneId>(r.Int(0, static_cast<int64_t>(p.lanes.size()) - 1));
    Instruction i;
    i.seq = seq;
    i.seconds = r.Chance(0.1) ? 0 : r.Power(-3, 1);
    if (p.period > 1 && r.Chance(0.5)) i.residues = static_cast<uint64_t>(r.Int(0, (1 << p.period) - 1));
    p.lanes[static_cast<size_t>(lane)].instructions.push_back(i);
    order.push_back({lane, static_cast<int32_t>(p.lanes[static_cast<size_t>(lane)].instructions.size() - 1)});
  }
  for (size_t l = 0; l < p.lanes.size(); ++l) p.lanes[l].kind = static_cast<LaneKind>(l);
  for (int64_t e = r.Int(0, 2 * n); e > 0; --e) {
    const auto from = r.Int(0, n - 1), to = r.Int(0, n - 1);
    const auto back = static_cast<int32_t>(from < to ? (r.Chance(0.6) ? 0 : r.Int(0, 4)) : r.Int(1, 4));
    p.edges.push_back({order[static_cast<size_t>(from)].first, order[static_cast<size_t>(from)].second,
                       order[static_cast<size_t>(to)].first, order[static_cast<size_t>(to)].second, back});
  }
  return p;
}

void Compare(const Program& p, int64_t iterations) {
  const Simulation mine = Simulate(p, 0, iterations);
  const EventRun other = RunEvents(p, iterations);
  ASSERT_FALSE(other.stuck);
  size_t runs = 0;
  for (const auto& iteration : other.start)
    for (const auto& lane : iteration)
      for (double start : lane) runs += start >= 0;
  ASSERT_EQ(mine.spans.size(), runs);
  for (const Span& s : mine.spans) {
    const auto t = static_cast<size_t>(s.iteration), l = static_cast<size_t>(s.lane), i = static_cast<size_t>(s.index);
    ASSERT_EQ(s.start, other.start[t][l][i]) << "iteration " << t << " lane " << l << " instruction " << i;
    ASSERT_EQ(s.finish, other.finish[t][l][i]) << "iteration " << t << " lane " << l << " instruction " << i;
  }
}

TEST(SimulateProperty, EveryStartAndFinishOfRandomProgramsAgrees) {
  const int first = FirstSeed(), rounds = Rounds(3000);
  for (int seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random r(static_cast<uint64_t>(seed));
    const Program p = RandomProgram(r);
    Compare(p, r.Int(1, 40));
    if (HasFatalFailure()) return;
  }
}

// Of programs that the planner emits, also the period: what many iterations take on average.
TEST(SimulateProperty, PlansAgreeAndTheirPeriodHasSettled) {
  double worst = 0;
  int plans = 0;
  const int first = FirstSeed(), rounds = Rounds(60);
  for (int seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random r(static_cast<uint64_t>(seed));
    const Graph graph = RandomGraph(r, {3, 32, true});
    const Machine machine = RandomMachine(r);
    PlanOptions o = RandomNumerics(r, machine);
    o.resident = static_cast<uint64_t>(r.Int(0, 20000));
    if (r.Chance(0.3)) o.strategy = r.Chance(0.5) ? "stream" : "zo2";
    auto plan = CompilePlan(graph, machine, o);
    if (!plan.ok()) continue;
    ++plans;
    for (const Program& p : plan->schedule.programs) Compare(p, 3 * p.period + 5);
    if (HasFatalFailure()) return;
    const Program& train = *plan->schedule.Find(Purpose::kTrain);
    const int64_t warm = 20 * train.period, long_run = 60 * train.period;
    const EventRun run = RunEvents(train, warm + long_run);
    const double average = (run.end.back() - run.end[static_cast<size_t>(warm) - 1]) / static_cast<double>(long_run);
    worst = std::max(worst, std::abs(plan->simulation.period / average - 1));
    EXPECT_NEAR(plan->simulation.period, average, 0.01 * average);
  }
  std::printf("  %d plans; the predicted period is within %.2g of the average of a long run\n", plans, worst);
  EXPECT_GT(plans, rounds / 2);
}

}  // namespace
}  // namespace zo2
