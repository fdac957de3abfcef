#include "runtime/worker_pool.h"

#include <pthread.h>

#include <algorithm>
#include <memory>
#include <utility>

namespace zo2 {
namespace {

// Some tens of microseconds: kernel calls follow each other faster than that.
constexpr int kSpins = 2000;

void Pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#endif
}

// Waits until state is no longer `seen`.
void WaitChange(const std::atomic<uint32_t>& state, uint32_t seen) {
  for (int i = 0; i < kSpins; ++i) {
    if (state.load(std::memory_order_acquire) != seen) return;
    Pause();
  }
  state.wait(seen, std::memory_order_acquire);
}

thread_local WorkerPool* adopted = nullptr;

}  // namespace

void WorkerPool::Adopt(WorkerPool* pool) { adopted = pool; }

WorkerPool& WorkerPool::Mine(int threads) {
  if (adopted != nullptr && adopted->threads() == threads) return *adopted;
  thread_local std::unique_ptr<WorkerPool> pool;
  if (pool == nullptr || pool->threads() != threads) {
    pool.reset();
    pool = std::make_unique<WorkerPool>(threads);
  }
  return *pool;
}

WorkerPool::WorkerPool(int threads) {
  for (int i = 1; i < threads; ++i) {
    helpers_.emplace_back([this] { Help(); });
    pthread_setname_np(helpers_.back().native_handle(), "kernel-helper");
  }
}

WorkerPool::~WorkerPool() {
  state_.store(kStop, std::memory_order_release);
  state_.notify_all();
  for (std::thread& helper : helpers_) helper.join();
}

void WorkerPool::TakePieces() {
  try {
    for (int64_t piece; (piece = next_.fetch_add(1, std::memory_order_relaxed)) < pieces_;) (*f_)(piece);
  } catch (...) {
    next_.store(pieces_, std::memory_order_relaxed);  // the others need not go on
    std::lock_guard<std::mutex> lock(mutex_);
    if (error_ == nullptr) error_ = std::current_exception();
  }
}

void WorkerPool::Run(int64_t pieces, const std::function<void(int64_t)>& f) {
  if (helpers_.empty() || pieces <= 1) {
    for (int64_t piece = 0; piece < pieces; ++piece) f(piece);
    return;
  }
  f_ = &f;
  pieces_ = pieces;
  next_.store(0, std::memory_order_relaxed);
  // No helper is in the last round any more, so nobody else writes the state.
  uint32_t round = (state_.load(std::memory_order_relaxed) & ~(kRound - 1)) + kRound;
  if (round == (kStop & ~(kRound - 1))) round = 0;
  state_.store(round | kOpen, std::memory_order_release);
  state_.notify_all();
  TakePieces();
  uint32_t state = state_.fetch_and(~kOpen, std::memory_order_acq_rel) & ~kOpen;
  while ((state & kMembers) != 0) {
    WaitChange(state_, state);
    state = state_.load(std::memory_order_acquire);
  }
  if (error_ != nullptr) std::rethrow_exception(std::exchange(error_, nullptr));
}

void WorkerPool::Help() {
  uint32_t done = ~0u;  // the round it has taken part in
  for (;;) {
    uint32_t state = state_.load(std::memory_order_acquire);
    if (state == kStop) return;
    if ((state & kOpen) == 0 || state / kRound == done) {
      WaitChange(state_, state);
      continue;
    }
    if (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acq_rel)) continue;
    done = state / kRound;
    TakePieces();
    state_.fetch_sub(1, std::memory_order_acq_rel);
    state_.notify_all();
  }
}

}  // namespace zo2
