// The threads that help a lane with its kernels and with prepare. OpenMP's would do, but they spin for milliseconds after
// every call, on cores that other lanes need, and a call waits for threads that have not even begun. Here pieces are
// taken one by one, a helper that comes too late is not waited for, and one that finds nothing to do sleeps after some
// microseconds.
#ifndef ZO2_RUNTIME_WORKER_POOL_H_
#define ZO2_RUNTIME_WORKER_POOL_H_

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace zo2 {

class WorkerPool {
 public:
  // The calling thread's own: the one it adopted where that has as many members, otherwise one that is made now and ends
  // with the thread.
  static WorkerPool& Mine(int threads);
  // `pool`, which outlives its use by this thread, is the calling thread's own from now on.
  static void Adopt(WorkerPool* pool);

  // threads >= 1 counts the caller of Run.
  explicit WorkerPool(int threads);
  ~WorkerPool();
  WorkerPool(const WorkerPool&) = delete;
  WorkerPool& operator=(const WorkerPool&) = delete;

  int threads() const { return static_cast<int>(helpers_.size()) + 1; }
  // f(0) ... f(pieces - 1), each once, in any order, on any member; returns when all have returned, or throws
  // what one of them threw. Not to be called from f.
  void Run(int64_t pieces, const std::function<void(int64_t)>& f);

 private:
  void Help();
  void TakePieces();

  // state_: round number, whether members may still join it, and how many helpers are in it.
  static constexpr uint32_t kOpen = 1u << 15, kMembers = kOpen - 1, kRound = 1u << 16;
  static constexpr uint32_t kStop = ~0u;
  std::atomic<uint32_t> state_{0};
  std::atomic<int64_t> next_{0};
  int64_t pieces_ = 0;
  const std::function<void(int64_t)>* f_ = nullptr;
  std::mutex mutex_;  // guards error_
  std::exception_ptr error_;
  std::vector<std::thread> helpers_;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_WORKER_POOL_H_
