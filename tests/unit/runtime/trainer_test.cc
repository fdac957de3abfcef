#include "runtime/trainer.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <vector>

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
  many.options.divergence.max_skips = 4;
  auto stopped = Train(*many.executor, many.options, many.hooks);
  ASSERT_FALSE(stopped.ok());
  EXPECT_EQ(stopped.status().code(), Code::kInvalid);
  EXPECT_NE(stopped.status().message().find("not finite"), std::string::npos);
  EXPECT_EQ(many.snapshots.size(), 1u);
}

// However many steps may be under way at a time.
TEST(Trainer, SkippedStepsStopExactlyAtTheirNumber) {
  for (const int ring : {2, 3, 4})
    for (const int64_t most : {1, 2, 3, 5}) {
      Rig rig({.period = 2, .ring = ring});
      rig.options.steps = 40;
      rig.nan_from = 3, rig.nan_to = 100;
      rig.options.divergence.max_skips = most;
      const auto stopped = Train(*rig.executor, rig.options, rig.hooks);
      ASSERT_FALSE(stopped.ok());
      EXPECT_EQ(static_cast<int64_t>(rig.steps.size()), 3 + most) << ring << " " << most;
      EXPECT_EQ(rig.snapshots, std::vector<int64_t>{3 + most});
      EXPECT_EQ(rig.executor->step(), 3 + most);
    }
}

// The loss of an example is its label, and not finite where that is negative.
Status LossIsLabel(const KernelCall& call) {
  const int64_t* labels = static_cast<const int64_t*>(call.inputs[1].data);
  for (int64_t e = 0; e < call.inputs[0].shape[0]; ++e) {
    static_cast<double*>(call.outputs[0].data)[e] = labels[e] < 0 ? NAN : static_cast<double>(labels[e]);
    static_cast<double*>(call.outputs[1].data)[e] = 1;
  }
  return Status();
}

// A run whose losses are made up: of step t, and of an evaluation after t steps.
struct Scripted : Rig {
  using Script = std::function<int64_t(int64_t step)>;
  explicit Scripted(Script losses, Script evaluated = {}, int64_t begin = 0) {
    kernels.call[static_cast<size_t>(Op::kClassifyLoss)] = LossIsLabel;
    EXPECT_TRUE(executor->Initialize(kernels, executor->parameters(), begin, LoadTinyMasters).ok());
    first = begin;
    options.stop = &stop;
    options.snapshot_seconds = 0;
    hooks.fill = [this, losses](int64_t step, std::span<std::byte* const> inputs) {
      return FillLoss(*schedule.Find(Purpose::kTrain), step, losses(step), inputs);
    };
    hooks.record = [this](const StepRecord& r) {
      steps.push_back(static_cast<int64_t>(r.step));
      log.Append(r);
      return Status();
    };
    hooks.eval_data = "data";
    hooks.eval_batches = 1;
    hooks.eval_fill = {};
    if (evaluated)
      hooks.eval_fill = [this, evaluated](int64_t, std::span<std::byte* const> inputs) {
        return FillLoss(*schedule.Find(Purpose::kEvaluate), 1000, evaluated(executor->step()), inputs);
      };
    hooks.evaluated = [this](const EvaluationRecord& record) {
      evaluations.push_back(record);
      return Status();
    };
  }
  Result<int64_t> FillLoss(const Program& program, int64_t step, int64_t loss, std::span<std::byte* const> inputs) {
    const Result<int64_t> rows = Fill(program, step, inputs);
    for (size_t i = 0; i < inputs.size(); ++i)
      if (program.inputs[i].value == schedule.loss.labels)
        std::fill_n(reinterpret_cast<int64_t*>(inputs[i]), *rows, loss);
    return rows;
  }
  StepLog log{1};
  std::vector<EvaluationRecord> evaluations;
};

TEST(Trainer, ARisingLossStopsTheRun) {
  for (const double ratio : {10.0, 0.0}) {
    Scripted rig([](int64_t step) { return step < 20 ? 2 : 21; });
    rig.options.steps = 60;
    rig.options.divergence = {.loss_ratio = ratio, .high_steps = 8};
    const auto summary = Train(*rig.executor, rig.options, rig.hooks);
    EXPECT_EQ(summary.ok(), ratio == 0);
    EXPECT_EQ(rig.steps.size(), ratio == 0 ? 60u : 28u);
    EXPECT_EQ(rig.snapshots, std::vector<int64_t>{ratio == 0 ? 60 : 28});
    if (summary.ok()) continue;
    EXPECT_EQ(summary.status().code(), Code::kInvalid);
    EXPECT_NE(summary.status().message().find("--stop-loss-ratio"), std::string::npos) << summary.status().message();
  }
}

// A run that goes on in a new process ends where an undisturbed one does, wherever it was stopped.
TEST(Trainer, APastCounts) {
  const auto rises = [](int64_t step) { return step < 10 ? 2 : 21; };
  const auto skips = [](int64_t step) { return step < 12 ? 2 : -1; };
  for (const Scripted::Script& losses : {Scripted::Script(rises), Scripted::Script(skips)})
    for (int64_t stop_at = 0; stop_at <= 18; ++stop_at) {
      Scripted before(losses);
      before.options.steps = 30;
      before.options.divergence = {.max_skips = 4, .high_steps = 6};
      before.stop_at = stop_at;
      const auto summary = Train(*before.executor, before.options, before.hooks);
      EXPECT_EQ(summary.ok(), stop_at < 15);
      ASSERT_EQ(before.log.steps(), std::min<int64_t>(16, stop_at + 1));
      Scripted after(losses, {}, before.log.steps());
      after.options.steps = 30;
      after.options.divergence = before.options.divergence;
      after.hooks.past = &before.log;
      ASSERT_FALSE(Train(*after.executor, after.options, after.hooks).ok()) << stop_at;
      EXPECT_EQ(after.executor->step(), 16) << stop_at;
      // With a larger limit it goes on from there.
      after.options.divergence.max_skips = 6;
      after.options.divergence.loss_ratio = losses(29) < 0 ? 10 : 11;
      StepLog all = before.log;
      for (int64_t step = 0; step < after.log.steps(); ++step) all.Append(after.log.at(step));
      after.hooks.past = &all;
      EXPECT_EQ(Train(*after.executor, after.options, after.hooks).ok(), losses(29) > 0);
      EXPECT_EQ(after.executor->step(), losses(29) > 0 ? 30 : 18);
    }
}

int64_t FallsAndRises(int64_t step) { return 5 + std::abs(step - 15); }

TEST(Trainer, PatienceEndsTheRunAndTheBestIsKept) {
  for (const int64_t patience : {2, 0}) {
    Scripted rig([](int64_t) { return 2; }, FallsAndRises);
    rig.options.steps = 40;
    rig.options.eval_every = 3;
    rig.options.patience = patience;
    const auto summary = Train(*rig.executor, rig.options, rig.hooks);
    ASSERT_TRUE(summary.ok()) << summary.status().message();
    const int64_t end = patience == 0 ? 40 : 21;
    EXPECT_EQ(summary->out_of_patience, patience > 0);
    EXPECT_FALSE(summary->interrupted);
    EXPECT_EQ(summary->last_step, end);
    EXPECT_EQ(rig.snapshots, std::vector<int64_t>{end});
    EXPECT_EQ(summary->best.best()->step, 15);
    EXPECT_EQ(summary->best.best()->value, 5);
    ASSERT_EQ(rig.evaluations.size(), patience == 0 ? 14u : 7u);
    for (size_t i = 0; i < rig.evaluations.size(); ++i) {
      const EvaluationRecord& record = rig.evaluations[i];
      EXPECT_EQ(record.step, std::min<int64_t>(40, 3 * static_cast<int64_t>(i + 1)));
      EXPECT_EQ(record.value, static_cast<double>(FallsAndRises(record.step)));
      EXPECT_EQ(record.data, "data");
    }
  }
}

TEST(Trainer, PatienceGoesOnAsIfUndisturbed) {
  // Stopped behind any step: also where an evaluation is due, which is then made when the run goes on.
  for (int64_t stop_at = 0; stop_at < 20; ++stop_at) {
    std::vector<EvaluationRecord> evaluations;
    int64_t step = 0;
    for (int life = 0; life < 3; ++life) {
      Scripted rig([](int64_t) { return 2; }, FallsAndRises, step);
      rig.options.steps = 40;
      rig.options.eval_every = 3;
      rig.options.patience = 2;
      rig.stop_at = life == 0 ? stop_at : -1;
      rig.hooks.past_evaluations = evaluations;
      const auto summary = Train(*rig.executor, rig.options, rig.hooks);
      ASSERT_TRUE(summary.ok()) << summary.status().message();
      EXPECT_EQ(summary->interrupted, life == 0);
      EXPECT_EQ(summary->out_of_patience, life > 0);
      step = summary->last_step;
      EXPECT_EQ(step, life == 0 ? stop_at + 1 : 21);
      EXPECT_EQ(rig.steps.size(), static_cast<size_t>(step - summary->first_step));
      if (life > 0) {
        EXPECT_EQ(summary->best.best()->step, 15);
      }
      evaluations.insert(evaluations.end(), rig.evaluations.begin(), rig.evaluations.end());
    }
    ASSERT_EQ(evaluations.size(), 7u) << stop_at;
    for (size_t i = 0; i < 7; ++i) EXPECT_EQ(evaluations[i].step, 3 * static_cast<int64_t>(i + 1));
  }
}

TEST(Trainer, AccuracyAndF1AreOfLogitsAndLabels) {
  Rig rig;
  const Program& program = *rig.schedule.Find(Purpose::kEvaluate);
  ASSERT_FALSE(program.outputs.empty());
  const int64_t classes = rig.schedule.values[static_cast<size_t>(program.outputs[0].value)].type.shape[1];
  std::vector<int64_t> labels, predictions;
  constexpr int64_t kBatches = 9, kLabels[18] = {0, 1, 0, 1, 1, 2, 0, 2, 1, 2, 2, 0, 2, 1, 0, 2, 1, 0};
  const auto fill = [&](int64_t i, std::span<std::byte* const> inputs) -> Result<int64_t> {
    ZO2_TRY(rig.Fill(program, 50 + i, inputs));
    for (size_t input = 0; input < inputs.size(); ++input) {
      if (program.inputs[input].value != rig.schedule.loss.labels) continue;
      int64_t* label = reinterpret_cast<int64_t*>(inputs[input]);
      label[0] = i % 4 == 3 ? -100 : kLabels[i];
      label[1] = kLabels[i + 9];
      labels.insert(labels.end(), label, label + (i + 1 == kBatches ? 1 : 2));
    }
    return i + 1 == kBatches ? 1 : 2;
  };
  const auto take = [&](int64_t rows, std::span<const std::byte* const> outputs) {
    const float* logits = reinterpret_cast<const float*>(outputs[0]);
    for (int64_t r = 0; r < rows; ++r)
      predictions.push_back(std::max_element(logits + r * classes, logits + (r + 1) * classes) - (logits + r * classes));
    return Status();
  };
  const auto evaluation = Evaluate(*rig.executor, kBatches, fill, take);
  ASSERT_TRUE(evaluation.ok()) << evaluation.status().message();
  ASSERT_EQ(labels.size(), predictions.size());
  double right = 0, total = 0, f1 = 0, seen = 0;
  for (size_t i = 0; i < labels.size(); ++i)
    if (labels[i] >= 0) ++total, right += labels[i] == predictions[i];
  for (int64_t c = 0; c < classes; ++c) {
    double hits = 0, said = 0, there = 0;
    for (size_t i = 0; i < labels.size(); ++i) {
      if (labels[i] < 0) continue;
      said += predictions[i] == c;
      there += labels[i] == c;
      hits += predictions[i] == c && labels[i] == c;
    }
    if (said + there == 0) continue;
    const double precision = said > 0 ? hits / said : 0, recall = there > 0 ? hits / there : 0;
    f1 += precision + recall > 0 ? 2 * precision * recall / (precision + recall) : 0;
    ++seen;
  }
  EXPECT_EQ(evaluation->accuracy, right / total);
  EXPECT_NEAR(evaluation->f1, f1 / seen, 1e-12);
  EXPECT_NE(evaluation->f1, evaluation->accuracy);
  EXPECT_GT(evaluation->f1, 0);
  EXPECT_EQ(*MetricOf(*evaluation, EvalMetric::kF1), evaluation->f1);
  EXPECT_EQ(*MetricOf(*evaluation, EvalMetric::kAccuracy), evaluation->accuracy);
  EXPECT_EQ(*MetricOf(*evaluation, EvalMetric::kLoss), evaluation->loss);
  EXPECT_FALSE(MetricOf({.loss = 1, .examples = 5}, EvalMetric::kF1).ok());
}

TEST(Trainer, AMetricThatThePlanDoesNotGiveIsRefused) {
  const auto message = [](const Schedule& schedule, EvalMetric metric) { return CheckMetric(schedule, metric).message(); };
  const Schedule classify = tiny::MakeSchedule({}), lm = tiny::MakeSchedule({.lm_head = true});
  for (const EvalMetric metric : {EvalMetric::kLoss, EvalMetric::kAccuracy, EvalMetric::kF1})
    EXPECT_EQ(message(classify, metric), "");
  EXPECT_EQ(message(lm, EvalMetric::kLoss), "");
  EXPECT_NE(message(lm, EvalMetric::kF1).find("--eval-metric f1 is of models with the loss classify"), std::string::npos);
  Schedule silent = classify;
  for (Program& program : silent.programs) program.outputs.clear();
  EXPECT_NE(message(silent, EvalMetric::kAccuracy).find("--keep-output"), std::string::npos);
  Schedule none = classify;
  std::erase_if(none.programs, [](const Program& p) { return p.purpose == Purpose::kEvaluate; });
  EXPECT_NE(message(none, EvalMetric::kLoss).find("no evaluate program"), std::string::npos);
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
