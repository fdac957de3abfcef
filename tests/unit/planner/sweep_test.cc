#include "planner/sweep.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "planner/plan.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

using Json = nlohmann::json;

Json Swept(const char* range, int points, PlanOptions o = Greedy()) {
  o.tile = 2048;
  auto sizes = ParseSizeRange(range);
  Machine m = Cpu();
  m.link_up_bytes_per_s = m.link_down_bytes_per_s = 3e7;
  auto json = SweepJson(SmallGraph(), m, o, sizes->first, sizes->second, points);
  EXPECT_TRUE(json.ok()) << json.status().message();
  return json.ok() ? Json::parse(*json) : Json();
}

TEST(Sweep, HasARowPerBudgetAndMarksWhatIsBestAndWhatIsEnough) {
  const Json json = Swept("20KiB..1MiB", 9);
  ASSERT_EQ(json["rows"].size(), 9u);
  EXPECT_FALSE(json["rows"][0]["feasible"]);
  EXPECT_TRUE(json["rows"][8]["feasible"]);
  double least = 1e300;
  for (const Json& a : json["rows"]) {
    if (!a["feasible"].get<bool>()) {
      EXPECT_GT(a["smallest_budget"].get<uint64_t>(), a["budget"].get<uint64_t>());
      continue;
    }
    least = std::min(least, a["period"].get<double>());
    EXPECT_LE(a["device_bytes"].get<uint64_t>(), a["budget"].get<uint64_t>());
    EXPECT_GE(a["period"].get<double>(), a["bound"].get<double>() * (1 - 1e-6));
    for (const Json& b : json["rows"]) {  // nobody beats a row of the Pareto curve
      if (!a["pareto"].get<bool>() || !b["feasible"].get<bool>()) continue;
      EXPECT_FALSE(b["device_bytes"] < a["device_bytes"] && b["period"] < a["period"]);
    }
  }
  const size_t chosen = json["chosen"];
  EXPECT_LE(json["rows"][chosen]["period"].get<double>(), least * (1 + kSweepNear));
  for (size_t i = 0; i < chosen; ++i)
    if (json["rows"][i]["feasible"].get<bool>()) {
      EXPECT_GT(json["rows"][i]["period"].get<double>(), least * (1 + kSweepNear));
    }
}

TEST(Sweep, BeginsAndEndsWhereItWasAskedTo) {
  for (const char* range : {"11264..61440", "8225..135104", "7340032..63963136"}) {
    const auto sizes = ParseSizeRange(range);
    const Json json = Swept(range, 2);
    EXPECT_EQ(json["rows"][0]["budget"].get<uint64_t>(), sizes->first);
    EXPECT_EQ(json["rows"][1]["budget"].get<uint64_t>(), sizes->second);
  }
}

// Whatever the budgets: they stand beside the curve.
TEST(Sweep, ScoresTheTrivialPlans) {
  const Json json = Swept("100KiB..200KiB", 2);
  std::string names;
  for (const Json& t : json["trivial"]) {
    names += t["name"].get<std::string>() + ";";
    EXPECT_GT(t["period"].get<double>(), 0);
    EXPECT_GT(t["device_bytes"].get<double>(), 0);
  }
  for (const char* name : {"resident", "stream", "zo2"})
    EXPECT_NE(names.find(name), std::string::npos) << names;
}

TEST(Sweep, TableAndPage) {
  Json json = Swept("20KiB..1MiB", 6);
  const std::string text = SweepText(json.dump());
  for (const char* words : {"infeasible", "smallest budget that works", "enough: ", "without a planner: zo2"})
    EXPECT_NE(text.find(words), std::string::npos) << text;
  json["model"] = "</script><script>alert(1)</script>";
  const std::string page = SweepHtml(json.dump());
  for (const char* nothing : {"<script>alert", "http", "src=", "@DATA@", "@STYLE@"})
    EXPECT_EQ(page.find(nothing), std::string::npos) << nothing;
  EXPECT_NE(page.find("\\u003c/script>"), std::string::npos);
}

TEST(Sweep, NothingFits) {
  const Json json = Swept("1KiB..2KiB", 3);
  EXPECT_TRUE(json["chosen"].is_null());
  EXPECT_EQ(SweepText(json.dump()).find("enough: "), std::string::npos);
  EXPECT_GT(json["weight_bytes"].get<double>(), 0);
  EXPECT_EQ(json["weight_bytes"], Swept("1MiB..2MiB", 2)["weight_bytes"]);
}

TEST(Sweep, AllItsPlansShareOneTimeLimit) {
  for (const bool spent : {false, true}) {
    PlanOptions o = Greedy();
    o.gap = 0;
    o.time_limit = 1e6;
    o.time_spent = spent ? o.time_limit : 0;
    int ended = 0;
    const Json json = Swept("100KiB..160KiB", 3, o);
    for (const Json& row : json["rows"]) ended += row.value("out_of_time", false);
    EXPECT_EQ(ended > 0, spent);
  }
}

TEST(Sweep, BadRangesAndPoints) {
  for (const char* range : {"3GiB", "3GiB..1GiB", "0..1GiB", "..", "1GiB..many"})
    EXPECT_FALSE(ParseSizeRange(range).ok()) << range;
  EXPECT_TRUE(ParseSizeRange("1GiB..24GiB").ok());
  for (int points : {-1, 1, 1001}) EXPECT_FALSE(SweepJson(SmallGraph(), Cpu(), {}, 1000, 2000, points).ok());
}

}  // namespace
}  // namespace zo2
