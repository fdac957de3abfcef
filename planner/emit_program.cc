#include "planner/emit_program.h"

#include <algorithm>
#include <set>

namespace zo2 {
namespace {

size_t Ix(int64_t i) { return static_cast<size_t>(i); }
constexpr LaneId kCompute = 0, kUp = 1, kDown = 2;

Operand Bytes(BufferId buffer, uint64_t bytes, AccessMode access, uint64_t offset = 0) {
  Operand o;
  o.buffer = buffer;
  o.offset = offset;
  o.type = {DType::kU8, {static_cast<int64_t>(bytes)}};
  o.access = access;
  return o;
}

std::vector<int64_t> Strides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * std::max<int64_t>(1, shape[d]);
  return strides;
}

class ProgramEmitter {
 public:
  ProgramEmitter(const PlanInput& in, const Decision& d, const Placement& place, const Schedule& tables, Purpose purpose)
      : in_(in), graph_(*in.graph), partition_(*in.partition), d_(d), place_(place), s_(tables), roots_(RootValues(*in.graph)) {
    p_.purpose = purpose;
    p_.name = std::string(Name(purpose));
    p_.lanes.resize(3);
    p_.lanes[kCompute].kind = LaneKind::kCompute;
    p_.lanes[kCompute].threads = in.machine->compute_threads;
    p_.lanes[kUp].kind = LaneKind::kH2D;
    p_.lanes[kDown].kind = LaneKind::kD2H;
    slots_.resize(place.slots.size());
    written_.assign(partition_.tiles.size(), false);
    down_.assign(partition_.tiles.size(), -1);
    upload_.assign(partition_.tiles.size(), -1);
    const bool train = purpose == Purpose::kTrain;
    period_ = train ? d.writeback_every : 1;
    p_.period = period_;
    p_.max_lag_in = d.writeback_every;
    p_.max_lag_out = purpose == Purpose::kFlush ? 0 : d.writeback_every;
    p_.record = place.record;
    due_.assign(partition_.tiles.size(), ~0ull);
    // Write-backs are staggered: in every iteration each K-th streamed tile is due, so that no step is heavier.
    if (period_ > 1) {
      int next = 0;
      for (size_t t = 0; t < due_.size(); ++t)
        if (!d.resident[t] && partition_.tiles[t].trainable) due_[t] = 1ull << (next++ % period_);
    }
    MeasureDuplex();
  }

  Program Forward(const Layout& layout, const StagedProgram& staged) {
    layout_ = &layout;
    const bool train = p_.purpose == Purpose::kTrain;
    p_.samples = train ? in_.options->samples : 1;
    p_.micro_batches = train ? in_.options->micro_batches : 1;
    if (train) {
      for (int i = 0; i < p_.samples; ++i)
        for (double c : {1.0, -1.0}) p_.branches.push_back({{{i, c}}});
      p_.record_host = place_.record_host;
    } else {
      p_.branches.push_back({});
    }
    for (size_t b = 0; b < layout.loss_sum.size(); ++b) {
      p_.loss_sum.push_back(temp(layout.loss_sum[b]));
      p_.loss_count.push_back(temp(layout.loss_count[b]));
    }
    p_.loss_sum_host = staged.loss_sum;
    p_.loss_count_host = staged.loss_count;
    UploadInputs(staged);
    const int passes = p_.samples * p_.micro_batches;
    for (pass_ = 0; pass_ < passes; ++pass_) {
      prepared_groups_.clear();
      for (NodeId node : layout.calls) EmitNode(node);
      EndBlock();
    }
    pass_ = passes - 1;
    if (train) UpdateUnused();
    EndBlock();
    if (train) EmitGradient(staged);
    DownloadResults(staged);
    CloseRings();
    if (p_.purpose == Purpose::kTrain && d_.block_granular && !p_.lanes[kUp].instructions.empty() && first_tile_up_ >= 0)
      AddEdge(kCompute, Last(kCompute), kUp, first_tile_up_, 1);  // no overlap across steps
    return std::move(p_);
  }

  Program Flush() {
    for (size_t t = 0; t < partition_.tiles.size(); ++t)
      if (partition_.tiles[t].trainable) Prepare(static_cast<TileId>(t), {}, {});
    EndBlock();
    CloseRings();
    return std::move(p_);
  }

 private:
  const Value& value(ValueId id) const { return graph_.value(id); }
  BufferId temp(int index) const { return place_.temps[Ix(index)]; }
  const Tile& tile(TileId id) const { return s_.tiles[Ix(id)]; }
  int32_t Last(LaneId lane) const { return static_cast<int32_t>(p_.lanes[Ix(lane)].instructions.size()) - 1; }
  int first_branch() const { return 2 * (pass_ / p_.micro_batches); }  // of this pass
  int micro() const { return pass_ % p_.micro_batches; }

  int32_t Add(LaneId lane, Instruction i) {
    i.seq = seq_++;
    i.pass = pass_;
    p_.lanes[Ix(lane)].instructions.push_back(std::move(i));
    return Last(lane);
  }
  void AddEdge(LaneId from_lane, int32_t from, LaneId to_lane, int32_t to, int32_t back = 0) {
    p_.edges.push_back({from_lane, from, to_lane, to, back});
  }

  // Shares of their time in which uploads and downloads of weights overlap, for the cost of each.
  void MeasureDuplex() {
    if (p_.purpose == Purpose::kEvaluate) return;
    double up = 0, down = 0;
    for (size_t t = 0; t < s_.tiles.size(); ++t) {
      if (d_.resident[t]) continue;
      up += in_.cost->Upload(s_.tiles[t].wire_bytes);
      if (s_.tiles[t].trainable) down += in_.cost->Download(s_.tiles[t].bytes) / period_;
    }
    if (up > 0) up_busy_ = std::min(1.0, down / up);
    if (down > 0) down_busy_ = std::min(1.0, up / down);
  }

  // ---- tiles ----

  struct Slot {
    int32_t first = -1;                                // first upload of the iteration
    std::vector<std::pair<LaneId, int32_t>> released;  // by the latest use
  };
  struct InSlot {
    int index = -1;
    int32_t upload = -1;  // on the h2d lane
  };

  InSlot Upload(TileId id) {
    const int64_t number = num_uploads_++;
    InSlot in;
    in.index = static_cast<int>(number % static_cast<int64_t>(slots_.size()));
    Slot& slot = slots_[Ix(in.index)];
    Instruction i;
    i.kind = InstrKind::kCopy;
    i.tile = id;
    i.operands = {Bytes(tile(id).master, tile(id).bytes, AccessMode::kRead),
                  Bytes(place_.slots[Ix(in.index)], tile(id).bytes, AccessMode::kWrite)};
    i.seconds = in_.cost->Upload(tile(id).wire_bytes, up_busy_);
    if (d_.block_granular) StartBlock(id);
    in.upload = Add(kUp, std::move(i));
    if (first_tile_up_ < 0) first_tile_up_ = in.upload;
    if (block_gate_ >= 0) AddEdge(kCompute, block_gate_, kUp, in.upload);
    block_gate_ = -1;
    if (slot.first < 0) {
      slot.first = in.upload;
    } else {
      for (auto [lane, index] : slot.released) AddEdge(lane, index, kUp, in.upload);
    }
    // The download of an earlier use is past when its slot has been taken again; otherwise say so.
    if (down_[Ix(id)] >= 0 && number < upload_[Ix(id)] + static_cast<int64_t>(slots_.size()))
      AddEdge(kDown, down_[Ix(id)], kUp, in.upload);
    upload_[Ix(id)] = number;
    slot.released.clear();
    return in;
  }

  // One or, where write-back residues differ from others, two prepares of a tile into `outputs` for `branches`. The
  // first of an iteration brings the master up to date.
  void Prepare(TileId id, const std::vector<int32_t>& branches, const std::vector<BufferId>& outputs) {
    const Tile& t = tile(id);
    const bool resident = d_.resident[Ix(id)];
    InSlot slot;
    if (!resident) slot = Upload(id);
    const BufferId source = resident ? t.master : place_.slots[Ix(slot.index)];
    const bool updates = t.trainable && p_.purpose != Purpose::kEvaluate;
    const bool again = updates && written_[Ix(id)];  // an earlier prepare of this iteration wrote it
    const bool perturbed = !branches.empty() && !p_.branches[Ix(branches[0])].terms.empty();
    auto emit = [&](uint64_t residues, bool write, bool after_write, double pending) {
      Instruction i;
      i.kind = InstrKind::kPrepare;
      i.tile = id;
      i.residues = residues;
      i.branches = branches;
      i.source_after_write = after_write;
      i.operands = {Bytes(source, t.bytes, AccessMode::kRead), Operand(), Operand()};
      if (write) i.operands[1] = Bytes(source, t.bytes, AccessMode::kWrite);
      for (BufferId b : outputs) i.operands.push_back(Bytes(b, t.branch_bytes, AccessMode::kWrite));
      i.seconds = in_.cost->Prepare(t, s_.weights, pending, static_cast<int>(branches.size()), perturbed, write);
      int32_t index = Add(kCompute, std::move(i));
      if (slot.upload >= 0) AddEdge(kUp, slot.upload, kCompute, index);
      if (first_of_block_ < 0) first_of_block_ = index;
      return index;
    };
    const double k = d_.writeback_every;
    int32_t last;
    if (!updates) {
      // Between write-backs an evaluation finds half of K updates pending on average.
      last = emit(~0ull, false, false, t.trainable ? (resident ? 1 : (k + 1) / 2) : 0);
    } else if (resident) {
      last = emit(~0ull, !again, again, again ? 0 : 1);
    } else if (period_ == 1) {
      last = emit(~0ull, !again, again, again ? 0 : p_.purpose == Purpose::kFlush ? (k + 1) / 2 : 1);
    } else {
      const uint64_t all = period_ == kMaxPeriod ? ~0ull : (1ull << period_) - 1, due = due_[Ix(id)];
      emit(all & ~due, false, false, k / 2);
      last = emit(due, !again, again, again ? 0 : k);
    }
    if (resident) {
      if (updates) written_[Ix(id)] = true;
      return;
    }
    Slot& s = slots_[Ix(slot.index)];
    if (!updates || again || period_ > 1) s.released.push_back({kCompute, last});
    if (updates && !again) {
      written_[Ix(id)] = true;
      pending_down_.push_back({id, slot.index, last});
      if (!d_.block_granular) EndBlock();
    }
  }

  // Downloads that wait for the end of their block; at once in every schedule but the block-granular one.
  void EndBlock() {
    for (const auto& w : pending_down_) {
      const Tile& t = tile(w.tile);
      Instruction i;
      i.kind = InstrKind::kCopy;
      i.tile = w.tile;
      i.residues = due_[Ix(w.tile)];
      i.operands = {Bytes(place_.slots[Ix(w.slot)], t.bytes, AccessMode::kRead),
                    Bytes(t.master, t.bytes, AccessMode::kWrite)};
      i.seconds = in_.cost->Download(t.bytes, down_busy_);
      int32_t index = Add(kDown, std::move(i));
      AddEdge(kCompute, d_.block_granular ? Last(kCompute) : w.prepare, kDown, index);
      down_[Ix(w.tile)] = index;
      slots_[Ix(w.slot)].released.push_back({kDown, index});
    }
    pending_down_.clear();
  }

  // Block-granular: uploads of a block start when the compute of the block before starts; its downloads when its own
  // compute is done.
  void StartBlock(TileId id) {
    const std::string& layer = partition_.layer[Ix(id)];
    if (layer == block_) return;
    EndBlock();
    block_gate_ = first_of_block_;
    first_of_block_ = -1;
    block_ = layer;
  }

  // ---- calls ----

  struct Held {  // where a call finds a tile
    BufferId buffer[2] = {-1, -1};  // per branch of the pass; [1] as [0] for frozen tiles
    enum { kBranchForm, kSlotForm, kMasterForm } form = kBranchForm;
    InSlot slot;
  };

  Held PrepareFor(TileId id, const PerBranch& temps) {
    std::vector<int32_t> branches;
    std::vector<BufferId> outputs;
    Held h;
    for (int b = 0; b < (tile(id).trainable ? layout_->branches : 1); ++b) {
      branches.push_back(p_.purpose == Purpose::kTrain ? first_branch() + b : 0);
      outputs.push_back(temp(temps[Ix(b)]));
      h.buffer[b] = outputs.back();
    }
    if (branches.size() == 1) h.buffer[1] = h.buffer[0];
    Prepare(id, branches, outputs);
    return h;
  }

  // Makes part `k` of the node's weights ready; those read in their slots come last, so that no slot is held while
  // another is waited for.
  std::map<TileId, Held> Ready(NodeId node, const std::vector<WeightOperand>& operands, int k) {
    std::map<TileId, Held> held;
    std::vector<TileId> in_slot;
    for (const WeightOperand& w : operands) {
      const TileId id = PartOf(w, k).tile;
      if (held.count(id)) continue;
      Held h;
      if (d_.resident[Ix(id)] && !NeedsPrepare(partition_, id)) {
        h.buffer[0] = h.buffer[1] = tile(id).master;
        h.form = Held::kMasterForm;
      } else if (partition_.grouped[Ix(id)]) {
        auto it = prepared_groups_.find(id);
        if (it == prepared_groups_.end())
          it = prepared_groups_.emplace(id, PrepareFor(id, layout_->group.at(id))).first;
        h = it->second;
      } else if (ReadsInSlot(partition_, operands, id)) {
        in_slot.push_back(id);
        continue;
      } else {
        h = PrepareFor(id, layout_->scratch.at({node, w.operand}));
      }
      held.emplace(id, h);
    }
    for (TileId id : in_slot) {
      if (held.count(id)) continue;
      Held h;
      h.form = Held::kSlotForm;
      h.slot = Upload(id);
      h.buffer[0] = h.buffer[1] = place_.slots[Ix(h.slot.index)];
      held.emplace(id, h);
    }
    return held;
  }

  Part PartOf(const WeightOperand& w, int k) const {
    const auto& parts = partition_.parts[Ix(w.weight)];
    return parts[partition_.cut[Ix(w.weight)] ? Ix(k) : 0];
  }

  void EmitNode(NodeId id) {
    const Node& node = graph_.nodes[Ix(id)];
    const bool variant = layout_->variant[Ix(node.outputs[0])];
    std::vector<WeightOperand> operands = WeightOperands(graph_, roots_, id);
    const int parts = NumParts(partition_, operands);
    for (int k = 0; k < parts; ++k) {
      std::map<TileId, Held> held = Ready(id, operands, k);
      int64_t begin = 0, end = 0;
      for (const WeightOperand& w : operands) {
        if (parts == 1 || !partition_.cut[Ix(w.weight)]) continue;
        begin = PartOf(w, k).begin;
        end = PartOf(w, k).end;
      }
      const double seconds = in_.cost->Call(id, begin, end);
      int32_t index = -1;
      for (int b = 0; b < (variant ? layout_->branches : 1); ++b) {
        Instruction i;
        i.kind = InstrKind::kCall;
        i.node = id;
        if (variant) i.branches = {p_.purpose == Purpose::kTrain ? first_branch() + b : 0};
        i.part_begin = begin;
        i.part_end = end;
        i.first_part = k == 0;
        i.last_part = k + 1 == parts;
        i.seconds = seconds;
        for (size_t o = 0; o < node.inputs.size(); ++o) i.operands.push_back(Input(node, static_cast<int>(o), b, k, i, held));
        for (ValueId out : node.outputs) i.operands.push_back(Output(node, out, b, i));
        i.operands.push_back(State(id, b, i));
        i.operands.push_back(Workspace(id, i));
        index = Add(kCompute, std::move(i));
        if (b == 0) NoteReads(node, index, held);
        NoteLastReads(node, index);
      }
      for (auto& [t, h] : held)
        if (h.form == Held::kSlotForm) slots_[Ix(h.slot.index)].released.push_back({kCompute, index});
    }
  }

  void NoteReads(const Node& node, int32_t index, const std::map<TileId, Held>& held) {
    for (const auto& [t, h] : held)
      if (h.form == Held::kSlotForm) AddEdge(kUp, h.slot.upload, kCompute, index);
    for (ValueId in : node.inputs) {
      if (in < 0) continue;
      auto it = input_up_.find(roots_[Ix(in)]);
      if (it != input_up_.end() && input_last_.find(it->first) == input_last_.end())
        AddEdge(kUp, it->second, kCompute, index);  // the first reader waits, the others follow it
    }
    if (first_of_block_ < 0) first_of_block_ = index;
  }
  void NoteLastReads(const Node& node, int32_t index) {
    for (ValueId in : node.inputs)
      if (in >= 0 && input_up_.count(roots_[Ix(in)])) input_last_[roots_[Ix(in)]] = index;
    for (ValueId out : node.outputs) first_write_.emplace(out, index);
  }

  Operand Input(const Node& node, int o, int b, int k, const Instruction& i, const std::map<TileId, Held>& held) const {
    const ValueId id = node.inputs[Ix(o)];
    Operand op;
    if (id < 0) return op;
    const ValueId root = roots_[Ix(id)];
    const bool sliced = i.part_end > 0 && IsSliced(node.op, o);
    op.type = s_.values[Ix(id)].type;
    size_t axis = 0;
    if (sliced) {
      axis = Ix(PartAxis(node, o, op.type));
      op.type.shape[axis] = i.part_end - i.part_begin;
    }
    if (value(root).kind == ValueKind::kWeight) {
      WeightOperand w{o, value(root).weight};
      const Part part = PartOf(w, k);
      const Held& h = held.at(part.tile);
      const Segment& seg = tile(part.tile).segments[Ix(part.segment)];
      op.buffer = h.buffer[b];
      op.offset = h.form == Held::kBranchForm ? seg.branch_offset : h.form == Held::kSlotForm ? seg.wire_offset : seg.offset;
      op.tile = part.tile;
      op.segment = part.segment;
      return op;
    }
    if (sliced) {
      op.strides = Strides(value(id).type.shape);
      op.offset = static_cast<uint64_t>(i.part_begin * op.strides[axis] * SizeOf(op.type.dtype));
    }
    switch (value(root).kind) {
      case ValueKind::kInput:
        op.buffer = temp(layout_->input.at(root));
        op.offset += static_cast<uint64_t>(micro()) * static_cast<uint64_t>(value(root).type.bytes());
        break;
      case ValueKind::kConstant:
        op.buffer = s_.values[Ix(root)].constant;
        break;
      default:
        op.buffer = temp(layout_->value[Ix(root)][layout_->variant[Ix(root)] ? Ix(b) : 0]);
    }
    return op;
  }

  Operand Output(const Node& node, ValueId id, int b, const Instruction& i) const {
    Operand op;
    op.type = s_.values[Ix(id)].type;
    op.access = AccessMode::kWrite;
    TileMode mode = TileMode::kWhole;
    for (const WeightUse& use : Row(node.op).weights)
      if (mode == TileMode::kWhole) mode = use.mode;
    if (i.part_end > 0 && mode == TileMode::kOutputSlice) {
      op.strides = Strides(op.type.shape);
      op.type.shape.back() = i.part_end - i.part_begin;
      op.offset = static_cast<uint64_t>(i.part_begin * SizeOf(op.type.dtype));
    } else if (!i.first_part) {
      op.access = AccessMode::kReadWrite;
    }
    if (graph_.loss.node >= 0 && &node == &graph_.nodes[Ix(graph_.loss.node)]) {
      const bool sum = id == node.outputs[0];
      const int branch = i.branches.empty() ? 0 : i.branches[0];
      op.buffer = (sum ? p_.loss_sum : p_.loss_count)[Ix(branch)];
      op.offset = static_cast<uint64_t>(micro()) * static_cast<uint64_t>(op.type.bytes());
    } else {
      op.buffer = temp(layout_->value[Ix(id)][layout_->variant[Ix(id)] ? Ix(b) : 0]);
    }
    return op;
  }

  Operand State(NodeId id, int b, const Instruction& i) const {
    auto it = layout_->state.find(id);
    if (it == layout_->state.end()) return Operand();
    int index = it->second[Ix(b)];
    return Bytes(temp(index), layout_->temps[Ix(index)].bytes, i.first_part ? AccessMode::kWrite : AccessMode::kReadWrite);
  }
  Operand Workspace(NodeId id, const Instruction& i) const {
    auto it = layout_->workspace.find(id);
    if (it == layout_->workspace.end()) return Operand();
    return Bytes(temp(it->second), layout_->temps[Ix(it->second)].bytes, AccessMode::kWrite);
  }

  // ---- the ends of an iteration ----

  int32_t CopyUp(BufferId from, BufferId to, uint64_t bytes) {
    Instruction i;
    i.kind = InstrKind::kCopy;
    i.operands = {Bytes(from, bytes, AccessMode::kRead), Bytes(to, bytes, AccessMode::kWrite)};
    i.seconds = in_.cost->Upload(bytes);
    return Add(kUp, std::move(i));
  }
  int32_t CopyDown(BufferId from, BufferId to, uint64_t bytes) {
    Instruction i;
    i.kind = InstrKind::kCopy;
    i.operands = {Bytes(from, bytes, AccessMode::kRead), Bytes(to, bytes, AccessMode::kWrite)};
    i.seconds = in_.cost->Download(bytes);
    return Add(kDown, std::move(i));
  }

  void UploadInputs(const StagedProgram& staged) {
    for (ValueId v : graph_.inputs) {
      auto it = layout_->input.find(v);
      if (it == layout_->input.end()) continue;
      p_.inputs.push_back({v, staged.input.at(v), temp(it->second)});
      input_up_[v] = CopyUp(staged.input.at(v), temp(it->second), layout_->temps[Ix(it->second)].bytes);
    }
    if (p_.purpose != Purpose::kTrain) return;
    p_.control_staging = staged.control;
    p_.control = temp(layout_->control);
    control_up_ = CopyUp(p_.control_staging, p_.control, sizeof(StepControl));
  }

  // Trained weights that the loss does not depend on get their updates all the same.
  void UpdateUnused() {
    for (size_t t = 0; t < s_.tiles.size(); ++t)
      if (s_.tiles[t].trainable && !written_[t]) Prepare(static_cast<TileId>(t), {}, {});
  }

  void EmitGradient(const StagedProgram& staged) {
    Instruction i;
    i.kind = InstrKind::kGradient;
    const uint64_t record = StepRecordBytes(p_.samples);
    i.operands = {Bytes(p_.control, sizeof(StepControl), AccessMode::kRead), Bytes(p_.record, record, AccessMode::kWrite)};
    for (size_t b = 0; b < p_.branches.size(); ++b) {
      for (BufferId buffer : {p_.loss_sum[b], p_.loss_count[b]}) {
        Operand o;
        o.buffer = buffer;
        o.type = {DType::kF64, {static_cast<int64_t>(s_.buffers[Ix(buffer)].bytes / 8)}};
        i.operands.push_back(o);
      }
    }
    i.seconds = in_.cost->Gradient();
    int32_t gradient = Add(kCompute, std::move(i));
    AddEdge(kUp, control_up_, kCompute, gradient);
    AddEdge(kCompute, gradient, kUp, control_up_, 2);  // ring of two
    int32_t down = CopyDown(p_.record, p_.record_host, record);
    AddEdge(kCompute, gradient, kDown, down);
    AddEdge(kDown, down, kCompute, gradient, 1);  // long past by then; keeps the ring's reuse in order
  }

  void DownloadResults(const StagedProgram& staged) {
    const int32_t done = Last(kCompute);
    bool first = p_.purpose != Purpose::kTrain;  // train: the record's copy has waited for the gradient already
    auto down = [&](BufferId from, BufferId to, uint64_t bytes) {
      int32_t index = CopyDown(from, to, bytes);
      if (first && done >= 0) AddEdge(kCompute, done, kDown, index);
      first = false;
      return index;
    };
    int32_t last = -1;
    for (size_t b = 0; b < p_.loss_sum.size(); ++b) {
      last = down(p_.loss_sum[b], staged.loss_sum[b], s_.buffers[Ix(staged.loss_sum[b])].bytes);
      last = down(p_.loss_count[b], staged.loss_count[b], s_.buffers[Ix(staged.loss_count[b])].bytes);
    }
    if (last >= 0 && graph_.loss.node >= 0) {
      auto it = first_write_.find(graph_.nodes[Ix(graph_.loss.node)].outputs[0]);
      if (it != first_write_.end()) AddEdge(kDown, last, kCompute, it->second, 1);
    }
    for (size_t o = 0; o < layout_->outputs.size(); ++o) {
      const ValueId v = layout_->outputs[o], root = roots_[Ix(v)];
      BufferId from = -1;
      if (value(root).kind == ValueKind::kInput) from = temp(layout_->input.at(root));
      if (value(root).kind == ValueKind::kConstant) from = s_.values[Ix(root)].constant;
      if (value(root).kind == ValueKind::kActivation) from = temp(layout_->value[Ix(root)][0]);
      last = down(from, staged.output[o], static_cast<uint64_t>(value(v).type.bytes()));
      p_.outputs.push_back({v, staged.output[o], from});
      if (value(root).kind == ValueKind::kInput) AddEdge(kUp, input_up_.at(root), kDown, last);
      if (value(root).kind == ValueKind::kInput) AddEdge(kDown, last, kUp, input_up_.at(root), 2);
    }
    // The next iteration's compute may write over outputs' memory from its first instruction on.
    if (!layout_->outputs.empty() && done >= 0) AddEdge(kDown, last, kCompute, 0, 1);
  }

  // First uploads into each slot wait for the last use of it in the iteration before; ring copies for their readers.
  void CloseRings() {
    for (const Slot& slot : slots_)
      for (auto [lane, index] : slot.released)
        if (slot.first >= 0) AddEdge(lane, index, kUp, slot.first, 1);
    for (auto [v, up] : input_up_) {
      auto it = input_last_.find(v);
      if (it != input_last_.end()) AddEdge(kCompute, it->second, kUp, up, 2);
    }
  }

  const PlanInput& in_;
  const Graph& graph_;
  const Partition& partition_;
  const Decision& d_;
  const Placement& place_;
  const Schedule& s_;
  const std::vector<ValueId> roots_;
  const Layout* layout_ = nullptr;
  Program p_;
  int period_ = 1;
  std::vector<uint64_t> due_;  // per tile: residues in which its master is written back
  double up_busy_ = 0, down_busy_ = 0;
  int64_t seq_ = 0;
  int pass_ = 0;

  std::vector<Slot> slots_;
  int64_t num_uploads_ = 0;
  std::vector<bool> written_;     // per tile: its master was brought up to date in this iteration
  std::vector<int32_t> down_;     // per tile: its download, -1
  std::vector<int64_t> upload_;   // per tile: number of its latest upload
  struct PendingDown {
    TileId tile;
    int slot;
    int32_t prepare;
  };
  std::vector<PendingDown> pending_down_;
  std::map<TileId, Held> prepared_groups_;
  std::map<ValueId, int32_t> input_up_, input_last_, first_write_;
  int32_t control_up_ = -1, first_tile_up_ = -1;
  std::string block_;
  int32_t first_of_block_ = -1, block_gate_ = -1;
};

}  // namespace

Program EmitProgram(const PlanInput& input, const Decision& decision, const Layout& layout, const Placement& placement,
                    const StagedProgram& staged, const Schedule& tables) {
  return ProgramEmitter(input, decision, placement, tables, layout.purpose).Forward(layout, staged);
}

Program EmitFlush(const PlanInput& input, const Decision& decision, const Placement& placement, const Schedule& tables) {
  return ProgramEmitter(input, decision, placement, tables, Purpose::kFlush).Flush();
}

}  // namespace zo2
