// The gradient kernel: gradient_body.h in one block.
#include <cuda_runtime.h>

#include "runtime/cuda/gradient_body.h"
#include "runtime/cuda/gradient_launch.h"

namespace zo2::cuda {
namespace {

__global__ void __launch_bounds__(kGradientThreads) GradientKernel(const __grid_constant__ GradientLaunch launch) {
  __shared__ GradientShared shared;
  DeviceTeam<GradientState> team;
  GradientBody::Run(&launch, &shared, team);
}

}  // namespace

Status LaunchGradient(const GradientLaunch& launch, void* stream) {
  GradientKernel<<<1, kGradientThreads, 0, static_cast<cudaStream_t>(stream)>>>(launch);
  const cudaError_t error = cudaGetLastError();
  if (error == cudaSuccess) return Status();
  return Error(Code::kDevice, "CUDA did not take the gradient kernel (1 block of ", kGradientThreads,
               " threads): ", cudaGetErrorString(error));
}

}  // namespace zo2::cuda
