// The class model against emitted programs: what it says a decision takes of each lane is what its
// instructions take, and its closed form is no more than the period simulated.
#include <gtest/gtest.h>

#include <cstdio>

#include "planner/class_model.h"
#include "planner/simulate.h"
#include "planner/wire.h"
#include "tests/property/planner/instance.h"
#include "tests/property/planner/random_graph.h"
#include "tests/property/planner/rounds.h"

namespace zo2 {
namespace {

// Seconds of one lane per iteration.
double Busy(const Program& p, LaneKind kind) {
  double seconds = 0;
  for (const Lane& lane : p.lanes) {
    if (lane.kind != kind) continue;
    for (const Instruction& i : lane.instructions) {
      int runs = 0;
      for (int r = 0; r < p.period; ++r) runs += RunsAt(p, i, r);
      seconds += i.seconds * runs / p.period;
    }
  }
  return seconds;
}

TEST(ClassModelProperty, LanesTakeWhatTheModelSays) {
  int decisions = 0, coded = 0;
  const int first = FirstSeed(), rounds = Rounds(400);
  for (int seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random r(static_cast<uint64_t>(seed));
    const Graph graph = RandomGraph(r, {3, 32, true});
    const Machine machine = RandomMachine(r);
    PlanOptions o = RandomNumerics(r, machine);
    if (r.Chance(0.5)) {
      const WireFormat formats[] = {WireFormat::kBF16, WireFormat::kE4M3, WireFormat::kI8, WireFormat::kI4};
      o.wire = formats[r.Int(0, 3)];
      o.wire_update = r.Chance(0.5) ? WireUpdate::kHost : WireUpdate::kRefresh;
    }
    o.budget = o.host_budget = uint64_t{1} << 50;
    auto in = MakeInstance(graph, machine, o);
    if (in == nullptr || in->partition.tiles.empty()) continue;
    ClassModels models(in->input, in->demand);
    for (int round = 0; round < 4; ++round) {
      Decision d;
      d.writeback_every = static_cast<int>(r.Int(LeastEvery(in->input), 6));
      d.slots = static_cast<int>(r.Int(1, 6));
      const ClassModel& m = models.Every(d.writeback_every);
      std::vector<int64_t> streamed(m.classes.size(), 0);
      for (size_t t = 0; t < in->partition.tiles.size(); ++t) {
        d.resident.push_back(r.Chance(0.4));
        if (!d.resident[t]) ++streamed[models.ClassOf(static_cast<TileId>(t))];
        coded += !d.resident[t] && in->partition.coded[t];
      }
      if (std::find(d.resident.begin(), d.resident.end(), false) == d.resident.end()) continue;
      auto schedule = Emit(in->input, d);
      ASSERT_TRUE(schedule.ok()) << schedule.status().message();
      Program& train = const_cast<Program&>(*schedule->Find(Purpose::kTrain));
      double compute = m.compute, up = m.up, down = m.down, host = 0, up_wire = 0, down_wire = 0;
      for (size_t c = 0; c < m.classes.size(); ++c) {
        const auto x = static_cast<double>(streamed[c]), n = static_cast<double>(m.classes[c].tiles.size());
        const TileDemand& s = m.classes[c].streamed;
        compute += x * s.hold + (n - x) * m.classes[c].resident.compute;
        up += x * s.up;
        down += x * s.down;
        up_wire += x * s.up_wire;
        down_wire += x * s.down_wire;
        host += x * s.host;
      }
      const double both = m.slow * std::min(up_wire, down_wire);
      EXPECT_NEAR(Busy(train, LaneKind::kCompute), compute, 1e-9 * compute);
      EXPECT_NEAR(Busy(train, LaneKind::kH2D), up + both, 1e-9 * (up + both));
      EXPECT_NEAR(Busy(train, LaneKind::kD2H), down + both, 1e-9 * (down + both));
      EXPECT_NEAR(Busy(train, LaneKind::kHost), host, 1e-9 * host);
      // Memory, by tile and as a whole.
      const MemoryUse use = MeasureMemory(in->input, d);
      uint64_t resident = 0, on_host = 0, slot = 0;
      for (size_t c = 0; c < m.classes.size(); ++c) {
        const TileClass& k = m.classes[c];
        resident += k.bytes * (k.tiles.size() - static_cast<uint64_t>(streamed[c]));
        on_host += k.host_bytes * static_cast<uint64_t>(streamed[c]);
        if (streamed[c] > 0) slot = std::max(slot, k.slot_bytes);
      }
      EXPECT_EQ(use.resident, resident);
      EXPECT_EQ(use.host(), on_host + (o.host_budget - m.host_room));
      EXPECT_EQ(use.device(), resident + slot * static_cast<uint64_t>(d.slots) + (o.budget - m.room));
      const double closed = Period(m, streamed, d.slots);
      EXPECT_LE(closed, Predict(&train, in->machine).period * (1 + 1e-9));
      // The linear program says the same in one of the two directions.
      double least = 0;
      bool possible = false;
      for (bool more_down : {false, true}) {
        const ClassProgram p = MakeProgram(m, {d.slots, slot, more_down});
        const std::vector<double> x(streamed.begin(), streamed.end());
        bool within = true;
        for (const ClassProgram::Limit& l : p.limits) {
          double sum = 0, scale = std::abs(l.most);
          for (size_t c = 0; c < x.size(); ++c) {
            sum += l.per_tile[c] * x[c];
            scale += std::abs(l.per_tile[c] * x[c]);
          }
          within = within && sum <= l.most + 1e-9 * scale;
        }
        if (!within) continue;
        possible = true;
        least = p.Seconds(x);
        EXPECT_NEAR(least, closed, 1e-9 * closed);
        EXPECT_LE(p.Least(), closed * (1 + 1e-9));
      }
      EXPECT_TRUE(possible);
      ++decisions;
    }
  }
  std::printf("  %d decisions, %d coded tiles streamed\n", decisions, coded);
  if (rounds >= 100) {
    EXPECT_GT(decisions, rounds);
    EXPECT_GT(coded, rounds);
  }
}

}  // namespace
}  // namespace zo2
