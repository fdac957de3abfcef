#include "planner/report.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "planner/plan.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

TEST(Report, HasItsFieldsAndAPage) {
  PlanOptions o = Greedy();
  o.resident = 30000;
  o.tile = 2048;
  auto plan = CompilePlan(SmallGraph(), Cpu(), o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  auto report = nlohmann::json::parse(plan->schedule.report, nullptr, false);
  ASSERT_FALSE(report.is_discarded());
  EXPECT_EQ(report["schema"], kReportSchema);
  EXPECT_EQ(report["feasible"], true);
  for (const char* key : {"model", "machine", "fingerprint", "tiles", "decision", "memory", "time", "rate",
                          "bound", "rivals", "programs", "notes"})
    EXPECT_TRUE(report.contains(key)) << key;
  EXPECT_EQ(report["memory"]["device"]["bytes"], plan->schedule.arenas[0].bytes);
  auto text = ReportText(plan->schedule.report);
  ASSERT_TRUE(text.ok()) << text.status().message();
  EXPECT_NE(text->find("bound"), std::string::npos);
  EXPECT_FALSE(ReportText("{}").ok());
  EXPECT_FALSE(ReportText("not json").ok());
}

// What is short, by how much, the least that works and what takes most of it - in the sentence and in the
// JSON.
TEST(Report, AMissingFieldIsOneSentence) {
  PlanOptions o = Greedy();
  auto plan = CompilePlan(SmallGraph(), Cpu(), o);
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  const auto report = nlohmann::json::parse(plan->schedule.report);
  auto refused = [](const nlohmann::json& damaged) {
    auto text = ReportText(damaged.dump());
    ASSERT_FALSE(text.ok());
    EXPECT_NE(text.status().message().find("field of it is missing"), std::string::npos) << text.status().message();
  };
  ASSERT_TRUE(ReportText(report.dump()).ok());
  refused({{"schema", kReportSchema}});
  for (const char* key : {"model", "time", "memory", "bound", "rate", "tiles"}) {
    nlohmann::json damaged = report;
    damaged.erase(key);
    refused(damaged);
  }
  nlohmann::json damaged = report;
  damaged["rivals"] = nlohmann::json::array({nlohmann::json::object()});
  refused(damaged);
}

TEST(Report, InfeasibleNamesTheSmallestBudgetAndWhatDominatesIt) {
  struct Row {
    int64_t batch, width;
    const char* strategy;
    const char* dominates;
  };
  for (const Row& row : {Row{64, 32, "auto", "activations"}, Row{1, 64, "resident", "resident weights"},
                         Row{1, 64, "stream", "branch weights"}}) {
    SmallGraphOptions g;
    g.batch = row.batch;
    g.width = row.width;
    PlanOptions o = Greedy();
    o.strategy = row.strategy;
    o.budget = 1000;
    if (row.strategy == std::string("stream")) o.slots = 1;
    std::string infeasible;
    auto plan = CompilePlan(SmallGraph(g), Cpu(), o, &infeasible);
    ASSERT_FALSE(plan.ok());
    const auto report = nlohmann::json::parse(infeasible, nullptr, false);
    ASSERT_TRUE(report.is_object()) << infeasible;
    EXPECT_EQ(report["feasible"], false);
    const auto& why = report["infeasible"];
    EXPECT_EQ(why["why"], plan.status().message());
    EXPECT_EQ(why["limit"], "device memory");
    EXPECT_EQ(why["dominates"], row.dominates) << infeasible;
    EXPECT_NE(plan.status().message().find(row.dominates), std::string::npos) << plan.status().message();
    EXPECT_EQ(why["short_by"].get<uint64_t>(), why["needs"].get<uint64_t>() - 1000);
    o.budget = why["smallest_budget"];
    EXPECT_TRUE(CompilePlan(SmallGraph(g), Cpu(), o, &infeasible).ok());
    --o.budget;
    EXPECT_FALSE(CompilePlan(SmallGraph(g), Cpu(), o).ok());
    if (row.strategy != std::string("resident")) continue;
    o.strategy = "auto";  // other decisions need less
    o.budget = why["smallest_budget_of_all"];
    EXPECT_LT(o.budget, why["smallest_budget"].get<uint64_t>());
    EXPECT_TRUE(CompilePlan(SmallGraph(g), Cpu(), o).ok());
  }
}

TEST(Report, InfeasibleHostMemory) {
  PlanOptions o = Greedy();
  o.resident = 0;
  o.host_budget = 1000;
  std::string infeasible;
  ASSERT_FALSE(CompilePlan(SmallGraph(), Cpu(), o, &infeasible).ok());
  const auto why = nlohmann::json::parse(infeasible)["infeasible"];
  EXPECT_EQ(why["limit"], "host memory");
  EXPECT_EQ(why["dominates"], "weights");
  EXPECT_TRUE(why["smallest_budget"].is_null());
  o.host_budget = why["needs"];
  EXPECT_TRUE(CompilePlan(SmallGraph(), Cpu(), o).ok());
}

TEST(Report, FeasiblePlansLeaveNoRefusal) {
  std::string infeasible;
  ASSERT_TRUE(CompilePlan(SmallGraph(), Cpu(), Greedy(), &infeasible).ok());
  EXPECT_EQ(infeasible, "");
}

}  // namespace
}  // namespace zo2
