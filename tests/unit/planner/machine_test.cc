// Hostile machine files: one clear sentence each that names the file and the field, status kInvalid (exit status 2).
#include "planner/machine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ir/schedule/prepare_signature.h"
#include "planner/cost.h"
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
                                   "prepare_params_per_s",  "host_update_params_per_s", "encode_bytes_per_s"};

TEST(MachineFile, RatesOfZeroBelowZeroNotANumberOrTooLargeAreRefused) {
  for (const char* field : kRateFields) {
    for (const char* value : {"0", "-1", "-1e300", "1e30", "1e308", "null", "true", "\"fast\"", "[]", "[1]", "1e-300"})
      ExpectRefused(std::string("{\"") + field + "\":" + value + "}", field);
  }
  for (const char* field : {"gemm_flops", "prepare_params_per_s"}) {
    for (const char* value : {"0", "-5", "null", "1e30", "\"x\"", "{}"})
      ExpectRefused(std::string("{\"") + field + "\":{\"f32\":" + value + "}}", "f32");
    for (const char* dtype : {"f64x", "i64", "f64", "u8", "bool"})
      ExpectRefused(std::string("{\"") + field + "\":{\"" + dtype + "\":1e9}}", dtype);
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
  for (const char* field : {"copy_latency_s", "call_overhead_s", "disk_latency_s", "spread"}) {
    for (const char* value : {"-1e-9", "1e10", "null", "\"0\""})
      ExpectRefused(std::string("{\"") + field + "\":" + value + "}", field);
  }
  for (const char* field : {"device_bytes", "host_bytes", "disk_bytes"}) {
    for (const char* value : {"-1", "0.5", "1e19", "18446744073709551616", "\"8GiB\""})
      ExpectRefused(std::string("{\"") + field + "\":" + value + "}", field);
  }
  for (const char* field : {"compute_threads", "host_threads"})
    for (const char* value : {"0", "-2", "1.5", "1e9", "4294967297", "\"two\""})
      ExpectRefused(std::string("{\"") + field + "\":" + value + "}", field);
  for (const char* field : {"link_duplex", "compute_share_while_uploading", "compute_share_while_downloading"})
    for (const char* value : {"0", "-0.5", "1.01", "2", "null", "\"all\""})
      ExpectRefused(std::string("{\"") + field + "\":" + value + "}", field);
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
      {"{\"gemm_table\":[{\"dtype\":\"i64\",\"m\":1,\"n\":1,\"k\":1,\"flops\":1}]}", "dtype"},
      {"{\"gemm_table\":[{\"m\":1,\"n\":1,\"k\":1,\"flops\":1,\"dtpye\":\"bf16\"}]}", "dtpye"},
      {"{\"calls\":[]}", "calls"},
      {"{\"calls\":{\"linear()\":-1}}", "linear()"},
      {"{\"calls\":{\"linear()\":null}}", "linear()"},
      {"{\"calls\":{\"linear()\":1e300}}", "linear()"},
      {"{\"spread\":{\"gemm_flops\":-1}}", "gemm_flops"},
      {"{\"spread\":{\"gemm_flops\":null}}", "gemm_flops"},
      {"{\"spread\":[]}", "spread"},
      {"{\"measured_on\":\"here\"}", "measured_on"},
      {"{\"measured_on\":{\"cores\":2}}", "cores"},
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
  m.spread = {{"gemm_flops", 0.125}, {"calls", 0}};
  m.measured_on = {{"processor", "a \"fast\" one"}, {"cores", "2"}};
  m.compute_share_while_uploading = 0.75;
  m.host_threads = 7;
  const std::string text = MachineToJson(m);
  auto back = MachineFromJson(text, "FILE");
  ASSERT_TRUE(back.ok()) << back.status().message();
  EXPECT_EQ(back->gemm_flops.at(DType::kF32), 1.0 / 3);
  EXPECT_EQ(back->calls, m.calls);
  EXPECT_EQ(back->spread, m.spread);
  EXPECT_EQ(back->measured_on, m.measured_on);
  EXPECT_EQ(back->compute_share_while_uploading, 0.75);
  EXPECT_EQ(back->host_threads, 7);
  ASSERT_EQ(back->gemm_table.size(), 1u);
  EXPECT_EQ(back->gemm_table[0].flops, 3.25e12);
  back->source = m.source;
  back->gemm_flops = m.gemm_flops;
  EXPECT_EQ(MachineToJson(*back), text);
  m.name = "bad \xff name";
  EXPECT_TRUE(MachineFromJson(MachineToJson(m), "FILE").ok());
}

// Files of before had one number for all figures.
TEST(MachineFile, SpreadIsAnObjectOrOneNumber) {
  auto one = MachineFromJson("{\"spread\":0.15}", "FILE"), none = MachineFromJson("{}", "FILE");
  auto many = MachineFromJson("{\"spread\":{\"gemm_flops\":0.1,\"calls\":0.02}}", "FILE");
  ASSERT_TRUE(one.ok() && none.ok() && many.ok());
  EXPECT_EQ(one->spread, (std::map<std::string, double>{{"all", 0.15}}));
  EXPECT_EQ(many->spread, (std::map<std::string, double>{{"gemm_flops", 0.1}, {"calls", 0.02}}));
  EXPECT_TRUE(none->spread.empty());  // the built-in's is of other figures
}

TEST(MachineFile, CopiesCostWhatTheShareSaysPerByte) {
  auto m = MachineFromJson(
      "{\"compute_share_while_uploading\":0.75,\"link_up_bytes_per_s\":2e9,\"link_down_bytes_per_s\":1e9}", "FILE");
  ASSERT_TRUE(m.ok());
  EXPECT_DOUBLE_EQ(m->UploadTax(), 0.25 / 2e9);
  EXPECT_EQ(m->DownloadTax(), 0);
}

// A tile's own measurement goes before the rate; what it lacks (a second update, here) is added at the rate of the noise.
TEST(MachineFile, MeasuredPreparesGoBeforeRates) {
  Machine m = BuiltinMachines()[0];
  PlanWeight weight;
  weight.name = "w";
  weight.shape = {64, 128};
  weight.components = {{"w", 1, DType::kF32, PlainWire(DType::kF32), DType::kBF16, weight.shape, true}};
  Tile tile;
  tile.trainable = true;
  tile.segments = {{0, 0, 0, 64, 0, 128, 0, 0, 0}};
  EXPECT_EQ(PrepareSignature(tile, {weight}), "prepare(f32>bf16[64,128])");
  Tile two = tile;
  two.segments.push_back({0, 0, 8, 16, 0, 4, 0, 0, 0});
  EXPECT_EQ(PrepareSignature(two, {weight}), "prepare(f32>bf16[64,128],f32>bf16[8,4])");
  const Graph graph;
  const double guess = CostModel(graph, m, 1).Prepare(tile, {weight}, 1, 2, true, true);
  m.calls["prepare(f32>bf16[64,128])"] = 1.0;
  const CostModel cost(graph, m, 1);
  EXPECT_LT(guess, 0.1);
  EXPECT_DOUBLE_EQ(cost.Prepare(tile, {weight}, 1, 2, true, true), 1.0);
  EXPECT_DOUBLE_EQ(cost.Prepare(tile, {weight}, 2, 2, true, true), 1.0 + 64 * 128 / m.noise_normals_per_s);
  m.calls["prepare(f32>bf16[64,128])"] = 0;  // no measurement makes memory faster than it is
  EXPECT_GT(CostModel(graph, m, 1).Prepare(tile, {weight}, 1, 2, true, true), m.call_overhead_s);
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

// Slower compute beside copies makes streamed plans longer, resident ones not, and keeps the bound below.
TEST(MachineFile, PlansPayForCopiesBesideCompute) {
  Machine free = BuiltinMachines()[0], taxed = free;
  taxed.compute_share_while_uploading = taxed.compute_share_while_downloading = 0.5;
  for (const char* strategy : {"resident", "stream", "auto"}) {
    PlanOptions o;
    o.strategy = strategy;
    auto before = CompilePlan(SmallGraph(), free, o), after = CompilePlan(SmallGraph(), taxed, o);
    ASSERT_TRUE(before.ok() && after.ok());
    const double a = before->simulation.period, b = after->simulation.period;
    if (std::string(strategy) == "stream") EXPECT_GT(b, a * 1.001);
    else EXPECT_NEAR(b, a, 0.02 * a);
    EXPECT_GE(b, after->bound.seconds * (1 - 1e-9));
    EXPECT_TRUE(after->simulation.settled);
    // Whoever simulates the schedule again finds the same.
    EXPECT_NEAR(Simulate(*after->schedule.Find(Purpose::kTrain)).period, b, 1e-3 * b);
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
