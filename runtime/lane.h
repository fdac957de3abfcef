// The thread of a lane: it lives as long as the executor (kernel libraries keep memory per thread), and is handed one job
// per program that is started. All lanes of a device and kind, in whichever program, share a thread and a queue.
#ifndef ZO2_RUNTIME_LANE_H_
#define ZO2_RUNTIME_LANE_H_

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "runtime/device.h"
#include "runtime/worker_pool.h"

namespace zo2 {

class LaneThread {
 public:
  // `name` is at most 15 characters of it what the system shows; threads >= 1 is the size of the worker pool.
  LaneThread(const std::string& name, std::unique_ptr<Queue> queue, int threads);
  LaneThread(const LaneThread&) = delete;
  LaneThread& operator=(const LaneThread&) = delete;
  ~LaneThread();

  const std::string& name() const { return name_; }
  Queue& queue() { return *queue_; }
  WorkerPool& workers() { return workers_; }

  // For the job: whether the thread could make the queue its own.
  const Status& bind_status() const { return bind_status_; }

  // Runs `job` on the thread; the one before must have been joined.
  void Start(std::function<void()> job);
  // Returns when the job has.
  void Join();

 private:
  void Loop();

  const std::string name_;
  std::unique_ptr<Queue> queue_;
  WorkerPool workers_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::function<void()> job_;
  bool busy_ = false, stop_ = false;
  Status bind_status_;
  std::thread thread_;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_LANE_H_
