// Random models with random formats on the wire: every plan is proved by the verifier, its memory is what it says, no
// plan beats its bound, and on a slow link narrower is no slower.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>

#include "ir/schedule/verify.h"
#include "planner/plan.h"
#include "planner/wire.h"
#include "tests/property/planner/random_graph.h"
#include "tests/property/planner/report_schema.h"
#include "tests/property/planner/rounds.h"

namespace zo2 {
namespace {

constexpr WireFormat kNarrow[] = {WireFormat::kBF16, WireFormat::kF16, WireFormat::kE4M3, WireFormat::kI8,
                                  WireFormat::kI4};

void RandomWire(Random& r, const Graph& graph, PlanOptions* o) {
  o->wire = kNarrow[r.Int(0, 4)];
  for (const Weight& w : graph.weights)
    if (w.shape.size() >= 2 && r.Chance(0.15))
      o->wire_for.push_back({"^" + w.name + "$", r.Chance(0.3) ? WireFormat::kF32 : kNarrow[r.Int(0, 4)]});
  o->wire_update = static_cast<WireUpdate>(r.Int(0, 2));
  if (o->wire_update != WireUpdate::kHost && r.Chance(0.4))
    o->refresh_every = static_cast<int>(r.Chance(0.1) ? r.Int(2, kMaxPeriod) : r.Int(2, 6));
}

bool Fails(const Result<Plan>& plan) {
  if (plan.ok()) return false;
  EXPECT_TRUE(plan.status().code() == Code::kInfeasible || plan.status().code() == Code::kInvalid)
      << plan.status().message();
  return true;
}

TEST(WireProperty, EveryPlanHolds) {
  std::map<std::string, int> counts;
  const int first = FirstSeed(), rounds = Rounds(100);
  for (int seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random r(static_cast<uint64_t>(seed));
    const Graph graph = RandomGraph(r, {3, 48, false});
    Machine machine = RandomMachine(r);
    for (double* rate : {&machine.host_update_params_per_s, &machine.encode_bytes_per_s}) *rate *= r.Power(-4, 1);
    PlanOptions numerics = RandomNumerics(r, machine);
    RandomWire(r, graph, &numerics);
    const auto whole = CompilePlan(graph, machine, numerics);
    if (Fails(whole)) continue;
    uint64_t weights = 0;
    for (const Tile& t : whole->schedule.tiles) weights += t.bytes;
    for (int i = 0; i < 3; ++i) {
      PlanOptions o = numerics;
      const char* strategies[] = {"auto", "greedy", "zo2", "stream"};
      o.strategy = strategies[r.Int(0, 3)];
      if (r.Chance(0.3)) o.slots = static_cast<int>(r.Int(1, 6));
      if (r.Chance(0.3) && o.wire_update == WireUpdate::kHost) o.writeback_every = static_cast<int>(r.Int(1, 6));
      if (r.Chance(0.8))
        o.budget = whole->memory.temporary + whole->memory.constants +
                   static_cast<uint64_t>(r.Int(0, static_cast<int64_t>(weights)));
      const auto plan = CompilePlan(graph, machine, o);
      if (Fails(plan)) continue;
      const Schedule& s = plan->schedule;
      const auto verified = Verify(s);
      ASSERT_TRUE(verified.ok()) << verified.status().message();
      EXPECT_EQ(plan->memory.device(), s.arenas[0].bytes);
      EXPECT_EQ(plan->memory.host(), s.arenas[1].bytes);
      EXPECT_LE(verified->peak[0], s.arenas[0].bytes);
      EXPECT_GT(verified->peak[0] + kGpuAlignment, s.arenas[0].bytes);
      EXPECT_GE(plan->simulation.period, plan->bound.seconds * (1 - 1e-9)) << o.strategy;
      EXPECT_EQ(ReportFault(s), "");
      ++counts["plans"];
      bool trained = false, frozen = false, refreshed = false;
      for (const Tile& t : s.tiles) {
        if (t.codes >= 0) (t.trainable ? trained : frozen) = true;
      }
      if (const Program* train = s.Find(Purpose::kTrain))
        for (const Instruction& x : train->lanes[1].instructions)
          refreshed = refreshed || (x.tile >= 0 && !x.coded && s.tiles[static_cast<size_t>(x.tile)].codes >= 0);
      counts["with frozen codes"] += frozen;
      counts[refreshed ? "refreshed" : "updated on the host"] += trained;
    }
  }
  std::printf(" ");
  for (const auto& [what, n] : counts) std::printf("  %d %s", n, what.c_str());
  std::printf("\n");
  if (rounds >= 100) {
    EXPECT_GT(counts["plans"], rounds);
    for (const char* what : {"with frozen codes", "refreshed", "updated on the host"})
      EXPECT_GT(counts[what], rounds / 10) << what;
  }
}

// All streamed, the link slower than anything else, no latencies, a host that takes no time.
TEST(WireProperty, NarrowerIsNoSlowerOnASlowLink) {
  int compared = 0;
  double least = 1;
  const int first = FirstSeed(), rounds = Rounds(80);
  for (int seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random r(static_cast<uint64_t>(seed));
    const Graph graph = RandomGraph(r, {3, 64, true});
    Machine m = BuiltinMachines()[0];
    m.link_up_bytes_per_s = m.link_down_bytes_per_s = 1e5;
    m.copy_latency_s = 0;
    m.host_update_params_per_s = m.encode_bytes_per_s = 1e15;
    PlanOptions o;
    o.strategy = "stream";
    o.slots = 3;
    o.writeback_every = 1;
    const auto exact = CompilePlan(graph, m, o);
    if (Fails(exact)) continue;
    o.wire = kNarrow[r.Int(0, 4)];
    o.wire_update = WireUpdate::kHost;
    const auto narrow = CompilePlan(graph, m, o);
    ASSERT_TRUE(narrow.ok()) << narrow.status().message();
    bool smaller = true;  // padding and scales may make codes of a tiny matrix the larger ones
    for (const Tile& t : narrow->schedule.tiles) smaller = smaller && t.wire_bytes <= t.bytes;
    if (!smaller) continue;
    ++compared;
    EXPECT_LE(narrow->simulation.period, exact->simulation.period * (1 + 1e-6));
    least = std::min(least, narrow->simulation.period / exact->simulation.period);
  }
  std::printf("  %d compared; the most that narrower codes save: %.0f %%\n", compared, 100 * (1 - least));
  EXPECT_GT(compared, rounds / 8);
  if (rounds >= 50) {
    EXPECT_LT(least, 0.5);
  }
}

}  // namespace
}  // namespace zo2
