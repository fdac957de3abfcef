#include "planner/timeline.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "planner/plan.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

// The page's data: lanes in the order of time, memory within the arena, nothing from outside.
TEST(Timeline, ShowsLanesAndMemoryOfWholeSteps) {
  for (int passes : {1, 2}) {
    PlanOptions o = Greedy();
    o.resident = 30000;
    o.tile = 2048;
    o.samples = o.micro_batches = passes;
    o.writeback_every = passes;
    auto plan = CompilePlan(SmallGraph(), Cpu(), o);
    ASSERT_TRUE(plan.ok()) << plan.status().message();
    const std::string page = TimelineHtml(plan->schedule);
    EXPECT_EQ(page.find("http"), std::string::npos);
    const size_t begin = page.find("const D = ") + 10, end = page.find(";\n", begin);
    auto data = nlohmann::json::parse(page.substr(begin, end - begin), nullptr, false);
    ASSERT_FALSE(data.is_discarded());
    EXPECT_EQ(data["steps"].size(), passes == 1 ? 2u : 3u);
    EXPECT_NEAR(data["total"].get<double>(),
                1e9 * plan->simulation.period * static_cast<double>(data["steps"].size()),
                0.05 * data["total"].get<double>());
    int binding = data["memory"]["binding"].get<bool>();
    for (const auto& lane : data["lanes"]) binding += lane["binding"].get<bool>();
    EXPECT_EQ(binding, 1);
    ASSERT_EQ(data["lanes"].size(), plan->schedule.Find(Purpose::kTrain)->lanes.size());
    for (const auto& lane : data["lanes"]) {
      ASSERT_FALSE(lane["spans"].empty());
      int64_t before = 0;
      for (const auto& span : lane["spans"]) {
        EXPECT_GE(span[3].get<int64_t>(), before - 2);
        before = span[3].get<int64_t>() + span[4].get<int64_t>();
        EXPECT_LE(before, data["total"].get<int64_t>() + 2);
        EXPECT_LT(span[1].get<size_t>(), data["labels"].size());
      }
    }
    ASSERT_FALSE(data["memory"]["points"].empty());
    int64_t peak = 0;
    for (const auto& point : data["memory"]["points"]) {
      int64_t sum = 0;
      for (size_t k = 1; k < point.size(); ++k) {
        EXPECT_GE(point[k].get<int64_t>(), 0);
        sum += point[k].get<int64_t>();
      }
      peak = std::max(peak, sum);
    }
    const auto arena = static_cast<int64_t>(plan->schedule.arenas[0].bytes);
    EXPECT_LE(peak, arena);
    EXPECT_GT(peak, arena / 2);
  }
}

// A name from a model file can end neither the script nor the page's encoding.
TEST(Timeline, SurvivesHostileNames) {
  Graph graph = SmallGraph();
  graph.name = "</script><script>alert(1)</script>\xff";
  auto plan = CompilePlan(graph, Cpu(), Greedy());
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const std::string page = TimelineHtml(plan->schedule);
  EXPECT_EQ(page.find("<script>alert"), std::string::npos);
  EXPECT_EQ(page.find('\xff'), std::string::npos);
  EXPECT_EQ(page.find("@STYLE@"), std::string::npos);
  EXPECT_EQ(page.find("@DATA@"), std::string::npos);
  EXPECT_FALSE(nlohmann::json::parse(PerfettoJson(plan->schedule), nullptr, false).is_discarded());
}

// The verifier does not read reports: they may hold anything.
TEST(Timeline, SurvivesStrangeReports) {
  auto plan = CompilePlan(SmallGraph(), Cpu(), Greedy());
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  for (const char* report : {"", "7", "{}", R"({"bound": 7, "time": []})",
                             R"({"bound": {"seconds": "x", "binding": 3, "gap": {}}})",
                             R"({"bound": {"seconds": 1, "binding": []}, "memory": {"device": null}})"}) {
    plan->schedule.report = report;
    EXPECT_NE(TimelineHtml(plan->schedule).find("</html>"), std::string::npos) << report;
  }
}

TEST(Timeline, PerfettoHasEveryLane) {
  auto plan = CompilePlan(SmallGraph(), Cpu(), Greedy());
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  auto trace = nlohmann::json::parse(PerfettoJson(plan->schedule), nullptr, false);
  ASSERT_FALSE(trace.is_discarded());
  EXPECT_GT(trace["traceEvents"].size(), 100u);
  size_t names = 0;
  for (const auto& event : trace["traceEvents"]) names += event["ph"] == "M";
  EXPECT_EQ(names, plan->schedule.Find(Purpose::kTrain)->lanes.size());
}

}  // namespace
}  // namespace zo2
