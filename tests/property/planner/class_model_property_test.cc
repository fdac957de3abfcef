// The class model against emitted programs: what it says a decision takes of each lane is what its
// instructions take, and its closed form is no more than the period simulated.
#include <gtest/gtest.h>

#include <cstdio>

#include "planner/class_model.h"
#include "planner/exact.h"
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
      EXPECT_LE(Roofline(in->input, in->demand, use.device()).seconds, closed * (1 + 1e-9));
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

// Z3's search, to the end, given up or out of time: no decision has a shorter closed form than it says is proved.
TEST(ClassModelProperty, WhatIsProvedHolds) {
  int searches[3] = {0, 0, 0}, open = 0;
  const int first = FirstSeed(), rounds = Rounds(300);
  for (int seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random r(static_cast<uint64_t>(seed));
    const Graph graph = RandomGraph(r, {2, 32, true});
    PlanOptions o = RandomNumerics(r, RandomMachine(r));
    o.budget = o.host_budget = uint64_t{1} << 50;
    o.slots = static_cast<int>(r.Int(1, 4));
    o.writeback_every = static_cast<int>(r.Int(1, 4));
    const Machine machine = RandomMachine(r);
    auto in = MakeInstance(graph, machine, o);
    if (in == nullptr || in->partition.tiles.empty() || in->partition.tiles.size() > 9) continue;
    const size_t n = in->partition.tiles.size();
    Decision d;
    d.slots = o.slots;
    d.writeback_every = o.writeback_every;
    d.resident.assign(n, false);
    in->options.budget = MeasureMemory(in->input, d).device();
    for (const Tile& t : in->partition.tiles) in->options.budget += static_cast<uint64_t>(r.Real(0, 1) * t.bytes);
    ClassModels models(in->input, in->demand);
    double best = std::numeric_limits<double>::infinity();
    for (uint64_t set = 0; set < uint64_t{1} << n; ++set) {
      bool trained = false;
      for (size_t t = 0; t < n; ++t) {
        d.resident[t] = (set >> t) & 1;
        trained = trained || (!d.resident[t] && in->partition.tiles[t].trainable);
      }
      d.slots = set + 1 == uint64_t{1} << n ? 0 : o.slots;
      d.writeback_every = trained ? o.writeback_every : 1;
      if (!Fits(in->input, MeasureMemory(in->input, d))) continue;
      const ClassModel& m = models.Every(d.writeback_every);
      std::vector<int64_t> streamed(m.classes.size(), 0);
      for (size_t t = 0; t < n; ++t)
        if (!d.resident[t]) ++streamed[models.ClassOf(static_cast<TileId>(t))];
      best = std::min(best, Period(m, streamed, d.slots));
    }
    d.resident.assign(n, false);
    d.slots = o.slots;
    d.writeback_every = o.writeback_every;
    Candidate seed_plan;
    seed_plan.decision = d;
    const auto effort = static_cast<uint32_t>(r.Power(0, 4));
    for (int way : {0, 1, 2}) {
      if (way == 2) in->input.deadline = std::chrono::steady_clock::now();
      ExactSearch search;
      const auto found = DecideExactly(in->input, in->demand, {seed_plan}, 4, way == 1 ? effort : 0, &search);
      if (!search.ran) continue;  // built without Z3
      ++searches[way];
      EXPECT_LE(search.proved, best * (1 + 1e-7)) << way;
      EXPECT_GT(search.proved, 0) << way;
      EXPECT_LE(search.proved, search.closed_form) << way;
      if (way == 0) {
        EXPECT_LE(search.closed_form, best * (1 + 1e-3));
      }
      if (way == 2) {
        EXPECT_TRUE(found.empty());
      }
      for (const Candidate& c : found) {
        const bool all = c.causes.back().find("z3: of all class counts") == 0;
        open += !all;
        EXPECT_TRUE(!all || c.period <= best * (1 + 1e-3)) << c.causes.back();
      }
    }
  }
  std::printf("  %d searches to the end, %d given up, %d out of time; %d plans with questions left open\n", searches[0],
              searches[1], searches[2], open);
}

}  // namespace
}  // namespace zo2
