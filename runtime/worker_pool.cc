#include "runtime/worker_pool.h"

namespace zo2 {

WorkerPool::WorkerPool(int threads) {
  for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { Work(); });
}

WorkerPool::~WorkerPool() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  start_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void WorkerPool::TakeParts() {
  for (int64_t part; (part = next_.fetch_add(1, std::memory_order_relaxed)) < parts_;) (*f_)(part);
}

void WorkerPool::Run(int64_t parts, const std::function<void(int64_t)>& f) {
  if (workers_.empty() || parts <= 1) {
    for (int64_t part = 0; part < parts; ++part) f(part);
    return;
  }
  {
    std::lock_guard<std::mutex> lock(mutex_);
    f_ = &f;
    parts_ = parts;
    next_.store(0, std::memory_order_relaxed);
    busy_ = static_cast<int>(workers_.size());
    ++round_;
  }
  start_.notify_all();
  TakeParts();
  std::unique_lock<std::mutex> lock(mutex_);
  done_.wait(lock, [&] { return busy_ == 0; });
}

void WorkerPool::Work() {
  uint64_t seen = 0;
  for (;;) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      start_.wait(lock, [&] { return stop_ || round_ != seen; });
      if (stop_) return;
      seen = round_;
    }
    TakeParts();
    std::lock_guard<std::mutex> lock(mutex_);
    if (--busy_ == 0) done_.notify_one();
  }
}

}  // namespace zo2
