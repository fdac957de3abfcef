#include "planner/compare.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "planner/plan.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

using Json = nlohmann::json;

std::string Said(const Json& comparison) {
  std::string all;
  for (const auto& sentence : comparison["sentences"]) all += sentence.get<std::string>() + "\n";
  return all;
}

// Same model, tiles and numerics; what differs is what the options say.
class Compare : public ::testing::Test {
 protected:
  static Schedule Plan(const PlanOptions& o, double link = 2e7) {
    Machine m = Cpu();
    m.link_up_bytes_per_s = m.link_down_bytes_per_s = link;
    auto plan = CompilePlan(SmallGraph(), m, o);
    EXPECT_TRUE(plan.ok()) << plan.status().message();
    return plan.ok() ? plan->schedule : Schedule();
  }
  static Json Compared(const Schedule& a, const Schedule& b) {
    auto text = CompareJson(a, b);
    EXPECT_TRUE(text.ok()) << text.status().message();
    return Json::parse(*text);
  }
};

TEST_F(Compare, EqualPlansDifferInNothing) {
  const Schedule a = Plan(Greedy());
  const Json c = Compared(a, a);
  EXPECT_TRUE(c["numerics"]["equal"]);
  EXPECT_TRUE(c["differences"].empty()) << c["differences"];
  EXPECT_EQ(Said(c).find("times as fast"), std::string::npos);
  for (const auto& row : c["figures"]) EXPECT_EQ(row["a"], row["b"]);
}

TEST_F(Compare, SaysWhichIsFasterAndThatFewerTilesCrossTheLink) {
  PlanOptions o = Greedy();
  o.tile = 2048;
  o.strategy = "stream";
  const Schedule stream = Plan(o);
  o.strategy = "resident";
  const Schedule resident = Plan(o);
  for (bool swapped : {false, true}) {
    const Json c = swapped ? Compared(resident, stream) : Compared(stream, resident);
    const std::string said = Said(c), fast = swapped ? "Plan A" : "Plan B";
    EXPECT_EQ(said.find(fast + " is "), 0u) << said;
    EXPECT_NE(said.find("less waiting for uploads"), std::string::npos) << said;
    EXPECT_NE(said.find("no weights cross the link any more"), std::string::npos) << said;
    EXPECT_NE(said.find("more device memory"), std::string::npos) << said;
    EXPECT_NE(said.find("What binds is"), std::string::npos) << said;
  }
}

TEST_F(Compare, SaysThatTheLinkIsFaster) {
  PlanOptions o = Greedy();
  o.tile = 2048;
  o.strategy = "stream";
  const std::string said = Said(Compared(Plan(o, 1e6), Plan(o, 2e6)));
  EXPECT_NE(said.find("Its uploads take"), std::string::npos) << said;
  EXPECT_NE(said.find("/s, not "), std::string::npos) << said;
  EXPECT_EQ(said.find("cross the link"), std::string::npos) << said;  // just as many bytes
}

TEST_F(Compare, SaysThatWritebacksAreRarerAndSlotsMore) {
  PlanOptions o = Greedy();
  o.tile = 2048;
  o.resident = 0;
  o.slots = 2;
  o.writeback_every = 1;
  const Schedule a = Plan(o, 1e6);
  o.slots = 4;
  o.writeback_every = 4;
  const std::string said = Said(Compared(a, Plan(o, 1e6)));
  EXPECT_NE(said.find("back every 4 steps, plan A every 1 step: fewer downloads"), std::string::npos) << said;
  EXPECT_NE(said.find("through 4 slots, plan A through 2"), std::string::npos) << said;
}

TEST_F(Compare, ThePageHasFiguresOnceAndNumericsFieldByField) {
  PlanOptions o = Greedy();
  const Schedule a = Plan(o);
  o.resident = 0;
  const Schedule b = Plan(o);
  o.samples = 2;
  const Schedule c = Plan(o);
  auto ab = CompareText(a, b), ac = CompareText(a, c);
  ASSERT_TRUE(ab.ok() && ac.ok());
  EXPECT_NE(ab->find("to the bit"), std::string::npos);
  EXPECT_NE(ab->find("tiles resident"), std::string::npos) << *ab;
  EXPECT_EQ(ab->find("tiles.resident"), std::string::npos) << *ab;
  EXPECT_NE(ac->find("samples: 1 -> 2"), std::string::npos) << *ac;
  Schedule none = a;
  none.report.clear();
  EXPECT_FALSE(CompareText(none, b).ok());
}

}  // namespace
}  // namespace zo2
