// `gradient` on a GPU: what its kernel is told. As with prepare_launch.h, a launch holds only what never changes, and
// the kernel's body (gradient_body.h) is compiled for the GPU and for the host.
#ifndef ZO2_RUNTIME_CUDA_GRADIENT_LAUNCH_H_
#define ZO2_RUNTIME_CUDA_GRADIENT_LAUNCH_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/cuda/prepare_launch.h"
#include "runtime/step_kernels.h"

namespace zo2::cuda {

inline constexpr int kGradientThreads = 256;  // one block
inline constexpr int kMaxLosses = 64;         // branches that have a place in the record: 2 q of them

// Losses of one branch: sums and counts per example, f64.
struct BranchLosses {
  const double* sum = nullptr;
  const double* count = nullptr;
  int64_t sums = 0, counts = 0;
  int32_t sample = 0;
  bool plus = false;  // its coefficient of that sample is positive
};

// The kernel's parameter, by value: 2632 bytes. All addresses are the device's. Of a ring of more than one copy, the
// step in `scalars` says which; of a ring of one, `scalars` is not read and may be null.
struct GradientLaunch {
  BranchLosses losses[kMaxLosses];
  const StepScalars* scalars = nullptr;
  const std::byte* control = nullptr;  // ring of StepControl
  std::byte* record = nullptr;         // ring of StepRecord
  uint64_t control_stride = 0, record_stride = 0;
  uint32_t control_ring = 1, record_ring = 1;
  double eps = 0, clip = 0;
  int32_t loss_count = 0;
  int32_t samples = 1;  // q
};
static_assert(sizeof(GradientLaunch) <= 4096, "kernel parameters");

// A ring of copies on the device.
struct DeviceCopies {
  std::byte* base = nullptr;
  uint64_t stride = 0;
  uint32_t ring = 1;
};

// The launch that does what Gradient(*control, branches, losses, q, parameters, record) does. The addresses in `losses`
// are the device's and are not read. kInvalid: more branches than a launch has room for.
Result<GradientLaunch> MakeGradientLaunch(DeviceCopies control, std::span<const Branch> branches,
                                          std::span<const LossPairs> losses, int q, const RunParameters& parameters,
                                          DeviceCopies record, const StepScalars* scalars);

// The kernel's body on the host; the addresses are the host's.
void RunOnHost(const GradientLaunch& launch, ThreadOrder order = ThreadOrder::kForward);

// On a CUDA stream (null: the default one). kDevice if CUDA does not take it. Defined where CUDA is built
// (gradient.cu).
Status LaunchGradient(const GradientLaunch& launch, void* stream);

}  // namespace zo2::cuda

#endif  // ZO2_RUNTIME_CUDA_GRADIENT_LAUNCH_H_
