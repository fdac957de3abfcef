// Tables and buffers of a schedule. Programs are in emit_program.cc.
#include "planner/emit.h"

#include <algorithm>

#include "planner/arith.h"
#include "planner/emit_program.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

constexpr ArenaId kDevice = 0, kHost = 1;
constexpr uint32_t kStagingRing = 4, kResultRing = 8;

// Hands out ranges of one arena one after the other.
class Bump {
 public:
  Bump(Schedule* schedule, ArenaId arena, uint64_t align) : schedule_(schedule), arena_(arena), align_(align) {}
  BufferId Add(const std::string& name, BufferKind kind, uint64_t bytes, uint32_t ring = 1) {
    Buffer b;
    b.name = name;
    b.arena = arena_;
    b.kind = kind;
    b.offset = top_;
    b.bytes = bytes;
    b.ring = ring;
    b.stride = AlignUp(std::max<uint64_t>(bytes, 1), align_);
    top_ += b.stride * ring;
    schedule_->buffers.push_back(b);
    return static_cast<BufferId>(schedule_->buffers.size() - 1);
  }
  uint64_t top() const { return top_; }

 private:
  Schedule* schedule_;
  ArenaId arena_;
  uint64_t align_, top_ = 0;
};

uint64_t LargestSlot(const PlanInput& in, const Decision& d) {
  uint64_t most = 0;
  for (size_t t = 0; t < in.partition->tiles.size(); ++t)
    if (!d.resident[t]) most = std::max(most, SlotBytes(in, static_cast<TileId>(t)));
  return most;
}

// Master and codes of each tile, where the decision wants them. A trained tile on the device is not coded.
void PlaceTiles(const PlanInput& in, const Decision& d, Schedule* s, Bump* device, Bump* host) {
  for (size_t t = 0; t < s->tiles.size(); ++t) {
    Tile& tile = s->tiles[t];
    Bump* place = d.resident[t] ? device : host;
    const bool coded = in.partition->coded[t] && (!tile.trainable || !d.resident[t]);
    if (!coded && in.partition->coded[t]) {
      tile.wire_bytes = tile.bytes;
      for (Segment& g : tile.segments) g.wire_offset = g.offset;
    }
    if (!coded || tile.trainable) tile.master = place->Add("master of " + tile.name, BufferKind::kMaster, tile.bytes);
    if (coded) tile.codes = place->Add("codes of " + tile.name, BufferKind::kCodes, tile.wire_bytes);
  }
}

std::vector<ValueId> Constants(const PlanInput& in) {
  std::vector<ValueId> all;
  for (const Layout* layout : {in.train, in.evaluate})
    if (layout != nullptr) all.insert(all.end(), layout->constants.begin(), layout->constants.end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  return all;
}

uint32_t RecordRing(const Decision& d) { return static_cast<uint32_t>(d.writeback_every) + 2; }
// Host updates may have as many updates pending as prepares.
uint32_t HostRecordRing(const PlanInput& in, const Decision& d) {
  return AnyCodedTrained(*in.partition) ? std::max(kResultRing, RecordRing(d)) : kResultRing;
}

// Host staging of one program.
void StageProgram(const PlanInput& in, const Layout& layout, Bump* host, StagedProgram* staged) {
  const std::string prefix = layout.purpose == Purpose::kTrain ? "train " : "evaluate ";
  for (const auto& [value, temp] : layout.input)
    staged->input[value] = host->Add(prefix + "staging of " + in.graph->value(value).name, BufferKind::kStaging,
                                     layout.temps[Ix(temp)].bytes, kStagingRing);
  if (layout.control >= 0)
    staged->control = host->Add("control staging", BufferKind::kStaging, sizeof(StepControl), kStagingRing);
  for (size_t b = 0; b < layout.loss_sum.size(); ++b) {
    uint64_t bytes = layout.temps[Ix(layout.loss_sum[b])].bytes;
    staged->loss_sum.push_back(host->Add(prefix + "loss sum on the host", BufferKind::kStaging, bytes, kResultRing));
    bytes = layout.temps[Ix(layout.loss_count[b])].bytes;
    staged->loss_count.push_back(host->Add(prefix + "loss count on the host", BufferKind::kStaging, bytes, kResultRing));
  }
  for (ValueId v : layout.outputs)
    staged->output.push_back(host->Add("staging of output " + in.graph->value(v).name, BufferKind::kStaging,
                                       static_cast<uint64_t>(in.graph->value(v).type.bytes()), kStagingRing));
}

// Tables that the schedule copies from graph and partition.
void CopyTables(const PlanInput& in, Schedule* s) {
  const Graph& g = *in.graph;
  s->model_name = g.name;
  s->model_digest = g.model_digest;
  s->machine = in.machine->name;
  s->model_dir = in.options->model_dir;
  s->loss = g.loss;
  s->rounding = in.options->rounding;
  s->rademacher = in.options->rademacher;
  s->weights = in.partition->weights;
  s->tiles = in.partition->tiles;
  for (const Value& v : g.values) {
    PlanValue p;
    p.name = v.name;
    p.kind = v.kind;
    p.type = v.type;
    p.weight = v.weight;
    if (v.kind == ValueKind::kWeight) p.type.dtype = s->weights[Ix(v.weight)].components[0].compute;
    if (v.kind == ValueKind::kConstant && v.data != nullptr)
      p.data.assign(reinterpret_cast<const char*>(v.data->data()), v.data->size());
    s->values.push_back(std::move(p));
  }
  for (const Node& n : g.nodes) s->nodes.push_back({n.op, n.name, n.attrs, n.inputs, n.outputs});
  s->notes = g.notes;
}

// The temporary memory of one program, all of it above `base`.
std::vector<BufferId> PlaceTemps(const Layout& layout, uint64_t base, uint64_t align, Schedule* s) {
  std::vector<BufferId> ids;
  for (const Temp& t : layout.temps) {
    Buffer b;
    b.name = t.name;
    b.arena = kDevice;
    b.kind = t.kind;
    b.offset = base + t.offset;
    b.bytes = t.bytes;
    b.ring = t.ring;
    b.stride = AlignUp(t.bytes, align);
    ids.push_back(static_cast<BufferId>(s->buffers.size()));
    s->buffers.push_back(std::move(b));
  }
  return ids;
}

// Buffers report their lifetime in the program that uses them (seq, half open): of temporaries, first and last use.
void MarkLifetimes(Schedule* s) {
  for (const Program& p : s->programs) {
    for (const Lane& lane : p.lanes) {
      for (const Instruction& i : lane.instructions) {
        for (const Operand& o : i.operands) {
          if (o.buffer < 0) continue;
          Buffer& b = s->buffers[Ix(o.buffer)];
          if (b.kind != BufferKind::kActivation && b.kind != BufferKind::kBranch && b.kind != BufferKind::kWorkspace &&
              b.kind != BufferKind::kState)
            continue;
          if (b.live_end == 0) b.live_begin = i.seq;
          b.live_end = std::max(b.live_end, i.seq + 1);
        }
      }
    }
  }
}

}  // namespace

MemoryUse MeasureMemory(const PlanInput& in, const Decision& d) {
  const uint64_t align = in.machine->alignment();
  MemoryUse use;
  bool streamed = false;
  for (size_t t = 0; t < in.partition->tiles.size(); ++t) {
    const auto id = static_cast<TileId>(t);
    if (d.resident[t]) {
      use.resident += AlignUp(ResidentBytes(in, id), align);
      continue;
    }
    streamed = true;
    use.host_masters += AlignUp(MasterBytesOnHost(in, id), align);
    use.host_codes += AlignUp(CodeBytesOnHost(in, id), align);
  }
  if (streamed) use.slots = AlignUp(LargestSlot(in, d), align) * static_cast<uint64_t>(d.slots);
  for (ValueId v : Constants(in))
    use.constants += AlignUp(static_cast<uint64_t>(in.graph->value(v).type.bytes()), align);
  if (in.train != nullptr) use.records = AlignUp(StepRecordBytes(in.options->samples), align) * RecordRing(d);
  for (const Layout* layout : {in.train, in.evaluate}) {
    if (layout == nullptr) continue;
    use.temporary = std::max(use.temporary, layout->bytes);
    Schedule scratch;
    Bump host(&scratch, kHost, align);
    StagedProgram staged;
    StageProgram(in, *layout, &host, &staged);
    use.host_staging += host.top();
  }
  if (in.train != nullptr)
    use.host_staging += AlignUp(StepRecordBytes(in.options->samples), align) * HostRecordRing(in, d);
  return use;
}

Status TooManyInstructions(int64_t count, uint64_t target) {
  return Error(Code::kInfeasible, "the schedule would have at least ", count, " instructions, more than ", kMaxInstructions,
               "; use larger tiles (--tile ", FormatSize(static_cast<double>(target) * 2), ") or fewer passes (--q, --micro)");
}

Result<Schedule> Emit(const PlanInput& in, const Decision& d) {
  Schedule s;
  CopyTables(in, &s);
  const uint64_t align = in.machine->alignment();
  s.arenas.resize(2);
  s.arenas[kDevice] = {Tier::kDevice, 0, 0, in.options->budget};
  s.arenas[kHost] = {Tier::kHost, 0, 0, in.options->host_budget};
  Bump device(&s, kDevice, align), host(&s, kHost, align);
  PlaceTiles(in, d, &s, &device, &host);
  const bool streamed = std::find(d.resident.begin(), d.resident.end(), false) != d.resident.end();
  Placement placement;
  for (int i = 0; streamed && i < d.slots; ++i)
    placement.slots.push_back(device.Add("slot " + std::to_string(i), BufferKind::kSlot, LargestSlot(in, d)));
  for (ValueId v : Constants(in)) {
    s.values[Ix(v)].constant = device.Add("constant " + in.graph->value(v).name, BufferKind::kConstant,
                                          static_cast<uint64_t>(in.graph->value(v).type.bytes()));
  }
  if (in.train != nullptr) {
    uint64_t bytes = StepRecordBytes(in.options->samples);
    placement.record = device.Add("records", BufferKind::kRecord, bytes, RecordRing(d));
    placement.record_host = host.Add("records on the host", BufferKind::kRecord, bytes, HostRecordRing(in, d));
  }
  const uint64_t base = device.top();
  uint64_t top = base;
  for (const Layout* layout : {in.train, in.evaluate}) {
    if (layout == nullptr) continue;
    StagedProgram staged;
    StageProgram(in, *layout, &host, &staged);
    placement.temps = PlaceTemps(*layout, base, align, &s);
    top = std::max(top, base + layout->bytes);
    s.programs.push_back(EmitProgram(in, d, *layout, placement, staged, s));
  }
  if (in.train != nullptr) s.programs.push_back(EmitFlush(in, d, placement, s));
  s.arenas[kDevice].bytes = top;
  s.arenas[kHost].bytes = host.top();
  MarkLifetimes(&s);
  if (NumInstructions(s) > kMaxInstructions) return TooManyInstructions(NumInstructions(s), in.partition->target);
  return s;
}

}  // namespace zo2
