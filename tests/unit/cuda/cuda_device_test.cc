// The cuda device and asynchronous lanes, on the fake driver: the same schedules as on the CPU must leave the same bits.
#include "runtime/cuda/cuda_device.h"

#include <gtest/gtest.h>

#include <set>

#include "tests/unit/cuda/fake_driver.h"
#include "tests/unit/runtime/serial_trainer.h"
#include "tests/unit/runtime/tiny_run.h"

namespace zo2 {
namespace {

const KernelTable& Kernels() {
  static const KernelTable table = fake::Kernels();
  return table;
}

TinyRun OnCuda(cuda::FakeOptions options, cuda::FakeLog* log, TinyRun run = {}) {
  options.kernels = &Kernels();
  run.open = [options, log] { return cuda::MakeCudaDevice(cuda::MakeFakeDriver(options, log), {}); };
  return run;
}

TEST(CudaDevice, EqualsTheCpuToTheBitInEveryOrder) {
  int64_t ahead = 0;
  for (const tiny::Named& named : tiny::Corpus()) {
    const Schedule schedule = tiny::MakeSchedule(named.options);
    TinyRun run;
    run.eval_every = named.options.evaluate && named.options.host_losses ? 3 : 0;
    auto cpu = RunTiny(schedule, run);
    ASSERT_TRUE(cpu.ok()) << named.name << ": " << cpu.status().message();
    for (uint64_t seed = 0; seed < 16; ++seed) {
      cuda::FakeLog log;
      TinyRun cuda = OnCuda({.seed = seed, .lazy = seed % 2 == 1}, &log, run);
      cuda.options.graphs = seed % 4 < 2;
      if (seed % 8 >= 6) cuda.options.chaos = {seed % 16 < 8 ? ChaosMode::kDelay : ChaosMode::kPriority, seed};
      auto result = RunTiny(schedule, cuda);
      ASSERT_TRUE(result.ok()) << named.name << ": " << result.status().message();
      ASSERT_EQ(*result, *cpu) << named.name << ", seed " << seed;
      ahead = std::max(ahead, log.most_waiting);
      EXPECT_GT(log.prepares, 0);
      EXPECT_GT(log.gradients, 0);
    }
  }
  EXPECT_GT(ahead, 20);  // the host does not wait inside a step
}

TEST(CudaDevice, RepeatsGraphsWithWhatChanges) {
  tiny::Options o;
  o.period = 3;
  const Schedule schedule = tiny::MakeSchedule(o);
  TinyRun run;
  run.steps = 40;
  auto cpu = RunTiny(schedule, run);
  cuda::FakeLog with, without;
  TinyRun graphs = OnCuda({.seed = 5, .lazy = true}, &with, run), launches = OnCuda({.seed = 5}, &without, run);
  launches.options.graphs = false;
  auto a = RunTiny(schedule, graphs), b = RunTiny(schedule, launches);
  ASSERT_TRUE(cpu.ok() && a.ok() && b.ok()) << a.status().message() << b.status().message();
  EXPECT_EQ(*a, *cpu);
  EXPECT_EQ(*b, *cpu);
  EXPECT_GT(with.graphs, 0);
  EXPECT_GT(with.graph_launches, 3 * with.graphs);
  EXPECT_LT(with.calls, without.calls / 2);
  EXPECT_EQ(without.graphs, 0);
}

// With the verifier out of the way, a missing edge changes bits under some order: waits are not there by luck.
TEST(CudaDevice, MissingEdgesShow) {
#if defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "makes data races on purpose";
#endif
  const Schedule right = tiny::MakeSchedule({});
  TinyRun run;
  auto expected = RunTiny(right, run);
  ASSERT_TRUE(expected.ok());
  run.verify = false;
  const size_t edges = right.Find(Purpose::kTrain)->edges.size();
  size_t found = 0;
  for (size_t e = 0; e < edges; ++e) {
    Schedule wrong = right;
    for (Program& p : wrong.programs)
      if (p.purpose == Purpose::kTrain) p.edges.erase(p.edges.begin() + static_cast<int64_t>(e));
    for (uint64_t seed = 0; seed < 24; ++seed) {
      auto result = RunTiny(wrong, OnCuda({.seed = seed, .lazy = seed % 2 == 0}, nullptr, run));
      if (result.ok() && *result == *expected) continue;
      ++found;
      break;
    }
  }
  EXPECT_GE(2 * found, edges) << found << " of " << edges;
}

TEST(CudaDevice, ABrokenDeviceEndsTheRunWithItsError) {
  const Schedule schedule = tiny::MakeSchedule({});
  for (int64_t fail_at = 0; fail_at < 120; fail_at += 7) {
    auto result = RunTiny(schedule, OnCuda({.seed = 3, .lazy = fail_at % 2 == 1, .fail_at = fail_at}, nullptr));
    ASSERT_FALSE(result.ok()) << fail_at;
    EXPECT_EQ(result.status().code(), Code::kDevice);
    EXPECT_NE(result.status().message().find("fallen off the bus"), std::string::npos) << result.status().message();
  }
}

TEST(CudaDevice, TooLittleMemoryIsSaidBeforeAnythingRuns) {
  auto result = RunTiny(tiny::MakeSchedule({}), OnCuda({.memory = 64}, nullptr));
  ASSERT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), Code::kDevice);
  EXPECT_NE(result.status().message().find("64 B"), std::string::npos) << result.status().message();
}

TEST(CudaDevice, ALinkIsNotEmulated) {
  DeviceOptions options;
  options.link.up = 1e9;
  EXPECT_EQ(cuda::MakeCudaDevice(cuda::MakeFakeDriver({.kernels = &Kernels()}, nullptr), options).status().code(),
            Code::kInvalid);
}

TEST(CudaDevice, TracesEveryInstructionOnce) {
  const Schedule schedule = tiny::MakeSchedule({});
  TinyRun run = OnCuda({.seed = 9}, nullptr);
  run.options.trace_iterations = 3;
  run.at_end = [&](Executor& executor) {
    ASSERT_FALSE(executor.traces().empty());
    const TracedRun& traced = executor.traces()[0];
    const Program& train = *schedule.Find(Purpose::kTrain);
    for (size_t l = 0; l < traced.lanes.size(); ++l) {
      int64_t expected = 0;
      for (int64_t t = 0; t < 3; ++t)
        for (const Instruction& i : train.lanes[l].instructions) expected += RunsAt(train, i, t);
      EXPECT_EQ(static_cast<int64_t>(traced.lanes[l].size()), expected);
      std::set<std::pair<int64_t, int32_t>> seen;
      int64_t end = 0;
      for (const LaneEvent& e : traced.lanes[l]) {
        EXPECT_TRUE(seen.insert({e.iteration, e.index}).second);
        EXPECT_LE(e.begin, e.start);
        EXPECT_LE(e.start, e.end);
        EXPECT_LE(end, e.start);
        end = e.end;
      }
    }
    EXPECT_GT(executor.stats().compute_busy, 0);
  };
  ASSERT_TRUE(RunTiny(schedule, run).ok());
}

TEST(CudaDevice, HostArenasArePinnedWholeAndZeroed) {
  auto device = cuda::MakeCudaDevice(cuda::MakeFakeDriver({.kernels = &Kernels()}, nullptr), {});
  ASSERT_TRUE(device.ok());
  constexpr uint64_t kBytes = (1ull << 30) + 12345;  // more than one chunk
  auto host = (*device)->Allocate(Tier::kHost, kBytes);
  auto memory = (*device)->Allocate(Tier::kDevice, 1 << 20);
  ASSERT_TRUE(host.ok() && memory.ok());
  auto queue = (*device)->OpenQueue(LaneKind::kH2D);
  ASSERT_TRUE(queue.ok() && (*queue)->Bind().ok());
  std::byte* across = (*host)->data() + (1ull << 30) - 512;
  std::memset(across, 7, 1024);
  ASSERT_TRUE((*queue)->Copy((*memory)->data(), across, 1024).ok());
  ASSERT_TRUE((*queue)->Synchronize().ok());
  std::byte back[1025];
  ASSERT_TRUE((*device)->Read(back, (*memory)->data(), sizeof back).ok());
  EXPECT_EQ(back[1023], std::byte{7});
  EXPECT_EQ(back[1024], std::byte{0});
  std::vector<std::byte> pageable(16);
  EXPECT_FALSE((*queue)->Copy((*memory)->data(), pageable.data(), 16).ok());
}

}  // namespace
}  // namespace zo2
