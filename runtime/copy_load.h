// Copies over the link that go on beside something else, to measure what they cost it: one thread and queue
// per direction, as in a run, between memories larger than caches. Of a queue that works later, a few copies are under
// way at a time, and those count that are done.
#ifndef ZO2_RUNTIME_COPY_LOAD_H_
#define ZO2_RUNTIME_COPY_LOAD_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>
#include <vector>

#include "ir/support/status.h"
#include "runtime/device.h"

namespace zo2 {

class CopyLoad {
 public:
  // Pieces of `piece` bytes; `rate` bytes per second of a direction at most, with pauses between pieces (0:
  // no pauses).
  static Result<std::unique_ptr<CopyLoad>> Create(Device& device, uint64_t piece, double rate);
  ~CopyLoad() { Stop(); }

  Status Start(bool up, bool down);
  // Ends the copies; the bytes that either direction carried per second since Start.
  struct Carried {
    double up = 0, down = 0;
  };
  Carried Stop();

 private:
  CopyLoad() = default;
  void Carry(Queue* queue, bool up, std::atomic<uint64_t>* bytes);

  uint64_t piece_ = 0;
  double rate_ = 0, begin_ = 0;
  std::unique_ptr<ArenaMemory> host_[2], device_memory_[2];  // up, down
  std::unique_ptr<Queue> queue_[2];
  std::atomic<uint64_t> bytes_[2] = {0, 0};
  std::atomic<bool> stop_{false};
  std::vector<std::thread> threads_;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_COPY_LOAD_H_
