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

}  // namespace
}  // namespace zo2
