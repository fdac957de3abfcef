#include "runtime/profile.h"

#include <gtest/gtest.h>

#include <atomic>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "runtime/plan_run.h"
#include "tests/tools/tiny_schedules.h"
#include "tests/unit/runtime/fake_kernels.h"

namespace zo2 {
namespace {

TEST(Profile, WritesAMachineFileWithEveryCallOfThePlan) {
  DeviceOptions device_options;
  device_options.link = {.up = 5e8, .down = 2.5e8, .latency = 0};
  auto device = OpenDevice("cpu", device_options);
  KernelTable kernels = fake::Kernels();
  static std::atomic<int> others = 0;  // calls with other threads than the profile's
  kernels.call[static_cast<size_t>(Op::kLinear)] = [](const KernelCall& call) {
    if (call.threads != 1) ++others;
    if (call.inputs[1].dtype != DType::kF32) return Invalid("only f32");
    return call.inputs[1].shape[1] > 16 ? Status() : fake::Linear(call);  // large products would take a minute
  };
  Schedule plan = tiny::MakeSchedule({.bias = true, .cut = true});
  for (Program& program : plan.programs)
    for (Lane& lane : program.lanes)
      if (lane.kind == LaneKind::kCompute) lane.threads = 2;
  ProfileOptions options;
  options.threads = 1;
  options.name = "a\xff";  // not UTF-8
  options.seconds_each = 1e-3;
  options.disk_folder = ::testing::TempDir();
  options.progress = false;
  auto text = ProfileMachine(**device, kernels, &plan, options);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto json = nlohmann::json::parse(*text);
  EXPECT_EQ(json["name"], "a\xef\xbf\xbd");
  EXPECT_EQ(json["compute_threads"], 1);
  EXPECT_EQ(others, 0);
  for (const char* key : {"memory_bytes_per_s", "call_overhead_s", "noise_normals_per_s", "link_up_bytes_per_s",
                          "link_down_bytes_per_s", "link_duplex", "disk_read_bytes_per_s", "disk_write_bytes_per_s",
                          "disk_latency_s", "device_bytes", "host_bytes", "disk_bytes", "compute_threads", "host_threads",
                          "host_update_params_per_s", "encode_bytes_per_s", "compute_share_while_uploading",
                          "compute_share_while_downloading"}) {
    ASSERT_TRUE(json.contains(key)) << key;
    EXPECT_GT(json[key].get<double>(), 0) << key;
  }
  EXPECT_TRUE(json["gemm_flops"].contains("f32"));
  EXPECT_FALSE(json["gemm_flops"].contains("bf16"));
  EXPECT_GT(json["prepare_params_per_s"]["f32"].get<double>(), 0);
  // An emulated link is never faster than it is said to be.
  EXPECT_LT(json["link_up_bytes_per_s"].get<double>(), 5.5e8);
  EXPECT_LT(json["link_down_bytes_per_s"].get<double>(), 2.75e8);
  const auto& calls = json["calls"];
  EXPECT_TRUE(calls.contains("linear(f32[2,4],f32[2,4],f32[2])")) << calls.dump();
  EXPECT_TRUE(calls.contains("relu(f32[2,4])"));
  int prepares = 0;
  for (const auto& [signature, seconds] : calls.items()) prepares += signature.rfind("prepare(f32>f32[", 0) == 0;
  EXPECT_GT(prepares, 0) << calls.dump();
  EXPECT_LE(json["compute_share_while_uploading"].get<double>(), 1);
  EXPECT_GE(json["spread"]["calls"].get<double>(), 0);
  EXPECT_EQ(json["measured_on"]["cores"], std::to_string(std::thread::hardware_concurrency()));
  EXPECT_TRUE(calls.contains("classify_loss(f32[2,3],i64[2])"));
}

TEST(Profile, SecondsOfNoTimeAreRefused) {
  auto device = OpenDevice("cpu");
  const double infinite = std::numeric_limits<double>::infinity(), none = std::numeric_limits<double>::quiet_NaN();
  for (const double seconds : {0.0, -1.0, none, infinite, 1e7}) {
    ProfileOptions options;
    options.seconds_each = seconds;
    options.progress = false;
    auto text = ProfileMachine(**device, fake::Kernels(), nullptr, options);
    ASSERT_FALSE(text.ok()) << seconds;
    EXPECT_EQ(text.status().code(), Code::kInvalid);
    EXPECT_NE(text.status().message().find("--seconds"), std::string::npos) << text.status().message();
  }
}

// The planner adds the overhead of a call to what it finds by rate: prepares that are mostly overhead give no rate.
TEST(Profile, OnlyLargeTilesGiveARate) {
  Schedule plan = tiny::MakeSchedule({});
  const Program& train = *plan.Find(Purpose::kTrain);
  PlanTiming timing;
  std::set<TileId> prepared;
  for (const Lane& lane : train.lanes) {
    timing.busy.emplace_back(lane.instructions.size(), 0.0);
    for (size_t i = 0; i < lane.instructions.size(); ++i)
      if (lane.instructions[i].kind == InstrKind::kPrepare) {
        timing.busy.back()[i] = 0.5;
        prepared.insert(lane.instructions[i].tile);
      }
  }
  ASSERT_GE(prepared.size(), 2u);
  EXPECT_TRUE(PrepareRatesInPlace(plan, train, timing).empty());
  Tile& large = plan.tiles[static_cast<size_t>(*prepared.begin())];
  large.segments.resize(1);
  Segment& segment = large.segments[0];
  segment.row_begin = segment.col_begin = 0;
  segment.row_end = segment.col_end = 256;
  EXPECT_EQ(PrepareRatesInPlace(plan, train, timing), (std::map<DType, double>{{DType::kF32, 256 * 256 / 0.5}}));
}

TEST(Profile, SignaturesMarkAbsentOperands) {
  float data = 0;
  const std::vector<TensorView> inputs = {{&data, DType::kF32, {2, 3}, {3, 1}}, {nullptr, DType::kF32, {}, {}}, {&data, DType::kI64, {}, {}}};
  KernelCall call;
  call.op = Op::kLinear;
  call.inputs = inputs;
  EXPECT_EQ(CallSignature(call), "linear(f32[2,3],-,i64[])");
}

}  // namespace
}  // namespace zo2
