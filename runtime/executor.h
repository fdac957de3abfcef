// Executes a schedule and decides nothing.
//
//   Prepare     the verifier has its say, memory is counted, arenas and the lanes' threads come into being
//   Initialize  kernels are bound to addresses, constants and masters are filled in
//   Start       a program begins; Submit lets iterations run and returns at once; Wait and Drain wait
//
// The host's part of an iteration (batches, step controls, records, losses) is in host buffers with rings: Host(buffer,
// iteration) is that copy's address. At most depth() iterations may be submitted beyond the last one waited for.
//
// Masters and codes are current through entry versions that the executor carries from program to program (schedule.h,
// "Master versions", "Coded tiles").
#ifndef ZO2_RUNTIME_EXECUTOR_H_
#define ZO2_RUNTIME_EXECUTOR_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/bound_program.h"
#include "runtime/chaos.h"
#include "runtime/device.h"
#include "runtime/kernel_table.h"
#include "runtime/lane.h"
#include "runtime/program_run.h"
#include "runtime/step_kernels.h"

namespace zo2 {

struct ExecutorOptions {
  ChaosOptions chaos;
  int64_t trace_iterations = 0;  // of each start of a program whose events are kept; 0 = no trace
  bool graphs = true;            // asynchronous lanes repeat captured graphs instead of giving each launch anew
};

// What the lanes of a kind did, over all programs so far.
struct ExecutorStats {
  uint64_t bytes_up = 0, bytes_down = 0;
  double compute_busy = 0, compute_waiting = 0;  // seconds of the compute lanes
};

// Events of one start of a program, for trace.h.
struct TracedRun {
  Purpose purpose;
  std::vector<std::vector<LaneEvent>> lanes;
};

class Executor {
 public:
  // kRejected with the verifier's sentence; kDevice when the arenas do not fit the memory that is left.
  static Result<std::unique_ptr<Executor>> Prepare(Schedule schedule, Device& device, const ExecutorOptions& options);
  Executor(const Executor&) = delete;
  Executor& operator=(const Executor&) = delete;
  ~Executor();

  // `load` fills masters and codes with WriteBuffer or Fill; they are current through `step`, but for codes of which
  // SetCodesVersion says another, and it gives the records of the steps in between with WriteRecord.
  Status Initialize(const KernelTable& kernels, const RunParameters& parameters, int64_t step,
                    const std::function<Status(Executor&)>& load);

  const Schedule& schedule() const { return schedule_; }
  Device& device() const { return device_; }
  const RunParameters& parameters() const { return parameters_; }
  // The step the run has reached: the next train iteration. Set by Initialize, moved by train programs.
  int64_t step() const { return step_; }

  // Host access to a buffer while no program runs. offset is in the first copy.
  Status WriteBuffer(BufferId buffer, uint64_t offset, std::span<const std::byte> bytes);
  Status ReadBuffer(BufferId buffer, uint64_t offset, std::span<std::byte> bytes);
  // Where the host may fill [offset, offset + bytes) of the first copy itself; counts as filled. Null where only WriteBuffer
  // reaches the buffer.
  Result<std::byte*> Fill(BufferId buffer, uint64_t offset, uint64_t bytes);
  // For `load`: the step that a tile's codes are current through, and the record of a step that is past.
  void SetCodesVersion(TileId tile, int64_t version) { codes_version_[static_cast<size_t>(tile)] = version; }
  Status WriteRecord(const StepRecord& record);
  // While no program runs.
  int64_t codes_version(TileId tile) const { return codes_version_[static_cast<size_t>(tile)]; }
  // Address of the copy that iteration `iteration` uses; buffers in host arenas (on a CPU, any).
  std::byte* Host(BufferId buffer, int64_t iteration) const;

  // Begins a program; the one that runs is drained. Iterations begin at step() for train and at 0 otherwise.
  Status Start(Purpose purpose);
  int depth() const;               // of the started program, see above
  int64_t first() const;           // its first iteration
  void Submit();                   // the next iteration may run; never waits
  int64_t submitted() const;       // the iteration that Submit lets run next
  Status Wait(int64_t iteration);  // until every lane has passed it
  Status Drain();                  // until all that was submitted is done; the program is over
  // Start, iterations one after the other as far as depth allows, Drain. For programs that need nothing of the host.
  Status Execute(Purpose purpose, int64_t iterations);

  // Masters of all trainable tiles as of step(): runs flush if something is pending.
  Status Flush();

  ExecutorStats stats() const;
  // Per arena: highest byte that was filled or touched by an executed instruction, and what the plan says it is.
  const std::vector<uint64_t>& measured_peak() const { return peak_; }
  const std::vector<uint64_t>& planned_peak() const { return planned_peak_; }
  // Master elements that an update would have taken past the largest finite value of their dtype; after Drain.
  uint64_t saturated() const { return saturated_; }
  const std::vector<TracedRun>& traces() const { return traces_; }

 private:
  friend class ExecutorTestPeer;  // runs schedules that the verifier rejects, to show that they go wrong
  // Prepare after the verifier.
  static Result<std::unique_ptr<Executor>> Open(Schedule schedule, Device& device, const ExecutorOptions& options);
  Executor(Schedule schedule, Device& device, const ExecutorOptions& options);
  RecordRing Ring(BufferId buffer) const;
  void Touch(BufferId buffer, uint64_t end);

  Schedule schedule_;
  Device& device_;
  const ExecutorOptions options_;
  RunParameters parameters_;
  std::vector<std::unique_ptr<ArenaMemory>> arenas_;
  std::vector<std::byte*> arena_data_;
  // (device, kind, n): the n-th lane of the kind on the device, whichever program it belongs to.
  std::map<std::tuple<int32_t, LaneKind, int>, std::unique_ptr<LaneThread>> threads_;
  std::vector<LaneThread*> ThreadsOf(const Program& program) const;

  std::vector<BoundProgram> bound_;                     // one per program
  std::vector<std::unique_ptr<AsyncProgram>> async_;    // one per program; null where all is the host's
  std::unique_ptr<ProgramRun> run_;
  std::vector<int64_t> version_, codes_version_;  // per tile: steps that masters and codes are current through
  int64_t step_ = 0;
  std::vector<uint64_t> peak_, planned_peak_;
  ExecutorStats finished_;
  uint64_t saturated_ = 0;
  std::vector<TracedRun> traces_;
};

// The check of Prepare: an error in words when `schedule`'s arenas need more than the device says is left.
Status CheckMemory(const Schedule& schedule, const Device& device);

}  // namespace zo2

#endif  // ZO2_RUNTIME_EXECUTOR_H_
