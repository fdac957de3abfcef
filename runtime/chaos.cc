#include "runtime/chaos.h"

#include <chrono>
#include <thread>

namespace zo2 {
namespace {

// splitmix64
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

}  // namespace

ChaosDelay::ChaosDelay(uint64_t seed, int lane) : state_(Mix(seed * 1009 + static_cast<uint64_t>(lane))) {}

void ChaosDelay::Sleep() {
  state_ = Mix(state_);
  switch (state_ % 8) {
    case 0: case 1: case 2: case 3: return;
    case 4: case 5: case 6:
      for (uint64_t i = 0; i < (state_ >> 8) % 4; ++i) std::this_thread::yield();
      return;
    default: std::this_thread::sleep_for(std::chrono::microseconds((state_ >> 8) % 200));
  }
}

Turnstile::Turnstile(uint64_t seed, int lanes)
    : seed_(seed), state_(static_cast<size_t>(lanes), State::kIdle), ready_(static_cast<size_t>(lanes)) {}

int Turnstile::Winner() const {
  constexpr uint64_t kRedraw = 7;  // instructions between two orders
  int winner = -1;
  uint64_t best = 0;
  for (size_t lane = 0; lane < state_.size(); ++lane) {
    // While a lane runs, or may be about to become ready, the choice is not complete.
    if (state_[lane] == State::kRunning || state_[lane] == State::kBetween) return -1;
    if (state_[lane] != State::kWaiting || !ready_[lane]()) continue;
    const uint64_t rank = Mix(seed_ ^ Mix(lane * 77 + entered_ / kRedraw));
    if (winner < 0 || rank < best) {
      winner = static_cast<int>(lane);
      best = rank;
    }
  }
  return winner;
}

void Turnstile::Enter(int lane, std::function<bool()> ready) {
  const size_t me = static_cast<size_t>(lane);
  std::unique_lock<std::mutex> lock(mutex_);
  ready_[me] = std::move(ready);
  state_[me] = State::kWaiting;
  turn_.notify_all();
  turn_.wait(lock, [&] { return Winner() == lane; });
  state_[me] = State::kRunning;
  ++entered_;
}

void Turnstile::Leave(int lane) { Wake(lane); }

void Turnstile::Idle(int lane) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    state_[static_cast<size_t>(lane)] = State::kIdle;
  }
  turn_.notify_all();
}

void Turnstile::Wake(int lane) {
  std::lock_guard<std::mutex> lock(mutex_);
  state_[static_cast<size_t>(lane)] = State::kBetween;
}

}  // namespace zo2
