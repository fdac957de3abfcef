// Timing of the fused pass (prepare) on tiles of its own. Masters come from memory, one after the other;
// branches go where those of the tile before went, which all cores have read since, as in a run.
#ifndef ZO2_RUNTIME_TIMED_PREPARE_H_
#define ZO2_RUNTIME_TIMED_PREPARE_H_

#include <cstddef>
#include <cstdint>

#include "ir/schedule/schedule.h"
#include "runtime/step_kernels.h"
#include "runtime/timed_call.h"

namespace zo2 {

// One weight in one tile of rows x cols values, and what a prepare of it with a pending update and two branches is
// told: all but addresses.
struct PrepareCase {
  PrepareCase(DType dtype, int64_t rows, int64_t cols);
  PrepareCase(const PrepareCase&) = delete;
  PrepareCase& operator=(const PrepareCase&) = delete;

  uint64_t bytes;  // of the tile
  Schedule schedule;
  Program train;
  Tile tile;
  RunParameters parameters;
  const Branch* branches[2];
  alignas(8) std::byte record[StepRecordBytes(1)] = {};  // of every step: the ring has one copy
  // Has no addresses: source, master_out, outputs, records.
  PrepareJob job;
};

class TimedPrepare {
 public:
  static constexpr int64_t kRows = 256, kCols = 1024, kElements = kRows * kCols;

  // Memory of the pool, which is kept for as long as this is used.
  TimedPrepare(DType dtype, Pool& pool, WorkerPool& workers);
  TimedPrepare(const TimedPrepare&) = delete;
  TimedPrepare& operator=(const TimedPrepare&) = delete;

  // The next tile: read, one pending update, write, two branches.
  void Fused();
  // The next tile: read, `updates` pending ones, write. One normal each.
  void Update(int updates);
  void Skip() { ++next_; }
  // Both branches of the tile before are read by all threads.
  void ReadBranches();
  // The master of the next tile.
  const std::byte* master() const { return masters_ + next_ % copies_ * static_cast<int64_t>(case_.bytes); }

 private:
  void Run();

  WorkerPool& workers_;
  PrepareCase case_;
  std::byte* const data_;
  std::byte* const masters_;
  const int64_t copies_;
  int64_t next_ = 0;
  std::byte* outputs_[2];
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_TIMED_PREPARE_H_
