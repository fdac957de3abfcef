// Timing of single kernel calls, on operands of their own.
#ifndef ZO2_RUNTIME_TIMED_CALL_H_
#define ZO2_RUNTIME_TIMED_CALL_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "ir/support/status.h"
#include "runtime/device.h"
#include "runtime/kernel_table.h"
#include "runtime/worker_pool.h"

namespace zo2 {

double Clock();  // seconds

struct Timing {
  double seconds = 0;  // median
  double spread = 0;   // half of the range that holds the middle 80 %, over the median
};
// Of these times, at least one.
Timing Summary(std::vector<double> times);

// Repeats f for about `seconds`, at least 5 times after a warm-up of half as long: helpers that slept may
// have to find a core first. `between`, if any, runs before each time and is not timed.
Timing Time(double seconds, const std::function<void()>& f, const std::function<void()>& between = nullptr);

// Memory that operands are taken from.
class Pool {
 public:
  static Result<Pool> Create(Device& device, uint64_t bytes, Tier tier = Tier::kDevice);
  std::byte* data() const { return memory_->data(); }
  uint64_t bytes() const { return memory_->bytes(); }

 private:
  std::unique_ptr<ArenaMemory> memory_;
};

// Floats of moderate size; ids, labels and masks 0. Of a view in host memory.
void Fill(const TensorView& view);
// The same, from the first to the last byte of a view in memory of the device.
Status FillOnDevice(Device& device, const TensorView& view);
// A view without an address yet (but not an absent operand).
TensorView Dense(DType dtype, Shape shape);
// Every thread gets cache lines of [data, data + bytes) to itself, in turn with the others.
void Touch(WorkerPool& workers, std::byte* data, uint64_t bytes);

// A call with operands of its own in a pool of device memory, which it does not outlive; nor the call's attributes.
class OwnCall {
 public:
  // Views whose data is null stay absent. An output that shares an input's address in the plan gets its own
  // here. Ids of an embedding are spread over `rows`. kDevice where the pool has less than Bytes.
  static Result<std::unique_ptr<OwnCall>> Create(const KernelCall& call, Kernel kernel, int64_t state_bytes,
                                                 int64_t rows, Device& device, Pool& pool);
  // What the call takes of a pool.
  static uint64_t Bytes(const KernelCall& call, int64_t state_bytes);
  const KernelCall& call() const { return call_; }
  Kernel kernel() const { return kernel_; }

  // On the calling thread, in memory that the host reads.
  Status Try() const { return kernel_(call_); }
  void Call() const { (void)kernel_(call_).ok(); }
  // As in a run, operands are in the caches of the cores that the call or prepare before them happened to
  // use.
  Timing Run(double seconds, WorkerPool& workers);

 private:
  Kernel kernel_ = nullptr;
  std::vector<TensorView> views_;
  KernelCall call_;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;  // of inputs and outputs
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_TIMED_CALL_H_
