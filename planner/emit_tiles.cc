#include "planner/emit_tiles.h"

#include <algorithm>

#include "planner/arith.h"
#include "planner/wire.h"

namespace zo2 {

Operand Bytes(BufferId buffer, uint64_t bytes, AccessMode access, uint64_t offset) {
  Operand o;
  o.buffer = buffer;
  o.offset = offset;
  o.type = {DType::kU8, {static_cast<int64_t>(bytes)}};
  o.access = access;
  return o;
}

TileEmitter::TileEmitter(const PlanInput& in, const Decision& d, const std::vector<BufferId>& slots,
                         const Schedule& tables, Program* program)
    : in_(in), d_(d), slot_buffers_(slots), s_(tables), p_(*program) {
  p_.lanes.resize(3);
  p_.lanes[kCompute].kind = LaneKind::kCompute;
  p_.lanes[kCompute].threads = in.machine->compute_threads;
  p_.lanes[kUp].kind = LaneKind::kH2D;
  p_.lanes[kDown].kind = LaneKind::kD2H;
  p_.period = p_.purpose == Purpose::kTrain ? d.writeback_every : 1;
  p_.max_lag_in = in.train == nullptr ? 0 : d.writeback_every;  // without training nothing is ever pending
  p_.max_lag_out = p_.purpose == Purpose::kFlush ? 0 : p_.max_lag_in;
  const size_t tiles = s_.tiles.size();
  bool on_host = false;
  for (size_t t = 0; t < tiles; ++t) {
    const auto id = static_cast<TileId>(t);
    const bool coded = s_.tiles[t].codes >= 0 && s_.tiles[t].trainable;
    on_host = on_host || (coded && (p_.purpose == Purpose::kTrain ||
                                    (p_.purpose == Purpose::kFlush && updated_on_host(id))));
  }
  if (on_host) {
    p_.lanes.resize(4);
    p_.lanes[kHostLane].kind = LaneKind::kHost;
    p_.lanes[kHostLane].threads = in.machine->host_threads;
  }
  slots_.resize(slots.size());
  written_.assign(tiles, false);
  down_.assign(tiles, -1);
  down_pending_.assign(tiles, false);
  upload_.assign(tiles, -1);
  first_.resize(tiles);
  last_.resize(tiles);
  due_.assign(tiles, ~0ull);
  // Write-backs are staggered: in every iteration each K-th streamed tile is due, so that no step is heavier.
  int next[2] = {0, 0};  // plain and coded ones
  for (size_t t = 0; p_.period > 1 && t < tiles; ++t)
    if (!d.resident[t] && s_.tiles[t].trainable) due_[t] = 1ull << (next[s_.tiles[t].codes >= 0]++ % p_.period);
}

int32_t TileEmitter::Add(LaneId lane, Instruction i) {
  i.seq = seq_++;
  i.pass = pass;
  p_.lanes[Ix(lane)].instructions.push_back(std::move(i));
  return Last(lane);
}

void TileEmitter::AddEdge(LaneId from_lane, int32_t from, LaneId to_lane, int32_t to, int32_t back) {
  p_.edges.push_back({from_lane, from, to_lane, to, back});
}

int32_t TileEmitter::Last(LaneId lane) const {
  return Ix(lane) < p_.lanes.size() ? static_cast<int32_t>(p_.lanes[Ix(lane)].instructions.size()) - 1 : -1;
}

InSlot TileEmitter::Upload(TileId id, uint64_t masters, uint64_t codes) {
  const int64_t number = num_uploads_++;
  const Tile& t = tile(id);
  InSlot in;
  in.index = static_cast<int>(number % static_cast<int64_t>(slots_.size()));
  Slot& slot = slots_[Ix(in.index)];
  if (d_.block_granular) StartBlock(id);
  // What this upload reads, or writes over, has to be down first.
  if (down_pending_[Ix(id)] || slot.down_pending) EndBlock();
  std::vector<int32_t> forms;
  auto copy = [&](uint64_t residues, bool coded) {
    Instruction i;
    i.kind = InstrKind::kCopy;
    i.tile = id;
    i.residues = residues;
    i.coded = coded;
    const uint64_t bytes = coded ? t.wire_bytes : t.bytes;
    i.operands = {Bytes(coded ? t.codes : t.master, bytes, AccessMode::kRead),
                  Bytes(slot_buffer(in), bytes, AccessMode::kWrite)};
    forms.push_back(Add(kUp, std::move(i)));
    return forms.back();
  };
  if (codes != 0) in.codes = copy(codes, true);
  if (masters != 0) in.master = copy(masters, false);
  for (int32_t up : forms) {
    if (block_gate_ >= 0) AddEdge(kCompute, block_gate_, kUp, up);
    for (auto [lane, index] : slot.released) AddEdge(lane, index, kUp, up);
    // The download of an earlier use is past when its slot has been taken again; otherwise say so.
    if (down_[Ix(id)] >= 0 && number < upload_[Ix(id)] + static_cast<int64_t>(slots_.size()))
      AddEdge(kDown, down_[Ix(id)], kUp, up);
  }
  if (first_upload_.empty()) first_upload_ = forms;
  if (slot.first.empty()) slot.first = forms;
  if (upload_[Ix(id)] < 0) first_[Ix(id)] = in;
  last_[Ix(id)] = in;
  block_gate_ = -1;
  upload_[Ix(id)] = number;
  slot.released.clear();
  return in;
}

bool TileEmitter::updated_on_host(TileId id) const { return tile(id).codes >= 0 && UpdatedOnHost(in_, id); }

void TileEmitter::Prepare(TileId id, const std::vector<int32_t>& branches, const std::vector<BufferId>& outputs) {
  const Tile& t = tile(id);
  const bool resident = d_.resident[Ix(id)], refreshed = t.codes >= 0 && Refreshed(in_, id);
  const uint64_t all = p_.period == kMaxPeriod ? ~0ull : (1ull << p_.period) - 1, due = due_[Ix(id)];
  // The residues in which it comes as master and as codes.
  uint64_t masters = ~0ull, codes = 0;
  if (t.codes >= 0 && p_.purpose == Purpose::kTrain && refreshed) {
    masters = due;
    codes = branches.empty() ? 0 : all & ~due;
  } else if (t.codes >= 0 && p_.purpose != Purpose::kFlush) {
    masters = 0;
    codes = ~0ull;
  }
  InSlot slot;
  if (!resident) slot = Upload(id, masters, codes);
  const bool updates = t.trainable && p_.purpose != Purpose::kEvaluate && masters != 0;
  const bool again = updates && written_[Ix(id)];  // an earlier prepare of this iteration wrote it
  const bool perturbed = !branches.empty() && !p_.branches[Ix(branches[0])].terms.empty();
  auto emit = [&](uint64_t residues, bool coded, bool write, bool after_write, double pending) {
    Instruction i;
    i.kind = InstrKind::kPrepare;
    i.tile = id;
    i.residues = residues;
    i.coded = coded;
    i.branches = branches;
    i.source_after_write = after_write;
    const BufferId source = !resident ? slot_buffer(slot) : coded ? t.codes : t.master;
    i.operands = {Bytes(source, coded ? t.wire_bytes : t.bytes, AccessMode::kRead), Operand(), Operand()};
    if (write) i.operands[1] = Bytes(source, t.bytes, AccessMode::kWrite);
    for (BufferId b : outputs) i.operands.push_back(Bytes(b, t.branch_bytes, AccessMode::kWrite));
    i.seconds = in_.cost->Prepare(t, s_.weights, pending, static_cast<int>(branches.size()), perturbed, write, coded);
    int32_t index = Add(kCompute, std::move(i));
    if (!resident) AddEdge(kUp, coded ? slot.codes : slot.master, kCompute, index);
    NoteCall(index);
    return index;
  };
  // On average (K + 1) / 2 updates are pending where a program other than training finds a streamed tile.
  const double k = d_.writeback_every, found = resident ? 1 : (k + 1) / 2;
  int32_t last;
  if (!updates) {
    const double pending = !t.trainable ? 0 : masters == 0 && !refreshed ? 1 : found;
    last = emit(~0ull, masters == 0, false, false, pending);
  } else if (resident || p_.period == 1) {
    last = emit(~0ull, false, !again, again, again ? 0 : p_.purpose == Purpose::kFlush ? found : 1);
  } else {
    const uint64_t others = t.codes >= 0 ? codes : all & ~due;
    if (others != 0) emit(others, t.codes >= 0, false, false, k / 2);
    last = emit(due, false, !again, again, again ? 0 : k);
  }
  if (updates) written_[Ix(id)] = true;
  if (resident) return;
  if (!updates || again || p_.period > 1) Release(slot, last);
  if (updates && !again) {
    pending_down_.push_back({id, slot.index, last});
    down_pending_[Ix(id)] = slots_[Ix(slot.index)].down_pending = true;
    if (!d_.block_granular) EndBlock();
  }
}

void TileEmitter::EndBlock() {
  for (const Download& w : pending_down_) {
    const Tile& t = tile(w.tile);
    Instruction i;
    i.kind = InstrKind::kCopy;
    i.tile = w.tile;
    i.residues = due_[Ix(w.tile)];
    i.operands = {Bytes(slot_buffers_[Ix(w.slot)], t.bytes, AccessMode::kRead),
                  Bytes(t.master, t.bytes, AccessMode::kWrite)};
    int32_t index = Add(kDown, std::move(i));
    AddEdge(kCompute, d_.block_granular ? Last(kCompute) : w.prepare, kDown, index);
    down_[Ix(w.tile)] = index;
    slots_[Ix(w.slot)].released.push_back({kDown, index});
    down_pending_[Ix(w.tile)] = slots_[Ix(w.slot)].down_pending = false;
  }
  pending_down_.clear();
}

// Block-granular: uploads of a block start when the compute of the block before starts; its downloads when its own
// compute is done.
void TileEmitter::StartBlock(TileId id) {
  const std::string& layer = in_.partition->layer[Ix(id)];
  if (layer == block_) return;
  EndBlock();
  block_gate_ = first_of_block_;
  first_of_block_ = -1;
  block_ = layer;
}

void TileEmitter::UpdateUnused() {
  for (size_t t = 0; t < s_.tiles.size(); ++t)
    if (s_.tiles[t].trainable && !written_[t] && !updated_on_host(static_cast<TileId>(t)))
      Prepare(static_cast<TileId>(t), {}, {});
}

void TileEmitter::UpdateOnHost(BufferId records, bool encode) {
  std::vector<TileId> order;
  for (size_t t = 0; t < s_.tiles.size(); ++t) {
    const auto id = static_cast<TileId>(t);
    if (s_.tiles[t].trainable && s_.tiles[t].codes >= 0 && (encode || updated_on_host(id))) order.push_back(id);
  }
  std::stable_sort(order.begin(), order.end(), [&](TileId a, TileId b) { return upload_[Ix(a)] < upload_[Ix(b)]; });
  for (TileId id : order) {
    const Tile& t = tile(id);
    const bool pending = updated_on_host(id);
    const InSlot &first = first_[Ix(id)], &last = last_[Ix(id)];
    Instruction i;
    i.kind = InstrKind::kHostUpdate;
    i.tile = id;
    i.source_after_write = !pending;
    if (!pending) i.residues = due_[Ix(id)];
    i.operands = {Bytes(t.master, t.bytes, AccessMode::kReadWrite),
                  Bytes(records, StepRecordBytes(in_.options->samples), AccessMode::kRead), Operand()};
    if (encode) i.operands[2] = Bytes(t.codes, t.wire_bytes, AccessMode::kWrite);
    i.seconds = in_.cost->HostUpdate(t, s_.weights, pending ? 1 : 0, encode);
    const int32_t index = Add(kHostLane, std::move(i));
    if (last.codes >= 0 && pending) AddEdge(kUp, last.codes, kHostLane, index);
    if (last.master >= 0 && last.master != first.master) AddEdge(kUp, last.master, kHostLane, index);
    if (down_[Ix(id)] >= 0) AddEdge(kDown, down_[Ix(id)], kHostLane, index);
    if (encode && upload_[Ix(id)] >= 0)
      AddEdge(kHostLane, index, kUp, first.codes >= 0 ? first.codes : first.master, 1);
  }
}

void TileEmitter::Close() {
  for (const Slot& slot : slots_)
    for (auto [lane, index] : slot.released)
      for (int32_t up : slot.first) AddEdge(lane, index, kUp, up, 1);
  if (p_.purpose == Purpose::kTrain && d_.block_granular)  // no overlap across steps
    for (int32_t up : first_upload_) AddEdge(kCompute, Last(kCompute), kUp, up, 1);
  PriceCopies();
}

// While uploads and downloads of tiles run at once, each keeps `duplex` of its rate: both are slowed for as long as
// the shorter of them takes.
void TileEmitter::PriceCopies() {
  double seconds[3] = {0, 0, 0};  // on the wire, per iteration
  auto wire = [&](LaneId lane, const Instruction& i) {
    const uint64_t bytes = i.operands[0].type.bytes();
    return lane == kUp ? in_.cost->Upload(bytes) - in_.cost->Upload(0)
                       : in_.cost->Download(bytes) - in_.cost->Download(0);
  };
  auto for_copies = [&](auto&& visit) {
    for (LaneId lane : {kUp, kDown})
      for (Instruction& i : p_.lanes[Ix(lane)].instructions)
        if (i.tile >= 0) visit(lane, i);
  };
  for_copies([&](LaneId lane, const Instruction& i) {
    int runs = 0;
    for (int r = 0; r < p_.period; ++r) runs += RunsAt(p_, i, r);
    seconds[lane] += wire(lane, i) * runs / p_.period;
  });
  const double both = std::min(seconds[kUp], seconds[kDown]);
  for_copies([&](LaneId lane, Instruction& i) {
    const double busy = both > 0 ? both / seconds[lane] : 0;
    i.seconds = lane == kUp ? in_.cost->Upload(i.operands[0].type.bytes(), busy)
                            : in_.cost->Download(i.operands[0].type.bytes(), busy);
  });
}

}  // namespace zo2
