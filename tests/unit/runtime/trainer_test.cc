#include "runtime/trainer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <string>

#include "ir/support/file.h"
#include "tests/unit/runtime/tiny_run.h"

namespace zo2 {
namespace {

struct Rig {
  explicit Rig(tiny::Options o = {}) : schedule(tiny::MakeSchedule(o)) {
    device = *OpenDevice("cpu");
    executor = *Executor::Prepare(schedule, *device, {});
    kernels = fake::Kernels();
    RunParameters parameters{.seed = 5, .eps = 1e-2};
    EXPECT_TRUE(executor->Initialize(kernels, parameters, 0, LoadTinyMasters).ok());
    options.quiet = true;
    options.lr.lr = 1e-2;
    options.steps = 12;
    hooks.fill = [this](int64_t step, std::span<std::byte* const> inputs) { return Fill(*schedule.Find(Purpose::kTrain), step, inputs); };
    hooks.eval_fill = [this](int64_t i, std::span<std::byte* const> inputs) {
      auto rows = Fill(*schedule.Find(Purpose::kEvaluate), 50 + i, inputs);
      return i == 1 ? Result<int64_t>(1) : rows;
    };
    hooks.eval_batches = 2;
    hooks.record = [this](const StepRecord& r) {
      steps.push_back(static_cast<int64_t>(r.step));
      g.push_back(r.g()[0]);
      lr.push_back(r.lr);
      return Status();
    };
    hooks.snapshot = [this](int64_t step) {
      EXPECT_EQ(static_cast<int64_t>(steps.size()) + first, step);  // the journal has every step so far
      snapshots.push_back(step);
      return Status();
    };
  }
  Result<int64_t> Fill(const Program& program, int64_t step, std::span<std::byte* const> inputs) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      const TensorType& type = schedule.values[static_cast<size_t>(program.inputs[i].value)].type;
      for (int64_t n = 0; n < type.elements() * program.micro_batches; ++n) {
        if (type.dtype == DType::kF32)
          reinterpret_cast<float*>(inputs[i])[n] = step >= nan_from && step < nan_to ? NAN : InputValue(step, n);
        else
          reinterpret_cast<int64_t*>(inputs[i])[n] = LabelValue(step, n);
      }
    }
    if (step == stop_at) stop.store(true);
    return 2 * program.micro_batches;
  }

  Schedule schedule;
  std::unique_ptr<Device> device;
  std::unique_ptr<Executor> executor;
  KernelTable kernels;
  TrainOptions options;
  TrainHooks hooks;
  std::vector<int64_t> steps, snapshots;
  std::vector<double> g, lr;
  int64_t first = 0, nan_from = 0, nan_to = 0, stop_at = -1;
  std::atomic<bool> stop{false};
};

TEST(Trainer, EveryStepIsRecordedOnceAndInOrder) {
  Rig rig({.period = 2});
  rig.options.eval_every = 5;
  rig.options.snapshot_every = 4;
  rig.options.lr.shape = LrShape::kLinear;
  rig.options.lr.total = 12;
  auto summary = Train(*rig.executor, rig.options, rig.hooks);
  ASSERT_TRUE(summary.ok()) << summary.status().message();
  EXPECT_EQ(summary->last_step, 12);
  EXPECT_FALSE(summary->interrupted);
  ASSERT_EQ(rig.steps.size(), 12u);
  for (int64_t t = 0; t < 12; ++t) {
    EXPECT_EQ(rig.steps[static_cast<size_t>(t)], t);
    EXPECT_EQ(rig.lr[static_cast<size_t>(t)], rig.options.lr.At(t));
  }
  EXPECT_EQ(rig.snapshots, (std::vector<int64_t>{4, 8, 12}));
  EXPECT_EQ(summary->evaluation.examples, 3);
  // Evaluations and snapshots change nothing.
  Rig plain;
  plain.options.lr = rig.options.lr;
  ASSERT_TRUE(Train(*plain.executor, plain.options, plain.hooks).ok());
  EXPECT_EQ(plain.g, rig.g);
  EXPECT_EQ(plain.snapshots, std::vector<int64_t>{12});
}

TEST(Trainer, APartialBatchCountsExactly) {
  Rig rig;
  auto evaluation = Evaluate(*rig.executor, 2, rig.hooks.eval_fill);
  ASSERT_TRUE(evaluation.ok());
  EXPECT_EQ(evaluation->examples, 3);
  EXPECT_GE(evaluation->accuracy, 0);
  // The same three examples one by one: batches of which the second row is padding, or the first two at once.
  double sum = 0;
  for (int i = 0; i < 3; ++i) {
    Rig one;
    auto single = Evaluate(*one.executor, 1, [&](int64_t, std::span<std::byte* const> inputs) -> Result<int64_t> {
      (void)one.Fill(*one.schedule.Find(Purpose::kEvaluate), 50 + i / 2, inputs).ok();
      if (i % 2 == 1) {
        std::memcpy(inputs[0], inputs[0] + 16, 16);
        std::memcpy(inputs[1], inputs[1] + 8, 8);
      }
      return 1;
    });
    ASSERT_TRUE(single.ok());
    sum += single->loss;
  }
  EXPECT_EQ(evaluation->loss, sum / 3);
}

TEST(Trainer, AnInterruptFinishesTheStepAndSnapshots) {
  Rig rig;
  rig.stop_at = 6;
  rig.options.stop = &rig.stop;
  auto summary = Train(*rig.executor, rig.options, rig.hooks);
  ASSERT_TRUE(summary.ok());
  EXPECT_TRUE(summary->interrupted);
  EXPECT_EQ(summary->last_step, 7);
  EXPECT_EQ(rig.steps.size(), 7u);
  EXPECT_EQ(rig.snapshots, std::vector<int64_t>{7});
  // Going on gives the bits of a run that was never interrupted.
  rig.stop.store(false);
  rig.stop_at = -1;
  ASSERT_TRUE(Train(*rig.executor, rig.options, rig.hooks).ok());
  Rig whole;
  ASSERT_TRUE(Train(*whole.executor, whole.options, whole.hooks).ok());
  EXPECT_EQ(rig.g, whole.g);
}

TEST(Trainer, SkippedStepsAreCountedAndTooManyInARowStop) {
  Rig some;
  some.nan_from = 3, some.nan_to = 5;
  auto summary = Train(*some.executor, some.options, some.hooks);
  ASSERT_TRUE(summary.ok());
  EXPECT_EQ(summary->skipped, 2);
  Rig many;
  many.nan_from = 3, many.nan_to = 100;
  many.options.max_skips = 4;
  auto stopped = Train(*many.executor, many.options, many.hooks);
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.status().code(), Code::kInvalid);
  EXPECT_NE(stopped.status().message().find("not finite"), std::string::npos);
  EXPECT_EQ(many.snapshots.size(), 1u);
}

TEST(Trainer, ErrorsOfDataAndJournalEndTheRun) {
  Rig data;
  data.hooks.fill = [](int64_t, std::span<std::byte* const>) -> Result<int64_t> { return Invalid("row 7 is too long"); };
  EXPECT_EQ(Train(*data.executor, data.options, data.hooks).status().message(), "row 7 is too long");
  Rig journal;
  journal.hooks.record = [](const StepRecord&) { return Invalid("disk full"); };
  EXPECT_EQ(Train(*journal.executor, journal.options, journal.hooks).status().message(), "disk full");
}

TEST(Trainer, MetricsHaveALinePerStep) {
  const std::string path = ::testing::TempDir() + "/metrics.jsonl";
  Rig rig({.samples = 2});
  {
    MetricsWriter metrics = *MetricsWriter::Open(path, false);
    rig.hooks.metrics = &metrics;
    ASSERT_TRUE(Train(*rig.executor, rig.options, rig.hooks).ok());
  }
  const std::string text = *ReadFile(path);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 12);
  EXPECT_NE(text.find("{\"step\":11,\"loss_plus\":["), std::string::npos) << text;
  for (const char* key : {"\"loss_minus\":[", "\"g\":[", "\"lr\":", "\"seconds\":"}) EXPECT_NE(text.find(key), std::string::npos);
  std::remove(path.c_str());
}

}  // namespace
}  // namespace zo2
