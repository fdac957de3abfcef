// The schedules of tests/tools, which have all that a schedule can have, on the cuda device with its own kernels: the
// same bits with and without graphs and in adversarial orders, and near what the CPU device makes of them with plain
// loops.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <string>

#include "runtime/cuda/cuda_device.h"
#include "tests/tools/tiny_schedules.h"
#include "tests/unit/runtime/tiny_run.h"

namespace zo2 {
namespace {

// Kernels add in other orders, and what was rounded to codes or 16 bits may fall on the other side.
constexpr double kFar = 2e-3;

// Gives every call a workspace that is large enough for a GPU's kernels: one per lane, at the end of the device's
// arena. The schedules of tests/tools have what the CPU's need.
void WidenWorkspaces(Schedule* s) {
  constexpr int64_t kBytes = 64 << 10;
  std::map<size_t, BufferId> of_lane;
  for (Program& program : s->programs) {
    for (size_t l = 0; l < program.lanes.size(); ++l) {
      for (Instruction& i : program.lanes[l].instructions) {
        if (i.kind != InstrKind::kCall) continue;
        if (!of_lane.contains(l)) {
          for (size_t a = 0; a < s->arenas.size(); ++a) {
            Arena& arena = s->arenas[a];
            if (arena.tier != Tier::kDevice) continue;
            Buffer buffer;
            buffer.name = "workspace of lane " + std::to_string(l);
            buffer.arena = static_cast<ArenaId>(a);
            buffer.kind = BufferKind::kWorkspace;
            buffer.offset = (arena.bytes + kGpuAlignment - 1) / kGpuAlignment * kGpuAlignment;
            buffer.bytes = kBytes;
            arena.bytes = buffer.offset + kBytes;
            if (arena.budget > 0) arena.budget = std::max(arena.budget, arena.bytes);
            of_lane[l] = static_cast<BufferId>(s->buffers.size());
            s->buffers.push_back(buffer);
          }
        }
        const PlanNode& node = s->nodes[static_cast<size_t>(i.node)];
        const size_t group = node.inputs.size() + node.outputs.size() + 2;
        for (size_t last = group - 1; last < i.operands.size(); last += group) {
          Operand& workspace = i.operands[last];
          workspace = {};
          workspace.buffer = of_lane[l];
          workspace.type = {DType::kU8, {kBytes}};
          workspace.access = AccessMode::kReadWrite;
        }
      }
    }
  }
}

void ExpectNear(const TinyResult& got, const TinyResult& want, const std::string& name) {
  ASSERT_EQ(got.records.size(), want.records.size()) << name;
  for (size_t step = 0; step < want.records.size(); ++step) {
    ASSERT_EQ(got.records[step].size(), want.records[step].size()) << name << ", step " << step;
    for (size_t i = 0; i < want.records[step].size(); ++i) {
      if (i % 3 == 2) continue;  // g is the difference of two losses: far more is lost
      EXPECT_NEAR(got.records[step][i], want.records[step][i], kFar * std::max(1.0, std::fabs(want.records[step][i])))
          << name << ", step " << step;
    }
  }
  ASSERT_EQ(got.eval.size(), want.eval.size()) << name;
  for (size_t i = 0; i < want.eval.size(); ++i)
    EXPECT_NEAR(got.eval[i], want.eval[i], kFar * std::max(1.0, want.eval[i])) << name;
}

TEST(GpuConformance, EverySchedulesBitsAreTheSameInEveryOrder) {
  int tested = 0;
  for (const tiny::Named& named : tiny::Corpus()) {
    SCOPED_TRACE(named.name);
    Schedule schedule = tiny::MakeSchedule(named.options);
    WidenWorkspaces(&schedule);
    TinyRun run;
    run.eval_every = named.options.evaluate && named.options.host_losses ? 3 : 0;
    const auto cpu = RunTiny(schedule, run);
    ASSERT_TRUE(cpu.ok()) << cpu.status().message();
    run.open = [] { return cuda::OpenCudaDevice({}); };
    const auto plain = RunTiny(schedule, run);
    ASSERT_TRUE(plain.ok()) << plain.status().message();
    if (!named.options.lm_head) ExpectNear(*plain, *cpu, named.name);  // its loops shift labels of themselves
    TinyRun launches = run, delays = run, turns = run;
    launches.options.graphs = false;
    delays.options.chaos = {ChaosMode::kDelay, 3};
    turns.options.chaos = {ChaosMode::kPriority, 5};
    for (const TinyRun* other : {&launches, &delays, &turns}) {
      const auto result = RunTiny(schedule, *other);
      ASSERT_TRUE(result.ok()) << result.status().message();
      EXPECT_TRUE(*result == *plain) << (other == &launches ? "without graphs"
                                         : other == &delays ? "with delays"
                                                            : "in turns");
    }
    ++tested;
  }
  std::printf("%d schedules, each in four ways\n", tested);
  EXPECT_GT(tested, 10);
}

}  // namespace
}  // namespace zo2
