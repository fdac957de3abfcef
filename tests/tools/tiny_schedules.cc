#include "tests/tools/tiny_schedules.h"

#include <algorithm>
#include <map>
#include <utility>

#include "tests/tools/tiny_model.h"

namespace zo2::tiny {
namespace {

constexpr uint64_t kAlign = 64;
uint64_t Aligned(uint64_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }
size_t At(int32_t index) { return static_cast<size_t>(index); }

constexpr ArenaId kDeviceArena = 0, kHostArena = 1;
constexpr LaneId kComputeLane = 0, kUpLane = 1, kDownLane = 2, kHostLane = 3;

class Builder {
 public:
  explicit Builder(const Options& options) : o_(options), m_(MakeModel(options)), s_(m_.schedule) {}

  Schedule Build() {
    MakePersistent();
    const uint64_t device = top_[0], host = top_[1];
    uint64_t peak[2] = {device, host};
    // Programs use the same memory above what persists.
    for (const Purpose purpose : {Purpose::kTrain, Purpose::kEvaluate, Purpose::kFlush}) {
      if (purpose == Purpose::kEvaluate && !o_.evaluate) continue;
      if (purpose == Purpose::kFlush && !o_.flush) continue;
      top_[0] = device, top_[1] = host;
      MakeProgram(purpose);
      for (int a = 0; a < 2; ++a) peak[a] = std::max(peak[a], top_[a]);
    }
    for (size_t a = 0; a < 2; ++a) s_.arenas[a].bytes = s_.arenas[a].budget = peak[a];
    for (Program& program : s_.programs) {
      if (o_.spread) Spread(&program);
      AddEdges(s_, &program);
    }
    return std::move(s_);
  }

 private:
  // ---- memory ----
  BufferId AddBuffer(std::string name, ArenaId arena, BufferKind kind, uint64_t bytes, int ring = 1) {
    Buffer b;
    b.name = std::move(name);
    b.arena = arena;
    b.kind = kind;
    b.offset = top_[arena];
    b.bytes = bytes;
    b.ring = static_cast<uint32_t>(ring);
    b.stride = ring > 1 ? Aligned(bytes) : 0;
    top_[arena] += Aligned(bytes) * static_cast<uint64_t>(ring);
    s_.buffers.push_back(std::move(b));
    return static_cast<BufferId>(s_.buffers.size()) - 1;
  }
  bool Resident() const { return o_.slots == 0; }
  Keep KeepOf(TileId tile) const { return m_.keep[At(tile)]; }
  bool Streams(TileId tile) const { return !Resident() && KeepOf(tile) != Keep::kResidentCodes; }
  bool Coded(TileId tile) const {
    return KeepOf(tile) != Keep::kPlain && KeepOf(tile) != Keep::kHostMaster &&
           KeepOf(tile) != Keep::kHostFirst;
  }
  // Its master is brought up to date on the host.
  bool OnHost(TileId tile) const {
    return KeepOf(tile) == Keep::kHostMaster || KeepOf(tile) == Keep::kHostFirst ||
           KeepOf(tile) == Keep::kHostUpdate;
  }
  // Residues at which a master goes back over the link. Refreshes are staggered.
  uint64_t Due(TileId tile) const {
    const int later = KeepOf(tile) == Keep::kRefresh ? tile : 0;
    return 1ull << (o_.period - 1 + later) % o_.period;
  }

  void MakePersistent() {
    for (size_t t = 0; t < s_.tiles.size(); ++t) {
      Tile& tile = s_.tiles[t];
      const auto id = static_cast<TileId>(t);
      if (tile.trainable || !Coded(id))
        tile.master = AddBuffer("master " + tile.name, Resident() ? kDeviceArena : kHostArena,
                                BufferKind::kMaster, tile.bytes);
      if (Coded(id))
        tile.codes = AddBuffer("codes " + tile.name, Streams(id) ? kHostArena : kDeviceArena,
                               BufferKind::kCodes, tile.wire_bytes);
    }
    for (PlanValue& value : s_.values)
      if (value.kind == ValueKind::kConstant)
        value.constant =
            AddBuffer("constant " + value.name, kDeviceArena, BufferKind::kConstant, value.data.size());
    const uint64_t record = StepRecordBytes(o_.samples);
    record_ = AddBuffer("record", kDeviceArena, BufferKind::kRecord, record, Lag() + 1);
    record_host_ = AddBuffer("record on host", kHostArena, BufferKind::kRecord, record, Lag() + 1);
  }
  int Lag() const { return Resident() ? 1 : o_.period; }

  // ---- programs ----
  static Operand Bytes(BufferId buffer, uint64_t bytes, AccessMode access, uint64_t offset = 0) {
    Operand o;
    o.buffer = buffer;
    o.offset = offset;
    o.type = {DType::kU8, {static_cast<int64_t>(bytes)}};
    o.access = access;
    return o;
  }
  static Operand Dense(BufferId buffer, TensorType type, AccessMode access, uint64_t offset = 0) {
    Operand o = Bytes(buffer, 0, access, offset);
    o.type = std::move(type);
    return o;
  }
  Instruction& Emit(LaneId lane, InstrKind kind, uint64_t residues = ~0ull) {
    Instruction i;
    i.kind = kind;
    i.seq = seq_++;
    i.residues = residues;
    i.pass = pass_;
    i.seconds = static_cast<double>(seq_) * 1e-6;
    auto& list = p_->lanes[At(lane)].instructions;
    list.push_back(std::move(i));
    return list.back();
  }
  void Copy(LaneId lane, BufferId from, BufferId to, uint64_t bytes, TileId tile = -1,
            uint64_t residues = ~0ull, bool coded = false) {
    Instruction& i = Emit(lane, InstrKind::kCopy, residues);
    i.tile = tile;
    i.coded = coded;
    i.operands = {Bytes(from, bytes, AccessMode::kRead), Bytes(to, bytes, AccessMode::kWrite)};
  }

  void MakeProgram(Purpose purpose) {
    Program program;
    p_ = &program;
    seq_ = 0, pass_ = 0, use_ = 0;
    written_.assign(s_.tiles.size(), false);
    slots_.clear(), activations_.clear(), weight_buffers_.clear();
    const bool train = purpose == Purpose::kTrain;
    p_->name = std::string(Name(purpose));
    p_->purpose = purpose;
    p_->lanes = {{0, LaneKind::kCompute, 1, {}}, {0, LaneKind::kH2D, 1, {}}, {0, LaneKind::kD2H, 1, {}}};
    for (const Keep keep : m_.keep)
      if ((keep >= Keep::kHostMaster || o_.flush_on_host) && p_->lanes.size() <= At(kHostLane))
        p_->lanes.push_back({0, LaneKind::kHost, 1, {}});
    p_->max_lag_in = Lag();
    p_->max_lag_out = purpose == Purpose::kFlush ? 0 : Lag();
    p_->predicted_period = 1e-3;
    uint64_t slot_bytes = 0;
    for (const Tile& tile : s_.tiles) slot_bytes = std::max({slot_bytes, tile.bytes, tile.wire_bytes});
    for (int i = 0; i < o_.slots; ++i)
      slots_.push_back(AddBuffer("slot " + std::to_string(i), kDeviceArena, BufferKind::kSlot, slot_bytes));
    if (purpose == Purpose::kFlush) {
      MakeFlush();
    } else {
      if (train) {
        p_->period = o_.period;
        p_->samples = o_.samples;
        p_->micro_batches = o_.micro_batches;
        for (int i = 0; i < o_.samples; ++i) {
          p_->branches.push_back({{{i, 1.0}}});
          p_->branches.push_back({{{i, -1.0}}});
        }
        p_->record = record_;
        p_->record_host = record_host_;
      } else {
        p_->branches.push_back({});
      }
      MakePasses(train);
    }
    s_.programs.push_back(std::move(program));
  }

  void MakeFlush() {
    for (size_t t = 0; t < s_.tiles.size(); ++t) {
      const TileId tile = static_cast<TileId>(t);
      if (!s_.tiles[t].trainable) continue;
      if ((OnHost(tile) && !o_.flush_on_device) || o_.flush_on_host) {
        HostUpdate(tile, ~0ull, false, false);
      } else {
        Prepare(tile, {});
      }
    }
  }

  void MakePasses(bool train) {
    const int per_pass = train ? 2 : 1;  // branches of a pass
    const auto micro = static_cast<uint64_t>(p_->micro_batches);
    const auto stage = [&](int32_t value) {
      const uint64_t bytes = micro * static_cast<uint64_t>(s_.values[At(value)].type.bytes());
      ProgramInput input;
      input.value = value;
      input.staging = AddBuffer("staging", kHostArena, BufferKind::kStaging, bytes, o_.ring);
      input.device = AddBuffer("input", kDeviceArena, BufferKind::kInput, bytes, o_.ring);
      p_->inputs.push_back(input);
      activations_[{value, -1}] = input.device;
      Copy(kUpLane, input.staging, input.device, bytes);
    };
    stage(m_.x);
    stage(m_.labels);
    if (train) {
      p_->control_staging = AddBuffer("control on host", kHostArena, BufferKind::kStaging, 16, o_.ring);
      p_->control = AddBuffer("control", kDeviceArena, BufferKind::kControl, 16, o_.ring);
      Copy(kUpLane, p_->control_staging, p_->control, 16);
    }
    const uint64_t loss_bytes = micro * static_cast<uint64_t>(m_.batch) * 8;
    const auto loss = [&](std::vector<BufferId>* device, std::vector<BufferId>* host) {
      device->push_back(AddBuffer("loss", kDeviceArena, BufferKind::kLoss, loss_bytes));
      host->push_back(o_.host_losses
                          ? AddBuffer("loss on host", kHostArena, BufferKind::kStaging, loss_bytes, o_.ring)
                          : -1);
    };
    for (size_t b = 0; b < p_->branches.size(); ++b) {
      loss(&p_->loss_sum, &p_->loss_sum_host);
      loss(&p_->loss_count, &p_->loss_count_host);
    }
    if (!train && m_.logits >= 0) {
      const auto bytes = static_cast<uint64_t>(s_.values[At(m_.logits)].type.bytes());
      ProgramOutput output;
      output.value = m_.logits;
      output.staging = AddBuffer("output on host", kHostArena, BufferKind::kStaging, bytes, o_.ring);
      output.device = AddBuffer("output", kDeviceArena, BufferKind::kOutput, bytes);
      p_->outputs.push_back(output);
      activations_[{m_.root[At(m_.logits)], 0}] = output.device;
    }
    uint64_t branch_bytes = 0;
    for (const Tile& tile : s_.tiles) branch_bytes = std::max(branch_bytes, tile.branch_bytes);
    for (int b = 0; b < per_pass; ++b)
      weight_buffers_.push_back(
          AddBuffer("branch " + std::to_string(b), kDeviceArena, BufferKind::kBranch, branch_bytes));

    for (int pass = 0; pass < p_->samples * p_->micro_batches; ++pass) {
      pass_ = pass;
      for (size_t n = 0; n < s_.nodes.size(); ++n) EmitNode(static_cast<int32_t>(n), per_pass);
    }
    if (train && !o_.host_late) MakeHostUpdates();
    if (train) {
      Instruction& g = Emit(kComputeLane, InstrKind::kGradient);
      g.operands = {Bytes(p_->control, 16, AccessMode::kRead),
                    Bytes(record_, StepRecordBytes(o_.samples), AccessMode::kWrite)};
      const TensorType type{DType::kF64, {static_cast<int64_t>(micro) * m_.batch}};
      for (size_t b = 0; b < p_->branches.size(); ++b) {
        g.operands.push_back(Dense(p_->loss_sum[b], type, AccessMode::kRead));
        g.operands.push_back(Dense(p_->loss_count[b], type, AccessMode::kRead));
      }
      Copy(kDownLane, record_, record_host_, StepRecordBytes(o_.samples));
    }
    if (train && o_.host_late) MakeHostUpdates();
    for (size_t b = 0; o_.host_losses && b < p_->branches.size(); ++b) {
      Copy(kDownLane, p_->loss_sum[b], p_->loss_sum_host[b], loss_bytes);
      Copy(kDownLane, p_->loss_count[b], p_->loss_count_host[b], loss_bytes);
    }
    for (size_t t = 0; o_.idle && train && t < s_.tiles.size(); ++t)
      if (s_.weights[At(s_.tiles[t].segments[0].weight)].name == "idle") Prepare(static_cast<TileId>(t), {});
    for (const ProgramOutput& output : p_->outputs)
      Copy(kDownLane, output.device, output.staging, s_.buffers[At(output.device)].bytes);
  }

  void HostUpdate(TileId tile, uint64_t residues, bool after_write, bool encode) {
    const Tile& t = s_.tiles[At(tile)];
    Instruction& i = Emit(kHostLane, InstrKind::kHostUpdate, residues);
    i.tile = tile;
    i.source_after_write = after_write;
    i.operands = {Bytes(t.master, t.bytes, AccessMode::kReadWrite),
                  Bytes(record_host_, StepRecordBytes(o_.samples), AccessMode::kRead), Operand()};
    if (encode) i.operands[2] = Bytes(t.codes, t.wire_bytes, AccessMode::kWrite);
  }
  // Of all tiles that are due after their last upload.
  void MakeHostUpdates() {
    for (size_t t = 0; t < s_.tiles.size(); ++t) {
      const auto tile = static_cast<TileId>(t);
      if (KeepOf(tile) == Keep::kHostMaster || KeepOf(tile) == Keep::kHostUpdate)
        HostUpdate(tile, ~0ull, false, Coded(tile));
      if (KeepOf(tile) != Keep::kRefresh) continue;
      HostUpdate(tile, Due(tile), true, true);
      if (o_.host_between) HostUpdate(tile, ((1ull << o_.period) - 1) & ~Due(tile), false, false);
    }
  }

  // Brings the tile to a slot (if it streams) and prepares it for these branches; where its bytes are then.
  BufferId Prepare(TileId tile, const std::vector<int32_t>& branches) {
    const Tile& t = s_.tiles[At(tile)];
    const Keep keep = KeepOf(tile);
    const bool train = p_->purpose == Purpose::kTrain, evaluate = p_->purpose == Purpose::kEvaluate;
    const int period = p_->period;
    const uint64_t all = ~0ull, period_mask = (1ull << period) - 1;
    const uint64_t due = train && Streams(tile) && !OnHost(tile) ? Due(tile) : all;
    // In which iterations it goes as codes.
    uint64_t coded = 0;
    if (Coded(tile)) coded = keep != Keep::kRefresh || evaluate ? all : period_mask & ~due;
    if (Coded(tile) && p_->purpose == Purpose::kFlush) coded = 0;
    if (keep == Keep::kHostFirst && train && !written_[At(tile)]) {
      HostUpdate(tile, all, false, false);
      written_[At(tile)] = true;
    }
    BufferId source = coded != 0 ? t.codes : t.master;
    if (Streams(tile)) {
      source = slots_[use_++ % slots_.size()];
      if (coded != 0) Copy(kUpLane, t.codes, source, t.wire_bytes, tile, coded, true);
      if (coded != all) Copy(kUpLane, t.master, source, t.bytes, tile, coded != 0 ? due : all);
    }
    if (!t.trainable && !o_.prepare_frozen && !Coded(tile)) return source;
    const bool writes = t.trainable && !evaluate && !(train && OnHost(tile));
    const auto prepare = [&](uint64_t residues, bool write, bool after_write, bool codes = false) {
      Instruction& i = Emit(kComputeLane, InstrKind::kPrepare, residues);
      i.tile = tile;
      i.branches = branches;
      i.source_after_write = after_write;
      i.coded = codes;
      i.operands = {Bytes(source, codes ? t.wire_bytes : t.bytes, AccessMode::kRead), Operand(), Operand()};
      if (write) i.operands[1] = Bytes(source, t.bytes, AccessMode::kWrite);
      for (size_t b = 0; b < branches.size(); ++b)
        i.operands.push_back(Bytes(weight_buffers_[b], t.branch_bytes, AccessMode::kWrite));
    };
    if (coded != 0) prepare(coded, false, false, true);
    if (coded == all) return source;
    const bool first = writes && !written_[At(tile)];
    const bool split = writes && train && Streams(tile) && period > 1;
    prepare(split ? due : all, first, (writes || (train && keep == Keep::kHostFirst)) && !first);
    if (split && !branches.empty() && coded == 0) prepare(period_mask & ~due, false, false);
    if (first && Streams(tile)) Copy(kDownLane, source, t.master, t.bytes, tile, split ? due : all);
    if (first) written_[At(tile)] = true;
    return source;
  }

  // Buffer of a value in a branch; values of no trained weight have one for all branches.
  BufferId ValueBuffer(int32_t value, int branch) {
    value = m_.root[At(value)];
    const int key = m_.trained[At(value)] ? branch : -1;
    auto it = activations_.find({value, key});
    if (it != activations_.end()) return it->second;
    const BufferId buffer = AddBuffer(s_.values[At(value)].name, kDeviceArena, BufferKind::kActivation,
                                      static_cast<uint64_t>(s_.values[At(value)].type.bytes()));
    return activations_[{value, key}] = buffer;
  }
  // The weight a value is (reshaped, perhaps), or -1.
  int32_t WeightOf(int32_t value) const { return s_.values[At(m_.root[At(value)])].weight; }

  void EmitNode(int32_t n, int per_pass) {
    const PlanNode& node = s_.nodes[At(n)];
    if (node.op == Op::kReshape) return;
    std::vector<int32_t> branches;
    if (m_.trained[At(node.outputs[0])])
      for (int b = 0; b < per_pass; ++b) branches.push_back(pass_ / p_->micro_batches * per_pass + b);
    int32_t weight = -1;  // the first one this node uses, if any; its bias is in the same tiles
    for (const int32_t in : node.inputs)
      if (weight < 0) weight = WeightOf(in);
    if (weight < 0) return EmitCalls(n, branches, nullptr, -1);
    for (const Part& part : m_.parts[At(weight)]) {
      const Tile& tile = s_.tiles[At(part.tile)];
      std::vector<int32_t> emitted = branches;
      if (!tile.trainable) emitted = {pass_ / p_->micro_batches * per_pass};
      const BufferId source = Prepare(part.tile, emitted);
      EmitCalls(n, branches, &part, tile.trainable || o_.prepare_frozen || Coded(part.tile) ? -1 : source);
    }
  }

  // `frozen`: the buffer a frozen tile is read from; -1: from the branch buffers.
  void EmitCalls(int32_t n, const std::vector<int32_t>& branches, const Part* part, BufferId frozen) {
    if (o_.separate_branches && branches.size() > 1) {
      for (const int32_t b : branches) EmitCall(n, {b}, part, frozen);
    } else {
      EmitCall(n, branches, part, frozen);
    }
  }
  void EmitCall(int32_t n, const std::vector<int32_t>& branches, const Part* part, BufferId frozen) {
    const PlanNode& node = s_.nodes[At(n)];
    std::vector<Operand> operands;
    const int64_t total =
        part == nullptr ? 0 : m_.parts[At(s_.tiles[At(part->tile)].segments[0].weight)].back().end;
    const bool cut = part != nullptr && (part->begin > 0 || part->end < total);
    const int groups = std::max<int>(1, static_cast<int>(branches.size()));
    const int sample_branches = p_->purpose == Purpose::kTrain ? 2 : 1;
    for (int g = 0; g < groups; ++g) {
      const int local = branches.empty() ? 0 : branches[At(g)] % sample_branches;
      for (const int32_t in : node.inputs) operands.push_back(Input(in, local, part, frozen));
      for (size_t k = 0; k < node.outputs.size(); ++k) operands.push_back(Output(n, k, local, part, cut));
      AddScratch(node, local, part, cut, &operands);
    }
    Instruction& i = Emit(kComputeLane, InstrKind::kCall);
    i.node = n;
    i.branches = branches;
    i.operands = std::move(operands);
    if (cut) {
      i.part_begin = part->begin;
      i.part_end = part->end;
      i.first_part = part->begin == 0;
      i.last_part = part->end == total;
    }
  }
  Operand Input(int32_t value, int branch, const Part* part, BufferId frozen) {
    const PlanValue& v = s_.values[At(value)];
    if (v.kind == ValueKind::kConstant) return Dense(v.constant, v.type, AccessMode::kRead);
    if (v.kind == ValueKind::kInput) {
      const auto micro = static_cast<uint64_t>(pass_ % p_->micro_batches);
      return Dense(activations_.at({value, -1}), v.type, AccessMode::kRead,
                   micro * static_cast<uint64_t>(v.type.bytes()));
    }
    const int32_t weight = WeightOf(value);
    if (weight < 0) return Dense(ValueBuffer(value, branch), v.type, AccessMode::kRead);
    const Tile& tile = s_.tiles[At(part->tile)];
    const int32_t segment = tile.segments[0].weight == weight ? 0 : 1;
    const Segment& g = tile.segments[At(segment)];
    TensorType type = v.type;
    if (type.shape.size() == 2) {  // a matrix' part, or a row that is a reshaped weight
      type.shape = {g.row_end - g.row_begin, g.col_end - g.col_begin};
    } else {
      type.shape = {g.col_end - g.col_begin};
    }
    Operand o =
        Dense(frozen >= 0 ? frozen : weight_buffers_[At(branch)], type, AccessMode::kRead, g.branch_offset);
    o.tile = part->tile;
    o.segment = segment;
    return o;
  }
  Operand Output(int32_t n, size_t k, int branch, const Part* part, bool cut) {
    const PlanNode& node = s_.nodes[At(n)];
    const PlanValue& v = s_.values[At(node.outputs[k])];
    if (n == s_.loss.node) {
      const int32_t sample = pass_ / p_->micro_batches;
      const size_t b = At(sample * (p_->purpose == Purpose::kTrain ? 2 : 1) + branch);
      const auto micro = static_cast<uint64_t>(pass_ % p_->micro_batches);
      return Dense(k == 0 ? p_->loss_sum[b] : p_->loss_count[b], v.type,
                   cut ? AccessMode::kReadWrite : AccessMode::kWrite,
                   micro * static_cast<uint64_t>(m_.batch) * 8);
    }
    if (node.op == Op::kRelu) {  // in place
      const int32_t in = node.inputs[0];
      activations_[{node.outputs[k], m_.trained[At(in)] ? branch : -1}] = ValueBuffer(in, branch);
    }
    Operand o = Dense(ValueBuffer(node.outputs[k], branch), v.type, AccessMode::kWrite);
    if (cut && node.op == Op::kEmbedding) o.access = AccessMode::kReadWrite;  // fills the rows of its ids
    if (cut && node.op == Op::kLinear) {
      o.offset += static_cast<uint64_t>(part->begin) * 4;
      o.strides.assign(o.type.shape.size(), 1);
      for (size_t d = o.strides.size() - 1; d-- > 0;) o.strides[d] = o.strides[d + 1] * o.type.shape[d + 1];
      o.type.shape.back() = part->end - part->begin;
    }
    return o;
  }
  void AddScratch(const PlanNode& node, int branch, const Part* part, bool cut,
                  std::vector<Operand>* operands) {
    std::vector<const TensorType*> types;
    for (const int32_t in : node.inputs) types.push_back(&s_.values[At(in)].type);
    if (Row(node.op).max_inputs > static_cast<int>(types.size()))
      types.resize(At(Row(node.op).max_inputs), nullptr);
    const int64_t state = StateBytes(node.op, types, node.attrs);
    const int64_t work = WorkspaceBytes(node.op, types, node.attrs, cut ? part->end - part->begin : 0);
    const auto scratch = [&](int key, BufferKind kind, int64_t bytes, AccessMode access) {
      if (bytes <= 0) return Operand();
      auto it = activations_.find({key, branch});
      if (it == activations_.end() || s_.buffers[At(it->second)].bytes < static_cast<uint64_t>(bytes))
        activations_[{key, branch}] =
            AddBuffer(std::string(Name(kind)), kDeviceArena, kind, static_cast<uint64_t>(bytes));
      return Bytes(activations_.at({key, branch}), static_cast<uint64_t>(bytes), access);
    };
    operands->push_back(scratch(-2, BufferKind::kState, state, AccessMode::kReadWrite));
    operands->push_back(scratch(-3, BufferKind::kWorkspace, work, AccessMode::kReadWrite));
  }

  // Moves every other upload and every other prepare to two more lanes, in the order they had.
  void Spread(Program* p) {
    const auto up = static_cast<LaneId>(p->lanes.size()), compute = up + 1;
    p->lanes.push_back({0, LaneKind::kH2D, 1, {}});
    p->lanes.push_back({0, LaneKind::kCompute, 1, {}});
    const auto move = [&](LaneId from, LaneId to, auto chosen) {
      std::vector<Instruction> stay;
      for (Instruction& i : p->lanes[At(from)].instructions)
        (chosen(i) ? p->lanes[At(to)].instructions : stay).push_back(i);
      p->lanes[At(from)].instructions = std::move(stay);
    };
    int copies = 0, prepares = 0;
    move(kUpLane, up, [&](const Instruction&) { return ++copies % 2 == 0; });
    move(kComputeLane, compute,
         [&](const Instruction& i) { return i.kind == InstrKind::kPrepare && ++prepares % 2 == 0; });
    if (!o_.split_gradient || p->purpose != Purpose::kTrain) return;
    // The gradient of odd iterations has a twin on the other compute lane.
    for (Instruction& i : p->lanes[At(kComputeLane)].instructions) {
      if (i.kind != InstrKind::kGradient) continue;
      Instruction twin = i;
      i.residues = 1, twin.residues = 2;
      ++twin.seq;
      for (Lane& lane : p->lanes)  // room for it in the serial order
        for (Instruction& j : lane.instructions) j.seq += j.seq > i.seq;
      p->lanes[At(compute)].instructions.push_back(std::move(twin));
    }
  }

  Options o_;
  Model m_;
  Schedule& s_;
  Program* p_ = nullptr;
  uint64_t top_[2] = {0, 0};
  BufferId record_ = -1, record_host_ = -1;
  int64_t seq_ = 0;
  int32_t pass_ = 0;
  size_t use_ = 0;             // uploads so far: they go round the slots
  std::vector<bool> written_;  // per tile: its master was written earlier in this iteration
  std::vector<BufferId> slots_, weight_buffers_;
  std::map<std::pair<int32_t, int>, BufferId> activations_;  // (value, branch); state is -2, workspace -3
};

}  // namespace

Schedule MakeSchedule(const Options& options) { return Builder(options).Build(); }

}  // namespace zo2::tiny
