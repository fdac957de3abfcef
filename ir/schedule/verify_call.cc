// Operands of a call: shapes and access as its op demands, and what each must mean.
#include <algorithm>

#include "ir/schedule/verify_internal.h"

namespace zo2::internal {
namespace {

// Equal layouts; axes of one element have no stride. `given` empty = dense.
bool SameLayout(const Shape& shape, const std::vector<int64_t>& given, const std::vector<int64_t>& want) {
  const std::vector<int64_t> have = given.empty() ? DenseStrides(shape) : given;
  for (size_t d = 0; d < shape.size(); ++d)
    if (shape[d] > 1 && have[d] != want[d]) return false;
  return true;
}

class CallChecker {
 public:
  CallChecker(const ProgramFacts& facts, Spot spot, std::vector<Effect>* effects)
      : facts_(facts), spot_(spot), s_(*facts.schedule), p_(*facts.program), i_(facts.at(spot)), effects_(effects) {}

  Status Check() {
    if (i_.node < 0 || Ix(i_.node) >= s_.nodes.size()) return Reject("calls a node that there is not");
    node_ = &s_.nodes[Ix(i_.node)];
    row_ = &Row(node_->op);
    if (row_->reshape_only) return Reject("calls a reshape, which is no computation");
    for (const int32_t in : node_->inputs) types_.push_back(in == -1 ? nullptr : &facts_.graph->type[Ix(in)]);
    if (row_->max_inputs > static_cast<int>(types_.size())) types_.resize(Ix(row_->max_inputs), nullptr);
    ZO2_TRY(CheckBranches());
    ZO2_TRY(CheckPart());
    const size_t groups = std::max<size_t>(1, i_.branches.size());
    const size_t group = node_->inputs.size() + node_->outputs.size() + 2;
    if (i_.operands.size() != groups * group)
      return Reject("has ", i_.operands.size(), " operands but ", groups, " branches of ", group,
                    " (inputs, outputs, state, workspace)");
    for (size_t g = 0; g < groups; ++g) ZO2_TRY(CheckGroup(static_cast<int16_t>(g), &i_.operands[g * group]));
    return Status();
  }

 private:
  template <typename... Args>
  Status Reject(const Args&... args) const {
    return facts_.Reject(spot_, args...);
  }
  bool Perturbed(int32_t value) const { return facts_.graph->perturbed[Ix(value)]; }
  int32_t Micro(int32_t value) const { return facts_.graph->fed[Ix(value)] ? i_.pass % p_.micro_batches : -1; }
  uint64_t Size(const TensorType& t) const { return static_cast<uint64_t>(SizeOf(t.dtype)); }

  Status CheckBranches() {
    bool perturbed = false;
    for (const int32_t out : node_->outputs) perturbed |= Perturbed(out);
    if (i_.branches.empty() && perturbed)
      return Reject("serves all branches with one call, but trained weights reach the node");
    if (i_.branches.size() > kMaxGroups) return Reject("computes more than ", kMaxGroups, " branches");
    for (const int32_t b : i_.branches) {
      if (b < 0 || Ix(b) >= p_.branches.size()) return Reject("computes branch ", b, ", which there is not");
      if (facts_.sample[Ix(b)] != i_.pass / p_.micro_batches)
        return Reject("computes branch ", b, " in pass ", i_.pass, ", which is of another sample");
    }
    return Status();
  }

  Status CheckPart() {
    for (const WeightUse& use : row_->weights) {
      if (use.mode == TileMode::kWhole || Ix(use.operand) >= node_->inputs.size()) continue;
      const TensorType* type = types_[Ix(use.operand)];
      if (type == nullptr || mode_ != TileMode::kWhole) continue;  // the first use decides
      const auto axis = Ix(type->shape.size() < 2 ? 0 : TileAxis(node_->op, use.operand, node_->attrs));
      if (axis >= type->shape.size()) continue;
      mode_ = use.mode;
      total_ = type->shape[axis];
    }
    if (i_.part_begin == 0 && i_.part_end == 0) {
      end_ = total_;
    } else {
      begin_ = i_.part_begin;
      end_ = i_.part_end;
      if (mode_ == TileMode::kWhole) return Reject("works part by part, which its op cannot");
      if (begin_ < 0 || begin_ >= end_ || end_ > total_)
        return Reject("its part [", begin_, ", ", end_, ") is not within [0, ", total_, ")");
    }
    parted_ = begin_ != 0 || end_ != total_;
    if (mode_ == TileMode::kAccumulate || !parted_) {
      if (i_.first_part != (begin_ == 0) || i_.last_part != (end_ == total_))
        return Reject("its part [", begin_, ", ", end_, ") of ", total_, " disagrees with its first and last marks");
    }
    return Status();
  }

  Effect Make(const Operand& o, size_t k, int16_t g, Role role) const {
    Effect e;
    e.buffer = o.buffer;
    e.role = role;
    e.offset = o.offset;
    ViewBytes(o.type, o.strides, &e.bytes);  // VerifyInstruction found it well-formed
    e.operand = static_cast<int16_t>(k);
    e.group = g;
    return e;
  }
  void Push(const Effect& e) {
    if (e.bytes > 0) effects_->push_back(e);
  }

  Status CheckGroup(int16_t g, const Operand* operands) {
    const int32_t branch = i_.branches.empty() ? -1 : i_.branches[Ix(g)];
    const size_t inputs = node_->inputs.size(), outputs = node_->outputs.size();
    if (inputs + outputs > 30000) return Reject("its node has too many operands");
    for (size_t k = 0; k < inputs; ++k) ZO2_TRY(CheckInput(g, k, operands[k], branch));
    for (size_t k = 0; k < outputs; ++k) ZO2_TRY(CheckOutput(g, k, operands[inputs + k], branch));
    const int64_t state = StateBytes(node_->op, types_, node_->attrs);
    const int64_t work = WorkspaceBytes(node_->op, types_, node_->attrs, parted_ ? end_ - begin_ : 0);
    ZO2_TRY(CheckScratch(g, inputs + outputs, operands[inputs + outputs], BufferKind::kState, state, branch));
    return CheckScratch(g, inputs + outputs + 1, operands[inputs + outputs + 1], BufferKind::kWorkspace, work, branch);
  }

  bool Sliced(size_t k) const {
    if (!parted_) return false;
    for (const WeightUse& use : row_->weights)
      if (use.operand == static_cast<int>(k) && use.mode != TileMode::kWhole) return true;
    return false;
  }

  Status CheckInput(int16_t g, size_t k, const Operand& o, int32_t branch) {
    const int32_t value = node_->inputs[k];
    if (value == -1) return o.buffer == -1 ? Status() : Reject("operand ", k, " is present but its node has none there");
    if (o.buffer == -1) return Reject("operand ", k, " (", s_.values[Ix(value)].name, ") is absent");
    if (o.access != AccessMode::kRead) return Reject("operand ", k, " is an input but not read");
    const TensorType& full = facts_.graph->type[Ix(value)];
    const int32_t root = facts_.graph->root[Ix(value)];
    // The part of the value it reads, as a view of the dense value: shape, strides, first element.
    TensorType want = full;
    std::vector<int64_t> strides = DenseStrides(full.shape);
    size_t axis = 0;
    uint64_t first = 0;
    const bool sliced = Sliced(k);
    if (sliced) {
      if (root != value) return Reject("operand ", k, " is a reshaped weight; it cannot be taken part by part");
      axis = Ix(full.shape.size() < 2 ? 0 : TileAxis(node_->op, static_cast<int>(k), node_->attrs));
      if (axis >= full.shape.size() || full.shape[axis] != total_)
        return Reject("operand ", k, " (", s_.values[Ix(value)].name, ") has no axis of ", total_, " to take a part of");
      want.shape[axis] = end_ - begin_;
      first = static_cast<uint64_t>(begin_ * strides[axis]);
    }
    if (o.type.dtype != want.dtype || o.type.shape != want.shape)
      return Reject("operand ", k, " (", s_.values[Ix(value)].name, ") does not have the shape and dtype of its value");
    Effect e = Make(o, k, g, Role::kRead);
    const PlanValue& source = s_.values[Ix(root)];
    if (source.kind == ValueKind::kWeight) {
      if (root != value && !SameLayout(o.type.shape, o.strides, strides)) return Reject("operand ", k, " must be dense");
      ZO2_TRY(CheckWeight(k, o, source.weight, branch, sliced ? static_cast<int>(axis) : -1, root == value, &e));
      Push(e);
      return Status();
    }
    if (!SameLayout(o.type.shape, o.strides, strides))
      return Reject("operand ", k, " (", s_.values[Ix(value)].name, ") has other strides than its value");
    e.shift = first * Size(full);
    switch (source.kind) {
      case ValueKind::kInput:
        e.content = {Means::kInput, root, -1, -1};
        e.shift += static_cast<uint64_t>(Micro(root)) * static_cast<uint64_t>(source.type.bytes());
        break;
      case ValueKind::kConstant:
        e.content = {Means::kConstant, root, -1, -1};
        break;
      default:
        e.content = {Means::kValue, root, Perturbed(root) ? branch : -1, Micro(root)};
    }
    Push(e);
    return Status();
  }

  // A weight, or its part along `axis`, where a tile's segment holds it. `own_shape`: not reshaped.
  Status CheckWeight(size_t k, const Operand& o, int32_t weight, int32_t branch, int axis, bool own_shape, Effect* e) {
    const PlanWeight& w = s_.weights[Ix(weight)];
    if (o.tile < 0) return Reject("operand ", k, " does not say which tile holds weight ", w.name);
    const Tile& t = s_.tiles[Ix(o.tile)];
    const Segment& seg = t.segments[Ix(o.segment)];
    if (seg.weight != weight) return Reject("operand ", k, " names a segment of another weight than ", w.name);
    int64_t rows[2] = {0, w.rows()}, cols[2] = {0, w.cols()};
    if (axis >= 0) {
      int64_t* range = w.shape.size() == 2 && axis == 0 ? rows : cols;
      range[0] = begin_, range[1] = end_;
    }
    if (rows[0] < seg.row_begin || rows[1] > seg.row_end || cols[0] < seg.col_begin || cols[1] > seg.col_end)
      return Reject("operand ", k, " needs rows [", rows[0], ", ", rows[1], ") and columns [", cols[0], ", ", cols[1],
                    ") of weight ", w.name, ", which tile ", t.name, " does not hold together");
    const int64_t width = seg.col_end - seg.col_begin;
    if (own_shape) {
      std::vector<int64_t> strides = DenseStrides(o.type.shape);
      if (w.shape.size() == 2) strides = {width, 1};
      if (!SameLayout(o.type.shape, o.strides, strides))
        return Reject("operand ", k, " (", w.name, ") has other strides than its segment");
    }
    const auto element = static_cast<uint64_t>((rows[0] - seg.row_begin) * width + cols[0] - seg.col_begin);
    e->shift = element * Size(o.type);
    const BufferKind kind = s_.buffers[Ix(o.buffer)].kind;
    if (kind == BufferKind::kBranch) {
      e->shift += seg.branch_offset;
      e->content = {Means::kBranch, o.tile, t.trainable ? branch : -1, -1};
      if (t.trainable && !w.trainable) e->role = Role::kReadAny;
    } else if (kind == BufferKind::kSlot || kind == BufferKind::kMaster) {
      if (w.trainable) return Reject("operand ", k, " reads the trained weight ", w.name, " without a prepare");
      if (w.components[0].storage != w.components[0].compute)
        return Reject("operand ", k, " reads weight ", w.name, " in its storage dtype");
      e->shift += seg.offset;
      e->content = {Means::kTile, o.tile, 1, -1};
      if (t.trainable) e->role = Role::kReadAny;
    } else {
      return Reject("operand ", k, " reads weight ", w.name, " from a buffer of kind ", Name(kind));
    }
    return Status();
  }

  Status CheckOutput(int16_t g, size_t k, const Operand& o, int32_t branch) {
    const int32_t value = node_->outputs[k];
    const std::string& name = s_.values[Ix(value)].name;
    const size_t number = node_->inputs.size() + k;
    if (o.buffer == -1) return Reject("operand ", number, " (", name, ") is absent");
    const bool carried = mode_ == TileMode::kAccumulate && parted_;
    if (o.access != AccessMode::kWrite && !(carried && o.access == AccessMode::kReadWrite))
      return Reject("operand ", number, " (", name, ") is an output but not written");
    const BufferKind kind = s_.buffers[Ix(o.buffer)].kind;
    if (kind != BufferKind::kActivation && kind != BufferKind::kLoss && kind != BufferKind::kOutput)
      return Reject("writes ", name, " to a buffer of kind ", Name(kind));
    const TensorType& full = facts_.graph->type[Ix(value)];
    TensorType want = full;
    const bool slice = mode_ == TileMode::kOutputSlice && parted_;
    if (slice) {
      if (k != 0 || full.shape.empty() || full.shape.back() != total_)
        return Reject("operand ", number, " (", name, ") has no axis of ", total_, " to write a part of");
      want.shape.back() = end_ - begin_;
    }
    if (o.type != want || !SameLayout(o.type.shape, o.strides, DenseStrides(full.shape)))
      return Reject("operand ", number, " (", name, ") does not have the shape, dtype and strides of its value");
    Effect e = Make(o, number, g, slice ? Role::kSlice : carried ? Role::kNextPart : Role::kWrite);
    e.content = {Means::kValue, value, Perturbed(value) ? branch : -1, Micro(value)};
    e.whole = static_cast<uint64_t>(full.bytes());
    e.shift = slice ? static_cast<uint64_t>(begin_) * Size(full) : 0;
    e.part_begin = begin_, e.part_end = end_, e.part_total = total_;
    if (e.shift > e.offset || e.whole > s_.buffers[Ix(o.buffer)].bytes - (e.offset - e.shift))
      return Reject("operand ", number, ": all of ", name, " would not fit into its buffer");
    Push(e);
    return Status();
  }

  Status CheckScratch(int16_t g, size_t number, const Operand& o, BufferKind kind, int64_t need, int32_t branch) {
    if (o.buffer == -1)
      return need <= 0 ? Status() : Reject("lacks its ", Name(kind), " of ", need, " bytes");
    Effect e = Make(o, number, g, kind == BufferKind::kState ? Role::kState : Role::kScratch);
    if (s_.buffers[Ix(o.buffer)].kind != kind) return Reject("operand ", number, " is no buffer of kind ", Name(kind));
    if (o.access == AccessMode::kRead) return Reject("operand ", number, " (", Name(kind), ") is not written");
    if (!SameLayout(o.type.shape, o.strides, DenseStrides(o.type.shape)) || e.bytes < static_cast<uint64_t>(need))
      return Reject("its ", Name(kind), " has ", e.bytes, " bytes but must have ", need);
    if (kind == BufferKind::kState) {
      const int32_t value = node_->outputs[0];
      e.content = {Means::kValue, value, Perturbed(value) ? branch : -1, Micro(value)};
      e.whole = e.bytes;
      e.part_begin = begin_, e.part_end = end_, e.part_total = total_;
    }
    Push(e);
    return Status();
  }

  const ProgramFacts& facts_;
  Spot spot_;
  const Schedule& s_;
  const Program& p_;
  const Instruction& i_;
  std::vector<Effect>* effects_;
  const PlanNode* node_ = nullptr;
  const OpRow* row_ = nullptr;
  std::vector<const TensorType*> types_;
  TileMode mode_ = TileMode::kWhole;
  int64_t begin_ = 0, end_ = 0, total_ = 0;  // the part on the tiled axis
  bool parted_ = false;                      // less than all of it
};

}  // namespace

Status VerifyCall(const ProgramFacts& facts, Spot spot, std::vector<Effect>* effects) {
  return CallChecker(facts, spot, effects).Check();
}

}  // namespace zo2::internal
