// The weights of a run at one step, put together from its parts: base files, the newest whole snapshot, the journal's
// records after it. Used by whatever starts from a journal: train --resume, eval, replay, export.
#ifndef ZO2_RUNTIME_RUN_STATE_H_
#define ZO2_RUNTIME_RUN_STATE_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/journal.h"
#include "runtime/replay.h"
#include "runtime/snapshot.h"
#include "runtime/weight_source.h"

namespace zo2 {

// Threads for work outside of lanes: digests, replay.
int HostThreads();
// "3.4 s", "2 min", in words for a person.
std::string InWords(double seconds);

// Base weights and their digest.
struct BaseWeights {
  WeightSource source;
  std::string sha256;  // "" = not asked for
  double seconds = 0;  // that the digest took
};
// `weights`: see WeightSource::Open.
Result<std::unique_ptr<BaseWeights>> OpenBase(const Schedule& schedule, const std::string& weights, bool digest);

// kInvalid, with the differences named, when the journal's records cannot be applied to this plan and these weights
// (kWeights), or the run cannot go on with these settings (kResume).
Status CheckHeader(const Journal& journal, const JournalHeader& now, HeaderUse use);

class RunState {
 public:
  struct Options {
    int64_t at = -1;  // step; -1 = the journal's end
    bool use_snapshots = true;
    bool codes = false;  // those of the run are wanted too: only snapshots that have them count
    int threads = HostThreads();
  };
  // Schedule, base and journal must outlive this. `at` behind the journal's end is kInvalid.
  static Result<std::unique_ptr<RunState>> Open(const Schedule& schedule, const BaseWeights& base,
                                                const Journal& journal, const Options& options);

  int64_t step() const { return step_; }
  const std::optional<Snapshot>& snapshot() const { return snapshot_; }
  // "from the snapshot at step 400, 20 steps replayed"
  std::string Origin() const;
  // Every weight, trainable or not, at step(). One caller at a time.
  WeightReader reader();

  // With Options::codes. Per tile the step that its codes are current through at step(): CodesVersions; without, or for
  // a plan of other numerics than the journal's, it is step() itself, codes are made of the weights there.
  const std::vector<int64_t>& codes_versions() const { return codes_versions_; }
  // The codes of a tile where the snapshot has them; empty: they are made of the weights at codes_versions().
  std::span<const std::byte> KeptCodes(TileId tile) const;
  // Whose ReadAt and Advance take weights there and on.
  Replay& replay() { return *replay_; }
  const StepLog& log() const { return *log_; }

  double replay_seconds() const { return replay_->seconds(); }  // spent on updates so far
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  const Schedule* schedule_ = nullptr;
  const StepLog* log_ = nullptr;
  int64_t step_ = 0;
  std::vector<int64_t> codes_versions_;
  std::optional<Snapshot> snapshot_;
  std::unique_ptr<Replay> replay_;
  std::vector<std::string> notes_;
};

// CheckHeader for weights and RunState::Open: what a journal stands for without going on with its run.
Result<std::unique_ptr<RunState>> OpenState(const Schedule& schedule, const BaseWeights& base, const Journal& journal,
                                            const RunState::Options& options);

}  // namespace zo2

#endif  // ZO2_RUNTIME_RUN_STATE_H_
