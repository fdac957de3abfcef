// A queue whose work is given to it and done later, in order: a stream of a GPU.
//
// Only what stays the same from iteration to iteration may be in the arguments of a launch, because a launch may be
// captured once into a graph and repeated. What changes - the step, how many updates are pending - is in StepScalars,
// host memory that the device reads when the launch's turn comes.
//
// Errors of the device come late: with the first call after the failure, at the latest from Synchronize.
#ifndef ZO2_RUNTIME_ASYNC_QUEUE_H_
#define ZO2_RUNTIME_ASYNC_QUEUE_H_

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "runtime/device.h"
#include "runtime/kernel_table.h"
#include "runtime/step_kernels.h"

namespace zo2 {

namespace cuda {
struct StepScalars;  // runtime/cuda/prepare_launch.h
}

// A point of a queue's work. Recorded by the queue's thread, waited for from any.
class Event {
 public:
  virtual ~Event() = default;
  // Returns when the work before the latest record is done; at once if it was never recorded.
  virtual Status Synchronize() = 0;
};

// Work captured from a queue.
class CapturedWork {
 public:
  virtual ~CapturedWork() = default;
};

// What `gradient` reads and writes; device addresses.
struct GradientJob {
  const StepControl* control = nullptr;
  StepRecord* record = nullptr;
  std::span<const Branch> branches;
  std::vector<LossPairs> losses;  // one per branch
  int q = 1;
  const RunParameters* parameters = nullptr;
};

class AsyncQueue : public Queue {
 public:
  AsyncQueue* async() override { return this; }

  // timed: its time can be asked for with Seconds.
  virtual Result<std::unique_ptr<Event>> MakeEvent(bool timed) = 0;
  virtual Status Record(Event& event) = 0;
  // Work given from now on starts when the latest record of `event`, of any queue, is reached.
  virtual Status Wait(Event& event) = 0;
  // From one timed event to another; both have been synchronised with.
  virtual Result<double> Seconds(Event& from, Event& to) = 0;

  // The call and its views are copied.
  virtual Status Call(Kernel kernel, const KernelCall& call) = 0;
  // job's step and version are not read: they come from `scalars` when the work is done.
  virtual Status Prepare(const PrepareJob& job, const cuda::StepScalars* scalars) = 0;
  virtual Status Gradient(const GradientJob& job) = 0;

  // What is given between the two is not done but kept. No Record or Wait in between.
  virtual Status BeginCapture() = 0;
  virtual Result<std::unique_ptr<CapturedWork>> EndCapture() = 0;
  // The graph must stay until the work is done.
  virtual Status Launch(CapturedWork& work) = 0;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_ASYNC_QUEUE_H_
