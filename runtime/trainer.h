// The training loop. It owns nothing of a run but its order:
//
//   fill batch and control of step t -> submit t -> (t - depth done) read its record -> journal -> metrics, progress
//
// so the host works on step t + 1 while step t runs, and waits for a step only when the next one is already under way.
// At the edges of a stretch (evaluation, snapshot, end, interrupt) the pipeline is drained. A snapshot or an evaluation
// sees a journal that has every step so far.
#ifndef ZO2_RUNTIME_TRAINER_H_
#define ZO2_RUNTIME_TRAINER_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>

#include "ir/support/status.h"
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
  int64_t max_skips = 10;       // steps in a row without a finite loss after which the run stops
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
  MetricsWriter* metrics = nullptr;
};

struct TrainSummary {
  int64_t first_step = 0, last_step = 0;  // steps [first, last) were done
  int64_t skipped = 0;
  bool interrupted = false;
  double seconds = 0;          // of the steps, without evaluations and snapshots
  double last_loss = 0;        // mean of both branches over all samples of the last step
  Evaluation evaluation;       // the last one; examples 0 = none
};

// From executor.step() to options.steps. Whatever ends it early, an error apart, the masters are flushed and a snapshot
// is made. Too many skipped steps in a row are kInvalid, after that too.
Result<TrainSummary> Train(Executor& executor, const TrainOptions& options, const TrainHooks& hooks);

// (loss_plus + loss_minus) / 2, mean over samples.
double StepLoss(const StepRecord& record);

}  // namespace zo2

#endif  // ZO2_RUNTIME_TRAINER_H_
