// Rows of a table by ids, whole or part by part.
#include <cstring>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"

namespace zo2::aten {

// A part holds rows [begin, begin + rows of W) and serves the ids in that range. Only the last part knows how
// many rows there are in all; every id must have met its row by then.
Status Embedding(const KernelCall& call) {
  const TensorView &ids = call.inputs[0], &w = call.inputs[1], &y = call.outputs[0];
  if (!IsDense(ids) || !IsDense(y)) return Internal("embedding: ids and output must be dense");
  ZO2_ASSIGN(const Rows table, AsRows(w));
  const int64_t begin = call.part_begin, end = begin + w.shape[0], n = NumElements(ids.shape);
  const auto* id = static_cast<const int64_t*>(ids.data);
  for (int64_t i = 0; i < n; ++i) {
    if (id[i] >= 0 && (id[i] < end || !call.last_part)) continue;
    if (!call.last_part) return Invalid("embedding: id ", id[i], " at position ", i, " is negative");
    return Invalid("embedding: id ", id[i], " at position ", i, " is outside of [0, ", end, ")");
  }
  const int64_t size = SizeOf(w.dtype), row = table.columns * size;
  const auto* from = static_cast<const std::byte*>(w.data);
  auto* to = static_cast<std::byte*>(y.data);
  Parallel(call, n, 5 + static_cast<double>(row) / 20, [&](int64_t first, int64_t last) {
    for (int64_t i = first; i < last; ++i)
      if (id[i] >= begin && id[i] < end)
        std::memcpy(to + i * row, from + (id[i] - begin) * table.stride * size, static_cast<size_t>(row));
  });
  return Status();
}

}  // namespace zo2::aten
