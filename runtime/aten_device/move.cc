// Ops that move elements: every one is copies between strided views.
#include <ATen/ops/flip.h>
#include <ATen/ops/tril.h>
#include <ATen/ops/triu.h>

#include <algorithm>

#include "runtime/aten_device/call.h"
#include "runtime/aten_device/kernels.h"

namespace zo2::aten_device {

Status Transpose(const KernelCall& call) {
  const std::vector<int64_t> perm = AttrInts(*call.attrs, "perm");
  ToTensor(call.outputs[0]).copy_(ToTensor(call.inputs[0]).permute(perm));
  return Status();
}

// Axes with negative steps are taken forwards and then turned round, because ATen has no negative strides.
Status Slice(const KernelCall& call) {
  const TensorView &x = call.inputs[0], &y = call.outputs[0];
  const std::vector<int64_t> starts = AttrInts(*call.attrs, "starts"), axes = AttrInts(*call.attrs, "axes"),
                             steps = AttrInts(*call.attrs, "steps");
  if (NumElements(y.shape) == 0) return Status();
  std::vector<int64_t> strides = x.strides, turned;
  int64_t offset = 0;
  for (size_t i = 0; i < starts.size(); ++i) {
    const auto axis = static_cast<size_t>(axes[i]);
    const int64_t step = steps.empty() ? 1 : steps[i], last = starts[i] + (y.shape[axis] - 1) * step;
    offset += std::min(starts[i], last) * x.strides[axis];
    strides[axis] = x.strides[axis] * std::abs(step);
    if (y.shape[axis] == 1) strides[axis] = 1;
    if (step < 0 && y.shape[axis] > 1) turned.push_back(axes[i]);
  }
  const at::Tensor from = ToTensor(x, y.shape, strides, offset);
  ToTensor(y).copy_(turned.empty() ? from : at::flip(from, turned));
  return Status();
}

Status Concat(const KernelCall& call) {
  const at::Tensor y = ToTensor(call.outputs[0]);
  const int64_t axis = aten::AttrAxis(*call.attrs, "axis", 0, call.outputs[0].shape.size());
  int64_t at = 0;
  for (const TensorView& x : call.inputs) {
    const int64_t size = x.shape[static_cast<size_t>(axis)];
    if (NumElements(x.shape) > 0) y.narrow(axis, at, size).copy_(ToTensor(x));
    at += size;
  }
  return Status();
}

Status Expand(const KernelCall& call) {
  const TensorView &x = call.inputs[0], &y = call.outputs[0];
  ToTensor(y).copy_(ToTensor(x, y.shape, aten::BroadcastStrides(x, y.shape)));
  return Status();
}

// Negative pads cut off.
Status Pad(const KernelCall& call) {
  const std::vector<int64_t> pads = AttrInts(*call.attrs, "pads");
  at::Tensor from = ToTensor(call.inputs[0]), to = ToTensor(call.outputs[0]);
  to.fill_(AttrDouble(*call.attrs, "value", 0));
  const auto rank = static_cast<size_t>(from.dim());
  for (size_t i = 0; i < rank; ++i) {
    const int64_t before = pads[i], after = pads[i + rank];
    const auto axis = static_cast<int64_t>(i);
    const int64_t kept = from.size(axis) + std::min<int64_t>(0, before) + std::min<int64_t>(0, after);
    if (kept <= 0) return Status();
    from = from.narrow(axis, std::max<int64_t>(0, -before), kept);
    to = to.narrow(axis, std::max<int64_t>(0, before), kept);
  }
  to.copy_(from);
  return Status();
}

// The output with every axis [r * d] seen as [r, d]; the input stands still along r.
Status Tile(const KernelCall& call) {
  const TensorView &x = call.inputs[0], &y = call.outputs[0];
  const std::vector<int64_t> repeats = AttrInts(*call.attrs, "repeats");
  if (NumElements(y.shape) == 0) return Status();
  Shape shape;
  std::vector<int64_t> from, to;
  for (size_t i = 0; i < x.shape.size(); ++i) {
    shape.insert(shape.end(), {repeats[i], x.shape[i]});
    from.insert(from.end(), {0, x.strides[i]});
    to.insert(to.end(), {x.shape[i] * y.strides[i], y.strides[i]});
  }
  ToTensor(y, shape, to).copy_(ToTensor(x, shape, from));
  return Status();
}

// Upper keeps columns >= row + k, lower columns <= row + k.
Status Trilu(const KernelCall& call) {
  const Shape& shape = call.inputs[0].shape;
  const int64_t rows = shape[shape.size() - 2], columns = shape.back();
  const int64_t k = std::clamp(AttrInt(*call.attrs, "k", 0), -rows - 1, columns + 1);
  at::Tensor y = ToTensor(call.outputs[0]);
  const at::Tensor x = ToTensor(call.inputs[0]);
  if (x.numel() == 0) return Status();
  AttrInt(*call.attrs, "upper", 1) != 0 ? at::triu_out(y, x, k) : at::tril_out(y, x, k);
  return Status();
}

}  // namespace zo2::aten_device
