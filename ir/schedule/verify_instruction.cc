// Operands of copies, prepares, host updates and gradients -> effects. Calls are in verify_call.cc.
#include <algorithm>

#include "ir/schedule/verify_internal.h"

namespace zo2::internal {
namespace {

struct Site {
  const ProgramFacts& facts;
  Spot spot;
  const Schedule& s = *facts.schedule;
  const Program& p = *facts.program;
  const Instruction& i = facts.at(spot);
  const Lane& lane = p.lanes[Ix(spot.lane)];

  template <typename... Args>
  Status Reject(const Args&... args) const {
    return facts.Reject(spot, args...);
  }
  const Buffer& buffer(const Operand& o) const { return s.buffers[Ix(o.buffer)]; }
  const Arena& arena(const Operand& o) const { return s.arenas[Ix(buffer(o).arena)]; }
};

// Every operand lies in its buffer.
Status CheckOperands(const Site& at) {
  for (size_t k = 0; k < at.i.operands.size(); ++k) {
    const Operand& o = at.i.operands[k];
    if (o.buffer == -1) continue;
    if (o.buffer < 0 || Ix(o.buffer) >= at.s.buffers.size())
      return at.Reject("operand ", k, " is in buffer ", o.buffer, ", which there is not");
    uint64_t bytes = 0;
    if (static_cast<int>(o.type.dtype) > static_cast<int>(DType::kBool) || static_cast<int>(o.access) > 2 ||
        !ViewBytes(o.type, o.strides, &bytes))
      return at.Reject("operand ", k, " has a malformed shape, dtype, access or strides");
    const Buffer& b = at.buffer(o);
    if (bytes > b.bytes || o.offset > b.bytes - bytes)
      return at.Reject("operand ", k, " is ", bytes, " bytes at ", o.offset, " of buffer ", b.name, ", which has ",
                       b.bytes);
    if (o.tile != -1 && (o.tile < 0 || Ix(o.tile) >= at.s.tiles.size() || o.segment < 0 ||
                         Ix(o.segment) >= at.s.tiles[Ix(o.tile)].segments.size()))
      return at.Reject("operand ", k, " is of a segment that there is not");
  }
  return Status();
}

// Operand k is present, dense, of this many bytes, and accessed so. Its effect, content still open.
Status WholeOperand(const Site& at, size_t k, uint64_t bytes, AccessMode access, Role role, Effect* effect) {
  const Operand& o = at.i.operands[k];
  uint64_t have = 0;
  if (o.buffer == -1) return at.Reject("operand ", k, " is absent");
  if (!ViewBytes(o.type, o.strides, &have) || have != bytes || static_cast<uint64_t>(o.type.bytes()) != bytes)
    return at.Reject("operand ", k, " has ", o.type.bytes(), " bytes, not ", bytes);
  if (o.access != access) return at.Reject("operand ", k, " is read where it must be written or the reverse");
  *effect = Effect();
  effect->buffer = o.buffer;
  effect->role = role;
  effect->offset = o.offset;
  effect->bytes = bytes;
  effect->operand = static_cast<int16_t>(std::min<size_t>(k, 30000));
  return Status();
}

bool Contains(const std::vector<BufferId>& list, BufferId id) {
  return std::find(list.begin(), list.end(), id) != list.end();
}

Status Copy(const Site& at, std::vector<Effect>* effects) {
  if (at.i.operands.size() != 2 || at.i.operands[0].buffer == -1 || at.i.operands[1].buffer == -1)
    return at.Reject("a copy has two operands");
  const Operand &from = at.i.operands[0], &to = at.i.operands[1];
  const bool up = at.lane.kind == LaneKind::kH2D;
  if (!up && at.lane.kind != LaneKind::kD2H) return at.Reject("a copy belongs on an h2d or d2h lane");
  const Arena &host = at.arena(up ? from : to), &device = at.arena(up ? to : from);
  if (host.tier != Tier::kHost || device.tier != Tier::kDevice || device.device != at.lane.device)
    return at.Reject("copies from ", Name(at.arena(from).tier), " to ", Name(at.arena(to).tier), " on a lane ",
                     Name(at.lane.kind), " of device ", at.lane.device);
  const auto bytes = static_cast<uint64_t>(from.type.bytes());
  if (bytes == 0) return at.Reject("copies nothing");
  Effect read, write;
  ZO2_TRY(WholeOperand(at, 0, bytes, AccessMode::kRead, Role::kCopyFrom, &read));
  ZO2_TRY(WholeOperand(at, 1, bytes, AccessMode::kWrite, Role::kCopyTo, &write));
  const BufferKind source = at.buffer(from).kind, target = at.buffer(to).kind;
  if (at.i.tile >= 0) {
    const Tile& t = at.s.tiles[Ix(at.i.tile)];
    const Operand& home = up ? from : to;
    const uint64_t all = at.i.coded ? t.wire_bytes : t.bytes;
    if (at.i.coded && !up) return at.Reject("copies codes down; a host update makes them");
    if (home.buffer != (at.i.coded ? t.codes : t.master) || home.offset != 0 || bytes != all)
      return at.Reject("must copy all ", all, " bytes of the tile's ", at.i.coded ? "codes" : "master");
    if (at.buffer(up ? to : from).kind != BufferKind::kSlot) return at.Reject("a tile passes through slots only");
    if (!up && !t.trainable) return at.Reject("writes a frozen tile");
    if (!up && at.p.purpose == Purpose::kEvaluate) return at.Reject("an evaluation writes no master");
    if (!up) {
      read.role = Role::kRead;
      read.content = write.content = {Means::kTile, at.i.tile, 1, -1};
      write.role = Role::kWrite;
    }
  } else if (source == BufferKind::kMaster || target == BufferKind::kMaster || source == BufferKind::kCodes ||
             target == BufferKind::kCodes || target == BufferKind::kSlot) {
    return at.Reject("copies a tile without saying which");
  } else if (up) {
    if (target != BufferKind::kInput && target != BufferKind::kControl)
      return at.Reject("copies up to a buffer of kind ", Name(target), "; only tiles, inputs and controls go up");
  } else {
    bool allowed = to.buffer == at.p.record_host && at.p.purpose == Purpose::kTrain;
    allowed |= Contains(at.p.loss_sum_host, to.buffer) || Contains(at.p.loss_count_host, to.buffer);
    for (const ProgramOutput& out : at.p.outputs) allowed |= out.staging == to.buffer;
    if (!allowed) return at.Reject("copies down to buffer ", at.buffer(to).name, ", where nobody reads");
  }
  effects->push_back(read);
  effects->push_back(write);
  return Status();
}

Status OnThisDevice(const Site& at, const Operand& o, size_t k) {
  if (at.lane.kind != LaneKind::kCompute) return at.Reject("belongs on a compute lane");
  if (o.buffer != -1 && (at.arena(o).tier != Tier::kDevice || at.arena(o).device != at.lane.device))
    return at.Reject("operand ", k, " is not on device ", at.lane.device);
  return Status();
}

Status Prepare(const Site& at, std::vector<Effect>* effects) {
  if (at.i.tile < 0) return at.Reject("a prepare needs a tile");
  const Tile& t = at.s.tiles[Ix(at.i.tile)];
  if (at.i.branches.size() > kMaxGroups || at.i.operands.size() != 3 + at.i.branches.size())
    return at.Reject("a prepare has operands source, master_out, ids and one per branch");
  for (size_t k = 0; k < at.i.operands.size(); ++k) ZO2_TRY(OnThisDevice(at, at.i.operands[k], k));
  if (at.i.operands[2].buffer != -1) return at.Reject("gathers rows, which this build cannot prove");
  if (at.i.operands[0].buffer == -1) return at.Reject("lacks its source");
  if (at.i.source_after_write && !t.trainable) return at.Reject("says that a frozen tile was written");
  if (at.facts.train == nullptr && t.trainable && at.p.max_lag_in > 0)
    return at.Reject("may have updates pending but no train program makes any");
  const bool coded = at.i.coded;
  if (coded && at.i.source_after_write) return at.Reject("reads codes, so it finds them as the iteration began");
  if (coded && at.i.operands[1].buffer != -1) return at.Reject("writes a master from codes, which are not exact");
  if (!coded && t.codes != -1 && at.p.purpose == Purpose::kEvaluate)
    return at.Reject("reads the master of a coded tile; an evaluation reads codes, as training does");
  const auto is_place = [&](const Operand& o) {  // a slot, or the tile's own buffer
    return at.buffer(o).kind == BufferKind::kSlot || (o.buffer == (coded ? t.codes : t.master) && o.offset == 0);
  };
  Effect e;
  if (!is_place(at.i.operands[0]))
    return at.Reject("its source is neither a slot nor the tile's ", coded ? "codes" : "master");
  ZO2_TRY(WholeOperand(at, 0, coded ? t.wire_bytes : t.bytes, AccessMode::kRead, Role::kRead, &e));
  e.content = {Means::kTile, at.i.tile, !t.trainable || at.i.source_after_write ? 1 : 0, -1};
  if (coded) e.content = {Means::kCodes, at.i.tile, 0, -1};
  effects->push_back(e);
  const Operand& out = at.i.operands[1];
  if (out.buffer != -1) {
    if (!t.trainable) return at.Reject("writes a frozen tile");
    if (at.p.purpose == Purpose::kEvaluate) return at.Reject("an evaluation writes no master");
    if (!is_place(out)) return at.Reject("writes neither to a slot nor to the tile's master");
    ZO2_TRY(WholeOperand(at, 1, t.bytes, AccessMode::kWrite, Role::kWrite, &e));
    e.content = {Means::kTile, at.i.tile, 1, -1};
    effects->push_back(e);
  }
  for (size_t b = 0; b < at.i.branches.size(); ++b) {
    const int32_t branch = at.i.branches[b];
    if (branch < 0 || Ix(branch) >= at.p.branches.size()) return at.Reject("emits branch ", branch, ", which there is not");
    ZO2_TRY(WholeOperand(at, 3 + b, t.branch_bytes, AccessMode::kWrite, Role::kWrite, &e));
    if (at.buffer(at.i.operands[3 + b]).kind != BufferKind::kBranch)
      return at.Reject("operand ", 3 + b, " is no branch buffer");
    e.content = {Means::kBranch, at.i.tile, t.trainable ? branch : -1, -1};
    effects->push_back(e);
  }
  return Status();
}

// The records it reads are not those of an operand's copy in this iteration: verify_order looks after them.
Status HostUpdate(const Site& at, std::vector<Effect>* effects) {
  if (at.lane.kind != LaneKind::kHost) return at.Reject("belongs on a host lane");
  if (at.i.tile < 0) return at.Reject("a host update needs a tile");
  const Tile& t = at.s.tiles[Ix(at.i.tile)];
  if (at.i.operands.size() != 3) return at.Reject("a host update has operands master, record and codes");
  if (!t.trainable) return at.Reject("writes a frozen tile");
  if (at.p.purpose == Purpose::kEvaluate) return at.Reject("an evaluation writes no master");
  if (at.facts.train == nullptr) return at.Reject("applies updates but no train program makes any");
  Effect e;
  ZO2_TRY(WholeOperand(at, 0, t.bytes, AccessMode::kReadWrite, Role::kRead, &e));
  if (e.buffer != t.master || e.offset != 0) return at.Reject("operand 0 is not the tile's master");
  if (at.arena(at.i.operands[0]).tier != Tier::kHost) return at.Reject("updates a master that is not on the host");
  e.content = {Means::kTile, at.i.tile, at.i.source_after_write ? 1 : 0, -1};
  effects->push_back(e);
  e.role = Role::kWrite;
  e.content.b = 1;
  effects->push_back(e);
  ZO2_TRY(WholeOperand(at, 1, StepRecordBytes(at.facts.train->samples), AccessMode::kRead, Role::kRead, &e));
  if (e.buffer != at.facts.train->record_host || e.offset != 0)
    return at.Reject("operand 1 is not the ring of records on the host");
  if (at.i.operands[2].buffer == -1) return Status();
  if (at.p.purpose != Purpose::kTrain) return at.Reject("makes codes, which only train does");
  if (t.codes == -1) return at.Reject("makes codes of a tile that is not coded");
  ZO2_TRY(WholeOperand(at, 2, t.wire_bytes, AccessMode::kWrite, Role::kWrite, &e));
  if (e.buffer != t.codes || e.offset != 0) return at.Reject("operand 2 is not the tile's codes");
  e.content = {Means::kCodes, at.i.tile, 1, -1};
  effects->push_back(e);
  return Status();
}

Status Gradient(const Site& at, std::vector<Effect>* effects) {
  if (at.p.purpose != Purpose::kTrain) return at.Reject("only train has a gradient");
  const size_t n = at.p.branches.size();
  if (at.i.operands.size() != 2 + 2 * n)
    return at.Reject("a gradient has operands control, record, and a sum and a count per branch");
  for (size_t k = 0; k < at.i.operands.size(); ++k) ZO2_TRY(OnThisDevice(at, at.i.operands[k], k));
  Effect e;
  ZO2_TRY(WholeOperand(at, 0, sizeof(StepControl), AccessMode::kRead, Role::kRead, &e));
  e.content = {Means::kControl};
  effects->push_back(e);
  ZO2_TRY(WholeOperand(at, 1, StepRecordBytes(at.p.samples), AccessMode::kWrite, Role::kWrite, &e));
  if (e.buffer != at.p.record || e.offset != 0) return at.Reject("its record does not go to the record ring");
  e.content = {Means::kRecord};
  effects->push_back(e);
  const GraphFacts& graph = *at.facts.graph;
  const std::vector<int32_t>& outputs = at.s.nodes[Ix(at.s.loss.node)].outputs;
  for (size_t b = 0; b < n; ++b) {
    for (size_t k = 0; k < 2; ++k) {
      const int32_t value = outputs[k];
      const auto one = static_cast<uint64_t>(graph.type[Ix(value)].bytes());
      const auto micro = static_cast<uint64_t>(at.p.micro_batches);
      ZO2_TRY(WholeOperand(at, 2 + 2 * b + k, one * micro, AccessMode::kRead, Role::kRead, &e));
      const uint64_t begin = e.offset;
      for (uint64_t j = 0; j < micro && one > 0; ++j) {
        e.offset = begin + j * one;
        e.bytes = one;
        e.content = {Means::kValue, graph.root[Ix(value)], graph.perturbed[Ix(value)] ? static_cast<int32_t>(b) : -1,
                     graph.fed[Ix(value)] ? static_cast<int32_t>(j) : -1};
        effects->push_back(e);
      }
    }
  }
  return Status();
}

// Within one instruction nothing that is written may be touched by another operand, except: a call's output in place
// of its input (checked by VerifyCall, same address), prepare's master_out in place of its source, a host update's
// master, one workspace or state for branches that run one after the other.
Status CheckOverlaps(const Site& at, const std::vector<Effect>& effects) {
  const auto begin = [&](const Effect& e) { return at.s.buffers[Ix(e.buffer)].offset + e.offset; };
  for (size_t x = 0; x < effects.size(); ++x) {
    const Effect& w = effects[x];
    if (!Writes(w.role)) continue;
    for (size_t y = 0; y < effects.size(); ++y) {
      const Effect& e = effects[y];
      if (x == y || at.s.buffers[Ix(e.buffer)].arena != at.s.buffers[Ix(w.buffer)].arena) continue;
      if (begin(e) >= begin(w) + w.bytes || begin(w) >= begin(e) + e.bytes) continue;
      const bool same = begin(e) == begin(w) && e.bytes == w.bytes;
      if (same && w.role == Role::kScratch && e.role == Role::kScratch && w.group != e.group) continue;
      if (same && at.i.kind == InstrKind::kPrepare && w.operand == 1 && e.operand == 0) continue;
      if (same && at.i.kind == InstrKind::kHostUpdate && w.operand == 0 && e.operand == 0) continue;
      if (same && at.i.kind == InstrKind::kCall && w.group == e.group && w.role == Role::kWrite && e.role == Role::kRead) {
        const PlanNode& node = at.s.nodes[Ix(at.i.node)];
        const int alias = Row(node.op).alias_input;
        const auto input = static_cast<size_t>(e.operand);  // VerifyCall numbers operands within their group
        if (alias >= 0 && w.operand == static_cast<int>(node.inputs.size()) && input < node.inputs.size() &&
            (e.operand == alias || node.inputs[input] == node.inputs[Ix(alias)]) &&
            at.facts.graph->type[Ix(node.inputs[input])] == at.facts.graph->type[Ix(node.outputs[0])])
          continue;
      }
      return at.Reject("writes bytes that another of its operands uses (operands ", w.operand, " and ", e.operand, ")");
    }
  }
  return Status();
}

}  // namespace

std::vector<int64_t> DenseStrides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * std::max<int64_t>(1, shape[d]);
  return strides;
}

bool ViewBytes(const TensorType& type, const std::vector<int64_t>& strides, uint64_t* bytes) {
  if (!CheckedShape(type.shape)) return false;
  if (strides.empty() || type.elements() == 0) {
    *bytes = static_cast<uint64_t>(type.bytes());
    return strides.empty() || strides.size() == type.shape.size();
  }
  if (strides.size() != type.shape.size()) return false;
  int64_t last = 0, step = 0;
  for (size_t d = 0; d < strides.size(); ++d) {
    if (strides[d] < 0 || __builtin_mul_overflow(type.shape[d] - 1, strides[d], &step) ||
        __builtin_add_overflow(last, step, &last) || last > int64_t{1} << 56)
      return false;
  }
  *bytes = static_cast<uint64_t>((last + 1) * SizeOf(type.dtype));
  return true;
}

Status VerifyInstruction(const ProgramFacts& facts, Spot spot, std::vector<Effect>* effects) {
  const Site at{facts, spot};
  const Instruction& i = at.i;
  if (static_cast<int>(i.kind) > static_cast<int>(InstrKind::kCollective))
    return at.Reject("is of no kind this build knows");
  if (i.pass < 0 || i.pass >= facts.passes()) return at.Reject("is of pass ", i.pass, ", which there is not");
  if (i.tile < -1 || i.tile >= static_cast<int64_t>(at.s.tiles.size())) return at.Reject("is of a tile that there is not");
  if (i.node < -1 || i.node >= static_cast<int64_t>(at.s.nodes.size())) return at.Reject("calls a node that there is not");
  const bool bare = i.kind == InstrKind::kCopy || i.kind == InstrKind::kGradient || i.kind == InstrKind::kHostUpdate;
  if (bare && !i.branches.empty())
    return at.Reject("has branches, which only calls and prepares have");
  if (i.coded && (i.tile < 0 || at.s.tiles[Ix(i.tile)].codes == -1 ||
                  (i.kind != InstrKind::kCopy && i.kind != InstrKind::kPrepare)))
    return at.Reject("is marked coded, which only copies and prepares of coded tiles are");
  ZO2_TRY(CheckOperands(at));
  switch (i.kind) {
    case InstrKind::kCopy:
      ZO2_TRY(Copy(at, effects));
      break;
    case InstrKind::kPrepare:
      ZO2_TRY(Prepare(at, effects));
      break;
    case InstrKind::kHostUpdate:
      ZO2_TRY(HostUpdate(at, effects));
      break;
    case InstrKind::kGradient:
      ZO2_TRY(Gradient(at, effects));
      break;
    case InstrKind::kCall:
      for (size_t k = 0; k < i.operands.size(); ++k) ZO2_TRY(OnThisDevice(at, i.operands[k], k));
      ZO2_TRY(VerifyCall(facts, spot, effects));
      break;
    default:
      return at.Reject("this build cannot prove instructions of kind ", Name(i.kind));
  }
  return CheckOverlaps(at, *effects);
}

}  // namespace zo2::internal
