// The GPU that tests and benchmarks of tests/gpu run on: its driver, one stream, memory that is handed out and taken
// back all at once, and a page that host and GPU share. With the played driver (the rehearsal's programs) all of it is
// the host's.
#ifndef ZO2_TESTS_GPU_GPU_H_
#define ZO2_TESTS_GPU_GPU_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>

#include "ir/support/status.h"
#include "runtime/cuda/driver.h"

namespace zo2::cuda {

class Gpu {
 public:
  // Opens the first GPU; kDevice in words where there is none. Once, before anything else.
  static Status Open(uint64_t pool_bytes);
  static void Close();
  static Gpu& Get();
  ~Gpu();

  Driver& driver() { return *driver_; }
  StreamHandle stream() { return stream_; }
  // Device memory, 256-aligned; until the next Reset. Exits where there is no more: tests say how much they need.
  std::byte* Take(uint64_t bytes);
  void Reset() { taken_ = 0; }
  // Device memory with a copy of this.
  std::byte* Put(const void* data, uint64_t bytes);
  // Memory of the host that the GPU reads and writes in place.
  std::byte* shared() { return shared_; }
  static constexpr uint64_t kShared = 1 << 16;

 private:
  Gpu() = default;
  std::unique_ptr<Driver> driver_;
  StreamHandle stream_ = nullptr;
  std::byte *pool_ = nullptr, *shared_ = nullptr;
  uint64_t bytes_ = 0, taken_ = 0;
};

}  // namespace zo2::cuda

#endif  // ZO2_TESTS_GPU_GPU_H_
