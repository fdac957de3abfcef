// Hostile machine files: one clear sentence each that names the file and the field, status kInvalid (exit status 2).
#include "planner/machine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "planner/options.h"
#include "planner/plan.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

void ExpectRefused(const std::string& json, const std::string& word) {
  auto m = MachineFromJson(json, "FILE");
  ASSERT_FALSE(m.ok()) << json;
  const std::string& text = m.status().message();
  EXPECT_EQ(m.status().code(), Code::kInvalid) << text;
  EXPECT_EQ(text.rfind("FILE", 0), 0u) << text;
  EXPECT_NE(text.find(word), std::string::npos) << text;
  EXPECT_EQ(text.find('\n'), std::string::npos) << text;
  EXPECT_LT(text.size(), 700u) << text;
}

const char* const kRateFields[] = {"attention_flops",       "elementwise_ops",        "memory_bytes_per_s",
                                   "noise_normals_per_s",   "link_up_bytes_per_s",    "link_down_bytes_per_s",
                                   "disk_read_bytes_per_s", "disk_write_bytes_per_s", "gemm_flops",
                                   "prepare_params_per_s"};

TEST(MachineFile, RatesOfZeroBelowZeroNotANumberOrTooLargeAreRefused) {
  for (const char* field : kRateFields) {
    for (const char* value : {"0", "-1", "-1e300", "1e30", "1e308", "null", "true", "\"fast\"", "[]", "[1]", "1e-300"})
      ExpectRefused(std::string("{\"") + field + "\":" + value + "}", field);
  }
  for (const char* field : {"gemm_flops", "prepare_params_per_s"}) {
    for (const char* value : {"0", "-5", "null", "1e30", "\"x\"", "{}"})
      ExpectRefused(std::string("{\"") + field + "\":{\"f32\":" + value + "}}", "f32");
    ExpectRefused(std::string("{\"") + field + "\":{\"f64x\":1e9}}", "f64x");
  }
}

// JSON knows no NaN or infinity, and numbers past a double's range are no JSON either.
TEST(MachineFile, WhatIsNoJsonObjectIsRefused) {
  for (const char* text : {"", " ", "null", "3", "[]", "\"cpu\"", "{", "{]", "{\"link_up_bytes_per_s\":nan}",
                           "{\"link_up_bytes_per_s\":inf}", "{\"link_up_bytes_per_s\":1e999}", "{\"name\":}",
                           "{\"name\":\"\xff\"}", "{} {}"})
    ExpectRefused(text, "JSON object");
  ExpectRefused(std::string(100000, '['), "JSON object");
}

TEST(MachineFile, TimesSizesAndCountsHaveRanges) {
  for (const char* field : {"copy_latency_s", "call_overhead_s", "spread"}) {
    for (const char* value : {"-1e-9", "1e10", "null", "\"0\""})
      ExpectRefused(std::string("{\"") + field + "\":" + value + "}", field);
  }
  for (const char* field : {"device_bytes", "host_bytes", "disk_bytes"}) {
    for (const char* value : {"-1", "0.5", "1e19", "18446744073709551616", "\"8GiB\""})
      ExpectRefused(std::string("{\"") + field + "\":" + value + "}", field);
  }
  for (const char* value : {"0", "-2", "1.5", "1e9", "4294967297", "\"two\""})
    ExpectRefused(std::string("{\"compute_threads\":") + value + "}", "compute_threads");
  for (const char* value : {"0", "-0.5", "1.01", "2"})
    ExpectRefused(std::string("{\"link_duplex\":") + value + "}", "link_duplex");
}

TEST(MachineFile, WrongTypesAndUnknownFieldsAreRefused) {
  const std::pair<const char*, const char*> cases[] = {
      {"{\"kind\":3}", "kind"},
      {"{\"kind\":\"tpu\"}", "tpu"},
      {"{\"name\":7}", "name"},
      {"{\"source\":1}", "source"},
      {"{\"source\":{\"all\":2}}", "all"},
      {"{\"gemm_table\":{}}", "gemm_table"},
      {"{\"gemm_table\":[3]}", "gemm_table"},
      {"{\"gemm_table\":[{\"m\":1,\"n\":1,\"k\":1}]}", "flops"},
      {"{\"gemm_table\":[{\"m\":0,\"n\":1,\"k\":1,\"flops\":1}]}", "\"m\""},
      {"{\"gemm_table\":[{\"m\":1,\"n\":1,\"k\":1,\"flops\":0}]}", "flops"},
      {"{\"gemm_table\":[{\"dtype\":3,\"m\":1,\"n\":1,\"k\":1,\"flops\":1}]}", "dtype"},
      {"{\"gemm_table\":[{\"dtype\":\"f7\",\"m\":1,\"n\":1,\"k\":1,\"flops\":1}]}", "dtype"},
      {"{\"calls\":[]}", "calls"},
      {"{\"calls\":{\"linear()\":-1}}", "linear()"},
      {"{\"calls\":{\"linear()\":null}}", "linear()"},
      {"{\"calls\":{\"linear()\":1e300}}", "linear()"},
      {"{\"link_up_byte_per_s\":1e9}", "link_up_byte_per_s"},
      {"{\"\":1}", "no field"},
  };
  for (const auto& [json, word] : cases) ExpectRefused(json, word);
}

// What is left out is the built-in's of the same kind.
TEST(MachineFile, MissingFieldsAreTheBuiltIns) {
  auto cpu = MachineFromJson("{}", "FILE"), gpu = MachineFromJson("{\"kind\":\"cuda\",\"link_duplex\":0.5}", "FILE");
  ASSERT_TRUE(cpu.ok() && gpu.ok());
  EXPECT_EQ(cpu->name, "FILE");
  EXPECT_EQ(cpu->link_up_bytes_per_s, BuiltinMachines()[0].link_up_bytes_per_s);
  EXPECT_EQ(gpu->gemm_flops, BuiltinMachines()[1].gemm_flops);
  EXPECT_EQ(gpu->link_duplex, 0.5);
  EXPECT_TRUE(gpu->cuda);
  EXPECT_NE(gpu->source.at("defaults").find("h100-pcie5"), std::string::npos);
}

TEST(MachineFile, WrittenFilesReadBackTheSame) {
  Machine m = BuiltinMachines()[2];
  m.name = "mine";
  m.calls = {{"linear(f32[1,2],f32[3,2],-)", 1e-6}};
  m.gemm_table = {{DType::kBF16, 64, 128, 256, 3.25e12}};
  m.gemm_flops = {{DType::kF32, 1.0 / 3}};
  m.device_bytes = (uint64_t{1} << 62) - 4096;
  const std::string text = MachineToJson(m);
  auto back = MachineFromJson(text, "FILE");
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->gemm_flops.at(DType::kF32), 1.0 / 3);
  EXPECT_EQ(back->calls, m.calls);
  ASSERT_EQ(back->gemm_table.size(), 1u);
  EXPECT_EQ(back->gemm_table[0].flops, 3.25e12);
  back->source = m.source;
  back->gemm_flops = m.gemm_flops;
  EXPECT_EQ(MachineToJson(*back), text);
  m.name = "bad \xff name";
  EXPECT_TRUE(MachineFromJson(MachineToJson(m), "FILE").ok());
}

// The slowest and fastest machine that a file can describe still give finite plans.
TEST(MachineFile, ExtremesGiveFinitePlans) {
  for (const char* rate : {"1e-12", "1e19"}) {
    std::string json = "{\"copy_latency_s\":1e9,\"spread\":0";
    for (const char* field : kRateFields) json += std::string(",\"") + field + "\":" + rate;
    auto m = MachineFromJson(json + "}", "FILE");
    ASSERT_TRUE(m.ok()) << m.status().message();
    for (const char* strategy : {"auto", "stream"}) {
      PlanOptions o;
      o.strategy = strategy;
      auto plan = CompilePlan(SmallGraph(), *m, o);
      ASSERT_TRUE(plan.ok()) << plan.status().message();
      EXPECT_TRUE(std::isfinite(plan->simulation.period));
      EXPECT_GE(plan->simulation.period, plan->bound.seconds * (1 - 1e-9));
    }
  }
}

TEST(Flags, AbsurdSizesRatesAndCountsAreRefused) {
  for (const char* bad : {"", " ", "-1", "-1GiB", "nan", "inf", "1e400", "1e20", "1e30TiB", "12PiB", "1 2 GiB x", "GiB",
                          "0x", "--budget"}) {
    auto size = ParseSize(bad);
    ASSERT_FALSE(size.ok()) << bad;
    EXPECT_EQ(size.status().code(), Code::kInvalid);
    EXPECT_FALSE(ParseRate(bad).ok()) << bad;
  }
  for (const char* bad : {"0", "0GB/s", "1e-13", "1e300TB/s", "1e20", "5/s/s", "GB/s", "-2GB/s"})
    EXPECT_FALSE(ParseRate(bad).ok()) << bad;
  const auto refused = [](void (*change)(PlanOptions*), const char* flag) {
    PlanOptions o;
    change(&o);
    auto plan = CompilePlan(SmallGraph(), BuiltinMachines()[0], o);
    ASSERT_FALSE(plan.ok()) << flag;
    EXPECT_EQ(plan.status().code(), Code::kInvalid) << plan.status().message();
    EXPECT_NE(plan.status().message().find(flag), std::string::npos) << plan.status().message();
  };
  refused([](PlanOptions* o) { o->samples = 0; }, "--q");
  refused([](PlanOptions* o) { o->samples = -3; }, "--q");
  refused([](PlanOptions* o) { o->samples = 1 << 20; }, "--q");
  refused([](PlanOptions* o) { o->micro_batches = 0; }, "--micro");
  refused([](PlanOptions* o) { o->micro_batches = 1 << 20; }, "--micro");
  refused([](PlanOptions* o) { o->slots = -1; }, "--slots");
  refused([](PlanOptions* o) { o->slots = 1 << 20; }, "--slots");
  refused([](PlanOptions* o) { o->writeback_every = -1; }, "--writeback-every");
  refused([](PlanOptions* o) { o->writeback_every = 65; }, "--writeback-every");
  refused([](PlanOptions* o) { o->tile = 1; }, "--tile");
  refused([](PlanOptions* o) { o->steps = 0; }, "--steps");
  refused([](PlanOptions* o) { o->strategy = ""; }, "--strategy");
  refused([](PlanOptions* o) { o->strategy = "optimal"; }, "--strategy");
}

TEST(Flags, BudgetsOfOneByteAndOfAllBytes) {
  PlanOptions o;
  o.budget = 1;
  EXPECT_EQ(CompilePlan(SmallGraph(), BuiltinMachines()[0], o).status().code(), Code::kInfeasible);
  o = {};
  o.host_budget = 1;
  EXPECT_EQ(CompilePlan(SmallGraph(), BuiltinMachines()[0], o).status().code(), Code::kInfeasible);
  o.budget = o.host_budget = o.tile = uint64_t{1} << 62;
  o.slots = 4096;
  EXPECT_TRUE(CompilePlan(SmallGraph(), BuiltinMachines()[0], o).ok());
  o.resident = 0;
  EXPECT_TRUE(CompilePlan(SmallGraph(), BuiltinMachines()[0], o).ok());
}

}  // namespace
}  // namespace zo2
