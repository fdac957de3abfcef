// Precision on the wire: formats by flag and by error, coded tiles in schedules, who keeps masters, fingerprints.
#include "planner/wire.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "ir/schedule/verify.h"
#include "planner/plan.h"
#include "planner/precision.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

Graph Matrices(bool frozen = true) {
  SmallGraphOptions g;
  g.width = 64;
  g.frozen = frozen;
  return SmallGraph(g);
}

WireFormat FormatOf(const Schedule& s, const std::string& name) {
  for (const PlanWeight& w : s.weights)
    if (w.name == name) return w.components[0].wire;
  ADD_FAILURE() << name;
  return WireFormat::kF32;
}

PlanOptions Streamed(WireFormat wire, WireUpdate update, int every = 0) {
  PlanOptions o;
  o.strategy = "stream";
  o.tile = 4096;
  o.wire = wire;
  o.wire_update = update;
  o.refresh_every = every;
  return o;
}

TEST(Wire, FlagsAreReadAndRefused) {
  EXPECT_EQ(*ParseWire("--wire", "fp8"), WireFormat::kE4M3);
  EXPECT_FALSE(ParseWire("--wire", "int3").ok());
  auto rule = ParseWireRule("a=b=int4");
  ASSERT_TRUE(rule.ok());
  EXPECT_EQ(rule->regex, "a=b");
  EXPECT_EQ(rule->format, WireFormat::kI4);
  EXPECT_FALSE(ParseWireRule("int4").ok());
  EXPECT_FALSE(ParseWireRule("=int4").ok());
  auto bad = [&](auto change, const char* word) {
    PlanOptions o;
    change(o);
    auto plan = CompilePlan(Matrices(), Cpu(), o);
    ASSERT_FALSE(plan.ok());
    EXPECT_EQ(plan.status().code(), Code::kInvalid);
    EXPECT_NE(plan.status().message().find(word), std::string::npos) << plan.status().message();
  };
  bad([](PlanOptions& o) { o.refresh_every = 1; }, "--refresh-every must be 2");
  bad([](PlanOptions& o) { o.refresh_every = 65; }, "--refresh-every must be 2");
  bad([](PlanOptions& o) { o.refresh_every = 4, o.wire_update = WireUpdate::kHost; }, "refresh, not host");
  bad([](PlanOptions& o) { o.refresh_every = 4, o.writeback_every = 3; }, "one number");
  bad([](PlanOptions& o) { o.writeback_every = 1, o.wire_update = WireUpdate::kRefresh; }, "at least 2");
  bad([](PlanOptions& o) { o.wire_for = {{"bias", WireFormat::kI8}}; }, "one axis");
  bad([](PlanOptions& o) { o.wire_for = {{"nobody", WireFormat::kI8}}; }, "nobody");
  bad([](PlanOptions& o) { o.max_wire_error = 0.1; }, "--weight-errors knows no weight");
}

TEST(Wire, FormatsGoToMatricesWhereTheyAreNarrower) {
  PlanOptions o;
  o.strategy = "resident";
  o.wire = WireFormat::kI8;
  o.wire_for = {{"layers", WireFormat::kI4}, {"fc1.weight|ln1", WireFormat::kF32}, {"embed", WireFormat::kBF16}};
  auto plan = CompilePlan(Matrices(), Cpu(), o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const Schedule& s = plan->schedule;
  EXPECT_EQ(FormatOf(s, "embed.weight"), WireFormat::kBF16);
  EXPECT_EQ(FormatOf(s, "pooler.weight"), WireFormat::kI8);
  EXPECT_EQ(FormatOf(s, "model.layers.0.q.weight"), WireFormat::kI4);
  EXPECT_EQ(FormatOf(s, "model.layers.0.fc1.weight"), WireFormat::kF32);
  EXPECT_EQ(FormatOf(s, "model.layers.0.ln1.weight"), WireFormat::kF32);
  EXPECT_EQ(FormatOf(s, "model.layers.0.fc1.bias"), WireFormat::kF32);
  // 16-bit formats are no narrower than 16-bit storage.
  o.storage = DType::kF16;
  plan = CompilePlan(Matrices(), Cpu(), o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(FormatOf(plan->schedule, "embed.weight"), WireFormat::kF16);
  EXPECT_EQ(FormatOf(plan->schedule, "pooler.weight"), WireFormat::kI8);
}

// The codes of each segment are where wire_format.h says, apart and within the tile; resident trained tiles have none.
TEST(Wire, TilesHaveTheirBytes) {
  for (WireFormat wire : {WireFormat::kBF16, WireFormat::kE4M3, WireFormat::kI8, WireFormat::kI4}) {
    PlanOptions o = Streamed(wire, WireUpdate::kHost);
    o.strategy = "greedy";
    o.resident = 40000;
    o.slots = 3;
    o.writeback_every = 2;
    auto plan = CompilePlan(Matrices(), Cpu(), o);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    const Schedule& s = plan->schedule;
    std::map<std::string, int> kinds;
    for (size_t t = 0; t < s.tiles.size(); ++t) {
      const Tile& tile = s.tiles[t];
      const bool resident = plan->decision.resident[t];
      uint64_t end = 0;
      bool narrow = false;
      for (const Segment& g : tile.segments) {
        const Component& c = s.weights[static_cast<size_t>(g.weight)].components[0];
        narrow = narrow || c.wire != PlainWire(c.storage);
        EXPECT_GE(g.wire_offset, end);
        EXPECT_EQ(g.wire_offset % 64, 0u);
        end = g.wire_offset + (tile.codes < 0 ? static_cast<uint64_t>(g.elements() * SizeOf(c.storage))
                                              : WireBytes(c.wire, g.row_end - g.row_begin, g.col_end - g.col_begin));
      }
      EXPECT_LE(end, tile.wire_bytes);
      EXPECT_EQ(tile.codes >= 0, narrow && !(tile.trainable && resident)) << tile.name;
      EXPECT_EQ(tile.master < 0, narrow && !tile.trainable) << tile.name;
      if (tile.codes < 0) {
        EXPECT_EQ(tile.wire_bytes, tile.bytes);
        continue;
      }
      EXPECT_EQ(s.buffers[static_cast<size_t>(tile.codes)].bytes, tile.wire_bytes);
      EXPECT_EQ(s.buffers[static_cast<size_t>(tile.codes)].arena, resident ? 0 : 1);
      ++kinds[std::string(tile.trainable ? "trained" : "frozen") + (resident ? " resident" : " streamed")];
    }
    EXPECT_GT(kinds["trained streamed"], 0);
    EXPECT_GT(kinds["frozen streamed"] + kinds["frozen resident"], 0);
  }
}

struct Found {
  uint64_t master_up = 0, codes_up = 0, down = 0, updates = 0;  // residues, of all such instructions
  int host_updates = 0, prepares = 0;
};
std::map<TileId, Found> Look(const Program& p) {
  std::map<TileId, Found> found;
  for (const Lane& lane : p.lanes) {
    for (const Instruction& i : lane.instructions) {
      if (i.tile < 0) continue;
      Found& f = found[i.tile];
      if (i.kind == InstrKind::kCopy)
        (lane.kind == LaneKind::kD2H ? f.down : i.coded ? f.codes_up : f.master_up) |= i.residues;
      if (i.kind == InstrKind::kHostUpdate) {
        f.updates |= i.residues;
        ++f.host_updates;
        EXPECT_EQ(lane.kind, LaneKind::kHost);
      }
      if (i.kind == InstrKind::kPrepare) ++f.prepares;
    }
  }
  return found;
}

TEST(Wire, HostUpdateNeverSendsMasters) {
  auto plan = CompilePlan(Matrices(), Cpu(), Streamed(WireFormat::kI8, WireUpdate::kHost));
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const Schedule& s = plan->schedule;
  int coded = 0;
  auto train = Look(*s.Find(Purpose::kTrain)), flush = Look(*s.Find(Purpose::kFlush)),
       evaluate = Look(*s.Find(Purpose::kEvaluate));
  for (size_t t = 0; t < s.tiles.size(); ++t) {
    const auto id = static_cast<TileId>(t);
    if (s.tiles[t].codes < 0) continue;
    EXPECT_EQ(train[id].master_up | train[id].down | evaluate[id].master_up | flush[id].master_up | flush[id].codes_up, 0u);
    EXPECT_EQ(train[id].host_updates, s.tiles[t].trainable ? 1 : 0);
    EXPECT_EQ(flush[id].host_updates, s.tiles[t].trainable ? 1 : 0);
    EXPECT_EQ(evaluate[id].host_updates, 0);
    coded += s.tiles[t].trainable;
  }
  EXPECT_GT(coded, 10);
}

TEST(Wire, RefreshSendsEachMasterOncePerPeriod) {
  const int k = 5;
  auto plan = CompilePlan(Matrices(), Cpu(), Streamed(WireFormat::kI4, WireUpdate::kRefresh, k));
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const Schedule& s = plan->schedule;
  const Program& p = *s.Find(Purpose::kTrain);
  ASSERT_EQ(p.period, k);
  auto train = Look(p), flush = Look(*s.Find(Purpose::kFlush)), evaluate = Look(*s.Find(Purpose::kEvaluate));
  const uint64_t all = (1u << k) - 1;
  std::vector<int> due(k);
  for (size_t t = 0; t < s.tiles.size(); ++t) {
    const auto id = static_cast<TileId>(t);
    if (s.tiles[t].codes < 0 || !s.tiles[t].trainable) continue;
    const Found& f = train[id];
    EXPECT_EQ(__builtin_popcountll(f.master_up), 1);
    EXPECT_EQ(f.down, f.master_up);
    EXPECT_EQ(f.updates, f.master_up);
    if (s.tiles[t].name != "pooler.weight" && s.tiles[t].name.rfind("pooler", 0) != 0) {
      EXPECT_EQ(f.codes_up, all & ~f.master_up) << s.tiles[t].name;
    }
    ++due[static_cast<size_t>(__builtin_ctzll(f.master_up))];
    EXPECT_NE(flush[id].master_up & flush[id].down, 0u);  // by way of the device, codes are left alone
    EXPECT_EQ(flush[id].host_updates, 0);
    EXPECT_EQ(evaluate[id].master_up, 0u);
  }
  for (int n : due) EXPECT_NEAR(n, due[0], 1);  // no step is heavier
}

// What decides bits is in the fingerprint, and what does not is not.
TEST(Wire, Fingerprints) {
  const Graph graph = Matrices();
  auto print = [&](const PlanOptions& o) {
    auto plan = CompilePlan(graph, Cpu(), o);
    EXPECT_TRUE(plan.ok()) << plan.status().message();
    return plan.ok() ? plan->schedule.fingerprint : "";
  };
  std::set<std::string> seen;
  PlanOptions exact = Streamed(WireFormat::kF32, WireUpdate::kHost);
  EXPECT_TRUE(seen.insert(print(exact)).second);
  EXPECT_FALSE(seen.insert(print(Streamed(WireFormat::kF32, WireUpdate::kAuto))).second);
  for (WireFormat wire : {WireFormat::kBF16, WireFormat::kI8, WireFormat::kI4}) {
    EXPECT_TRUE(seen.insert(print(Streamed(wire, WireUpdate::kHost))).second);
    for (int k : {2, 3}) EXPECT_TRUE(seen.insert(print(Streamed(wire, WireUpdate::kRefresh, k))).second);
  }
  PlanOptions some = Streamed(WireFormat::kI8, WireUpdate::kHost);
  some.strategy = "greedy";
  some.resident = 60000;  // those trained tiles are exact now
  EXPECT_TRUE(seen.insert(print(some)).second);
  PlanOptions slots = Streamed(WireFormat::kI8, WireUpdate::kHost);
  slots.slots = 7;
  EXPECT_FALSE(seen.insert(print(slots)).second);
  // Frozen weights are coded wherever they are.
  Graph frozen = graph;
  for (Weight& w : frozen.weights) w.trainable = w.name == "final.weight";
  std::set<std::string> prints;
  for (std::optional<uint64_t> resident : {std::optional<uint64_t>(0), std::optional<uint64_t>(50000), std::optional<uint64_t>()}) {
    PlanOptions o = Streamed(WireFormat::kI4, WireUpdate::kAuto);
    o.strategy = "greedy";
    o.resident = resident;
    auto plan = CompilePlan(frozen, Cpu(), o);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    prints.insert(plan->schedule.fingerprint);
  }
  EXPECT_EQ(prints.size(), 1u);
}

TEST(Wire, AutoTakesTheFasterUpdateAndSaysWhy) {
  const Graph graph = Matrices(false);
  std::set<std::string> taken;
  for (double host : {1e6, 1e12}) {
    Machine m = Cpu();
    m.link_up_bytes_per_s = m.link_down_bytes_per_s = 5e7;
    m.host_update_params_per_s = host;
    m.encode_bytes_per_s = 4 * host;
    auto best = CompilePlan(graph, m, Streamed(WireFormat::kI4, WireUpdate::kAuto));
    auto by_host = CompilePlan(graph, m, Streamed(WireFormat::kI4, WireUpdate::kHost));
    auto by_refresh = CompilePlan(graph, m, Streamed(WireFormat::kI4, WireUpdate::kRefresh));
    ASSERT_TRUE(best.ok() && by_host.ok() && by_refresh.ok());
    const double a = by_host->simulation.period, b = by_refresh->simulation.period;
    EXPECT_DOUBLE_EQ(best->simulation.period, std::min(a, b));
    EXPECT_EQ(best->schedule.fingerprint, (a <= b ? by_host : by_refresh)->schedule.fingerprint);
    EXPECT_GE(best->simulation.period, best->bound.seconds * (1 - 1e-9));
    std::string all;
    for (const std::string& cause : best->causes) all += cause + "\n";
    EXPECT_NE(all.find(a <= b ? "wire update: host, with" : "wire update: refresh, with"), std::string::npos) << all;
    EXPECT_NE(all.find("would take"), std::string::npos) << all;
    taken.insert(a <= b ? "host" : "refresh");
  }
  EXPECT_EQ(taken.size(), 2u);  // each wins somewhere
}

TEST(Wire, NarrowerIsFasterOnASlowLink) {
  for (bool frozen : {false, true}) {
    Graph graph = Matrices(false);
    if (frozen)
      for (Weight& w : graph.weights) w.trainable = w.shape.size() < 2;
    Machine m = Cpu();
    m.link_up_bytes_per_s = m.link_down_bytes_per_s = 2e7;
    double before = 0;
    for (WireFormat wire : {WireFormat::kI4, WireFormat::kI8, WireFormat::kBF16, WireFormat::kF32}) {
      auto plan = CompilePlan(graph, m, Streamed(wire, WireUpdate::kAuto));
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      EXPECT_GT(plan->simulation.period, before) << Name(wire);
      before = plan->simulation.period;
      auto traffic = WireTraffic(plan->schedule, *plan->schedule.Find(Purpose::kTrain));
      EXPECT_GT(traffic[std::string(Name(wire))], 0);
    }
  }
}

TEST(Wire, ErrorsChooseTheNarrowestFormat) {
  const Graph graph = Matrices();
  auto errors = ParseWireErrors(R"({"weights": [
    {"name": "embed.weight", "elements": 7, "errors": {"int4": 0.1, "int8": 0.006, "e4m3": 0.02, "bf16": 0.001}},
    {"name": "pooler.weight", "errors": {"int4": 0.03, "int8": 0.05, "e4m3": 0.02}},
    {"name": "model.layers.0.q.weight", "errors": {"int4": 0.5, "int8": 0.5, "e4m3": 0.5, "bf16": 0.5, "f16": 0.4}}
  ]})", "errors.json");
  ASSERT_TRUE(errors.ok()) << errors.status().message();
  auto choose = [&](double most) {
    PlanOptions o;
    o.max_wire_error = most;
    o.wire_errors = *errors;
    auto choice = ChooseWires(graph, o);
    EXPECT_TRUE(choice.ok());
    std::map<std::string, WireFormat> formats;
    for (size_t w = 0; w < graph.weights.size(); ++w) formats[graph.weights[w].name] = choice->formats[w];
    EXPECT_FALSE(choice->notes.empty());
    return formats;
  };
  auto at = choose(0.02);
  EXPECT_EQ(at["embed.weight"], WireFormat::kI8);  // of the two of 8 bits the one with the smaller error
  EXPECT_EQ(at["pooler.weight"], WireFormat::kE4M3);
  EXPECT_EQ(at["model.layers.0.q.weight"], WireFormat::kF32);
  EXPECT_EQ(at["model.layers.0.k.weight"], WireFormat::kF32);  // not measured
  at = choose(0.1);
  EXPECT_EQ(at["embed.weight"], WireFormat::kI4);
  EXPECT_EQ(at["pooler.weight"], WireFormat::kI4);
  at = choose(0.45);
  EXPECT_EQ(at["model.layers.0.q.weight"], WireFormat::kF16);
  // Of another model, though a weight has the same name; without a shape it is not known.
  PlanOptions other;
  other.max_wire_error = 0.1;
  const Shape embed = {40, 64};
  for (const Weight& w : graph.weights)
    if (w.name == "embed.weight") {
      EXPECT_NE(w.shape, embed);
      other.wire_errors[w.name] = {w.shape, {{WireFormat::kI8, 0.01}}};
    }
  EXPECT_TRUE(ChooseWires(graph, other).ok());
  other.wire_errors["embed.weight"].shape = embed;
  const auto refused = ChooseWires(graph, other);
  ASSERT_FALSE(refused.ok());
  EXPECT_NE(refused.status().message().find("embed.weight has shape [40,64] there and ["), std::string::npos)
      << refused.status().message();
  auto header = [](const std::string& text) {
    return ParseWireErrors("{" + text + R"("weights": []})", "errors.json");
  };
  EXPECT_TRUE(header(R"("format": "zo2 weight errors", "version": 1, )").ok());
  EXPECT_NE(header(R"("version": 2, )").status().message().find("its version is 2 and not 1"), std::string::npos);
  EXPECT_NE(header(R"("format": "zo2 machine", )").status().message().find("its format is"), std::string::npos);
  for (const char* damaged : {"", R"({"weights": [)", R"({"weights": [{"name": "a", "errors": {"int4": NaN}}]})"})
    EXPECT_EQ(ParseWireErrors(damaged, "errors.json").status().message(),
              "errors.json is not valid JSON (damaged or cut off?)");
  for (const char* bad : {"", "[]", R"({"weights": [{"name": "a", "shape": "4x4", "errors": {}}]})",
                          R"({"weights": 3})", R"({"weights": [{"name": 3, "errors": {}}]})",
                          R"({"weights": [{"name": "a", "errors": {"int3": 1}}]})",
                          R"({"weights": [{"name": "a", "errors": {"int4": -1}}]})"}) {
    auto result = ParseWireErrors(bad, "errors.json");
    ASSERT_FALSE(result.ok()) << bad;
    EXPECT_EQ(result.status().message().rfind("errors.json", 0), 0u);
  }
}

// Memory reported is the arenas', the verifier agrees (CompilePlan runs it), and no plan beats its bound: over formats,
// ways to keep masters, budgets, samples, and strategies.
TEST(Wire, GridOfPlansHolds) {
  int plans = 0;
  for (bool frozen : {false, true}) {
    const Graph graph = Matrices(frozen);
    for (WireFormat wire : {WireFormat::kBF16, WireFormat::kI4}) {
      for (WireUpdate update : {WireUpdate::kHost, WireUpdate::kRefresh}) {
        for (const char* strategy : {"greedy", "stream", "zo2", "resident"}) {
          for (int passes : {1, 2}) {
            PlanOptions o;
            o.tile = 4096;
            o.wire = wire;
            o.wire_update = update;
            o.strategy = strategy;
            o.samples = o.micro_batches = passes;
            if (strategy[0] == 'g') o.budget = uint64_t{250} << 10;
            Machine m = Cpu();
            m.link_up_bytes_per_s = m.link_down_bytes_per_s = 1e8;
            auto plan = CompilePlan(graph, m, o);
            ASSERT_TRUE(plan.ok()) << plan.status().message();
            ++plans;
            EXPECT_EQ(plan->memory.device(), plan->schedule.arenas[0].bytes);
            EXPECT_EQ(plan->memory.host(), plan->schedule.arenas[1].bytes);
            EXPECT_GE(plan->simulation.period, plan->bound.seconds * (1 - 1e-9))
                << strategy << " " << Name(wire) << " passes " << passes;
          }
        }
      }
    }
  }
  EXPECT_EQ(plans, 64);
}

// Scales and their padding take more than codes of so few values save.
TEST(Wire, ErrorsChooseNothingThatIsLargerThanTheMaster) {
  GraphBuilder b;
  const ValueId x = b.Input("x", DType::kF32, {2, 8});
  for (int64_t rows : {1, 64}) b.One(Op::kLinear, {x, b.Weight("w" + std::to_string(rows), {rows, 8}, WeightRole::kMatrix)});
  PlanOptions o;
  o.max_wire_error = 1;
  for (const char* name : {"w1", "w64"})
    o.wire_errors[name].errors = {{WireFormat::kI8, 0.01}, {WireFormat::kI4, 0.1}, {WireFormat::kBF16, 0.001}};
  auto choice = ChooseWires(b.graph, o);
  ASSERT_TRUE(choice.ok()) << choice.status().message();
  EXPECT_EQ(choice->formats[0], WireFormat::kBF16);
  EXPECT_EQ(choice->formats[1], WireFormat::kI4);
}

}  // namespace
}  // namespace zo2
