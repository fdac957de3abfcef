#include "runtime/executor.h"

#include <gtest/gtest.h>

#include <cmath>

#include "ir/schedule/verify.h"
#include "runtime/trace.h"
#include "tests/unit/runtime/serial_trainer.h"
#include "tests/unit/runtime/tiny_run.h"

namespace zo2 {
namespace {

TEST(Executor, EqualsASerialTrainerToTheBit) {
  for (const bool bias : {false, true})
    for (const int samples : {1, 2})
      for (const int micro : {1, 2})
        for (const int slots : {0, 2, 3})
          for (const int period : {1, 2, 3}) {
            tiny::Options o;
            o.bias = bias, o.samples = samples, o.micro_batches = micro, o.slots = slots, o.period = period;
            if (slots == 0 && period > 1) continue;
            const TinyRun run;
            auto result = RunTiny(tiny::MakeSchedule(o), run);
            ASSERT_TRUE(result.ok()) << result.status().message();
            EXPECT_EQ(*result, SerialTrainer(run, o).Run())
                << "bias " << bias << " samples " << samples << " micro " << micro << " slots " << slots << " K " << period;
          }
}

TEST(Executor, InterleavingsChangeNoBits) {
  for (const tiny::Named& named : tiny::Corpus()) {
    const Schedule schedule = tiny::MakeSchedule(named.options);
    TinyRun run;
    run.eval_every = named.options.evaluate && named.options.host_losses ? 3 : 0;
    auto quiet = RunTiny(schedule, run);
    ASSERT_TRUE(quiet.ok()) << named.name << ": " << quiet.status().message();
    for (uint64_t seed = 0; seed < 24; ++seed) {
      run.options.chaos = {seed % 4 == 0 ? ChaosMode::kDelay : ChaosMode::kPriority, seed};
      auto chaotic = RunTiny(schedule, run);
      ASSERT_TRUE(chaotic.ok()) << named.name << ": " << chaotic.status().message();
      ASSERT_EQ(*chaotic, *quiet) << named.name << " with chaos seed " << seed;
    }
  }
}

Schedule WithoutEdge(Schedule schedule, size_t edge) {
  for (Program& p : schedule.programs)
    if (p.purpose == Purpose::kTrain) p.edges.erase(p.edges.begin() + static_cast<int64_t>(edge));
  return schedule;
}

TEST(Executor, AScheduleThatLacksAnEdgeIsRefusedBeforeItRuns) {
  const Schedule right = tiny::MakeSchedule({});
  const size_t edges = right.Find(Purpose::kTrain)->edges.size();
  ASSERT_GT(edges, 5u);
  for (size_t e = 0; e < edges; ++e) {
    auto result = RunTiny(WithoutEdge(right, e), {});
    ASSERT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), Code::kRejected);
  }
}

// The adversary is worth its name: with the verifier out of the way, most missing edges change bits under some seed.
TEST(Chaos, FindsMissingEdges) {
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
    for (uint64_t seed = 0; seed < 16; ++seed) {
      run.options.chaos = {ChaosMode::kPriority, seed};
      auto result = RunTiny(WithoutEdge(right, e), run);
      if (result.ok() && *result == *expected) continue;
      ++found;
      break;
    }
  }
  EXPECT_GE(2 * found, edges) << found << " of " << edges;
  RecordProperty("edges", static_cast<int>(edges));
  RecordProperty("found", static_cast<int>(found));
}

TEST(Executor, EvaluationOnTheWayChangesNoBits) {
  tiny::Options o;
  o.period = 3;
  TinyRun run;
  auto plain = RunTiny(tiny::MakeSchedule(o), run);
  run.eval_every = 2;
  auto with = RunTiny(tiny::MakeSchedule(o), run);
  ASSERT_TRUE(plain.ok() && with.ok());
  EXPECT_EQ(plain->records, with->records);
  EXPECT_EQ(plain->weights, with->weights);
  o.slots = 0, o.period = 1;
  auto resident = RunTiny(tiny::MakeSchedule(o), run);
  ASSERT_TRUE(resident.ok());
  EXPECT_EQ(resident->eval, with->eval);
}

TEST(Executor, MeasuredPeakIsThePlannedOne) {
  for (const tiny::Named& named : tiny::Corpus()) {
    TinyRun run;
    run.at_end = [&](Executor& executor) {
      ASSERT_TRUE(executor.Execute(Purpose::kEvaluate, 2).ok());
      EXPECT_EQ(executor.measured_peak(), executor.planned_peak()) << named.name;
    };
    ASSERT_TRUE(RunTiny(tiny::MakeSchedule(named.options), run).ok()) << named.name;
  }
}

TEST(Executor, ALossThatIsNotFiniteSkipsTheStep) {
  tiny::Options o;
  o.period = 2;
  TinyRun run;
  run.nan_step = 2;
  auto result = RunTiny(tiny::MakeSchedule(o), run);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->records[2], std::vector<double>{-1});
  for (const auto& [name, values] : result->weights)
    for (const float v : values) EXPECT_TRUE(std::isfinite(v)) << name;
  o.slots = 0, o.period = 1;
  auto resident = RunTiny(tiny::MakeSchedule(o), run);
  ASSERT_TRUE(resident.ok());
  EXPECT_EQ(resident->weights, result->weights);
}

TEST(Executor, GIsClipped) {
  TinyRun run;
  run.parameters.clip_g = 1e-3;
  auto result = RunTiny(tiny::MakeSchedule({}), run);
  ASSERT_TRUE(result.ok());
  for (const auto& row : result->records) EXPECT_LE(std::fabs(row[2]), 1e-3);
  EXPECT_EQ(std::fabs(result->records[0][2]), 1e-3);
}

TEST(Executor, AKernelsErrorNamesTheNodeAndStopsTheRun) {
  auto device = OpenDevice("cpu");
  for (const ChaosMode mode : {ChaosMode::kOff, ChaosMode::kDelay, ChaosMode::kPriority}) {
    auto executor = Executor::Prepare(tiny::MakeSchedule({}), **device, {.chaos = {mode, 3}});
    ASSERT_TRUE(executor.ok());
    KernelTable kernels = fake::Kernels();
    kernels.call[static_cast<size_t>(Op::kRelu)] = [](const KernelCall&) { return Error(Code::kDevice, "out of luck"); };
    ASSERT_TRUE((*executor)->Initialize(kernels, {}, 0, LoadTinyMasters).ok());
    const Status status = (*executor)->Execute(Purpose::kTrain, 4);
    EXPECT_EQ(status.code(), Code::kDevice);
    EXPECT_NE(status.message().find("a0"), std::string::npos) << status.message();
    EXPECT_NE(status.message().find("out of luck"), std::string::npos);
  }
}

TEST(Executor, AKernelThatTheBuildLacksIsNamed) {
  auto device = OpenDevice("cpu");
  auto executor = Executor::Prepare(tiny::MakeSchedule({}), **device, {});
  ASSERT_TRUE(executor.ok());
  KernelTable kernels = fake::Kernels();
  kernels.call[static_cast<size_t>(Op::kLinear)] = nullptr;
  const Status status = (*executor)->Initialize(kernels, {}, 0, LoadTinyMasters);
  EXPECT_EQ(status.code(), Code::kRejected);
  EXPECT_NE(status.message().find("linear"), std::string::npos);
}

TEST(Executor, TooLittleMemoryIsSaidInWords) {
  Schedule schedule = tiny::MakeSchedule({});
  schedule.arenas[1].bytes = schedule.arenas[1].budget = 1ull << 52;
  auto device = OpenDevice("cpu");
  const Status status = CheckMemory(schedule, **device);
  EXPECT_EQ(status.code(), Code::kDevice);
  EXPECT_NE(status.message().find("are left"), std::string::npos) << status.message();
}

TEST(Executor, CountsBytesOverTheLink) {
  tiny::Options o;
  const Schedule schedule = tiny::MakeSchedule(o);
  TinyRun run;
  run.steps = 4;
  uint64_t up = 0;
  for (const Lane& lane : schedule.Find(Purpose::kTrain)->lanes)
    for (const Instruction& i : lane.instructions)
      if (lane.kind == LaneKind::kH2D) up += static_cast<uint64_t>(i.operands[0].type.bytes());
  uint64_t flush = 0;
  for (const Lane& lane : schedule.Find(Purpose::kFlush)->lanes)
    for (const Instruction& i : lane.instructions)
      if (lane.kind == LaneKind::kH2D) flush += static_cast<uint64_t>(i.operands[0].type.bytes());
  run.at_end = [&](Executor& executor) {
    EXPECT_EQ(executor.stats().bytes_up, 4 * up + flush);
    EXPECT_GT(executor.stats().bytes_down, 0u);
    EXPECT_EQ(executor.step(), 4);
  };
  ASSERT_TRUE(RunTiny(schedule, run).ok());
}

TEST(Trace, HasMeasuredAndPredictedSlices) {
  const Schedule schedule = tiny::MakeSchedule({});
  TinyRun run;
  run.options.trace_iterations = 2;
  run.at_end = [&](Executor& executor) {
    ASSERT_EQ(executor.traces().size(), 2u);  // train, flush
    const TracedRun& train = executor.traces()[0];
    for (size_t l = 0; l < train.lanes.size(); ++l) {
      // As many iterations of a short lane as of a long one.
      ASSERT_FALSE(train.lanes[l].empty());
      EXPECT_EQ(train.lanes[l].back().iteration, 1) << "lane " << l;
      for (size_t e = 1; e < train.lanes[l].size(); ++e) {
        EXPECT_GE(train.lanes[l][e].start, train.lanes[l][e - 1].end);
        EXPECT_GE(train.lanes[l][e].end, train.lanes[l][e].start);
      }
    }
    const std::string json = TraceJson(schedule, executor.traces());
    EXPECT_NE(json.find("train measured"), std::string::npos);
    EXPECT_NE(json.find("train predicted"), std::string::npos);
    EXPECT_NE(json.find("predicted_us"), std::string::npos);
  };
  ASSERT_TRUE(RunTiny(schedule, run).ok());
}

}  // namespace
}  // namespace zo2
