// One start of a program: its lanes run iteration after iteration until the host closes it.
//
// Each lane has a counter of instructions passed: iteration · length + index + 1. An instruction waits until, for every
// edge, the other lane's counter has come far enough; then it runs and its lane's counter goes up. Instructions whose
// residues leave the iteration out are passed without waiting. The counters begin at first · length: before the first
// iteration all is passed. After an error every lane passes over the rest, so that nothing waits for ever.
//
// On an asynchronous lane (async_program.h) passed means given to the queue; that it is done, an event says.
#ifndef ZO2_RUNTIME_PROGRAM_RUN_H_
#define ZO2_RUNTIME_PROGRAM_RUN_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "runtime/async_program.h"
#include "runtime/bound_program.h"
#include "runtime/chaos.h"
#include "runtime/counter.h"
#include "runtime/lane.h"
#include "runtime/step_kernels.h"

namespace zo2 {

// When one instruction ran; nanoseconds of the monotonic clock.
struct LaneEvent {
  int64_t iteration;
  int32_t index;
  int64_t begin, start, end;  // reached the lane's head, may start, done
};

struct LaneStats {
  double busy_seconds = 0;     // inside instructions
  double waiting_seconds = 0;  // for edges; not for the host
  uint64_t bytes_copied = 0;
  int64_t instructions = 0;
};

class ProgramRun {
 public:
  struct Context {
    const Schedule* schedule = nullptr;
    const Program* train = nullptr;     // the train program, null if there is none
    const BoundProgram* bound = nullptr;
    AsyncProgram* async = nullptr;      // null: no lane is asynchronous
    bool graphs = true;                 // asynchronous lanes repeat captured graphs
    std::vector<LaneThread*> threads;   // one per lane
    const RunParameters* parameters = nullptr;
    RecordRing records, records_host;   // of the train program
    std::vector<int64_t> entry_version, entry_codes;  // per tile: steps that masters and codes are current through
    int64_t first = 0;                  // first iteration
    int64_t step = 0;                   // programs other than train: the run's step
    ChaosOptions chaos;
    int64_t trace_iterations = 0;       // from the first, whose events are kept
    uint64_t* saturated = nullptr;      // see PrepareJob
  };
  explicit ProgramRun(Context context);
  ~ProgramRun();

  // Lets the lanes run iterations < end.
  void Submit(int64_t end);
  // Returns when every lane has passed the iteration; the first error of any instruction.
  Status Wait(int64_t iteration);
  // Waits for all that was submitted and lets the threads go. Called by the destructor too.
  Status Close();

  int64_t submitted() const { return submitted_; }
  const Context& context() const { return context_; }
  // Only after Close.
  const std::vector<std::vector<LaneEvent>>& trace() const { return trace_; }
  // A snapshot, any time.
  std::vector<LaneStats> stats() const;
  // Highest byte of each arena that an executed instruction touched; only after Close.
  std::vector<uint64_t> peak() const;

 private:
  struct Timed {  // an instruction that is traced on an asynchronous lane
    int64_t iteration;
    int32_t index;
    std::unique_ptr<Event> start, end;
  };
  struct LaneState {
    Counter passed;
    std::atomic<int64_t> busy{0}, waiting{0}, instructions{0};
    std::atomic<uint64_t> bytes{0};
    std::vector<uint64_t> peak;
    // Asynchronous lanes. Per lane, the highest value of its counter that the queue has been told to wait for.
    std::vector<uint64_t> joined;
    std::vector<Timed> timed;
    std::unique_ptr<Event> time_zero;  // at the monotonic clock's time_zero_ns
    int64_t time_zero_ns = 0;
  };
  void RunLane(size_t lane);
  // Waits until lane `wait.lane` has passed what the edge names, as far as the host can see: on an asynchronous lane, until
  // it has been given to the queue. False where nothing has to be waited for.
  bool WaitPassed(const BoundInstruction::Wait& wait, int64_t iteration);
  bool is_async(size_t lane) const { return context_.async != nullptr && context_.async->lanes[lane] != nullptr; }
  int64_t StepOf(int64_t iteration) const;
  void Touch(size_t lane, const BoundInstruction& bound, int64_t iteration, int64_t step);

  // program_run_async.cc
  void RunAsyncLane(size_t lane);
  Status RunStretch(size_t lane, Stretch& stretch, int64_t iteration);
  Status JoinLanes(size_t lane, const BoundInstruction& first, int64_t iteration);
  Status Give(size_t lane, const Stretch& stretch, int64_t iteration);
  Status GiveOne(size_t lane, const BoundInstruction& bound, int64_t iteration, int64_t step);
  Status GiveTraced(size_t lane, const Stretch& stretch, int64_t iteration);
  void WriteScalars(size_t lane, const Stretch& stretch, int64_t iteration);
  Status ResolveTrace(size_t lane);
  bool Ready(const BoundInstruction& bound, int64_t iteration) const;
  Status Execute(size_t lane, const BoundInstruction& bound, int64_t iteration);
  PrepareJob MakeJob(const BoundInstruction& bound, int64_t iteration, int64_t step) const;
  // What a prepare's operands say, too; the arrays are the caller's.
  struct PrepareArrays {
    std::byte* outputs[64];
    const Branch* branches[64];
  };
  Result<PrepareJob> MakePrepareJob(const BoundInstruction& bound, int64_t iteration, int64_t step,
                                    PrepareArrays* arrays) const;
  Status ExecutePrepare(size_t lane, const BoundInstruction& bound, int64_t iteration, int64_t step);
  Status ExecuteHostUpdate(size_t lane, const BoundInstruction& bound, int64_t iteration, int64_t step);
  Status ExecuteGather(const BoundInstruction& bound, int64_t iteration, int64_t step);
  GradientJob MakeGradientJob(const BoundInstruction& bound, int64_t iteration, int64_t step) const;
  // Hands `run` every call of the instruction with this iteration's addresses; an error is given the node's name.
  Status ForEachCall(const BoundInstruction& bound, int64_t iteration, int64_t step,
                     const std::function<Status(const KernelCall&)>& run) const;
  void Fail(Status status);

  const Context context_;
  std::vector<std::unique_ptr<LaneState>> lanes_;
  std::vector<std::vector<LaneEvent>> trace_;
  std::unique_ptr<Turnstile> turnstile_;
  Counter admitted_;  // iterations < admitted_ may run; kForever: the host has closed the program
  int64_t submitted_;
  std::atomic<int64_t> end_;  // once closed: the end of the last iteration
  bool closed_ = false;
  std::atomic<bool> failed_{false};
  mutable std::mutex error_mutex_;
  Status error_;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_PROGRAM_RUN_H_
