#include "planner/what_if.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "planner/plan.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

Result<std::pair<Machine, PlanOptions>> Applied(const std::string& spec) {
  Machine m = Cpu();
  PlanOptions o = Greedy();
  o.budget = 1000000;
  ZO2_ASSIGN(auto changes, ParseWhatIf(spec));
  ZO2_TRY(ApplyWhatIf(changes, &m, &o));
  return std::make_pair(m, o);
}

TEST(WhatIf, EveryKeyAndKindOfValue) {
  const Machine base = Cpu();
  const double up = base.link_up_bytes_per_s, down = base.link_down_bytes_per_s;
  auto a = Applied("link=2x,budget=+1MiB,host-budget=-10%");
  ASSERT_TRUE(a.ok()) << a.status().message();
  EXPECT_EQ(a->first.link_up_bytes_per_s, 2 * up);
  EXPECT_EQ(a->first.link_down_bytes_per_s, 2 * down);
  EXPECT_EQ(a->second.budget, 1000000u + (1 << 20));
  EXPECT_NEAR(static_cast<double>(a->second.host_budget), 0.9 * static_cast<double>(base.host_bytes), 1);
  a = Applied("link-up=8GB/s,link-down=-1MB/s,budget=64MiB");
  ASSERT_TRUE(a.ok()) << a.status().message();
  EXPECT_EQ(a->first.link_up_bytes_per_s, 8e9);
  EXPECT_EQ(a->first.link_down_bytes_per_s, down - 1e6);
  EXPECT_EQ(a->second.budget, uint64_t{64} << 20);
  a = Applied("compute=+100%,noise=0.5x");
  ASSERT_TRUE(a.ok()) << a.status().message();
  EXPECT_EQ(a->first.attention_flops, 2 * base.attention_flops);
  EXPECT_EQ(a->first.gemm_flops.at(DType::kF32), 2 * base.gemm_flops.at(DType::kF32));
  EXPECT_EQ(a->first.noise_normals_per_s, base.noise_normals_per_s / 2);
  for (const auto& [dtype, rate] : base.prepare_params_per_s)
    EXPECT_NEAR(a->first.prepare_params_per_s.at(dtype), rate / 2, 1e-6 * rate);
  a = Applied("budget=100x,link=20x,compute=20x,noise=+1900%");
  ASSERT_TRUE(a.ok()) << a.status().message();
  EXPECT_EQ(a->second.budget, 100000000u);
  EXPECT_EQ(a->first.attention_flops, 20 * base.attention_flops);
  a = Applied("budget=2x,budget=2x");  // one after the other
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(a->second.budget, 4000000u);
}

// A measured machine has the seconds of prepares themselves: they go with the noise, not with the kernels.
TEST(WhatIf, MeasuredPreparesGoWithTheNoise) {
  Machine m = Cpu();
  m.calls = {{"prepare(f32>f32[4,4])", 8e-6}, {"linear(f32[4,4],f32[4,4],-)", 8e-6}};
  PlanOptions o;
  ASSERT_TRUE(ApplyWhatIf(*ParseWhatIf("noise=2x"), &m, &o).ok());
  EXPECT_EQ(m.calls["prepare(f32>f32[4,4])"], 4e-6);
  EXPECT_EQ(m.calls["linear(f32[4,4],f32[4,4],-)"], 8e-6);
  ASSERT_TRUE(ApplyWhatIf(*ParseWhatIf("compute=4x"), &m, &o).ok());
  EXPECT_EQ(m.calls["prepare(f32>f32[4,4])"], 4e-6);
  EXPECT_EQ(m.calls["linear(f32[4,4],f32[4,4],-)"], 2e-6);
}

TEST(WhatIf, BadOnesAreNamed) {
  for (const char* spec : {"",
                           "link",
                           "link=",
                           "speed=2x",
                           "link=fast",
                           "link=0x",
                           "link=-2x",
                           "link=2 x",
                           "link=10%",
                           "link=-100%",
                           "link=nanx",
                           "link=infGB/s",
                           "link=+",
                           "budget=4GB/s",
                           "budget=4parsecs",
                           "budget=-2MB",
                           "budget=0",
                           "compute=1TB/s",
                           "compute=+5",
                           "noise=loud",
                           "link=2x,,budget=2x",
                           "link=2x,",
                           "=2x",
                           "host-budget=1e99TiB",
                           "link=1e300x"}) {
    auto a = Applied(spec);
    ASSERT_FALSE(a.ok()) << spec;
    EXPECT_EQ(a.status().code(), Code::kInvalid);
    EXPECT_NE(a.status().message().find("--what-if"), std::string::npos) << a.status().message();
  }
}

TEST(WhatIf, PlansAgainAndComparesOrSaysThatNothingFits) {
  Machine m = Cpu();
  m.link_up_bytes_per_s = m.link_down_bytes_per_s = 1e7;
  PlanOptions o = Greedy();
  o.tile = 2048;
  o.budget = 150 << 10;
  const Graph graph = SmallGraph();
  auto base = CompilePlan(graph, m, o);
  ASSERT_TRUE(base.ok()) << base.status().message();
  auto answer = WhatIf(graph, m, o, *base, "link=10x");
  ASSERT_TRUE(answer.ok()) << answer.status().message();
  const auto json = nlohmann::json::parse(answer->json);
  EXPECT_EQ(json["feasible"], true);
  EXPECT_EQ(json["comparison"]["sentences"][0].get<std::string>().find("The changed plan is "), 0u)
      << json["comparison"]["sentences"];
  EXPECT_NE(answer->text.find("what if link=10x"), std::string::npos);
  m.link_up_bytes_per_s = m.link_down_bytes_per_s = 1e8;  // the same by hand
  auto changed = CompilePlan(graph, m, o);
  ASSERT_TRUE(changed.ok());
  EXPECT_EQ(json["comparison"]["figures"][0]["b"].get<double>(), changed->simulation.period);
  answer = WhatIf(graph, m, o, *base, "budget=1KiB");
  ASSERT_TRUE(answer.ok()) << answer.status().message();
  EXPECT_EQ(nlohmann::json::parse(answer->json)["feasible"], false);
  EXPECT_NE(answer->text.find("infeasible: the plan needs"), std::string::npos) << answer->text;
}

}  // namespace
}  // namespace zo2
