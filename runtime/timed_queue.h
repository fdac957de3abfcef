// Timing of work that is given to a queue, by the device's own clock.
#ifndef ZO2_RUNTIME_TIMED_QUEUE_H_
#define ZO2_RUNTIME_TIMED_QUEUE_H_

#include <cstdint>
#include <functional>
#include <memory>

#include "ir/support/status.h"
#include "runtime/async_queue.h"
#include "runtime/device.h"
#include "runtime/timed_call.h"
#include "runtime/timed_prepare.h"

namespace zo2 {

// Equal pieces of work.
struct QueueWork {
  std::function<Status(int64_t)> give;  // the i-th piece, to the queue
  // A captured graph has pieces 0 .. captured - 1. Short pieces are repeated as one, as a run's compute lanes repeat
  // them: one by one they would show how fast the host gives them. 0: never (copies, which no lane captures).
  int64_t captured = 32;
};

// Seconds of a piece: at least 5 samples, each of so many pieces between two timed events that it lasts about a tenth
// of `seconds`, for about `seconds` after a warm-up of half as long. The queue is the calling thread's (Bind), and idle
// again when this returns; what the work uses must stay until then.
Result<Timing> TimeOnQueue(AsyncQueue& queue, const QueueWork& work, double seconds);

// A prepare with one pending update and two branches, or updates alone, in device memory of its own. Masters take turns
// and come from memory, as far as `most_bytes` lets them.
class QueuePrepare {
 public:
  static constexpr int64_t kCols = 1024;
  // updates 0: fused, one update and two branches; otherwise so many updates without branches.
  static Result<std::unique_ptr<QueuePrepare>> Create(Device& device, DType dtype, int64_t rows, int updates,
                                                      uint64_t most_bytes);
  QueueWork Work(AsyncQueue& queue);
  Status Give(AsyncQueue& queue, int64_t i);
  int64_t elements() const { return rows_ * kCols; }
  // What Create takes of the device at least.
  static uint64_t LeastBytes(DType dtype, int64_t rows);

 private:
  QueuePrepare(DType dtype, int64_t rows) : rows_(rows), case_(dtype, rows, kCols) {}

  const int64_t rows_;
  PrepareCase case_;
  int64_t copies_ = 1;  // of the master
  std::unique_ptr<ArenaMemory> memory_, scalars_;
  std::byte* outputs_[2] = {};
  std::byte* masters_ = nullptr;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_TIMED_QUEUE_H_
