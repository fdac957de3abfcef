#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ir/support/file.h"
#include "runtime/commands.h"
#include "runtime/dataset.h"
#include "runtime/evaluate.h"
#include "runtime/journal.h"
#include "runtime/masters.h"
#include "runtime/metrics.h"
#include "runtime/output_paths.h"
#include "runtime/run_setup.h"
#include "runtime/run_state.h"
#include "runtime/snapshot.h"
#include "runtime/trainer.h"

namespace zo2 {
namespace {

double Clock() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Status CheckFlags(const TrainFlags& f) {
  const auto not_below = [](const char* flag, double value, double least) {
    if (std::isfinite(value) && value >= least) return Status();
    return Invalid(flag, " is ", value, " but must be a number that is at least ", least);
  };
  ZO2_TRY(not_below("--steps", static_cast<double>(f.steps), 1));
  ZO2_TRY(not_below("--lr", f.lr, 0));
  ZO2_TRY(not_below("--warmup", static_cast<double>(f.warmup), 0));
  ZO2_TRY(not_below("--weight-decay", f.weight_decay, 0));
  ZO2_TRY(not_below("--clip-g", f.clip_g, 0));
  ZO2_TRY(not_below("--max-skips", static_cast<double>(f.max_skips), 1));
  ZO2_TRY(not_below("--eval-every", static_cast<double>(f.eval_every), 0));
  ZO2_TRY(not_below("--patience", static_cast<double>(f.patience), 0));
  ZO2_TRY(not_below("--snapshot-every", static_cast<double>(f.snapshot_every), 0));
  if (!(f.eps > 0) || !std::isfinite(f.eps)) return Invalid("--eps is ", f.eps, " but must be above 0");
  if (f.stop_loss_ratio != 0 && !(f.stop_loss_ratio > 1 && std::isfinite(f.stop_loss_ratio)))
    return Invalid("--stop-loss-ratio is ", f.stop_loss_ratio, " but must be above 1, or 0 for never");
  if (f.resume && f.journal.empty()) return Invalid("--resume needs --journal: there is nothing to go on from");
  if (f.eval_every > 0 && f.eval_data.empty()) return Invalid("--eval-every needs --eval-data");
  if (f.eval_metric != "loss" && f.eval_data.empty()) return Invalid("--eval-metric needs --eval-data");
  if (f.patience > 0 && f.eval_every == 0) return Invalid("--patience needs --eval-every: it counts evaluations");
  if (f.snapshot_every > 0 && f.journal.empty())
    return Invalid("--snapshot-every needs --journal: snapshots stand beside it");
  ZO2_TRY(CheckOutputs(
      {{"--journal", f.journal}, {"--metrics", f.metrics, true}, {"--output", f.output}, {"--trace", f.run.trace}},
      {f.run.plan, f.data, f.eval_data}));
  if (!f.journal.empty() && !f.resume && FileExists(f.journal))
    return Invalid("the journal ", f.journal, " exists: give --resume to go on with it, or another name");
  return Status();
}

// Everything a training run is made of, in the order in which it is put together.
class Training {
 public:
  Training(const TrainFlags& flags, const KernelTable& kernels, const std::atomic<bool>& stop)
      : flags_(flags), kernels_(kernels), stop_(stop) {}

  Status Run() {
    ZO2_ASSIGN(std::unique_ptr<Device> device, OpenRunDevice(flags_.run));
    ZO2_TRY(CheckFlags(flags_));
    ZO2_ASSIGN(order_, ParseDataOrder(flags_.order));
    ZO2_ASSIGN(options_.lr.shape, ParseLrShape(flags_.lr_schedule));
    ZO2_ASSIGN(options_.metric, ParseEvalMetric(flags_.eval_metric));
    ZO2_ASSIGN(fsync_every_, ParseFsync(flags_.fsync));
    ZO2_ASSIGN(setup_, SetUp(flags_.run, std::move(device)));
    ZO2_TRY(OpenData());
    ZO2_TRY(OpenWeights());
    ZO2_TRY(Load());
    // From here on files are written.
    ZO2_TRY(OpenOutputs());
    facts_ = setup_.device->facts();
    const Result<TrainSummary> summary = Train(executor(), Options(), Hooks());
    if (!summary.ok()) return WithHint(summary.status());
    // An interrupted run goes on; only one without a journal has nothing but this to show.
    write_tuned_ = !flags_.output.empty() && (!summary->interrupted || flags_.journal.empty());
    if (write_tuned_) ZO2_TRY(WriteTuned());
    ZO2_TRY(FinishTrace(flags_.run, executor()));
    if (!flags_.run.quiet) Print(*summary);
    return Status();
  }

 private:
  Executor& executor() { return *setup_.executor; }
  const Schedule& schedule() const { return setup_.executor->schedule(); }
  void Note(const std::string& note) const {
    if (!flags_.run.quiet) std::fprintf(stderr, "note: %s\n", note.c_str());
  }

  Status OpenData() {
    train_ = schedule().Find(Purpose::kTrain);
    if (train_ == nullptr) return Invalid(flags_.run.plan, " has no train program: compile the model with a loss");
    const Dataset::Options options{flags_.truncate};
    ZO2_ASSIGN(data_, Dataset::Open(flags_.data, schedule(), *train_, options));
    for (const std::string& note : data_->notes()) Note(flags_.data + ": " + note);
    if (flags_.eval_data.empty()) return Status();
    const Program* evaluate = schedule().Find(Purpose::kEvaluate);
    if (evaluate == nullptr)
      return Invalid(flags_.run.plan, " has no evaluate program: compile it again with zo2-plan");
    ZO2_TRY(CheckMetric(schedule(), options_.metric));
    ZO2_ASSIGN(eval_data_, Dataset::Open(flags_.eval_data, schedule(), *evaluate, options));
    for (const std::string& note : eval_data_->notes()) Note(flags_.eval_data + ": " + note);
    return Status();
  }

  // Base weights, the journal if there is one, and whether they fit together.
  Status OpenWeights() {
    parameters_ = {flags_.seed, flags_.eps, flags_.weight_decay, flags_.clip_g};
    ZO2_ASSIGN(base_, OpenBase(schedule(), flags_.run.weights, /*digest=*/!flags_.journal.empty()));
    for (const std::string& note : base_->source.notes()) Note(note);
    if (flags_.journal.empty()) return Status();
    const DataPins pins{flags_.data, data_->digest(), flags_.order, BatchRows(schedule(), *train_), flags_.truncate};
    header_ = MakeJournalHeader(schedule(), parameters_, base_->sha256, pins,
                                setup_.device->kernels() != nullptr ? setup_.device->kernels()->library : kernels_.library);
    if (!flags_.resume || !FileExists(flags_.journal)) return Status();
    ZO2_ASSIGN(past_, Journal::Read(flags_.journal));
    ZO2_TRY(CheckHeader(*past_, header_, HeaderUse::kResume));
    ZO2_ASSIGN(state_, RunState::Open(schedule(), *base_, *past_, {.codes = true}));
    // Damage is worth a line however quiet the run is.
    for (const std::string& note : state_->notes()) std::fprintf(stderr, "note: %s\n", note.c_str());
    if (state_->step() > flags_.steps)
      return Invalid("the journal ", flags_.journal, " has ", state_->step(), " steps already, more than --steps ",
                     flags_.steps);
    if (!flags_.run.quiet)
      std::fprintf(stderr, "going on with %s at step %ld, from %s\n", flags_.journal.c_str(),
                   static_cast<long>(state_->step()), state_->Origin().c_str());
    return Status();
  }

  Status Load() {
    const double begin = Clock();
    ZO2_TRY(executor().Initialize(kernels_, parameters_, state_ ? state_->step() : 0, [&](Executor& e) {
      return state_ ? LoadRun(*state_, e) : LoadMasters(base_->source.reader(), e, HostThreads());
    }));
    load_seconds_ = Clock() - begin - (state_ ? state_->replay_seconds() : 0);
    recorded_ = executor().step();
    if (state_ && state_->snapshot()) snapshot_ = {state_->snapshot()->step(), state_->snapshot()->generation(), ""};
    return Status();
  }

  Status OpenOutputs() {
    if (!flags_.journal.empty()) {
      ZO2_ASSIGN(journal_, past_ ? JournalWriter::Append(*past_, fsync_every_)
                                 : JournalWriter::Create(flags_.journal, header_, fsync_every_));
      RemoveUnfinishedSnapshots(flags_.journal);
      journal_id_ = past_ ? past_->id : header_.Id();
    }
    if (past_ && !flags_.metrics.empty()) {
      BestEvaluation past(options_.metric, eval_data_ ? eval_data_->digest() : "");
      for (const EvaluationRecord& record : past_->evaluations) past.Add(record);
      const bool again = eval_data_ && EvaluationDue(Options(), past_->steps.steps(), past.last_step());
      ZO2_TRY(MendMetrics(flags_.metrics, past_->steps, !again));
    }
    ZO2_ASSIGN(metrics_, MetricsWriter::Open(flags_.metrics, /*append=*/past_.has_value()));
    return Status();
  }

  // Of the flags; may be asked for more than once.
  const TrainOptions& Options() {
    options_.steps = flags_.steps;
    options_.lr.lr = flags_.lr;
    options_.lr.warmup = flags_.warmup;
    options_.lr.total = flags_.steps;
    options_.eval_every = eval_data_ && flags_.eval_every == 0 ? flags_.steps : flags_.eval_every;
    options_.snapshot_every = flags_.snapshot_every;
    options_.patience = flags_.patience;
    options_.divergence.max_skips = flags_.max_skips;
    options_.divergence.loss_ratio = flags_.stop_loss_ratio;
    // In nats per token or example; other losses have a scale of their own.
    const std::string& loss = schedule().loss.kind;
    options_.divergence.least_loss = loss == "classify" || loss == "causal-lm" ? 0.1 : 0;
    options_.tokens_per_step = TokensPerStep(schedule(), *train_);
    options_.quiet = flags_.run.quiet;
    options_.stop = &stop_;
    return options_;
  }

  const TrainHooks& Hooks() {
    const int64_t rows = BatchRows(schedule(), *train_);
    sampler_.emplace(order_, flags_.seed, data_->examples(), rows);
    hooks_.fill = [this, rows](int64_t step, std::span<std::byte* const> inputs) -> Result<int64_t> {
      for (int64_t row = 0; row < rows; ++row) data_->Fill(sampler_->At(step, row), row, inputs);
      return rows;
    };
    if (eval_data_) {
      const int64_t eval_rows = BatchRows(schedule(), *schedule().Find(Purpose::kEvaluate));
      hooks_.eval_fill = FillInOrder(*eval_data_, eval_rows);
      hooks_.eval_batches = BatchesOf(*eval_data_, eval_rows);
      hooks_.eval_data = eval_data_->digest();
    }
    hooks_.metrics = &metrics_;
    if (!journal_.open()) return hooks_;
    hooks_.record = [this](const StepRecord& record) -> Status {
      ZO2_TRY(journal_.Step(record));
      ++recorded_;
      return Status();
    };
    hooks_.evaluated = [this](const EvaluationRecord& record) { return journal_.Evaluation(record); };
    hooks_.snapshot = [this](int64_t step) { return Snapshot(step); };
    if (past_) {
      hooks_.past = &past_->steps;
      hooks_.past_evaluations = past_->evaluations;
    }
    return hooks_;
  }

  // The older generation is replaced, once every step before is durable.
  Status Snapshot(int64_t step) {
    if (step == snapshot_.step) return Status();  // there is one, or nothing has happened yet
    ZO2_TRY(journal_.Sync());
    const double begin = Clock();
    ZO2_ASSIGN(snapshot_, WriteSnapshot(flags_.journal, journal_id_, flags_.seed, schedule(), MasterReader(executor()),
                                        CodesOf(executor()), step, 1 - snapshot_.generation, HostThreads()));
    snapshot_seconds_ = Clock() - begin;
    return journal_.Snapshot(snapshot_);
  }

  Status WriteTuned() {
    ZO2_TRY(executor().Flush());
    // What has no master is frozen: it is as its file has it.
    std::vector<bool> kept(schedule().weights.size(), true);
    for (const Tile& tile : schedule().tiles)
      for (const Segment& s : tile.segments)
        if (tile.master < 0) kept[static_cast<size_t>(s.weight)] = false;
    const WeightReader masters = MasterReader(executor()), base = base_->source.reader();
    const WeightReader read = [&](int32_t w, auto... rectangle) {
      return kept[static_cast<size_t>(w)] ? masters(w, rectangle...) : base(w, rectangle...);
    };
    return WriteWeights(schedule(), AllWeights(schedule()), read, flags_.output,
                        {{"format", "pt"}, {"step", std::to_string(executor().step())}});
  }

  // Steps that were done before the error are not lost; say so.
  Status WithHint(const Status& status) const {
    if (recorded_ == 0 || flags_.journal.empty()) return status;
    return Error(status.code(), status.message(), " (the journal ", flags_.journal, " has the run up to step ",
                 recorded_, "; --resume goes on with it once the cause is gone)");
  }

  void PrintBest(const BestEvaluation& best) const {
    if (!best.best()) {
      std::printf("no evaluation had a finite %s\n", flags_.eval_metric.c_str());
      return;
    }
    std::printf("%s%s\n", BestText(*best.best()).c_str(),
                journal_.open() ? "; export --at best writes its weights" : "; a --journal would keep its weights");
  }

  void Print(const TrainSummary& s) {
    const int64_t steps = s.last_step - s.first_step;
    if (s.interrupted)
      std::printf("interrupted at step %ld of %ld\n", static_cast<long>(s.last_step), static_cast<long>(flags_.steps));
    if (s.out_of_patience)
      std::printf("stopped at step %ld of %ld: %ld evaluations without a better %s; a larger --patience goes on\n",
                  static_cast<long>(s.last_step), static_cast<long>(flags_.steps), static_cast<long>(flags_.patience),
                  flags_.eval_metric.c_str());
    if (steps > 0) {
      std::printf("trained %ld steps, from %ld to %ld, %ld of them skipped: last loss %.6f\n", static_cast<long>(steps),
                  static_cast<long>(s.first_step), static_cast<long>(s.last_step), static_cast<long>(s.skipped),
                  s.last_loss);
      std::printf("%s\n", PeriodText(setup_.executor->schedule(), *train_, s.seconds, steps).c_str());
    } else if (!s.interrupted && !s.out_of_patience) {
      std::printf("all %ld steps are done already\n", static_cast<long>(flags_.steps));
    }
    if (s.evaluation.examples > 0) std::printf("evaluation: %s\n", EvaluationText(s.evaluation).c_str());
    if (s.best.count() > 1) PrintBest(s.best);
    std::printf("%s\n", PeakText(executor()).c_str());
    if (const std::string device = DeviceText(facts_, setup_.device->facts(), steps); !device.empty())
      std::printf("%s\n", device.c_str());
    if (executor().saturated() > 0)
      std::printf("%lu updates would have left the range of the storage dtype and were cut\n",
                  static_cast<unsigned long>(executor().saturated()));
    if (journal_.open()) {
      const double resume = base_->seconds + snapshot_seconds_ + load_seconds_;  // each as measured; nothing to replay
      std::printf("journal: %s, %s, with a snapshot at step %ld; going on from here takes %s to start\n",
                  flags_.journal.c_str(), PrintBytes(journal_.bytes()).c_str(), static_cast<long>(snapshot_.step),
                  InWords(resume).c_str());
    }
    if (!flags_.metrics.empty()) std::printf("metrics: %s\n", flags_.metrics.c_str());
    if (!flags_.run.trace.empty()) std::printf("trace: %s (ui.perfetto.dev)\n", flags_.run.trace.c_str());
    if (write_tuned_) std::printf("tuned weights: %s\n", flags_.output.c_str());
    if (s.interrupted && journal_.open()) {
      std::printf("to go on: %s\n", flags_.again.c_str());
    } else if (s.interrupted) {
      std::printf("there is no journal, so the run cannot go on%s; give --journal next time\n",
                  flags_.output.empty() ? " and its weights are lost" : "");
    }
  }

  const TrainFlags& flags_;
  const KernelTable& kernels_;
  const std::atomic<bool>& stop_;
  DataOrder order_ = DataOrder::kRandom;
  int64_t fsync_every_ = 1;
  RunSetup setup_;
  std::map<std::string, std::string> facts_;  // of the device, before the first step
  const Program* train_ = nullptr;
  std::unique_ptr<Dataset> data_, eval_data_;
  RunParameters parameters_;
  std::unique_ptr<BaseWeights> base_;
  JournalHeader header_;
  std::optional<Journal> past_;  // the journal that the run goes on with
  std::unique_ptr<RunState> state_;
  double load_seconds_ = 0, snapshot_seconds_ = 0;  // without replayed updates; of writing, as of checking, one
  int64_t recorded_ = 0;                            // steps in the journal
  JournalWriter journal_;
  std::string journal_id_;
  SnapshotRecord snapshot_{0, 1, ""};  // the newest one; step 0 is the base weights
  MetricsWriter metrics_;
  std::optional<Sampler> sampler_;
  TrainOptions options_;
  TrainHooks hooks_;
  bool write_tuned_ = false;
};

}  // namespace

Status RunTrain(const TrainFlags& flags, const KernelTable& kernels, const std::atomic<bool>& stop) {
  return Training(flags, kernels, stop).Run();
}

}  // namespace zo2
