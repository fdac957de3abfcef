#include "runtime/masters.h"

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "runtime/codes.h"
#include "runtime/worker_pool.h"

namespace zo2 {
namespace {

struct Placed {
  const Tile* tile;
  const Segment* segment;
};

// Rows of a segment, and where they go. Null pointers: through WriteBuffer, or the tile has no such buffer.
struct Block {
  Placed at;
  int64_t row_begin, row_end;
  uint64_t offset, bytes;  // in the tile's master
  std::byte* to;
  std::byte* codes;  // the tile's first
};

Result<std::vector<Block>> BlocksToLoad(Executor& executor, int64_t piece_bytes) {
  const Schedule& schedule = executor.schedule();
  std::vector<Block> blocks;
  for (const Tile& tile : schedule.tiles) {
    std::byte* codes = nullptr;
    if (tile.codes >= 0) {
      ZO2_ASSIGN(codes, executor.Fill(tile.codes, 0, tile.wire_bytes));
    }
    for (const Segment& segment : tile.segments) {
      const PlanWeight& weight = schedule.weights[static_cast<size_t>(segment.weight)];
      const int64_t row_bytes = (segment.col_end - segment.col_begin) *
                                SizeOf(weight.components[static_cast<size_t>(segment.component)].storage);
      const int64_t step = std::max<int64_t>(1, piece_bytes / std::max<int64_t>(1, row_bytes));
      for (int64_t row = segment.row_begin; row < segment.row_end; row += step) {
        Block block{{&tile, &segment}, row, std::min(segment.row_end, row + step), 0, 0, nullptr, codes};
        block.offset = segment.offset + static_cast<uint64_t>((row - segment.row_begin) * row_bytes);
        block.bytes = static_cast<uint64_t>((block.row_end - row) * row_bytes);
        if (tile.master >= 0) {
          ZO2_ASSIGN(block.to, executor.Fill(tile.master, block.offset, block.bytes));
        }
        blocks.push_back(block);
      }
    }
  }
  return blocks;
}

// Encodes the block's rows, current through `step`, to its tile's codes.
Status Encode(Executor& executor, const Block& b, const std::byte* values, int64_t step) {
  const Schedule& schedule = executor.schedule();
  const Segment& s = *b.at.segment;
  const int64_t all = s.row_end - s.row_begin, rows = b.row_end - b.row_begin, cols = s.col_end - s.col_begin;
  if (b.codes != nullptr)
    return EncodeRows(schedule, s, b.row_begin, b.row_end, values,
                      {b.codes + s.wire_offset, s.row_begin, all}, step);
  // As a rectangle of its own; its codes and its scales are ranges of the segment's.
  const WireFormat wire =
      schedule.weights[static_cast<size_t>(s.weight)].components[static_cast<size_t>(s.component)].wire;
  constexpr size_t kAlign = 64;
  std::vector<std::byte> memory(WireBytes(wire, rows, cols) + kAlign);
  void* aligned = memory.data();
  size_t space = memory.size();
  std::byte* coded = static_cast<std::byte*>(std::align(kAlign, space - kAlign, aligned, space));
  ZO2_TRY(EncodeRows(schedule, s, b.row_begin, b.row_end, values, {coded, b.row_begin, rows}, step));
  const uint64_t row_bytes = WireRowBytes(wire, cols),
                 first = static_cast<uint64_t>(b.row_begin - s.row_begin);
  ZO2_TRY(executor.WriteBuffer(b.at.tile->codes, s.wire_offset + first * row_bytes,
                               {coded, static_cast<size_t>(rows) * row_bytes}));
  if (!IsCoded(wire)) return Status();
  const uint64_t row_scales = 4 * static_cast<uint64_t>(WireGroups(cols));
  return executor.WriteBuffer(
      b.at.tile->codes, s.wire_offset + WireScaleOffset(wire, all, cols) + first * row_scales,
      {coded + WireScaleOffset(wire, rows, cols), static_cast<size_t>(rows) * row_scales});
}

// f(block) for all of them, as far as memory can be filled from several threads.
Status ForEachBlock(const std::vector<Block>& blocks, int threads,
                    const std::function<Status(const Block&)>& f) {
  const bool direct = std::all_of(blocks.begin(), blocks.end(), [](const Block& b) {
    return (b.to != nullptr || b.at.tile->master < 0) && (b.codes != nullptr || b.at.tile->codes < 0);
  });
  std::mutex mutex;
  Status status;
  WorkerPool workers(direct ? std::max(1, threads) : 1);
  std::atomic<bool> failed{false};
  workers.Run(static_cast<int64_t>(blocks.size()), [&](int64_t i) {
    if (failed.load(std::memory_order_relaxed)) return;
    Status loaded = f(blocks[static_cast<size_t>(i)]);
    std::lock_guard<std::mutex> lock(mutex);
    if (!loaded.ok()) failed = true;
    if (status.ok() && !loaded.ok()) status = std::move(loaded);
  });
  return status;
}

// Reads a block with `read`, encodes it if `encode` says so, takes it on with `advance`, and puts it into the
// master. What is read is current through `step`.
template <typename Read, typename Advance>
Status Load(Executor& executor, const Block& b, bool encode, int64_t step, const Read& read,
            const Advance& advance) {
  const Segment& s = *b.at.segment;
  std::vector<std::byte> scratch;
  std::byte* values = b.to;
  if (values == nullptr) {
    scratch.resize(b.bytes);
    values = scratch.data();
  }
  ZO2_TRY(read(s.weight, b.row_begin, b.row_end, s.col_begin, s.col_end, values));
  if (encode) ZO2_TRY(Encode(executor, b, values, step));
  if (b.at.tile->master < 0) return Status();
  advance(s.weight, b.row_begin, b.row_end, s.col_begin, s.col_end, values);
  return b.to != nullptr ? Status() : executor.WriteBuffer(b.at.tile->master, b.offset, scratch);
}

}  // namespace

Status LoadMasters(const WeightReader& read, Executor& executor, int threads, int64_t piece_bytes) {
  ZO2_ASSIGN(const std::vector<Block> blocks, BlocksToLoad(executor, piece_bytes));
  return ForEachBlock(blocks, threads, [&](const Block& b) {
    return Load(executor, b, b.at.tile->codes >= 0, 0, read, [](auto...) {});
  });
}

Status LoadRun(RunState& state, Executor& executor) {
  const Schedule& schedule = executor.schedule();
  const std::vector<int64_t>& versions = state.codes_versions();
  int64_t oldest = state.step();
  for (const TileId t : TrainedCodes(schedule)) {
    executor.SetCodesVersion(t, versions[static_cast<size_t>(t)]);
    oldest = std::min(oldest, versions[static_cast<size_t>(t)]);
  }
  for (int64_t step = oldest; step < state.step(); ++step)
    ZO2_TRY(executor.WriteRecord(state.log().at(step)));
  ZO2_ASSIGN(std::vector<Block> blocks, BlocksToLoad(executor, kPieceBytes));
  const auto load = [&](const Block& b) {
    const Tile& tile = *b.at.tile;
    const size_t t = static_cast<size_t>(&tile - schedule.tiles.data());
    const bool lags = tile.codes >= 0 && tile.trainable;
    const bool kept = lags && !state.KeptCodes(static_cast<TileId>(t)).empty();
    const int64_t version = lags && !kept ? versions[t] : state.step();
    return Load(
        executor, b, tile.codes >= 0 && !kept, version,
        [&](auto... args) { return state.replay().ReadAt(version, args...); },
        [&](auto... args) { state.replay().Advance(version, args...); });
  };
  // The replay cuts a block for threads of its own; frozen tiles, which it hands through, are loaded side by
  // side.
  const auto trained =
      std::partition(blocks.begin(), blocks.end(), [](const Block& b) { return !b.at.tile->trainable; });
  ZO2_TRY(ForEachBlock({blocks.begin(), trained}, HostThreads(), load));
  ZO2_TRY(ForEachBlock({trained, blocks.end()}, 1, load));
  for (const TileId t : TrainedCodes(schedule))
    if (const std::span<const std::byte> kept = state.KeptCodes(t); !kept.empty())
      ZO2_TRY(executor.WriteBuffer(schedule.tiles[static_cast<size_t>(t)].codes, 0, kept));
  return Status();
}

RunCodes CodesOf(Executor& executor) {
  RunCodes codes;
  for (size_t t = 0; t < executor.schedule().tiles.size(); ++t)
    codes.versions.push_back(executor.codes_version(static_cast<TileId>(t)));
  codes.read = [&executor](TileId t, uint64_t offset, std::span<std::byte> out) {
    return executor.ReadBuffer(executor.schedule().tiles[static_cast<size_t>(t)].codes, offset, out);
  };
  return codes;
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
      if (tile->master < 0) return Internal("tile ", tile->name, " has no master to read");
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
