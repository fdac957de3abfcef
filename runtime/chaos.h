// Adversarial interleavings: orders that the edges of a schedule allow but a quiet machine would hardly ever show. Bits
// must not depend on them; a missing edge shows as changed bits.
//
//   kDelay     every lane sleeps or yields for a random while before and after instructions.
//   kPriority  one lane runs at a time: of those whose next instruction may start, the one that comes first in an order
//              drawn from the seed and redrawn every few instructions. So a lane runs ahead as far as edges allow.
#ifndef ZO2_RUNTIME_CHAOS_H_
#define ZO2_RUNTIME_CHAOS_H_

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <vector>

namespace zo2 {

enum class ChaosMode : uint8_t { kOff, kDelay, kPriority };
struct ChaosOptions {
  ChaosMode mode = ChaosMode::kOff;
  uint64_t seed = 0;
};

// Delays of one lane for kDelay.
class ChaosDelay {
 public:
  ChaosDelay(uint64_t seed, int lane);
  void Sleep();

 private:
  uint64_t state_;
};

// Admits one lane at a time for kPriority.
class Turnstile {
 public:
  Turnstile(uint64_t seed, int lanes);
  // Waits for this lane's turn. `ready` says whether its next instruction may start; called from other threads, under
  // the turnstile's lock, until Enter returns.
  void Enter(int lane, std::function<bool()> ready);
  void Leave(int lane);  // the instruction is done and its progress signalled
  void Idle(int lane);   // the lane waits for the host; Wake undoes it
  void Wake(int lane);

 private:
  enum class State : uint8_t { kIdle, kBetween, kWaiting, kRunning };
  int Winner() const;  // the lane whose turn it is, -1 = none yet

  const uint64_t seed_;
  std::mutex mutex_;
  std::condition_variable turn_;
  std::vector<State> state_;
  std::vector<std::function<bool()>> ready_;
  uint64_t entered_ = 0;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_CHAOS_H_
