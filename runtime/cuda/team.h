// The threads of a block, for bodies that run on the GPU and on the host alike. A body is a sequence of phases:
//
//   team.Each(f)   every thread runs f(thread, its own state)
//   team.Sync()    a barrier: what a phase before it wrote to shared memory, phases after it may read
//
// and its control flow between them is the same for all threads. Phases take what they need by value. On the host,
// phases are held back until the barrier and then run thread by thread, all phases of one before the first of the next:
// so a barrier that is missing changes bits there, too.
#ifndef ZO2_RUNTIME_CUDA_TEAM_H_
#define ZO2_RUNTIME_CUDA_TEAM_H_

#include <cstddef>
#include <functional>
#include <utility>
#include <vector>

#include "runtime/kernels/noise_core.h"

// Before a loop whose arrays must stay in registers on the GPU.
#if defined(__CUDA_ARCH__)
#define ZO2_UNROLL _Pragma("unroll")
#else
#define ZO2_UNROLL
#endif

namespace zo2::cuda {

#if defined(__CUDACC__)

// The state stays in registers.
template <class State>
class DeviceTeam {
 public:
  template <class F>
  ZO2_HD void Each(F f) {
#if defined(__CUDA_ARCH__)
    f(static_cast<int>(threadIdx.x), state_);
#endif
  }
  ZO2_HD void Sync() {
#if defined(__CUDA_ARCH__)
    __syncthreads();
#endif
  }

 private:
  State state_;
};

#else

template <class State>
class HostTeam {
 public:
  HostTeam(int threads, bool backward) : states_(static_cast<size_t>(threads)), backward_(backward) {}
  HostTeam(const HostTeam&) = delete;
  HostTeam& operator=(const HostTeam&) = delete;
  template <class F>
  void Each(F f) {
    phases_.emplace_back(std::move(f));
  }
  // Also to be called after the last phase.
  void Sync() {
    const int threads = static_cast<int>(states_.size());
    for (int i = 0; i < threads; ++i) {
      const int thread = backward_ ? threads - 1 - i : i;
      for (const auto& phase : phases_) phase(thread, states_[static_cast<size_t>(thread)]);
    }
    phases_.clear();
  }

 private:
  std::vector<State> states_;
  std::vector<std::function<void(int, State&)> > phases_;
  bool backward_;
};

#endif

}  // namespace zo2::cuda

#endif  // ZO2_RUNTIME_CUDA_TEAM_H_
