#include <chrono>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "ir/schedule/schedule_io.h"
#include "ir/schedule/verify.h"
#include "runtime/commands.h"
#include "runtime/run_state.h"

namespace zo2 {
namespace {

double Clock() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The snapshot's weights against those that the base weights and the records before it give.
Status CompareSnapshot(const Schedule& schedule, const BaseWeights& base, const Journal& journal,
                       const SnapshotRecord& record, const RunState::Options& options) {
  const std::string path = SnapshotPath(journal.path, record.generation);
  const Result<Snapshot> snapshot = Snapshot::Open(journal, record, schedule, options.threads,
                                                  /*codes=*/journal.header.fingerprint == schedule.fingerprint);
  if (!snapshot.ok()) {
    std::printf("snapshot at step %ld: %s\n", static_cast<long>(record.step), snapshot.status().message().c_str());
    return Status();
  }
  RunState::Options at = options;
  at.at = record.step;
  ZO2_ASSIGN(const std::unique_ptr<RunState> state, RunState::Open(schedule, base, journal, at));
  ZO2_ASSIGN(const std::string digest, DigestWeights(schedule, TrainableWeights(schedule), state->reader(), 1));
  if (digest != record.digest)
    return Internal("the snapshot ", path, " is whole but differs from what the journal gives at step ", record.step);
  std::printf("snapshot at step %ld: %s has the same bits\n", static_cast<long>(record.step), path.c_str());
  return Status();
}

}  // namespace

Status RunReplay(const ReplayFlags& flags) {
  ZO2_ASSIGN(const Schedule schedule, ReadSchedule(flags.plan));
  ZO2_TRY(Verify(schedule));
  ZO2_ASSIGN(const Journal journal, Journal::Read(flags.journal));
  ZO2_ASSIGN(const std::unique_ptr<BaseWeights> base, OpenBase(schedule, flags.weights, /*digest=*/true));
  ZO2_ASSIGN(const int64_t at, journal.StepAt(flags.at));
  RunState::Options options{.at = at, .use_snapshots = false};
  if (flags.threads > 0) options.threads = flags.threads;
  ZO2_ASSIGN(const std::unique_ptr<RunState> state, OpenState(schedule, *base, journal, options));
  for (const std::string& note : base->source.notes()) std::fprintf(stderr, "note: %s\n", note.c_str());
  for (const std::string& note : state->notes()) std::fprintf(stderr, "note: %s\n", note.c_str());
  const double begin = Clock();
  ZO2_ASSIGN(const std::string digest, DigestWeights(schedule, AllWeights(schedule), state->reader(), 1));
  int64_t skipped = 0;
  for (int64_t step = 0; step < state->step(); ++step) skipped += journal.steps.at(step).skipped;
  std::printf("replayed %ld steps (%ld of them skipped) on the base weights in %.2f s\n",
              static_cast<long>(state->step()), static_cast<long>(skipped), Clock() - begin);
  if (flags.at == "best") std::printf("%s\n", BestText(*journal.Best()).c_str());
  std::printf("weights of step %ld: sha256 %s\n", static_cast<long>(state->step()), digest.c_str());
  std::set<int> seen;  // the file of a generation is that of its last record
  for (auto record = journal.snapshots.rbegin(); record != journal.snapshots.rend(); ++record)
    if (seen.insert(record->generation).second && record->step <= state->step())
      ZO2_TRY(CompareSnapshot(schedule, *base, journal, *record, options));
  return Status();
}

}  // namespace zo2
