// Ops that move elements: every one is copies between strided views.
#include <algorithm>
#include <cstring>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"

namespace zo2::aten {
namespace {

// to[index] = from[index] for every index of `shape`; strides in elements, those of `from` may be negative or
// 0.
void CopyStrided(const TensorView& from, int64_t from_offset, const std::vector<int64_t>& from_strides,
                 const TensorView& to, int64_t to_offset, const std::vector<int64_t>& to_strides,
                 const Shape& shape) {
  if (NumElements(shape) == 0) return;
  const auto negative =
      std::find_if(from_strides.begin(), from_strides.end(), [](int64_t s) { return s < 0; });
  if (negative == from_strides.end()) {
    ToTensor(to, shape, to_strides, to_offset).copy_(ToTensor(from, shape, from_strides, from_offset));
    return;
  }
  // ATen has no negative strides: one index of that axis after the other.
  const auto axis = static_cast<size_t>(negative - from_strides.begin());
  Shape rest = shape;
  std::vector<int64_t> strides = from_strides;
  rest[axis] = 1;
  strides[axis] = 0;
  for (int64_t i = 0; i < shape[axis]; ++i)
    CopyStrided(from, from_offset + i * from_strides[axis], strides, to, to_offset + i * to_strides[axis],
                to_strides, rest);
}

}  // namespace

Status Transpose(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &x = call.inputs[0], &y = call.outputs[0];
  const std::vector<int64_t> perm = AttrInts(*call.attrs, "perm");
  std::vector<int64_t> strides(perm.size());
  for (size_t i = 0; i < perm.size(); ++i) strides[i] = x.strides[static_cast<size_t>(perm[i])];
  CopyStrided(x, 0, strides, y, 0, y.strides, y.shape);
  return Status();
}

Status Slice(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &x = call.inputs[0], &y = call.outputs[0];
  const std::vector<int64_t> starts = AttrInts(*call.attrs, "starts"), axes = AttrInts(*call.attrs, "axes"),
                             steps = AttrInts(*call.attrs, "steps");
  std::vector<int64_t> strides = x.strides;
  int64_t offset = 0;
  for (size_t i = 0; i < starts.size(); ++i) {
    const auto axis = static_cast<size_t>(axes[i]);
    if (y.shape[axis] == 0) return Status();
    offset += starts[i] * x.strides[axis];
    strides[axis] = y.shape[axis] == 1 ? 0 : x.strides[axis] * (steps.empty() ? 1 : steps[i]);
  }
  CopyStrided(x, offset, strides, y, 0, y.strides, y.shape);
  return Status();
}

Status Concat(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView& y = call.outputs[0];
  const auto axis = static_cast<size_t>(AttrAxis(*call.attrs, "axis", 0, y.shape.size()));
  int64_t at = 0;
  for (const TensorView& x : call.inputs) {
    CopyStrided(x, 0, x.strides, y, at * y.strides[axis], y.strides, x.shape);
    at += x.shape[axis];
  }
  return Status();
}

Status Expand(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &x = call.inputs[0], &y = call.outputs[0];
  CopyStrided(x, 0, BroadcastStrides(x, y.shape), y, 0, y.strides, y.shape);
  return Status();
}

// Negative pads cut off.
Status Pad(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &x = call.inputs[0], &y = call.outputs[0];
  const std::vector<int64_t> pads = AttrInts(*call.attrs, "pads");
  ToTensor(y).fill_(AttrDouble(*call.attrs, "value", 0));
  Shape inside = x.shape;
  int64_t from = 0, to = 0;
  for (size_t i = 0; i < inside.size(); ++i) {
    const int64_t before = pads[i], after = pads[i + inside.size()];
    from += std::max<int64_t>(0, -before) * x.strides[i];
    to += std::max<int64_t>(0, before) * y.strides[i];
    inside[i] = std::max<int64_t>(0, x.shape[i] + std::min<int64_t>(0, before) + std::min<int64_t>(0, after));
  }
  CopyStrided(x, from, x.strides, y, to, y.strides, inside);
  return Status();
}

// The output with every axis [r * d] seen as [r, d]; the input stands still along r.
Status Tile(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &x = call.inputs[0], &y = call.outputs[0];
  const std::vector<int64_t> repeats = AttrInts(*call.attrs, "repeats");
  Shape shape;
  std::vector<int64_t> from, to;
  for (size_t i = 0; i < x.shape.size(); ++i) {
    shape.insert(shape.end(), {repeats[i], x.shape[i]});
    from.insert(from.end(), {0, x.strides[i]});
    to.insert(to.end(), {x.shape[i] * y.strides[i], y.strides[i]});
  }
  CopyStrided(x, 0, from, y, 0, to, shape);
  return Status();
}

// Upper keeps columns >= row + k, lower columns <= row + k.
Status Trilu(const KernelCall& call) {
  ZO2_TRY(NeedDense(call));
  const TensorView &x = call.inputs[0], &y = call.outputs[0];
  const size_t rank = x.shape.size();
  const int64_t rows = x.shape[rank - 2], columns = x.shape[rank - 1], size = SizeOf(x.dtype);
  const bool upper = AttrInt(*call.attrs, "upper", 1) != 0;
  const int64_t k = std::clamp(AttrInt(*call.attrs, "k", 0), -rows - 1, columns + 1);
  const int64_t lines = columns == 0 ? 0 : NumElements(x.shape) / columns;
  for (int64_t line = 0; line < lines; ++line) {
    const int64_t cut =
        std::clamp<int64_t>(line % rows + k + (upper ? 0 : 1), 0, columns);  // first of the right side
    const auto* from = static_cast<const std::byte*>(x.data) + line * columns * size;
    auto* to = static_cast<std::byte*>(y.data) + line * columns * size;
    const auto left = static_cast<size_t>(cut * size), right = static_cast<size_t>((columns - cut) * size);
    if (upper) {
      std::memset(to, 0, left);
      std::memcpy(to + left, from + left, right);
    } else {
      std::memcpy(to, from, left);
      std::memset(to + left, 0, right);
    }
  }
  return Status();
}

}  // namespace zo2::aten
