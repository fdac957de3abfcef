// Timing of single kernel calls, on operands of their own.
#ifndef ZO2_RUNTIME_TIMED_CALL_H_
#define ZO2_RUNTIME_TIMED_CALL_H_

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

// Repeats f for about `seconds`, at least 5 times after a warm-up of half as long: helpers that slept may
// have to find a core first. `between`, if any, runs before each time and is not timed.
Timing Time(double seconds, const std::function<void()>& f, const std::function<void()>& between = nullptr);

// Memory that operands are taken from.
class Pool {
 public:
  static Result<Pool> Create(Device& device, uint64_t bytes);
  std::byte* data() const { return memory_->data(); }
  uint64_t bytes() const { return memory_->bytes(); }

 private:
  std::unique_ptr<ArenaMemory> memory_;
};

// Floats of moderate size; ids, labels and masks 0.
void Fill(const TensorView& view);
// A view without an address yet (but not an absent operand).
TensorView Dense(DType dtype, Shape shape);
// Every thread gets cache lines of [data, data + bytes) to itself, in turn with the others.
void Touch(WorkerPool& workers, std::byte* data, uint64_t bytes);

// A call with operands of its own.
class OwnCall {
 public:
  // Views whose data is null stay absent. An output that shares an input's address in the plan gets its own
  // here. Ids of an embedding are spread over `rows`.
  static Result<std::unique_ptr<OwnCall>> Create(const KernelCall& call, Kernel kernel, int64_t state_bytes,
                                                 int64_t rows, Pool& pool);
  // As in a run, operands are in the caches of the cores that the call or prepare before them happened to
  // use.
  Timing Run(double seconds, WorkerPool& workers);
  void Call() const { (void)kernel_(call_).ok(); }

 private:
  Kernel kernel_ = nullptr;
  std::vector<TensorView> views_;
  KernelCall call_;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;  // of inputs and outputs
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_TIMED_CALL_H_
