// The journal of a run: base weights and journal give the weights of every step, to the bit, in 72 bytes per step (q = 1).
//
// A file, little endian:
//
//   head     "zo2jrnl\n", u32 version, u32 bytes of the header, the header (journal_header.h), u32 CRC-32 of all before
//   records  u32 bytes of the body, the body, u32 CRC-32
//     body       u8 kind, u8 version, u16 0, then by kind
//     1 step     u64 step, u64 seed, u32 q, u32 skipped, f64 lr, loss_plus[q], loss_minus[q], g[q], u32 0 (bytes of
//                method state: ZO-SGD has none)
//     2 snapshot u64 step, u32 generation, 64 hex digits: digest of the snapshot file's weights
//     3 evaluation: u64 step, f64 value, 8 bytes: name of the metric, zeros behind; 64 hex digits: digest of the data
//
// The CRC of a record continues that of the record before it (the first: of the head), so a record counts only behind
// the records it was written behind. Steps are consecutive from 0; a snapshot or evaluation record stands behind the
// step it follows. A file may end anywhere (a crash, a full disk): what is not a whole good record ends the journal,
// and is cut off when the run goes on. A damaged head is an error, and so is a whole record that this build does not
// know.
#ifndef ZO2_RUNTIME_JOURNAL_H_
#define ZO2_RUNTIME_JOURNAL_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/best_evaluation.h"
#include "runtime/journal_header.h"

namespace zo2 {

// Step records of steps 0 .. steps() - 1, all of the same q.
class StepLog {
 public:
  explicit StepLog(int q = 1) : words_per_step_(StepRecordBytes(q) / 8) {}
  int64_t steps() const { return static_cast<int64_t>(words_.size() / words_per_step_); }
  const StepRecord& at(int64_t step) const {
    return *reinterpret_cast<const StepRecord*>(words_.data() + static_cast<size_t>(step) * words_per_step_);
  }
  // The record of step steps().
  void Append(const StepRecord& record);

 private:
  size_t words_per_step_;
  std::vector<uint64_t> words_;
};

// Where masters at `step` are kept beside the journal, see snapshot.h.
struct SnapshotRecord {
  int64_t step = 0;
  int generation = 0;
  std::string digest;  // SHA-256, hex
};

// A journal as it stands on disk.
struct Journal {
  std::string path;
  JournalHeader header;
  std::string id;  // JournalHeader::Id
  StepLog steps;
  std::vector<SnapshotRecord> snapshots;
  std::vector<EvaluationRecord> evaluations;  // by whatever metric and data, in order
  uint64_t bytes = 0;       // of the file
  uint64_t good_bytes = 0;  // up to the end of the last good record
  uint32_t chain = 0;       // CRC-32 there
  std::string note;         // "" or what was found behind it, in words

  // kInvalid: no such file, no journal, another version, a damaged head, a record of an unknown kind.
  static Result<Journal> Read(const std::string& path);
  // The best evaluation by the metric and on the data of the last one; kInvalid when there is none.
  Result<EvaluationRecord> Best() const;
  // The step that --at means: a number, "best", or "end". kInvalid where there is no such step.
  Result<int64_t> StepAt(const std::string& at) const;
};

// After how many steps the file is made durable: "every" = 1, "never" = 0, or a number.
Result<int64_t> ParseFsync(const std::string& text);

// Appends to a journal. One process at a time; a second one is refused.
class JournalWriter {
 public:
  JournalWriter() = default;  // writes nowhere
  JournalWriter(JournalWriter&& other) noexcept { *this = std::move(other); }
  JournalWriter& operator=(JournalWriter&& other) noexcept;
  JournalWriter(const JournalWriter&) = delete;
  JournalWriter& operator=(const JournalWriter&) = delete;
  ~JournalWriter();

  // A new journal, durable when this returns; kInvalid when the file exists.
  static Result<JournalWriter> Create(const std::string& path, const JournalHeader& header, int64_t fsync_every);
  // Goes on where `journal`, just read, ends; a damaged tail is cut off.
  static Result<JournalWriter> Append(const Journal& journal, int64_t fsync_every);

  bool open() const { return fd_ >= 0; }
  // After an error the journal ends with its last good record; nothing more can be written.
  Status Step(const StepRecord& record);
  Status Snapshot(const SnapshotRecord& record);
  // Durable with what follows: one that is lost is made again.
  Status Evaluation(const EvaluationRecord& record);
  // Everything so far is durable (unless the policy is never).
  Status Sync();
  uint64_t bytes() const { return bytes_; }

 private:
  static Result<JournalWriter> Open(const std::string& path, const JournalHeader& header, int64_t fsync_every);
  Status Write(const std::string& body);

  std::string path_;
  int fd_ = -1;
  uint64_t seed_ = 0;
  int64_t fsync_every_ = 1, unsynced_ = 0;
  uint64_t bytes_ = 0;
  uint32_t chain_ = 0;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_JOURNAL_H_
