// GELU, SiLU and the rotation of queries and keys.
#include <ATen/ops/addcmul.h>
#include <ATen/ops/gelu.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/silu.h>

#include "runtime/aten_device/call.h"
#include "runtime/aten_device/kernels.h"

namespace zo2::aten_device {

Status Gelu(const KernelCall& call) {
  at::Tensor y = ToTensor(call.outputs[0]);
  at::gelu_out(y, ToTensor(call.inputs[0]), AttrInt(*call.attrs, "tanh", 0) != 0 ? "tanh" : "none");
  return Status();
}

Status Silu(const KernelCall& call) {
  at::Tensor y = ToTensor(call.outputs[0]);
  at::silu_out(y, ToTensor(call.inputs[0]));
  return Status();
}

// y = x cos + rotate_half(x) sin, half by half: of a pair (a, b), a cos - b sin and b cos + a sin.
Status Rotary(const KernelCall& call) {
  const bool interleaved = AttrInt(*call.attrs, "interleaved", 0) != 0;
  const int64_t d = call.inputs[0].shape[3], half = d / 2;
  if (NumElements(call.outputs[0].shape) == 0) return Status();
  const auto part = [&](const TensorView& view, int64_t which) {
    const at::Tensor t = ToTensor(view);
    if (view.shape.empty() || view.shape.back() == 1) return t;  // broadcasts along the head
    return interleaved ? t.slice(-1, which, d, 2) : t.narrow(-1, which * half, half);
  };
  for (const int64_t which : {0, 1}) {
    at::Tensor y = part(call.outputs[0], which);
    at::mul_out(y, part(call.inputs[0], which), part(call.inputs[1], which));
    at::addcmul_out(y, y, part(call.inputs[0], 1 - which), part(call.inputs[2], which), which == 0 ? -1 : 1);
  }
  return Status();
}

}  // namespace zo2::aten_device
