#include "runtime/aten_device/call.h"

#include <ATen/ops/from_blob.h>
#include <ATen/ops/ge.h>
#include <ATen/ops/lt.h>
#include <c10/core/InferenceMode.h>

#include <limits>
#include <stdexcept>
#include <string>

#include "runtime/aten/workspace_allocator.h"

#if ZO2_CUDA
#include <c10/cuda/CUDAFunctions.h>
#endif

namespace zo2::aten_device {
namespace {

at::Tensor FromMemory(void* data, const Shape& shape, const std::vector<int64_t>& strides, at::ScalarType dtype) {
  // The device is said, not found out: asking the driver what a pointer is takes longer than the rest.
  const c10::Device device = ThisDevice();
  return at::for_blob(data, shape)
      .strides(strides)
      .target_device(device)
      .options(at::TensorOptions().dtype(dtype).device(device))
      .make_tensor();
}

}  // namespace

c10::Device ThisDevice() {
#if ZO2_CUDA
  return {c10::DeviceType::CUDA, c10::cuda::current_device()};
#else
  return c10::Device(c10::DeviceType::CPU);
#endif
}

at::Tensor ToTensor(const TensorView& view) { return ToTensor(view, view.shape, view.strides); }

at::Tensor ToTensor(const TensorView& view, const Shape& shape, const std::vector<int64_t>& strides,
                    int64_t offset) {
  return FromMemory(static_cast<std::byte*>(view.data) + offset * SizeOf(view.dtype), shape, strides,
                    aten::ToAten(view.dtype));
}

at::Tensor Reshaped(const TensorView& view, const Shape& shape) {
  return ToTensor(view, shape, aten::DenseStrides(shape));
}

at::Tensor Matrix(const TensorView& view, const aten::Rows& rows) {
  return ToTensor(view, {rows.rows, rows.columns}, {rows.stride, 1});
}

at::Tensor Temporary(const Shape& shape, at::ScalarType dtype) {
  const int64_t bytes = NumElements(shape) * static_cast<int64_t>(c10::elementSize(dtype));
  void* data = TakeWorkspace(bytes);
  if (data == nullptr && bytes > 0)
    throw std::runtime_error("the workspace does not hold a temporary of " + std::to_string(bytes) + " bytes; " +
                             std::to_string(WorkspaceLeft()) + " are left");
  return FromMemory(data, shape, aten::DenseStrides(shape), dtype);
}

TensorType TypeOf(const TensorView& view) { return {view.dtype, view.shape}; }

Positions ToPositions(const at::Tensor& ids, int64_t first, int64_t size, bool wraps) {
  Positions p;
  p.index = Temporary(ids.sizes().vec(), at::kLong);
  p.index.copy_(ids);
  if (first != 0) p.index.sub_(first);
  if (wraps) p.index.add_(at::lt(p.index, 0), size);
  p.outside = at::lt(p.index, 0);
  p.outside.logical_or_(at::ge(p.index, size));
  p.index.clamp_(0, size > 0 ? size - 1 : 0);
  return p;
}

void PutNan(const at::Tensor& y, const at::Tensor& outside) {
  if (y.is_floating_point()) y.masked_fill_(outside, std::numeric_limits<double>::quiet_NaN());
}

Status RunGuarded(Status (*kernel)(const KernelCall&), const KernelCall& call) {
  try {
    c10::InferenceMode no_autograd;
#if ZO2_CUDA
    WorkspaceBinding workspace(call.workspace, call.workspace_bytes, device::kGrain);
#else
    aten::UseAtenThreads(1);
    WorkspaceScope workspace(call.workspace, call.workspace_bytes, device::kGrain);
#endif
    return kernel(call);
  } catch (const c10::Error& e) {
    return Internal(Name(call.op), ": ", e.what_without_backtrace());
  } catch (const std::exception& e) {
    return Internal(Name(call.op), ": ", e.what());
  }
}

}  // namespace zo2::aten_device
