// The fixed threads of a lane, for our own kernels: a call is split into parts, the caller takes its share.
#ifndef ZO2_RUNTIME_WORKER_POOL_H_
#define ZO2_RUNTIME_WORKER_POOL_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace zo2 {

class WorkerPool {
 public:
  // threads >= 1 counts the caller.
  explicit WorkerPool(int threads);
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;
  ~WorkerPool();

  int threads() const { return static_cast<int>(workers_.size()) + 1; }
  // f(0) ... f(parts - 1), each once, in any order and on any of the threads; returns when all have returned.
  // One caller at a time; f must not call Run of the same pool.
  void Run(int64_t parts, const std::function<void(int64_t)>& f);

 private:
  void Work();
  void TakeParts();

  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable start_, done_;
  uint64_t round_ = 0;  // of Run; guarded by mutex_, as are busy_ and stop_
  int busy_ = 0;
  bool stop_ = false;
  const std::function<void(int64_t)>* f_ = nullptr;
  int64_t parts_ = 0;
  std::atomic<int64_t> next_{0};
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_WORKER_POOL_H_
