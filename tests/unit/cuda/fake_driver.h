// A GPU's driver played by one thread of the host: streams are queues of work that it takes from in an order drawn from a
// seed, as far as events allow; kernels run as host code. What real streams do only seldom happens here all the time: a
// stream runs far ahead of another, or nothing at all is done before somebody waits for it (lazy).
//
// It is strict where CUDA would be silently slow or wrong: asynchronous copies touch device memory or pinned memory only,
// captures contain no waits, and after an error of the device every call fails.
#ifndef ZO2_TESTS_UNIT_CUDA_FAKE_DRIVER_H_
#define ZO2_TESTS_UNIT_CUDA_FAKE_DRIVER_H_

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "runtime/cuda/driver.h"

namespace zo2::cuda {

struct FakeOptions {
  const KernelTable* kernels = nullptr;
  uint64_t seed = 0;
  bool lazy = false;                  // work is done only while somebody waits for the device
  uint64_t memory = 8ull << 30;       // of the GPU
  int64_t fail_at = -1;               // this piece of work breaks the device; -1: none
};

// What happened, for tests. Read it when the device is gone or idle.
struct FakeLog {
  int64_t copies = 0, calls = 0, prepares = 0, gradients = 0, graphs = 0, graph_launches = 0, waits = 0, records = 0;
  int64_t most_waiting = 0;  // pieces of work that were given and not yet done at once
};

// `log` may be null; it must outlive the driver.
std::unique_ptr<Driver> MakeFakeDriver(const FakeOptions& options, FakeLog* log);

}  // namespace zo2::cuda

#endif  // ZO2_TESTS_UNIT_CUDA_FAKE_DRIVER_H_
