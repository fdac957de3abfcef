#include "runtime/codes.h"

#include <algorithm>
#include <mutex>
#include <utility>

#include "runtime/kernels/codec.h"

namespace zo2 {
namespace {

// Of a block that is updated and encoded while it is in a core's cache.
constexpr int64_t kBlockElements = 1 << 15;

const PlanWeight& WeightOf(const Schedule& schedule, const Segment& segment) {
  return schedule.weights[static_cast<size_t>(segment.weight)];
}
const Component& ComponentOf(const Schedule& schedule, const Segment& segment) {
  return WeightOf(schedule, segment).components[static_cast<size_t>(segment.component)];
}

}  // namespace

std::vector<uint64_t> CodesWrites(const Schedule& schedule, const Program& program) {
  std::vector<uint64_t> writes(schedule.tiles.size(), 0);
  for (const Lane& lane : program.lanes)
    for (const Instruction& i : lane.instructions)
      if (i.kind == InstrKind::kHostUpdate && i.operands.size() == 3 && i.operands[2].buffer >= 0)
        writes[static_cast<size_t>(i.tile)] |= i.residues;
  return writes;
}

std::vector<int64_t> CodesVersions(const Schedule& schedule, int64_t step) {
  std::vector<int64_t> versions(schedule.tiles.size(), 0);
  const Program* train = schedule.Find(Purpose::kTrain);
  if (train == nullptr) return versions;
  const std::vector<uint64_t> writes = CodesWrites(schedule, *train);
  for (size_t tile = 0; tile < versions.size(); ++tile)
    for (int64_t i = step - 1; i >= 0 && i >= step - train->period; --i)
      if ((writes[tile] >> (i % train->period)) & 1) {
        versions[tile] = i;
        break;
      }
  return versions;
}

std::vector<TileId> TrainedCodes(const Schedule& schedule) {
  std::vector<TileId> tiles;
  for (size_t t = 0; t < schedule.tiles.size(); ++t)
    if (schedule.tiles[t].codes >= 0 && schedule.tiles[t].trainable) tiles.push_back(static_cast<TileId>(t));
  return tiles;
}

Status EncodeRows(const Schedule& schedule, const Segment& segment, int64_t row_begin, int64_t row_end,
                  const std::byte* values, const CodesPlace& to, int64_t step) {
  const Component& component = ComponentOf(schedule, segment);
  kernels::EncodeArgs args;
  args.format = component.wire;
  args.rows = to.rows;
  args.cols = args.value_stride = segment.col_end - segment.col_begin;
  args.row_begin = row_begin - to.row_begin;
  args.row_end = row_end - to.row_begin;
  args.storage = component.storage;
  args.values = values - args.row_begin * args.cols * SizeOf(component.storage);
  args.coded = to.coded;
  const uint64_t bad = kernels::Encode(args);
  if (bad == 0) return Status();
  // A run begins with finite weights, so it was its updates.
  if (step > 0 && WeightOf(schedule, segment).trainable && component.trainable)
    return Invalid("the training diverged: by step ", step, " updates made ", bad, " values of weight ",
                   component.name, " not finite in rows ", row_begin, " to ", row_end - 1,
                   ": start again with a lower --lr, or limit g with --clip-g");
  const bool plain = component.wire == PlainWire(component.storage);
  return Invalid("weight ", component.name, " has ", bad, " values that are not finite in rows ", row_begin,
                 " to ", row_end - 1, ", which ",
                 plain ? "a tile that crosses the link as codes" : Name(component.wire), " cannot keep: mend its file",
                 plain ? "" : ", or plan without a wire format for it");
}

Status HostUpdate(const PrepareJob& job, std::byte* codes, WorkerPool& workers) {
  const std::vector<kernels::PendingUpdate> pending = PendingUpdates(job);
  const bool updates = std::any_of(pending.begin(), pending.end(), [](const auto& p) { return !p.skipped; });
  if (!updates && codes == nullptr) return Status();
  struct Block {
    const Segment* segment;
    int64_t row_begin, row_end;
  };
  std::vector<Block> blocks;
  for (const Segment& segment : job.tile->segments) {
    const int64_t width = segment.col_end - segment.col_begin;
    const int64_t step = std::max<int64_t>(1, kBlockElements / std::max<int64_t>(1, width));
    for (int64_t row = segment.row_begin; row < segment.row_end; row += step)
      blocks.push_back({&segment, row, std::min(segment.row_end, row + step)});
  }
  std::mutex mutex;
  Status status;
  workers.Run(static_cast<int64_t>(blocks.size()), [&](int64_t b) {
    const auto& [segment, row_begin, row_end] = blocks[static_cast<size_t>(b)];
    const Component& component = ComponentOf(*job.schedule, *segment);
    const int64_t width = segment->col_end - segment->col_begin;
    std::byte* values =
        job.master_out + segment->offset +
        static_cast<uint64_t>((row_begin - segment->row_begin) * width * SizeOf(component.storage));
    if (updates && component.trainable) {
      kernels::PrepareArgs args = ComponentArgs(*job.schedule, WeightOf(*job.schedule, *segment), component,
                                                *job.parameters, pending);
      args.row_begin = row_begin;
      args.row_end = row_end;
      args.col_begin = segment->col_begin;
      args.col_end = segment->col_end;
      args.source = args.master_out = values;
      args.source_row_stride = args.master_row_stride = width;
      args.saturated = job.saturated;
      kernels::Prepare(args);
    }
    if (codes == nullptr) return;
    Status encoded =
        EncodeRows(*job.schedule, *segment, row_begin, row_end, values,
                   {codes + segment->wire_offset, segment->row_begin, segment->row_end - segment->row_begin},
                   job.step);
    if (encoded.ok()) return;
    std::lock_guard<std::mutex> lock(mutex);
    if (status.ok()) status = std::move(encoded);
  });
  return status;
}

}  // namespace zo2
