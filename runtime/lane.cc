#include "runtime/lane.h"

#include <pthread.h>

#include <utility>

namespace zo2 {

LaneThread::LaneThread(const std::string& name, std::unique_ptr<Queue> queue, int threads)
    : name_(name), queue_(std::move(queue)), workers_(threads), thread_([this] { Loop(); }) {
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

LaneThread::~LaneThread() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

void LaneThread::Start(std::function<void()> job) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    job_ = std::move(job);
    busy_ = true;
  }
  changed_.notify_all();
}

void LaneThread::Join() {
  std::unique_lock<std::mutex> lock(mutex_);
  changed_.wait(lock, [&] { return !busy_; });
}

void LaneThread::Loop() {
  const Status bound = queue_->Bind();
  WorkerPool::Adopt(&workers_);
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    changed_.wait(lock, [&] { return busy_ || stop_; });
    if (!busy_) return;
    std::function<void()> job = std::move(job_);
    bind_status_ = bound;
    lock.unlock();
    job();
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace zo2
