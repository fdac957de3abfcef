// A monotonic counter that threads wait on: the only synchronisation between lanes.
//
// The same thing is called a timeline semaphore elsewhere. A lane signals how far it has come, others wait until it has
// come far enough. What a thread wrote before Signal(v) is seen by one that returned from Wait(v).
#ifndef ZO2_RUNTIME_COUNTER_H_
#define ZO2_RUNTIME_COUNTER_H_

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <limits>
#include <mutex>

namespace zo2 {

class Counter {
 public:
  // Larger than any value that is waited for: releases every waiter for good.
  static constexpr uint64_t kForever = std::numeric_limits<uint64_t>::max();

  uint64_t value() const { return value_.load(std::memory_order_acquire); }
  // Sets the value; only while nobody waits (a program starts), where it may also go down.
  void Reset(uint64_t value) { value_.store(value, std::memory_order_release); }

  // `value` is at least the present one.
  void Signal(uint64_t value) {
    value_.store(value, std::memory_order_seq_cst);
    // A waiter counts itself before it looks at the value, so one of us sees the other.
    if (waiters_.load(std::memory_order_seq_cst) == 0) return;
    { std::lock_guard<std::mutex> lock(mutex_); }
    changed_.notify_all();
  }

  void Wait(uint64_t value) {
    if (value_.load(std::memory_order_acquire) >= value) return;
    waiters_.fetch_add(1, std::memory_order_seq_cst);
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [&] { return value_.load(std::memory_order_seq_cst) >= value; });
    }
    waiters_.fetch_sub(1, std::memory_order_relaxed);
  }

 private:
  std::atomic<uint64_t> value_{0};
  std::atomic<int> waiters_{0};
  std::mutex mutex_;
  std::condition_variable changed_;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_COUNTER_H_
