#include "planner/weight_life.h"

#include <gtest/gtest.h>

#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "planner/plan.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

using Json = nlohmann::json;

// Every upload, prepare, call and write-back of a weight, counted apart from the planner's words for them.
TEST(WeightLife, TellsEveryEvent) {
  for (int every : {1, 3}) {
    PlanOptions o = Greedy();
    o.tile = 2048;
    o.resident = 0;
    o.samples = 2;
    o.writeback_every = every;
    auto plan = CompilePlan(SmallGraph(), Cpu(), o);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    const Schedule& s = plan->schedule;
    const Program& train = *s.Find(Purpose::kTrain);
    for (const char* name : {"model.layers.0.fc1.weight", "embed.weight", "model.layers.1.q.weight"}) {
      auto text = WeightJson(s, name);
      ASSERT_TRUE(text.ok()) << text.status().message();
      const Json life = Json::parse(*text);
      EXPECT_EQ(life["period"], every);
      double rows = 0;
      for (const Json& tile : life["tiles"]) {
        const TileId id = tile["tile"];
        EXPECT_EQ(tile["lives"], "streamed");
        EXPECT_EQ(tile["master"]["tier"], "host");
        for (const Json& g : tile["segments"])
          rows += (g["rows"][1].get<double>() - g["rows"][0].get<double>()) *
                  (g["columns"][1].get<double>() - g["columns"][0].get<double>());
        std::map<std::string, int> counts;
        for (const Json& e : tile["events"]) {
          ++counts[e["what"]];
          EXPECT_TRUE(e["start"].is_number());
          ASSERT_FALSE(e["residues"].empty());
          if (e["what"] == "download") {
            EXPECT_EQ(e["residues"].size(), 1u);
          }
        }
        int up = 0, down = 0, prepare = 0;
        for (const Lane& lane : train.lanes) {
          for (const Instruction& i : lane.instructions) {
            if (i.tile != id) continue;
            prepare += i.kind == InstrKind::kPrepare;
            up += i.kind == InstrKind::kCopy && lane.kind == LaneKind::kH2D;
            down += i.kind == InstrKind::kCopy && lane.kind == LaneKind::kD2H;
          }
        }
        EXPECT_EQ(counts["upload"], up);
        EXPECT_EQ(counts["download"], down);
        EXPECT_EQ(counts["prepare"], prepare);
        EXPECT_GE(counts["call"], 1) << name;
      }
      const PlanWeight* weight = nullptr;
      for (const PlanWeight& w : s.weights)
        if (w.name == name) weight = &w;
      ASSERT_NE(weight, nullptr);
      EXPECT_EQ(rows, static_cast<double>(NumElements(weight->shape)));
    }
  }
}

TEST(WeightLife, AveragesOverThePeriod) {
  PlanOptions o = Greedy();
  o.resident = 0;
  o.writeback_every = 4;
  auto plan = CompilePlan(SmallGraph(), Cpu(), o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  double up = 0, down = 0;  // tiles hold several weights: each is counted with the first of them
  std::set<TileId> seen;
  for (const PlanWeight& w : plan->schedule.weights) {
    const Json life = Json::parse(*WeightJson(plan->schedule, w.name));
    for (const Json& tile : life["tiles"]) {
      if (!seen.insert(tile["tile"].get<TileId>()).second) continue;
      up += tile["per_step"]["up_bytes"].get<double>();
      down += tile["per_step"]["down_bytes"].get<double>();
    }
  }
  EXPECT_NEAR(up, static_cast<double>(plan->up_bytes), 1);
  EXPECT_NEAR(down, static_cast<double>(plan->down_bytes), 1);
  EXPECT_LT(down, up);
}

TEST(WeightLife, ThePageAndUnknownNames) {
  PlanOptions o = Greedy();
  o.tile = 2048;
  o.resident = 30000;
  o.writeback_every = 3;
  auto plan = CompilePlan(SmallGraph(), Cpu(), o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  std::string all;
  for (const PlanWeight& w : plan->schedule.weights) {
    auto text = WeightText(plan->schedule, w.name);
    ASSERT_TRUE(text.ok()) << text.status().message();
    all += *text;
  }
  for (const char* words : {"resident", "streamed", "upload", "when step mod 3 is",
                            "leaves the master up to date", "emits 2", "the same as tile"})
    EXPECT_NE(all.find(words), std::string::npos) << words;
  auto none = WeightText(plan->schedule, "nobody");
  ASSERT_FALSE(none.ok());
  EXPECT_NE(none.status().message().find("nobody"), std::string::npos);
}

}  // namespace
}  // namespace zo2
