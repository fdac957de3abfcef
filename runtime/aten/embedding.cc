// Rows of a table by ids, whole or part by part.
#include <cstring>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"

namespace zo2::aten {

namespace {

// Rows of a table in bf16, as the f32 numbers that they are.
Status Widen(const KernelCall& call, const Rows& table, int64_t begin, int64_t end) {
  const TensorView &ids = call.inputs[0], &w = call.inputs[1], &y = call.outputs[0];
  if (w.dtype != DType::kBF16 || y.dtype != DType::kF32)
    return Internal("embedding: there is no kernel from ", ToString(w), " to ", ToString(y));
  const auto* id = static_cast<const int64_t*>(ids.data);
  const auto* from = static_cast<const uint16_t*>(w.data);
  auto* to = static_cast<uint32_t*>(y.data);
  Parallel(call, NumElements(ids.shape), 5 + static_cast<double>(table.columns) / 8,
           [&](int64_t first, int64_t last) {
             for (int64_t i = first; i < last; ++i) {
               if (id[i] < begin || id[i] >= end) continue;
               const uint16_t* row = from + (id[i] - begin) * table.stride;
               for (int64_t c = 0; c < table.columns; ++c) to[i * table.columns + c] = uint32_t{row[c]} << 16;
             }
           });
  return Status();
}

}  // namespace

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
  if (y.dtype != w.dtype) return Widen(call, table, begin, end);
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
