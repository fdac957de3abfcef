#include "planner/simulate.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace zo2 {
namespace {

// n tiles pass through S slots: upload x, compute c, write-back d each.
Program Pipeline(int n, int slots, double x, double c, double d) {
  Program p;
  p.lanes.resize(3);
  p.lanes[0].kind = LaneKind::kCompute;
  p.lanes[1].kind = LaneKind::kH2D;
  p.lanes[2].kind = LaneKind::kD2H;
  int64_t seq = 0;
  for (int t = 0; t < n; ++t) {
    for (auto [lane, seconds] : {std::pair<int, double>{1, x}, {0, c}, {2, d}}) {
      Instruction i;
      i.seq = seq++;
      i.seconds = seconds;
      p.lanes[static_cast<size_t>(lane)].instructions.push_back(i);
    }
    p.edges.push_back({1, t, 0, t, 0});
    p.edges.push_back({0, t, 2, t, 0});
    p.edges.push_back({2, (t - slots % n + n) % n, 1, t, t < slots ? 1 : 0});
  }
  return p;
}

// The period of a uniform pipeline is max(x, c, d, (x+c+d)/S) per tile.
TEST(Simulate, UniformPipeline) {
  const double cases[][3] = {{1, 1, 1}, {3, 1, 1}, {1, 3, 1}, {1, 1, 3}, {2, 3, 2}, {1, 0.1, 0.1}, {2, 2, 0}};
  for (const auto& [x, c, d] : cases) {
    for (int slots : {1, 2, 3, 4, 6}) {
      const int n = 12;  // a multiple of every S
      Simulation s = Simulate(Pipeline(n, slots, x, c, d));
      double expected = n * std::max({x, c, d, (x + c + d) / slots});
      EXPECT_NEAR(s.period, expected, 1e-9 * expected) << x << " " << c << " " << d << " S=" << slots;
      EXPECT_NEAR(s.busy[0], n * c, 1e-9);
      EXPECT_NEAR(s.busy[1], n * x, 1e-9);
    }
  }
}

TEST(Simulate, WaitsNameTheLane) {
  Simulation s = Simulate(Pipeline(12, 3, 3, 1, 0.1));
  EXPECT_NEAR(s.waits[1], 12 * 2, 1e-6);  // compute waits for uploads
  EXPECT_NEAR(s.waits[2], 0, 1e-9);
}

TEST(Simulate, PassedOverInstructionsCostNothing) {
  Program p = Pipeline(6, 3, 1, 1, 10);
  p.period = 5;
  for (Instruction& i : p.lanes[2].instructions) i.residues = 1ull << 4;  // written back every fifth iteration
  Simulation s = Simulate(p);
  EXPECT_LT(s.period, 25);
  EXPECT_GT(s.period, 12);
  EXPECT_NEAR(s.busy[2], 12, 1e-9);
}

TEST(Simulate, IterationsOverlapUnlessAnEdgeForbids) {
  Program p = Pipeline(6, 2, 1, 1, 0);
  double overlapped = Simulate(p).period;
  p.edges.push_back({0, 5, 1, 0, 1});  // the last compute before the next iteration's first upload
  double drained = Simulate(p).period;
  EXPECT_NEAR(overlapped, 6, 1e-9);
  EXPECT_GT(drained, overlapped + 0.5);
}

TEST(Simulate, SpansAreInOrderAndEmptyProgramsTakeNoTime) {
  EXPECT_EQ(Simulate(Program()).period, 0);
  Program p = Pipeline(4, 2, 1, 2, 1);
  Simulation s = Simulate(p, 2, 4);
  EXPECT_EQ(s.spans.size(), 2u * 12);
  for (const Span& span : s.spans) EXPECT_LE(span.start, span.finish);
}

// Two lanes nearly in step: the faster one runs into the ring's limit only after many iterations.
TEST(Simulate, SettlesWhereALaneFallsBehindSlowly) {
  Program p;
  p.lanes.resize(2);
  p.lanes[1].kind = LaneKind::kD2H;
  for (int l = 0; l < 2; ++l) {
    Instruction i;
    i.seq = l;
    i.seconds = l == 0 ? 1 : 1.01;
    p.lanes[static_cast<size_t>(l)].instructions = {i};
  }
  p.edges = {{0, 0, 1, 0, 0}, {1, 0, 0, 0, 8}};
  Simulation s = Simulate(p);
  EXPECT_TRUE(s.settled);
  EXPECT_NEAR(s.period, 1.01, 1e-9);
  p.edges.pop_back();  // nothing ties compute to the slower lane: they never keep step
  s = Simulate(p);
  EXPECT_FALSE(s.settled);
  EXPECT_NEAR(s.period, 1.01, 1e-9);
}

// A cycle through two iterations: the distance alternates, the period is the mean.
TEST(Simulate, PeriodsOfSeveralIterationsAreAveraged) {
  Program p;
  p.lanes.resize(2);
  p.lanes[1].kind = LaneKind::kHost;
  for (int l = 0; l < 2; ++l) {
    Instruction i;
    i.seq = l;
    i.seconds = l == 0 ? 1 : 4;
    p.lanes[static_cast<size_t>(l)].instructions = {i};
  }
  p.lanes[0].instructions.push_back(p.lanes[0].instructions[0]);
  p.lanes[0].instructions[1].seq = 2;
  p.lanes[0].instructions[1].seconds = 3;
  p.period = 2;
  p.lanes[1].instructions[0].residues = 1;  // every other iteration
  p.edges = {{0, 0, 1, 0, 0}, {1, 0, 0, 1, 0}};
  Simulation s = Simulate(p);
  EXPECT_TRUE(s.settled);
  EXPECT_NEAR(s.period, (1 + 4 + 3 + 1 + 3) / 2.0, 1e-9);
  EXPECT_NEAR(s.busy[1], 2, 1e-9);
}

Program WithBytes(Program p, int64_t bytes) {
  for (Lane& lane : p.lanes) {
    if (lane.kind == LaneKind::kCompute) continue;
    for (Instruction& i : lane.instructions) {
      i.operands.resize(2);
      i.operands[0].type = {DType::kU8, {bytes}};
    }
  }
  return p;
}

// Copies that take nothing from compute change nothing; others all that they cost where compute is never idle.
TEST(Predict, BusyComputePaysForAllCopies) {
  const int n = 12;
  Program p = WithBytes(Pipeline(n, 3, 1, 4, 1), 100);
  Machine m;
  m.link_up_bytes_per_s = m.link_down_bytes_per_s = 100;  // a second each, as the instructions say
  EXPECT_NEAR(Predict(&p, m).period, n * 4, 1e-9 * n * 4);
  m.compute_share_while_uploading = 0.75;
  m.compute_share_while_downloading = 0.9;
  const Simulation s = Predict(&p, m);
  EXPECT_NEAR(s.period, n * (4 + 0.25 + 0.1), 1e-3 * s.period);
  EXPECT_NEAR(s.copies_cost, n * 0.35, 0.01 * n);
  EXPECT_NEAR(s.busy[0], s.period, 1e-3 * s.period);
  EXPECT_NEAR(Simulate(p).period, s.period, 1e-3 * s.period);
}

// Compute that is busy for a part of the period is slowed down for that part; a link that takes longer stays the limit.
TEST(Predict, WaitingComputePaysItsShare) {
  const int n = 12;
  Program p = WithBytes(Pipeline(n, 3, 4, 1, 0), 400);
  Machine m;
  m.link_up_bytes_per_s = m.link_down_bytes_per_s = 100;
  m.compute_share_while_uploading = 0.5;
  const Simulation s = Predict(&p, m);
  EXPECT_NEAR(s.period, n * 4, 1e-3 * n * 4);
  EXPECT_NEAR(s.busy[0], n * 2, 0.01 * n);  // a copy runs all the time: half of the rate
}

}  // namespace
}  // namespace zo2
