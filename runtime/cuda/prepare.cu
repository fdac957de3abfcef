// The prepare kernel: prepare_body.h for every way a source is stored and both noises.
#include <cuda_runtime.h>

#include "runtime/cuda/prepare_body.h"
#include "runtime/cuda/prepare_launch.h"

namespace zo2::cuda {
namespace {

template <class Body>
__global__ void __launch_bounds__(kPrepareThreads, Body::kBlocksAtOnce)
    PrepareKernel(const __grid_constant__ PrepareLaunch launch) {
  __shared__ PrepareShared shared;
  DeviceTeam<typename Body::State> team;
  Body::Run(&launch, static_cast<int>(blockIdx.x), &shared, team);
}

}  // namespace

Status LaunchPrepare(const PrepareLaunch& launch, void* stream) {
  const cudaError_t error = WithPrepareBody(launch, [&](auto body) {
    PrepareKernel<decltype(body)>
        <<<static_cast<unsigned>(launch.blocks), kPrepareThreads, 0, static_cast<cudaStream_t>(stream)>>>(launch);
    return cudaGetLastError();
  });
  if (error == cudaSuccess) return Status();
  return Error(Code::kDevice, "CUDA did not take the prepare kernel (", launch.blocks, " blocks of ", kPrepareThreads,
               " threads): ", cudaGetErrorString(error));
}

}  // namespace zo2::cuda
