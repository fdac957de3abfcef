#include "planner/emit_program.h"

#include <algorithm>

#include "planner/arith.h"
#include "planner/emit_tiles.h"

namespace zo2 {
namespace {

std::vector<int64_t> Strides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t d = shape.size(); d-- > 1;) strides[d - 1] = strides[d] * std::max<int64_t>(1, shape[d]);
  return strides;
}

class ProgramEmitter {
 public:
  ProgramEmitter(const PlanInput& in, const Decision& d, const Placement& place, const Schedule& tables,
                 Purpose purpose)
      : in_(in),
        graph_(*in.graph),
        partition_(*in.partition),
        d_(d),
        place_(place),
        s_(tables),
        roots_(RootValues(*in.graph)),
        p_(NewProgram(purpose)),
        tiles_(in, d, place.slots, tables, &p_) {
    p_.record = place.record;
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
    for (int pass = 0; pass < passes; ++pass) {
      tiles_.pass = pass;
      prepared_groups_.clear();
      for (NodeId node : layout.calls) EmitNode(node);
      tiles_.EndBlock();
    }
    if (train) tiles_.UpdateUnused();
    tiles_.EndBlock();
    if (train) tiles_.UpdateOnHost(place_.record_host, true);
    if (train) EmitGradient(staged);
    DownloadResults(staged);
    for (auto [v, up] : input_up_) {  // a ring copy is free when its last reader is done
      auto it = input_last_.find(v);
      if (it != input_last_.end()) tiles_.AddEdge(kCompute, it->second, kUp, up, 2);
    }
    tiles_.Close();
    return std::move(p_);
  }

  Program Flush() {
    tiles_.UpdateUnused();
    tiles_.EndBlock();
    tiles_.UpdateOnHost(place_.record_host, false);
    tiles_.Close();
    return std::move(p_);
  }

 private:
  const Value& value(ValueId id) const { return graph_.value(id); }
  BufferId temp(int index) const { return place_.temps[Ix(index)]; }
  const Tile& tile(TileId id) const { return s_.tiles[Ix(id)]; }
  int first_branch() const { return 2 * (tiles_.pass / p_.micro_batches); }  // of this pass
  int micro() const { return tiles_.pass % p_.micro_batches; }
  static Program NewProgram(Purpose purpose) {
    Program p;
    p.purpose = purpose;
    p.name = std::string(Name(purpose));
    return p;
  }

  // ---- calls ----

  struct Held {                     // where a call finds a tile
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
    tiles_.Prepare(id, branches, outputs);
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
      h.slot = tiles_.Upload(id, ~0ull, 0);
      h.buffer[0] = h.buffer[1] = tiles_.slot_buffer(h.slot);
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
        for (size_t o = 0; o < node.inputs.size(); ++o)
          i.operands.push_back(Input(node, static_cast<int>(o), b, k, i, held));
        for (ValueId out : node.outputs) i.operands.push_back(Output(node, out, b, i));
        i.operands.push_back(State(id, b, i));
        i.operands.push_back(Workspace(id, i));
        index = tiles_.Add(kCompute, std::move(i));
        if (b == 0) NoteReads(node, index, held);
        NoteLastReads(node, index);
      }
      for (auto& [t, h] : held)
        if (h.form == Held::kSlotForm) tiles_.Release(h.slot, index);
    }
  }

  void NoteReads(const Node& node, int32_t index, const std::map<TileId, Held>& held) {
    for (const auto& [t, h] : held)
      if (h.form == Held::kSlotForm) tiles_.AddEdge(kUp, h.slot.master, kCompute, index);
    for (ValueId in : node.inputs) {
      if (in < 0) continue;
      auto it = input_up_.find(roots_[Ix(in)]);
      if (it != input_up_.end() && input_last_.find(it->first) == input_last_.end())
        tiles_.AddEdge(kUp, it->second, kCompute, index);  // the first reader waits, the others follow it
    }
    tiles_.NoteCall(index);
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
      op.offset = h.form == Held::kBranchForm ? seg.branch_offset
                  : h.form == Held::kSlotForm ? seg.wire_offset
                                              : seg.offset;
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
    return Bytes(temp(index), layout_->temps[Ix(index)].bytes,
                 i.first_part ? AccessMode::kWrite : AccessMode::kReadWrite);
  }
  Operand Workspace(NodeId id, const Instruction& i) const {
    auto it = layout_->workspace.find(id);
    if (it == layout_->workspace.end()) return Operand();
    return Bytes(temp(it->second), layout_->temps[Ix(it->second)].bytes, AccessMode::kWrite);
  }

  // ---- the ends of an iteration ----

  int32_t Copy(LaneId lane, BufferId from, BufferId to, uint64_t bytes) {
    Instruction i;
    i.kind = InstrKind::kCopy;
    i.operands = {Bytes(from, bytes, AccessMode::kRead), Bytes(to, bytes, AccessMode::kWrite)};
    i.seconds = lane == kUp ? in_.cost->Upload(bytes) : in_.cost->Download(bytes);
    return tiles_.Add(lane, std::move(i));
  }

  void UploadInputs(const StagedProgram& staged) {
    for (ValueId v : graph_.inputs) {
      auto it = layout_->input.find(v);
      if (it == layout_->input.end()) continue;
      p_.inputs.push_back({v, staged.input.at(v), temp(it->second)});
      input_up_[v] = Copy(kUp, staged.input.at(v), temp(it->second), layout_->temps[Ix(it->second)].bytes);
    }
    if (p_.purpose != Purpose::kTrain) return;
    p_.control_staging = staged.control;
    p_.control = temp(layout_->control);
    control_up_ = Copy(kUp, p_.control_staging, p_.control, sizeof(StepControl));
  }

  void EmitGradient(const StagedProgram& staged) {
    Instruction i;
    i.kind = InstrKind::kGradient;
    const uint64_t record = StepRecordBytes(p_.samples);
    i.operands = {Bytes(p_.control, sizeof(StepControl), AccessMode::kRead),
                  Bytes(p_.record, record, AccessMode::kWrite)};
    for (size_t b = 0; b < p_.branches.size(); ++b) {
      for (BufferId buffer : {p_.loss_sum[b], p_.loss_count[b]}) {
        Operand o;
        o.buffer = buffer;
        o.type = {DType::kF64, {static_cast<int64_t>(s_.buffers[Ix(buffer)].bytes / 8)}};
        i.operands.push_back(o);
      }
    }
    i.seconds = in_.cost->Gradient();
    int32_t gradient = tiles_.Add(kCompute, std::move(i));
    tiles_.AddEdge(kUp, control_up_, kCompute, gradient);
    tiles_.AddEdge(kCompute, gradient, kUp, control_up_, 2);  // ring of two
    int32_t down = Copy(kDown, p_.record, p_.record_host, record);
    tiles_.AddEdge(kCompute, gradient, kDown, down);
    tiles_.AddEdge(kDown, down, kCompute, gradient, 1);  // long past by then; keeps the ring's reuse in order
    if (const int32_t last = tiles_.Last(kHostLane); last >= 0) {
      tiles_.AddEdge(kDown, down, kHostLane, 0, 1);
      tiles_.AddEdge(kHostLane, last, kDown, down, 2);  // the ring on the host is longer than what is ever pending
    }
  }

  void DownloadResults(const StagedProgram& staged) {
    const int32_t done = tiles_.Last(kCompute);
    bool first = p_.purpose != Purpose::kTrain;  // train: the record's copy has waited for the gradient already
    auto down = [&](BufferId from, BufferId to, uint64_t bytes) {
      int32_t index = Copy(kDown, from, to, bytes);
      if (first && done >= 0) tiles_.AddEdge(kCompute, done, kDown, index);
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
      if (it != first_write_.end()) tiles_.AddEdge(kDown, last, kCompute, it->second, 1);
    }
    for (size_t o = 0; o < layout_->outputs.size(); ++o) {
      const ValueId v = layout_->outputs[o], root = roots_[Ix(v)];
      BufferId from = -1;
      if (value(root).kind == ValueKind::kInput) from = temp(layout_->input.at(root));
      if (value(root).kind == ValueKind::kConstant) from = s_.values[Ix(root)].constant;
      if (value(root).kind == ValueKind::kActivation) from = temp(layout_->value[Ix(root)][0]);
      last = down(from, staged.output[o], static_cast<uint64_t>(value(v).type.bytes()));
      p_.outputs.push_back({v, staged.output[o], from});
      if (value(root).kind == ValueKind::kInput) tiles_.AddEdge(kUp, input_up_.at(root), kDown, last);
      if (value(root).kind == ValueKind::kInput) tiles_.AddEdge(kDown, last, kUp, input_up_.at(root), 2);
    }
    // The next iteration's compute may write over outputs' memory from its first instruction on.
    if (!layout_->outputs.empty() && done >= 0) tiles_.AddEdge(kDown, last, kCompute, 0, 1);
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
  TileEmitter tiles_;
  std::map<TileId, Held> prepared_groups_;
  std::map<ValueId, int32_t> input_up_, input_last_, first_write_;
  int32_t control_up_ = -1;
};

}  // namespace

Program EmitProgram(const PlanInput& input, const Decision& decision, const Layout& layout, const Placement& placement,
                    const StagedProgram& staged, const Schedule& tables) {
  return ProgramEmitter(input, decision, placement, tables, layout.purpose).Forward(layout, staged);
}

Program EmitFlush(const PlanInput& input, const Decision& decision, const Placement& placement,
                  const Schedule& tables) {
  return ProgramEmitter(input, decision, placement, tables, Purpose::kFlush).Flush();
}

}  // namespace zo2
