// Snapshots: the trainable weights at one step, beside the journal, so that going on need not start from step 0.
//
// Two generations, JOURNAL.snap-a and JOURNAL.snap-b, written in turn and atomically: while one is written the other
// one is whole. A snapshot is a safetensors file of trainable weights by canonical name (logical layout, storage dtype)
// with metadata zo2_snapshot, step, journal (Journal::id), seed, and sha256 (DigestWeights of its contents). Codes of
// trained coded tiles are older than the step and cannot be made of these weights, so they are in it too: tensors
// zo2.codes.INDEX.TILE of bytes, with metadata codes_versions (the steps that they are current through, tile by tile)
// and codes_sha256. A snapshot counts only if the journal has a record of it: one whose record was lost, or cut off
// with a damaged end, belongs to steps that the journal does not have. Frozen weights are always read from the base
// files.
#ifndef ZO2_RUNTIME_SNAPSHOT_H_
#define ZO2_RUNTIME_SNAPSHOT_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
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

// The codes of a run: per tile the step that they are current through, and bytes [offset, offset + out.size()) of them.
struct RunCodes {
  std::vector<int64_t> versions;
  std::function<Status(TileId tile, uint64_t offset, std::span<std::byte> out)> read;
};

// Writes a snapshot and returns its record, which is yet to be appended to the journal. `threads` weights are read at a
// time.
Result<SnapshotRecord> WriteSnapshot(const std::string& journal, const std::string& journal_id, uint64_t seed,
                                     const Schedule& schedule, const WeightReader& masters, const RunCodes& codes,
                                     int64_t step, int generation, int threads);

class Snapshot {
 public:
  // The file of a record, proved whole: an error says what is wrong with it. With `codes` it must have those of the
  // schedule's trained coded tiles as well.
  static Result<Snapshot> Open(const Journal& journal, const SnapshotRecord& record, const Schedule& schedule,
                               int threads, bool codes = false);

  int64_t step() const { return record_.step; }
  int generation() const { return record_.generation; }
  // Trainable weights; as a WeightReader, concurrently.
  Status Read(int32_t weight, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end,
              std::byte* out) const;

  // Of a tile of TrainedCodes, of a snapshot opened with `codes`.
  std::span<const std::byte> Codes(TileId tile) const { return codes_[static_cast<size_t>(tile)]; }

 private:
  Status OpenCodes();

  const Schedule* schedule_ = nullptr;  // must outlive this
  SnapshotRecord record_;
  SafetensorsFile file_;
  std::vector<std::span<const std::byte>> data_;  // per weight of the schedule; empty for frozen ones
  std::vector<std::span<const std::byte>> codes_;  // per tile; empty for those without
};

// The newest whole snapshot at or before step `at`. `notes` gets a line for each one that is newer but damaged.
std::optional<Snapshot> NewestSnapshot(const Journal& journal, const Schedule& schedule, int64_t at, int threads,
                                       bool codes, std::vector<std::string>* notes);

}  // namespace zo2

#endif  // ZO2_RUNTIME_SNAPSHOT_H_
