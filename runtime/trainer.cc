#include "runtime/trainer.h"

#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <vector>

#include "runtime/progress.h"

namespace zo2 {
namespace {

double Clock() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// First multiple of `every` past `step`.
int64_t NextMultiple(int64_t step, int64_t every) { return (step / every + 1) * every; }

class Loop {
 public:
  Loop(Executor& executor, const TrainOptions& options, const TrainHooks& hooks)
      : executor_(executor), options_(options), hooks_(hooks), train_(executor.schedule().Find(Purpose::kTrain)),
        progress_(executor.step(), options.steps, options.tokens_per_step,
                  train_ == nullptr ? 0 : BatchRows(executor.schedule(), *train_), options.quiet, options.plain_every),
        divergence_(options.divergence), best_(options.metric, hooks.eval_data) {}

  Result<TrainSummary> Run() {
    if (train_ == nullptr) return Invalid("the plan has no train program: compile the model with a loss");
    if (train_->record_host < 0 || train_->control_staging < 0)
      return Invalid("the plan's train program returns no step records: compile the model again with zo2-plan");
    summary_.first_step = summary_.last_step = executor_.step();
    Remember();
    if (EvaluationDue() && executor_.step() > 0 && !Stopped()) ZO2_TRY(Evaluation());
    double snapshot_at = Clock();
    while (executor_.step() < options_.steps && !Stopped() && !Over()) {
      ZO2_TRY(Stretch(snapshot_at));
      const int64_t step = executor_.step();
      const bool last = step >= options_.steps;
      if (EvaluationDue() && (last || !Stopped())) ZO2_TRY(Evaluation());
      if (SnapshotDue(step, snapshot_at) && !last) {
        ZO2_TRY(Snapshot());
        snapshot_at = Clock();
      }
    }
    progress_.Finish();
    ZO2_TRY(Snapshot());
    summary_.last_step = executor_.step();
    summary_.interrupted = Stopped() && !Over() && executor_.step() < options_.steps;
    summary_.out_of_patience = best_.Over(options_.patience) && executor_.step() < options_.steps;
    summary_.best = best_;
    ZO2_TRY(divergence_.Check());
    return summary_;
  }

 private:
  bool Stopped() const { return options_.stop != nullptr && options_.stop->load(std::memory_order_relaxed); }
  bool Over() const { return divergence_.Room() == 0 || best_.Over(options_.patience); }
  // At this step, and not made yet.
  bool EvaluationDue() const {
    return hooks_.eval_fill && zo2::EvaluationDue(options_, executor_.step(), best_.last_step());
  }
  // What came before the first step.
  void Remember() {
    for (int64_t step = 0; hooks_.past != nullptr && step < summary_.first_step; ++step) {
      const StepRecord& record = hooks_.past->at(step);
      divergence_.Add(step, StepLoss(record), record.skipped != 0);
    }
    for (const EvaluationRecord& record : hooks_.past_evaluations) best_.Add(record);
  }
  bool SnapshotDue(int64_t step, double last) const {
    if (!hooks_.snapshot) return false;
    if (options_.snapshot_every > 0) return step % options_.snapshot_every == 0;
    return options_.snapshot_seconds > 0 && Clock() - last >= options_.snapshot_seconds;
  }

  // Steps until something else is due, the pipeline full all the while.
  Status Stretch(double snapshot_at) {
    int64_t stop = options_.steps;
    if (hooks_.eval_fill && options_.eval_every > 0) stop = std::min(stop, NextMultiple(executor_.step(), options_.eval_every));
    if (hooks_.snapshot && options_.snapshot_every > 0)
      stop = std::min(stop, NextMultiple(executor_.step(), options_.snapshot_every));
    ZO2_TRY(executor_.Start(Purpose::kTrain));
    next_ = executor_.first();
    last_time_ = Clock();
    Status status = Pipeline(stop, snapshot_at);
    while (status.ok() && next_ < executor_.submitted()) status = Collect();
    const Status drained = executor_.Drain();
    ZO2_TRY(status);
    return drained;
  }

  Status Pipeline(int64_t stop, double snapshot_at) {
    for (int64_t step = executor_.first(); step < stop; ++step) {
      // No more steps under way than may be taken: what ends the run ends it at its step, not at the one behind.
      const auto most = [&] { return std::min<int64_t>(executor_.depth(), divergence_.Room()); };
      while (step > next_ && step - next_ >= most()) ZO2_TRY(Collect());
      if (Stopped() || divergence_.Room() == 0) break;
      if (options_.snapshot_every == 0 && step > executor_.first() && SnapshotDue(step, snapshot_at)) break;
      const Result<int64_t> rows = hooks_.fill(step, InputAddresses(executor_, *train_, step));
      if (!rows.ok()) return rows.status();
      const StepControl control{static_cast<uint64_t>(step), options_.lr.At(step)};
      std::memcpy(executor_.Host(train_->control_staging, step), &control, sizeof control);
      executor_.Submit();
    }
    return Status();
  }

  // Waits for the oldest step that is under way and hands its record on.
  Status Collect() {
    ZO2_TRY(executor_.Wait(next_));
    const StepRecord& record = *reinterpret_cast<const StepRecord*>(executor_.Host(train_->record_host, next_));
    if (record.step != static_cast<uint64_t>(next_))
      return Internal("the record of step ", next_, " says that it is of step ", record.step);
    const double now = Clock(), seconds = now - last_time_;
    last_time_ = now;
    summary_.seconds += seconds;
    if (hooks_.record) ZO2_TRY(hooks_.record(record));
    if (hooks_.metrics != nullptr) ZO2_TRY(hooks_.metrics->Step(record, seconds));
    summary_.last_loss = StepLoss(record);
    if (record.skipped != 0) {
      ++summary_.skipped;
      progress_.Note("step " + std::to_string(next_) + " is skipped: its loss is not finite");
    }
    divergence_.Add(next_, summary_.last_loss, record.skipped != 0);
    progress_.Step(next_, summary_.last_loss, executor_.stats());
    ++next_;
    return Status();
  }

  Status Evaluation() {
    Result<zo2::Evaluation> evaluation = Evaluate(executor_, hooks_.eval_batches, hooks_.eval_fill);
    if (!evaluation.ok()) return evaluation.status();
    summary_.evaluation = *evaluation;
    ZO2_ASSIGN(const double value, MetricOf(*evaluation, options_.metric));
    const EvaluationRecord record{executor_.step(), options_.metric, value, hooks_.eval_data};
    best_.Add(record);
    // The journal last: what it has is in the metrics file too.
    if (hooks_.metrics != nullptr) ZO2_TRY(hooks_.metrics->Eval(executor_.step(), *evaluation));
    if (hooks_.evaluated) ZO2_TRY(hooks_.evaluated(record));
    if (!options_.quiet) {
      char text[160];
      std::snprintf(text, sizeof text, "after %ld steps: loss %.6f on %ld evaluation examples",
                    static_cast<long>(executor_.step()), evaluation->loss, static_cast<long>(evaluation->examples));
      std::string line = text;
      if (evaluation->accuracy >= 0) {
        std::snprintf(text, sizeof text, ", accuracy %.4f", evaluation->accuracy);
        line += text;
      }
      if (options_.metric == EvalMetric::kF1) {
        std::snprintf(text, sizeof text, ", F1 %.4f", evaluation->f1);
        line += text;
      }
      progress_.Note(line);
    }
    return Status();
  }

  Status Snapshot() {
    ZO2_TRY(executor_.Flush());
    return hooks_.snapshot ? hooks_.snapshot(executor_.step()) : Status();
  }

  Executor& executor_;
  const TrainOptions& options_;
  const TrainHooks& hooks_;
  const Program* train_;
  Progress progress_;
  TrainSummary summary_;
  int64_t next_ = 0;          // the oldest step whose record has not been read
  Divergence divergence_;
  BestEvaluation best_;
  double last_time_ = 0;      // when the step before next_ was done
};

}  // namespace

double StepLoss(const StepRecord& record) {
  double sum = 0;
  for (uint32_t i = 0; i < record.q; ++i) sum += 0.5 * (record.loss_plus()[i] + record.loss_minus()[i]);
  return sum / record.q;
}

bool EvaluationDue(const TrainOptions& options, int64_t step, int64_t last) {
  return options.eval_every > 0 && last != step && (step % options.eval_every == 0 || step >= options.steps);
}

Result<TrainSummary> Train(Executor& executor, const TrainOptions& options, const TrainHooks& hooks) {
  return Loop(executor, options, hooks).Run();
}

}  // namespace zo2
