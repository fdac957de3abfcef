// Snapshots: the trainable weights at one step, beside the journal, so that going on need not start from step 0.
//
// Two generations, JOURNAL.snap-a and JOURNAL.snap-b, written in turn and atomically: while one is written the other
// one is whole. A snapshot is a safetensors file of trainable weights by canonical name (logical layout, storage dtype)
// with metadata zo2_snapshot, step, journal (Journal::id), seed, and sha256 (DigestWeights of its contents). It counts
// only if the journal has a record of it: one whose record was lost, or cut off with a damaged end, belongs to steps
// that the journal does not have. Frozen weights are always read from the base files.
#ifndef ZO2_RUNTIME_SNAPSHOT_H_
#define ZO2_RUNTIME_SNAPSHOT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/safetensors.h"
#include "ir/support/status.h"
#include "runtime/journal.h"
#include "runtime/weight_reader.h"

namespace zo2 {

std::string SnapshotPath(const std::string& journal, int generation);  // 0 = a, 1 = b
// Removes what a run that was killed while it wrote a snapshot left behind; for the one process that has the journal
// open for writing.
void RemoveUnfinishedSnapshots(const std::string& journal);

// Writes a snapshot and returns its record, which is yet to be appended to the journal. `threads` weights are read at a
// time.
Result<SnapshotRecord> WriteSnapshot(const std::string& journal, const std::string& journal_id, uint64_t seed,
                                     const Schedule& schedule, const WeightReader& masters, int64_t step,
                                     int generation, int threads);

class Snapshot {
 public:
  // The file of a record, proved whole: an error says what is wrong with it.
  static Result<Snapshot> Open(const Journal& journal, const SnapshotRecord& record, const Schedule& schedule,
                               int threads);

  int64_t step() const { return record_.step; }
  int generation() const { return record_.generation; }
  // Trainable weights; as a WeightReader, concurrently.
  Status Read(int32_t weight, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end,
              std::byte* out) const;

 private:
  const Schedule* schedule_ = nullptr;  // must outlive this
  SnapshotRecord record_;
  SafetensorsFile file_;
  std::vector<std::span<const std::byte>> data_;  // per weight of the schedule; empty for frozen ones
};

// The newest whole snapshot at or before step `at`. `notes` gets a line for each one that is newer but damaged.
std::optional<Snapshot> NewestSnapshot(const Journal& journal, const Schedule& schedule, int64_t at, int threads,
                                       std::vector<std::string>* notes);

}  // namespace zo2

#endif  // ZO2_RUNTIME_SNAPSHOT_H_
