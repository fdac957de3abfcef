#include "runtime/replay.h"

#include <algorithm>
#include <chrono>
#include <memory>
#include <span>
#include <utility>

#include "runtime/executor.h"
#include "runtime/kernels/prepare.h"

namespace zo2 {
namespace {

constexpr int64_t kPartElements = 1 << 15;  // of a block that stays in a core's cache while updates are applied
constexpr int64_t kLoadBytes = 16 << 20;    // read and replayed at a time while masters are filled

struct Placed {
  const Tile* tile;
  const Segment* segment;
};

}  // namespace

Replay::Replay(const Schedule& schedule, WeightReader start, const StepLog& log, int64_t from, int64_t to,
               const RunParameters& parameters, int threads, int64_t steps_per_pass)
    : schedule_(schedule), start_(std::move(start)), parameters_(parameters), steps_per_pass_(steps_per_pass),
      workers_(std::max(1, threads)) {
  for (int64_t step = from; step < to; ++step)
    if (log.at(step).skipped == 0) pending_.push_back(Pending(log.at(step)));
}

Status Replay::Read(int32_t w, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end, std::byte* out) {
  ZO2_TRY(start_(w, row_begin, row_end, col_begin, col_end, out));
  const PlanWeight& weight = schedule_.weights[static_cast<size_t>(w)];
  const Component& component = weight.components[0];
  const int64_t elements = (row_end - row_begin) * (col_end - col_begin);
  if (pending_.empty() || !component.trainable || elements <= 0) return Status();
  kernels::PrepareArgs args = ComponentArgs(schedule_, weight, component, parameters_, {});
  args.row_begin = row_begin;
  args.row_end = row_end;
  args.col_begin = col_begin;
  args.col_end = col_end;
  args.source = args.master_out = out;
  args.source_row_stride = args.master_row_stride = col_end - col_begin;
  const auto begin = std::chrono::steady_clock::now();
  const int parts = static_cast<int>(std::clamp<int64_t>(elements / kPartElements, 1, 1 << 20));
  workers_.Run(parts, [&](int64_t part) {
    kernels::PrepareArgs pass = args;
    std::span<const kernels::PendingUpdate> left = pending_;
    while (!left.empty()) {
      pass.pending = left.first(std::min<size_t>(left.size(), static_cast<size_t>(steps_per_pass_)));
      left = left.subspan(pass.pending.size());
      kernels::PreparePart(pass, static_cast<int>(part), parts);
    }
  });
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return Status();
}

Status LoadMasters(const WeightReader& read, Executor& executor) {
  const Schedule& schedule = executor.schedule();
  std::vector<std::byte> block;
  for (const Tile& tile : schedule.tiles) {
    for (const Segment& segment : tile.segments) {
      const PlanWeight& weight = schedule.weights[static_cast<size_t>(segment.weight)];
      const int64_t row_bytes =
          (segment.col_end - segment.col_begin) * SizeOf(weight.components[static_cast<size_t>(segment.component)].storage);
      const int64_t step = std::max<int64_t>(1, kLoadBytes / std::max<int64_t>(1, row_bytes));
      for (int64_t row = segment.row_begin; row < segment.row_end; row += step) {
        const int64_t end = std::min(segment.row_end, row + step);
        block.resize(static_cast<size_t>((end - row) * row_bytes));
        ZO2_TRY(read(segment.weight, row, end, segment.col_begin, segment.col_end, block.data()));
        ZO2_TRY(executor.WriteBuffer(tile.master, segment.offset + static_cast<uint64_t>((row - segment.row_begin) * row_bytes), block));
      }
    }
  }
  return Status();
}

WeightReader MasterReader(Executor& executor) {
  const Schedule& schedule = executor.schedule();
  auto placed = std::make_shared<std::vector<std::vector<Placed>>>(schedule.weights.size());
  for (const Tile& tile : schedule.tiles)
    for (const Segment& segment : tile.segments) (*placed)[static_cast<size_t>(segment.weight)].push_back({&tile, &segment});
  return [placed, &schedule, &executor](int32_t w, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end,
                                        std::byte* out) -> Status {
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
