#include "runtime/device.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstring>

#include "runtime/cpu_device.h"
#include "runtime/lr_schedule.h"
#include "runtime/metrics.h"
#include "runtime/progress.h"
#include "runtime/step_kernels.h"

namespace zo2 {
namespace {

TEST(Device, ABuildWithoutCudaSaysSo) {
  auto device = OpenDevice("cuda");
  ASSERT_FALSE(device.ok());
  EXPECT_EQ(device.status().code(), Code::kDevice);
  EXPECT_NE(device.status().message().find("no CUDA backend"), std::string::npos);
  EXPECT_EQ(OpenDevice("tpu").status().code(), Code::kDevice);
}

TEST(Device, ArenasAreZeroedAndAligned) {
  auto device = OpenDevice("cpu");
  ASSERT_TRUE(device.ok());
  for (const Tier tier : {Tier::kDevice, Tier::kHost, Tier::kDisk}) {
    for (const uint64_t bytes : {uint64_t{0}, uint64_t{1}, uint64_t{100000}, uint64_t{20} << 20}) {
      auto memory = (*device)->Allocate(tier, bytes);
      ASSERT_TRUE(memory.ok()) << memory.status().message();
      EXPECT_EQ((*memory)->bytes(), bytes);
      EXPECT_EQ(reinterpret_cast<uintptr_t>((*memory)->data()) % (*device)->alignment(), 0u);
      for (uint64_t i = 0; i < bytes; i += 4097) ASSERT_EQ((*memory)->data()[i], std::byte{0});
      if (bytes > 0) std::memset((*memory)->data(), 1, bytes);
    }
  }
  auto huge = (*device)->Allocate(Tier::kHost, ~uint64_t{0});
  ASSERT_FALSE(huge.ok());
  EXPECT_EQ(huge.status().code(), Code::kDevice);
}

TEST(Device, AnEmulatedLinkTakesAtLeastItsTime) {
  DeviceOptions options;
  options.link = {.up = 1e8, .down = 2e8, .latency = 0};
  auto device = OpenDevice("cpu", options);
  std::vector<char> from(1 << 20, 3), to(1 << 20);
  for (const LaneKind kind : {LaneKind::kH2D, LaneKind::kD2H}) {
    auto queue = (*device)->OpenQueue(kind);
    ASSERT_TRUE((*queue)->Bind().ok());
    const auto begin = std::chrono::steady_clock::now();
    for (int i = 0; i < 4; ++i) ASSERT_TRUE((*queue)->Copy(to.data(), from.data(), from.size()).ok());
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    EXPECT_EQ(from, to);
    EXPECT_GE(seconds, 4.0 * (1 << 20) / (kind == LaneKind::kH2D ? 1e8 : 2e8) - 1e-3);
  }
}

TEST(Device, LinkEmulationParses) {
  auto link = ParseLinkEmulation("up=2GB/s,down=512MiB/s,latency=10us");
  ASSERT_TRUE(link.ok());
  EXPECT_EQ(link->up, 2e9);
  EXPECT_EQ(link->down, 512.0 * (1 << 20));
  EXPECT_EQ(link->latency, 10 * 1e-6);
  for (const char* bad : {"", "up", "up=", "up=fast", "up=2XB/s", "sideways=1GB/s", "up=-1GB/s", "latency=5"})
    EXPECT_EQ(ParseLinkEmulation(bad).status().code(), Code::kInvalid) << bad;
  // No clock can wait for these.
  for (const char* bad : {"latency=1e300s", "latency=1000001s", "latency=1e10ms", "up=1e-300", "down=0.5B/s",
                          "up=1e-9GB/s,latency=1us,down=1e-9kB/s", "up=1e308TB/s"}) {
    const Status status = ParseLinkEmulation(bad).status();
    EXPECT_EQ(status.code(), Code::kInvalid) << bad;
    EXPECT_NE(status.message().find("out of range"), std::string::npos) << status.message();
  }
  EXPECT_TRUE(ParseLinkEmulation("up=1,down=1B/s,latency=1e6s").ok());
}

TEST(Device, SizesParse) {
  EXPECT_EQ(*ParseBytes("64MiB"), 64u << 20);
  EXPECT_EQ(*ParseBytes("1.5GB"), 1500000000u);
  EXPECT_EQ(*ParseBytes("4096"), 4096u);
  EXPECT_FALSE(ParseBytes("many").ok());
  EXPECT_FALSE(ParseBytes("-1").ok());
  EXPECT_FALSE(ParseBytes("1e30GiB").ok());
  EXPECT_EQ(PrintBytes(3ull << 29), "1.50 GiB");
}

TEST(Device, HostMemoryIsKnown) {
  const Device::Available available = HostMemoryAvailable();
  EXPECT_GT(available.bytes, 1u << 20);
  EXPECT_LT(available.bytes, 1ull << 50);
  EXPECT_FALSE(available.from.empty());
}

TEST(Gradient, AddsInOrderAndDividesOnce) {
  const std::vector<Branch> branches = {{{{0, 1.0}}}, {{{0, -1.0}}}};
  const std::vector<double> plus = {1e16, 1, -1e16}, minus = {3, 4, 5}, count = {1, 1, 2};
  const std::vector<LossPairs> losses = {{plus, count}, {minus, count}};
  alignas(8) std::byte memory[StepRecordBytes(1)];
  StepRecord& record = *reinterpret_cast<StepRecord*>(memory);
  RunParameters parameters;
  parameters.eps = 0.5;
  Gradient({7, 0.25}, branches, losses, 1, parameters, &record);
  EXPECT_EQ(record.step, 7u);
  EXPECT_EQ(record.lr, 0.25);
  EXPECT_EQ(record.skipped, 0u);
  EXPECT_EQ(record.loss_plus()[0], ((1e16 + 1) - 1e16) / 4);
  EXPECT_EQ(record.loss_minus()[0], 3.0);
  EXPECT_EQ(record.g()[0], record.loss_plus()[0] - 3.0);
  const std::vector<double> none = {0, 0, 0};
  const std::vector<LossPairs> nothing = {{plus, none}, {minus, count}};
  Gradient({8, 0.25}, branches, nothing, 1, parameters, &record);
  EXPECT_EQ(record.skipped, 1u);
}

TEST(LrSchedule, Shapes) {
  LrSchedule lr{LrShape::kLinear, 1.0, 4, 14};
  EXPECT_EQ(lr.At(0), 0.25);
  EXPECT_EQ(lr.At(3), 1.0);
  EXPECT_EQ(lr.At(4), 1.0);
  EXPECT_EQ(lr.At(9), 0.5);
  EXPECT_EQ(lr.At(14), 0.0);
  lr.shape = LrShape::kCosine;
  EXPECT_NEAR(lr.At(9), 0.5, 1e-15);
  lr.shape = LrShape::kConstant;
  EXPECT_EQ(lr.At(1000), 1.0);
  EXPECT_FALSE(ParseLrShape("steep").ok());
}

TEST(Metrics, NumbersReadBackToTheSameBits) {
  const double values[] = {0.1, 1.0 / 3, -2.5e-310, 12345678.9};
  for (const double v : values) EXPECT_EQ(std::strtod(JsonNumber(v).c_str(), nullptr), v);
  EXPECT_EQ(JsonNumber(std::numeric_limits<double>::quiet_NaN()), "null");
  EXPECT_EQ(JsonNumbers(values, 1).find('['), std::string::npos);
  EXPECT_EQ(JsonNumbers(values, 2).front(), '[');
  EXPECT_EQ(MetricsWriter::Open("/nonexistent/m.jsonl", false).status().code(), Code::kInvalid);
}

TEST(Progress, SaysWhatAPersonAsks) {
  ExecutorStats stats;
  stats.bytes_up = 3000000000, stats.bytes_down = 1000000000;
  stats.compute_busy = 3, stats.compute_waiting = 1;
  const std::string line = Progress::Line(9, 0, 100, 2.5, 512, "tokens/s", 4.0, stats);
  EXPECT_NE(line.find("step 10/100"), std::string::npos) << line;
  EXPECT_NE(line.find("1280 tokens/s"), std::string::npos) << line;
  EXPECT_NE(line.find("1.00 GB/s"), std::string::npos) << line;
  EXPECT_NE(line.find("25% waiting"), std::string::npos) << line;
  EXPECT_NE(line.find("left 36s"), std::string::npos) << line;
}

}  // namespace
}  // namespace zo2
