// What a process does once, and each of its threads once, before the device's kernels run on a GPU. Only where this
// folder is compiled with ZO2_CUDA=1. Exceptions of ATen become a Status.
#ifndef ZO2_RUNTIME_ATEN_DEVICE_CUDA_HOOKS_H_
#define ZO2_RUNTIME_ATEN_DEVICE_CUDA_HOOKS_H_

#include <cstdint>

#include "ir/support/status.h"

namespace zo2::aten {

// Puts an allocator of ours in place of ATen's, for the whole process and for good, before ATen's first use of the GPU.
// During a call, allocations of its thread come from the call's workspace. What does not fit there, which is counted
// (GetEscapedAllocations()), and what is allocated outside of calls comes from `reserve`, a region of `bytes` bytes of
// the current device, aligned to 512, that is never given back: libraries keep pointers into it. When that is used up
// the allocation fails, in words; nothing ever calls cudaMalloc. Also sets how ATen computes: products of f32 without
// TF32, products of 16 bits with sums in f32.
Status InstallAllocator(void* reserve, int64_t bytes);
// Bytes of `reserve` that were ever used.
int64_t ReserveUsed();

// Makes a stream (cudaStream_t) of the current device ATen's current one of this thread. It must outlive its calls.
Status BindStream(void* cuda_stream);

// Makes what cuBLAS and cuBLASLt keep for this thread and its current stream, outside of any call, so that calls, which
// may be captured, find it. The kernels of ATen themselves are loaded when they are first launched: run every call once
// before one is captured.
Status WarmUp();

}  // namespace zo2::aten

#endif  // ZO2_RUNTIME_ATEN_DEVICE_CUDA_HOOKS_H_
