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
#include <set>

namespace zo2 {

class Counter {
 public:
  // Larger than any value that is waited for: releases every waiter for good.
  static constexpr uint64_t kForever = std::numeric_limits<uint64_t>::max();

  uint64_t value() const { return value_.load(std::memory_order_acquire); }
  // Sets the value; only while nobody waits (a program starts), where it may also go down.
  void Reset(uint64_t value) { value_.store(value, std::memory_order_release); }

  // `value` is at least the present one. Wakes only whom it concerns: a lane signals after each of its thousands of
  // instructions, and a thread that is woken for nothing takes a core from the kernels.
  void Signal(uint64_t value) {
    value_.store(value, std::memory_order_seq_cst);
    // A waiter says what it waits for before it looks at the value, so one of us sees the other.
    if (nearest_.load(std::memory_order_seq_cst) > value) return;
    std::lock_guard<std::mutex> lock(mutex_);
    changed_.notify_all();
  }

  void Wait(uint64_t value) {
    if (value_.load(std::memory_order_acquire) >= value) return;
    std::unique_lock<std::mutex> lock(mutex_);
    const auto mine = targets_.insert(value);
    nearest_.store(*targets_.begin(), std::memory_order_seq_cst);
    changed_.wait(lock, [&] { return value_.load(std::memory_order_seq_cst) >= value; });
    targets_.erase(mine);
    nearest_.store(targets_.empty() ? kNobody : *targets_.begin(), std::memory_order_seq_cst);
  }

 private:
  static constexpr uint64_t kNobody = kForever;

  std::atomic<uint64_t> value_{0};
  std::atomic<uint64_t> nearest_{kNobody};  // the smallest value that is waited for
  std::mutex mutex_;
  std::condition_variable changed_;
  std::multiset<uint64_t> targets_;  // of the threads that wait; one or two
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_COUNTER_H_
