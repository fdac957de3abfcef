// The three gathers of the interpreter; indices may be negative, never out of range.
#include <cstring>

#include "frontend/evaluate_internal.h"

namespace zo2::internal {
namespace {

int64_t Axis(const Attrs& attrs, size_t rank, int64_t fallback) {
  int64_t axis = AttrInt(attrs, "axis", fallback);
  return axis < 0 ? axis + static_cast<int64_t>(rank) : axis;
}

int64_t Product(const Shape& shape, size_t begin, size_t end) {
  int64_t n = 1;
  for (size_t i = begin; i < end; ++i) n *= shape[i];
  return n;
}

Status Gather(const Attrs& attrs, const HostTensor& x, const HostTensor& ids, Output& out) {
  const auto axis = static_cast<size_t>(Axis(attrs, x.type.shape.size(), 0));
  const int64_t outer = Product(x.type.shape, 0, axis), size = x.type.shape[axis],
                inner = Product(x.type.shape, axis + 1, x.type.shape.size()) * SizeOf(x.type.dtype);
  const int64_t n = ids.type.elements();
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < n; ++i) {
      int64_t id = ids.as<int64_t>()[i];
      if (id < 0) id += size;
      if (id < 0 || id >= size) return Invalid("gather reads index ", id, " of an axis of size ", size);
      std::memcpy(out.data->data() + (o * n + i) * inner, x.data->data() + (o * size + id) * inner,
                  static_cast<size_t>(inner));
    }
  return Status();
}

Status GatherNd(const Attrs& attrs, const HostTensor& x, const HostTensor& ids, Output& out) {
  const Shape &xs = x.type.shape, &is = ids.type.shape;
  const auto batch_dims = static_cast<size_t>(AttrInt(attrs, "batch_dims", 0));
  const auto depth = static_cast<size_t>(is.back());
  const int64_t batches = Product(xs, 0, batch_dims), per_batch = Product(is, batch_dims, is.size() - 1),
                slice = Product(xs, batch_dims + depth, xs.size()) * SizeOf(x.type.dtype),
                batch_bytes = Product(xs, batch_dims, xs.size()) * SizeOf(x.type.dtype);
  auto strides = Strides(xs);
  for (int64_t b = 0; b < batches; ++b)
    for (int64_t i = 0; i < per_batch; ++i) {
      int64_t offset = 0;
      for (size_t k = 0; k < depth; ++k) {
        int64_t id =
            ids.as<int64_t>()[(b * per_batch + i) * static_cast<int64_t>(depth) + static_cast<int64_t>(k)];
        const int64_t size = xs[batch_dims + k];
        if (id < 0) id += size;
        if (id < 0 || id >= size) return Invalid("gather_nd reads index ", id, " of an axis of size ", size);
        offset += id * strides[batch_dims + k];
      }
      std::memcpy(out.data->data() + (b * per_batch + i) * slice,
                  x.data->data() + b * batch_bytes + offset * SizeOf(x.type.dtype),
                  static_cast<size_t>(slice));
    }
  return Status();
}

Status GatherElements(const Attrs& attrs, const HostTensor& x, const HostTensor& ids, Output& out) {
  const auto axis = static_cast<size_t>(Axis(attrs, x.type.shape.size(), 0));
  const auto strides = Strides(x.type.shape), own = Strides(ids.type.shape);
  const int64_t bytes = SizeOf(x.type.dtype), n = ids.type.elements();
  for (int64_t i = 0; i < n; ++i) {
    int64_t offset = 0, rest = i;
    for (size_t k = 0; k < own.size(); ++k) {
      int64_t at = rest / own[k];
      rest %= own[k];
      if (k == axis) at = ids.as<int64_t>()[i];
      if (at < 0) at += x.type.shape[k];
      if (at < 0 || at >= x.type.shape[k]) return Invalid("gather_elements reads outside its data");
      offset += at * strides[k];
    }
    std::memcpy(out.data->data() + i * bytes, x.data->data() + offset * bytes, static_cast<size_t>(bytes));
  }
  return Status();
}

}  // namespace

Status EvaluateGather(Op op, const Attrs& attrs, const HostTensor& x, const HostTensor& ids, Output& out) {
  if (op == Op::kGather) return Gather(attrs, x, ids, out);
  if (op == Op::kGatherNd) return GatherNd(attrs, x, ids, out);
  return GatherElements(attrs, x, ids, out);
}

}  // namespace zo2::internal
