// The threads that help a lane with its kernels. OpenMP's would do, but they spin for milliseconds after
// every call, on cores that other lanes need, and a call waits for threads that have not even begun. Here
// pieces are taken one by one, a helper that comes too late is not waited for, and one that finds nothing to
// do sleeps after some microseconds.
#ifndef ZO2_RUNTIME_ATEN_TEAM_H_
#define ZO2_RUNTIME_ATEN_TEAM_H_

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace zo2::aten {

class Team {
 public:
  // The calling thread's own, with `threads` >= 1 members, itself included. Ends with the thread.
  static Team& Mine(int threads);

  explicit Team(int threads);
  ~Team();
  Team(const Team&) = delete;
  Team& operator=(const Team&) = delete;

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

}  // namespace zo2::aten

#endif  // ZO2_RUNTIME_ATEN_TEAM_H_
