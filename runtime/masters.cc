#include "runtime/masters.h"

#include <algorithm>
#include <atomic>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "runtime/worker_pool.h"

namespace zo2 {
namespace {

constexpr int64_t kLoadBytes = 4 << 20;  // about what is read at a time while masters are filled

struct Placed {
  const Tile* tile;
  const Segment* segment;
};

// Rows of a segment, and where they go: `to`, or at `offset` of the tile's master where that is null.
struct Block {
  Placed at;
  int64_t row_begin, row_end;
  uint64_t offset, bytes;
  std::byte* to;
};

Result<std::vector<Block>> BlocksToLoad(Executor& executor) {
  const Schedule& schedule = executor.schedule();
  std::vector<Block> blocks;
  for (const Tile& tile : schedule.tiles) {
    for (const Segment& segment : tile.segments) {
      const PlanWeight& weight = schedule.weights[static_cast<size_t>(segment.weight)];
      const int64_t row_bytes = (segment.col_end - segment.col_begin) *
                                SizeOf(weight.components[static_cast<size_t>(segment.component)].storage);
      const int64_t step = std::max<int64_t>(1, kLoadBytes / std::max<int64_t>(1, row_bytes));
      for (int64_t row = segment.row_begin; row < segment.row_end; row += step) {
        Block block{{&tile, &segment}, row, std::min(segment.row_end, row + step), 0, 0, nullptr};
        block.offset = segment.offset + static_cast<uint64_t>((row - segment.row_begin) * row_bytes);
        block.bytes = static_cast<uint64_t>((block.row_end - row) * row_bytes);
        ZO2_ASSIGN(block.to, executor.Fill(tile.master, block.offset, block.bytes));
        blocks.push_back(block);
      }
    }
  }
  return blocks;
}

}  // namespace

Status LoadMasters(const WeightReader& read, Executor& executor, int threads) {
  ZO2_ASSIGN(const std::vector<Block> blocks, BlocksToLoad(executor));
  const auto load = [&](const Block& b) -> Status {
    const Segment& s = *b.at.segment;
    if (b.to != nullptr) return read(s.weight, b.row_begin, b.row_end, s.col_begin, s.col_end, b.to);
    std::vector<std::byte> bytes(b.bytes);
    ZO2_TRY(read(s.weight, b.row_begin, b.row_end, s.col_begin, s.col_end, bytes.data()));
    return executor.WriteBuffer(b.at.tile->master, b.offset, bytes);
  };
  const bool direct = std::all_of(blocks.begin(), blocks.end(), [](const Block& b) { return b.to != nullptr; });
  std::mutex mutex;
  Status status;
  WorkerPool workers(direct ? std::max(1, threads) : 1);
  std::atomic<bool> failed{false};
  workers.Run(static_cast<int64_t>(blocks.size()), [&](int64_t i) {
    if (failed.load(std::memory_order_relaxed)) return;
    Status loaded = load(blocks[static_cast<size_t>(i)]);
    std::lock_guard<std::mutex> lock(mutex);
    if (!loaded.ok()) failed = true;
    if (status.ok() && !loaded.ok()) status = std::move(loaded);
  });
  return status;
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
