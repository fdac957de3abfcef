// The training loop. It owns nothing of a run but its order:
//
//   fill batch and control of step t -> submit t -> (t - depth done) read its record -> journal -> metrics, progress
//
// so the host works on step t + 1 while step t runs, and waits for a step only when the next one is already under way.
// At the edges of a stretch (evaluation, snapshot, end, interrupt) the pipeline is drained. A snapshot or an evaluation
// sees a journal that has every step so far.
//
// A run ends early when it diverges (divergence.h) or its evaluations do not get better (best_evaluation.h). Both are
// told the past of a run that goes on, so they end it at the step where an undisturbed run ends; and an evaluation that is
// due where it goes on, but missing there because the run was stopped before it, is made first.
#ifndef ZO2_RUNTIME_TRAINER_H_
#define ZO2_RUNTIME_TRAINER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ir/support/status.h"
#include "runtime/best_evaluation.h"
#include "runtime/divergence.h"
#include "runtime/evaluate.h"
#include "runtime/executor.h"
#include "runtime/lr_schedule.h"
#include "runtime/metrics.h"

namespace zo2 {

struct TrainOptions {
  int64_t steps = 1000;         // the run is over at this step, counted from its very beginning
  LrSchedule lr;
  int64_t eval_every = 0;       // 0 = never; otherwise also at the end
  int64_t snapshot_every = 0;   // 0 = by time, see snapshot_seconds
  double snapshot_seconds = 180;  // so that resuming costs at most some minutes
  EvalMetric metric = EvalMetric::kLoss;  // by which evaluations are compared
  int64_t patience = 0;         // evaluations in a row that are not better end the run; 0 = never
  DivergenceLimits divergence;
  int64_t tokens_per_step = 0;  // for the progress line
  bool quiet = false;
  double plain_every = 5;       // seconds between lines where there is no terminal
  const std::atomic<bool>* stop = nullptr;  // set by a signal: finish the step, flush, snapshot, leave
};

// What the run is connected to. Empty functions are left out.
struct TrainHooks {
  BatchFiller fill;                                        // batch of a step, by step
  std::function<Status(const StepRecord& record)> record;  // journal; in order of steps
  std::function<Status(int64_t step)> snapshot;          // masters are flushed, current through step
  int64_t eval_batches = 0;
  BatchFiller eval_fill;
  std::string eval_data;  // digest of the evaluation data, for the records
  std::function<Status(const EvaluationRecord& record)> evaluated;  // journal
  // Of a run that goes on: the steps before this one (nullptr = none are known) and their evaluations.
  const StepLog* past = nullptr;
  std::vector<EvaluationRecord> past_evaluations;
  MetricsWriter* metrics = nullptr;
};

struct TrainSummary {
  int64_t first_step = 0, last_step = 0;  // steps [first, last) were done
  int64_t skipped = 0;
  bool interrupted = false;
  bool out_of_patience = false;
  double seconds = 0;          // of the steps, without evaluations and snapshots
  double last_loss = 0;        // mean of both branches over all samples of the last step
  Evaluation evaluation;       // the last one; examples 0 = none
  BestEvaluation best;         // of the whole run
};

// Whether an evaluation is to be made after `step` steps, the last one having been after `last` (-1: none).
bool EvaluationDue(const TrainOptions& options, int64_t step, int64_t last);

// From executor.step() to options.steps. Whatever ends it early, an error apart, the masters are flushed and a snapshot
// is made. A run that diverges is kInvalid, after that too. A past that ends a run ends it here before any step.
Result<TrainSummary> Train(Executor& executor, const TrainOptions& options, const TrainHooks& hooks);

// (loss_plus + loss_minus) / 2, mean over samples.
double StepLoss(const StepRecord& record);

}  // namespace zo2

#endif  // ZO2_RUNTIME_TRAINER_H_
