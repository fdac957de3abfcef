#include "runtime/masters.h"

#include <algorithm>
#include <memory>
#include <vector>

namespace zo2 {
namespace {

constexpr int64_t kLoadBytes = 16 << 20;  // read at a time while masters are filled

struct Placed {
  const Tile* tile;
  const Segment* segment;
};

}  // namespace

Status LoadMasters(const WeightReader& read, Executor& executor) {
  const Schedule& schedule = executor.schedule();
  std::vector<std::byte> block;
  for (const Tile& tile : schedule.tiles) {
    for (const Segment& segment : tile.segments) {
      const PlanWeight& weight = schedule.weights[static_cast<size_t>(segment.weight)];
      const int64_t row_bytes = (segment.col_end - segment.col_begin) *
                                SizeOf(weight.components[static_cast<size_t>(segment.component)].storage);
      const int64_t step = std::max<int64_t>(1, kLoadBytes / std::max<int64_t>(1, row_bytes));
      for (int64_t row = segment.row_begin; row < segment.row_end; row += step) {
        const int64_t end = std::min(segment.row_end, row + step);
        block.resize(static_cast<size_t>((end - row) * row_bytes));
        ZO2_TRY(read(segment.weight, row, end, segment.col_begin, segment.col_end, block.data()));
        ZO2_TRY(executor.WriteBuffer(
            tile.master, segment.offset + static_cast<uint64_t>((row - segment.row_begin) * row_bytes), block));
      }
    }
  }
  return Status();
}

WeightReader MasterReader(Executor& executor) {
  const Schedule& schedule = executor.schedule();
  auto placed = std::make_shared<std::vector<std::vector<Placed>>>(schedule.weights.size());
  for (const Tile& tile : schedule.tiles)
    for (const Segment& segment : tile.segments)
      (*placed)[static_cast<size_t>(segment.weight)].push_back({&tile, &segment});
  return [placed, &schedule, &executor](int32_t w, int64_t row_begin, int64_t row_end, int64_t col_begin,
                                        int64_t col_end, std::byte* out) -> Status {
    const int64_t size = SizeOf(schedule.weights[static_cast<size_t>(w)].components[0].storage);
    const int64_t width = col_end - col_begin;
    for (const auto& [tile, s] : (*placed)[static_cast<size_t>(w)]) {
      const int64_t r0 = std::max(row_begin, s->row_begin), r1 = std::min(row_end, s->row_end);
      const int64_t c0 = std::max(col_begin, s->col_begin), c1 = std::min(col_end, s->col_end);
      if (r0 >= r1 || c0 >= c1) continue;
      const int64_t pitch = s->col_end - s->col_begin;
      const bool dense = c1 - c0 == pitch && c1 - c0 == width;  // both are one range of bytes
      for (int64_t r = r0; r < r1; r += dense ? r1 - r0 : 1) {
        const int64_t elements = dense ? (r1 - r0) * width : c1 - c0;
        const int64_t from = (r - s->row_begin) * pitch + c0 - s->col_begin;
        const int64_t to = (r - row_begin) * width + c0 - col_begin;
        ZO2_TRY(executor.ReadBuffer(tile->master, s->offset + static_cast<uint64_t>(from * size),
                                    {out + to * size, static_cast<size_t>(elements * size)}));
      }
    }
    return Status();
  };
}

}  // namespace zo2
