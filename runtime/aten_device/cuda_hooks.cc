#if ZO2_CUDA

#include "runtime/aten_device/cuda_hooks.h"

#include <ATen/Context.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/bmm.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>
#include <c10/core/InferenceMode.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/cuda/CUDAPluggableAllocator.h>

#include <exception>

#include "runtime/aten/workspace.h"
#include "runtime/aten_device/call.h"
#include "runtime/aten_device/reserve.h"

namespace zo2::aten {
namespace {

// Never destroyed: libraries free what they keep when the process ends, in any order.
aten_device::Reserve* reserve = nullptr;

void* Allocate(size_t bytes, int, cudaStream_t stream) {
  const auto n = static_cast<int64_t>(bytes);
  if (n == 0) return nullptr;
  if (WorkspaceIsBound()) {
    if (void* p = TakeWorkspace(n)) return p;
    CountEscape(bytes);
  }
  void* p = reserve->Allocate(n, stream);
  TORCH_CHECK(p != nullptr, "a library asks for ", n, " bytes of GPU memory beside its workspace, and the reserve of ",
              reserve->bytes(), " bytes for that has ", reserve->bytes() - reserve->used(), " left");
  return p;
}

// Workspace memory is freed by the end of the call.
void Free(void* p, size_t, int, cudaStream_t) { (void)reserve->Free(p); }

template <typename F>
Status Guarded(const char* what, const F& f) {
  try {
    f();
    return Status();
  } catch (const c10::Error& e) {
    return Error(Code::kDevice, what, ": ", e.what_without_backtrace());
  } catch (const std::exception& e) {
    return Error(Code::kDevice, what, ": ", e.what());
  }
}

}  // namespace

Status InstallAllocator(void* memory, int64_t bytes) {
  if (reserve != nullptr) return Internal("the allocator of GPU memory is installed twice");
  return Guarded("ATen does not take an allocator of GPU memory", [&] {
    namespace pluggable = torch::cuda::CUDAPluggableAllocator;
    reserve = new aten_device::Reserve(memory, bytes);
    pluggable::changeCurrentAllocator(pluggable::createCustomAllocator(&Allocate, &Free));
    at::Context& context = at::globalContext();
    context.setAllowTF32CuBLAS(false);
    context.setAllowTF32CuDNN(false);
    context.setAllowFP16ReductionCuBLAS(false);
    context.setAllowBF16ReductionCuBLAS(false);
    context.setAllowFP16AccumulationCuBLAS(false);
    context.lazyInitDevice(c10::DeviceType::CUDA);
  });
}

int64_t ReserveUsed() { return reserve == nullptr ? 0 : reserve->used(); }

Status BindStream(void* cuda_stream) {
  return Guarded("ATen does not take a stream", [&] {
    c10::cuda::setCurrentCUDAStream(
        c10::cuda::getStreamFromExternal(static_cast<cudaStream_t>(cuda_stream), c10::cuda::current_device()));
  });
}

Status WarmUp() {
  return Guarded("cuBLAS cannot begin", [] {
    const c10::InferenceMode no_autograd;
    for (const at::ScalarType dtype : {at::kFloat, at::kDouble, at::kBFloat16, at::kHalf}) {
      const auto options = at::TensorOptions().dtype(dtype).device(aten_device::ThisDevice());
      at::Tensor y = at::zeros({16, 16}, options);
      const at::Tensor x = at::zeros({16, 16}, options), bias = at::zeros({16}, options);
      at::mm_out(y, x, x);
      at::addmm_out(y, bias, x, x.t());
      at::Tensor batch = at::zeros({2, 16, 16}, options);
      at::bmm_out(batch, x.expand({2, 16, 16}), x.expand({2, 16, 16}));
      if (c10::elementSize(dtype) != 2) continue;
      at::Tensor wide = at::zeros({16, 16}, options.dtype(at::kFloat));
      at::mm_out(wide, x, x, at::kFloat);
    }
  });
}

}  // namespace zo2::aten

#endif  // ZO2_CUDA
