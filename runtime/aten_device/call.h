// What every kernel of the device's table does with its call. Everything that is not about where memory lies comes from
// runtime/aten/call.h.
//
// This folder is compiled twice: for the CPU, where tests run it, and with ZO2_CUDA=1 for the CUDA module. Calls run on
// ATen's current stream of the calling thread. Nothing here reads a tensor on the host, waits for the device or lets
// data decide what is launched: calls can be captured in a CUDA graph.
#ifndef ZO2_RUNTIME_ATEN_DEVICE_CALL_H_
#define ZO2_RUNTIME_ATEN_DEVICE_CALL_H_

#include <ATen/core/Tensor.h>
#include <c10/core/Device.h>

#include <cstdint>
#include <vector>

#include "ir/graph/device_workspace.h"
#include "runtime/aten/call.h"
#include "runtime/aten/workspace.h"
#include "runtime/kernel_table.h"

namespace zo2::aten_device {

#if ZO2_CUDA
inline constexpr bool kCuda = true;
#else
inline constexpr bool kCuda = false;
#endif

// The CPU, or this thread's current GPU.
c10::Device ThisDevice();
// The view's memory on that device as a tensor; nothing is copied, strides must not be negative.
at::Tensor ToTensor(const TensorView& view);
// The same memory with other sizes and strides (elements) and `offset` elements further on.
at::Tensor ToTensor(const TensorView& view, const Shape& shape, const std::vector<int64_t>& strides,
                    int64_t offset = 0);
// The view's memory, which is dense, with other sizes.
at::Tensor Reshaped(const TensorView& view, const Shape& shape);
// The view as a matrix of rows (AsRows).
at::Tensor Matrix(const TensorView& view, const aten::Rows& rows);

// Uninitialised row-major memory of the call's workspace. Throws std::runtime_error where the workspace does not hold
// it, which the guard around every kernel makes a Status.
at::Tensor Temporary(const Shape& shape, at::ScalarType dtype);
TensorType TypeOf(const TensorView& view);

// Ids as positions in an axis of `size`, clamped into it, and which of them lay outside. Both have the shape of `ids`.
struct Positions {
  at::Tensor index;    // int64
  at::Tensor outside;  // bool
};
// `first` is the id of position 0; `wraps`: negative ids count from the end.
Positions ToPositions(const at::Tensor& ids, int64_t first, int64_t size, bool wraps);
// Puts NaN where `outside` (broadcast) says so; other dtypes than floats have none and stay as they are.
void PutNan(const at::Tensor& y, const at::Tensor& outside);

// y[m, n] = x[m, k] w[k, n] + bias (nullptr: none; any float dtype). y has the dtype of x and w, or is f32 where they
// have 16 bits: sums are f32 then and are not rounded. Matrices have adjacent elements in one of their axes.
void Product(at::Tensor y, const at::Tensor& x, const at::Tensor& w, const TensorView* bias);

// The table's entries: no autograd, ATen on one thread, workspace bound, exceptions turned into a Status.
Status RunGuarded(Status (*kernel)(const KernelCall&), const KernelCall& call);
template <Status (*kernel)(const KernelCall&)>
Status Guarded(const KernelCall& call) {
  return RunGuarded(kernel, call);
}

}  // namespace zo2::aten_device

#endif  // ZO2_RUNTIME_ATEN_DEVICE_CALL_H_
