// Format of everything but the programs.
#include <algorithm>
#include <cmath>
#include <set>

#include "ir/schedule/verify_internal.h"

namespace zo2::internal {
namespace {

bool InRange(int64_t index, size_t size) { return index >= 0 && static_cast<uint64_t>(index) < size; }
bool Known(DType t) { return static_cast<int>(t) <= static_cast<int>(DType::kBool); }

Status CheckBuffers(const Schedule& s) {
  for (size_t i = 0; i < s.arenas.size(); ++i) {
    const Arena& a = s.arenas[i];
    if (static_cast<int>(a.tier) > 2 || a.device < 0 || (a.tier != Tier::kDevice && a.device != 0))
      return Rejected("arena ", i, " is of no tier or device this build knows");
    if (a.bytes > kMaxArenaBytes) return Rejected("arena ", i, " has ", a.bytes, " bytes, which no memory has");
    if (a.budget != 0 && a.bytes > a.budget)
      return Rejected("arena ", i, " (", Name(a.tier), ") has ", a.bytes, " bytes but its budget is ", a.budget);
  }
  for (size_t i = 0; i < s.buffers.size(); ++i) {
    const Buffer& b = s.buffers[i];
    const auto name = [&] { return "buffer " + std::to_string(i) + " (" + b.name + ")"; };
    if (!InRange(b.arena, s.arenas.size())) return Rejected(name(), " is in arena ", b.arena, ", which there is not");
    if (static_cast<int>(b.kind) > static_cast<int>(BufferKind::kCodes))
      return Rejected(name(), " is of no kind this build knows");
    const Arena& arena = s.arenas[Ix(b.arena)];
    uint64_t extent = b.bytes, end = 0;
    if (b.ring < 1) return Rejected(name(), " has a ring of no copies");
    if (b.ring > 1 && (b.stride < b.bytes || b.stride % kCpuAlignment != 0))
      return Rejected(name(), ": its copies of ", b.bytes, " bytes are ", b.stride,
                      " bytes apart; that must be a multiple of ", kCpuAlignment, " and no less");
    if (b.offset % kCpuAlignment != 0)
      return Rejected(name(), " begins at ", b.offset, ", not a multiple of ", kCpuAlignment);
    if ((b.ring > 1 && __builtin_mul_overflow(b.stride, static_cast<uint64_t>(b.ring), &extent)) ||
        __builtin_add_overflow(b.offset, extent, &end) || end > arena.bytes)
      return Rejected(name(), " of ", extent, " bytes at ", b.offset, " leaves arena ", b.arena, " of ", arena.bytes,
                      " bytes");
    const bool host = arena.tier == Tier::kHost, device = arena.tier == Tier::kDevice;
    const bool either =
        b.kind == BufferKind::kMaster || b.kind == BufferKind::kCodes || b.kind == BufferKind::kRecord;
    const bool fits = b.kind == BufferKind::kStaging ? host : either ? host || device : device;
    if (!fits) return Rejected(name(), " of kind ", Name(b.kind), " may not be on tier ", Name(arena.tier));
  }
  return Status();
}

Status CheckWeights(const Schedule& s) {
  for (const PlanWeight& w : s.weights) {
    if (!CheckedShape(w.shape) || NumElements(w.shape) <= 0)
      return Rejected("weight ", w.name, " has a shape that is empty or too large");
    if (w.components.size() != 1)
      return Rejected("weight ", w.name, " has ", w.components.size(), " components; this build knows plain weights");
    if (!w.state.empty()) return Rejected("weight ", w.name, " has state tensors, which this build cannot prove");
    const Component& c = w.components[0];
    if (!Known(c.storage) || c.wire > WireFormat::kI4 || !Known(c.compute) || c.shape != w.shape)
      return Rejected("weight ", w.name, ": its component has other dtypes or another shape than a plain weight");
    if (c.trainable != w.trainable) return Rejected("weight ", w.name, " and its component differ in being trained");
    if (!std::isfinite(w.eps_mul) || !std::isfinite(w.lr_mul))
      return Rejected("weight ", w.name, " has multipliers ", w.eps_mul, " of eps and ", w.lr_mul, " of lr");
    if (w.trainable && !IsFloat(c.storage))
      return Rejected("weight ", w.name, " is trained but stored as ", Name(c.storage));
  }
  return Status();
}

// The segments of one weight: full-width bands of rows, or full-height bands of columns, that cover it once.
Status CheckCover(const PlanWeight& w, std::vector<const Segment*> segments) {
  bool rows = true, cols = true;
  for (const Segment* g : segments) {
    rows &= g->col_begin == 0 && g->col_end == w.cols();
    cols &= g->row_begin == 0 && g->row_end == w.rows();
  }
  if (!rows && !cols) return Rejected("weight ", w.name, " is not cut along one axis");
  const auto begin = [&](const Segment* g) { return rows ? g->row_begin : g->col_begin; };
  std::sort(segments.begin(), segments.end(), [&](auto* x, auto* y) { return begin(x) < begin(y); });
  int64_t next = 0;
  for (const Segment* g : segments) {
    if (begin(g) != next)
      return Rejected("weight ", w.name, ": its segments leave out or repeat ", rows ? "row " : "column ",
                      std::min(next, begin(g)), "; every element belongs to exactly one tile");
    next = rows ? g->row_end : g->col_end;
  }
  if (next != (rows ? w.rows() : w.cols()))
    return Rejected("weight ", w.name, ": no tile holds its ", rows ? "rows" : "columns", " from ", next, " on");
  return Status();
}

// Where a tile's bytes are kept: a master, codes, or both.
Status CheckHomes(const Schedule& s, const Tile& t, std::set<BufferId>* taken) {
  const auto is_home = [&](BufferId id, BufferKind kind, uint64_t bytes) {
    return InRange(id, s.buffers.size()) && s.buffers[Ix(id)].kind == kind && s.buffers[Ix(id)].bytes >= bytes &&
           s.buffers[Ix(id)].ring == 1;
  };
  const auto on_host = [&](BufferId id) { return s.arenas[Ix(s.buffers[Ix(id)].arena)].tier == Tier::kHost; };
  const bool coded = t.codes != -1;
  if (coded && !t.trainable) {
    if (t.master != -1) return Rejected("tile ", t.name, " is frozen and coded, but has a master that nobody reads");
  } else {
    if (!is_home(t.master, BufferKind::kMaster, t.bytes))
      return Rejected("tile ", t.name, " has no master buffer of its ", t.bytes, " bytes");
    if (!taken->insert(t.master).second) return Rejected("tile ", t.name, " shares its master buffer with another");
  }
  if (!coded) return Status();
  if (!is_home(t.codes, BufferKind::kCodes, t.wire_bytes))
    return Rejected("tile ", t.name, " has no codes buffer of its ", t.wire_bytes, " bytes");
  if (!taken->insert(t.codes).second) return Rejected("tile ", t.name, " shares its codes buffer with another");
  if (t.trainable && (!on_host(t.master) || !on_host(t.codes)))
    return Rejected("tile ", t.name, " is trained and coded; its master and codes must be on the host");
  return Status();
}

Status CheckTiles(const Schedule& s) {
  std::vector<std::vector<const Segment*>> of_weight(s.weights.size());
  std::set<BufferId> taken;
  for (const Tile& t : s.tiles) {
    ZO2_TRY(CheckHomes(s, t, &taken));
    const bool coded = t.codes != -1;
    if (t.bytes == 0 || t.bytes > kMaxArenaBytes || t.wire_bytes > kMaxArenaBytes || t.branch_bytes > kMaxArenaBytes)
      return Rejected("tile ", t.name, " is empty or too large");
    if (!coded && t.wire_bytes != t.bytes)
      return Rejected("tile ", t.name, " is not coded but has ", t.wire_bytes, " bytes on the wire instead of its master's ",
                      t.bytes);
    bool trainable = false;
    std::vector<std::pair<uint64_t, uint64_t>> ranges[3];
    for (const Segment& g : t.segments) {
      if (!InRange(g.weight, s.weights.size()) || g.component != 0)
        return Rejected("tile ", t.name, " has a segment of no weight");
      const PlanWeight& w = s.weights[Ix(g.weight)];
      if (g.row_begin < 0 || g.row_begin >= g.row_end || g.row_end > w.rows() || g.col_begin < 0 ||
          g.col_begin >= g.col_end || g.col_end > w.cols())
        return Rejected("tile ", t.name, ": a segment leaves weight ", w.name);
      const Component& c = w.components[0];
      if (coded && c.storage != DType::kF32 && c.storage != DType::kBF16 && c.storage != DType::kF16)
        return Rejected("tile ", t.name, " is coded, but weight ", w.name, " is stored as ", Name(c.storage),
                        ", which cannot be");
      const auto n = static_cast<uint64_t>(g.elements());  // within the weight, which is checked
      const uint64_t master = n * static_cast<uint64_t>(SizeOf(c.storage));
      const uint64_t sizes[3] = {
          master, coded ? WireBytes(c.wire, g.row_end - g.row_begin, g.col_end - g.col_begin) : master,
          n * static_cast<uint64_t>(SizeOf(c.compute))};
      const uint64_t begins[3] = {g.offset, g.wire_offset, g.branch_offset};
      const uint64_t totals[3] = {t.bytes, t.wire_bytes, t.branch_bytes};
      for (int k = 0; k < 3; ++k) {
        const uint64_t bytes = sizes[k];
        if (begins[k] % kCpuAlignment != 0 || begins[k] > totals[k] || bytes > totals[k] - begins[k])
          return Rejected("tile ", t.name, ": the segment of ", w.name, " at ", begins[k],
                          " is not aligned or leaves the tile's ", totals[k], " bytes");
        ranges[k].emplace_back(begins[k], begins[k] + bytes);
      }
      if (!coded && g.wire_offset != g.offset)
        return Rejected("tile ", t.name, " is not coded, but its segment of ", w.name, " is at ", g.wire_offset,
                        " on the wire and at ", g.offset, " in its master");
      trainable |= w.trainable;
      of_weight[Ix(g.weight)].push_back(&g);
    }
    for (auto& list : ranges) {
      std::sort(list.begin(), list.end());
      for (size_t i = 1; i < list.size(); ++i)
        if (list[i].first < list[i - 1].second) return Rejected("tile ", t.name, ": two of its segments overlap");
    }
    if (trainable != t.trainable)
      return Rejected("tile ", t.name, trainable ? " is marked frozen but holds" : " is marked trained but holds no",
                      " trained weight");
  }
  for (size_t w = 0; w < s.weights.size(); ++w)
    if (s.weights[w].trainable || !of_weight[w].empty()) ZO2_TRY(CheckCover(s.weights[w], of_weight[w]));
  return Status();
}

Status CheckValues(const Schedule& s, GraphFacts* facts) {
  std::set<BufferId> constants;
  for (size_t i = 0; i < s.values.size(); ++i) {
    const PlanValue& v = s.values[i];
    TensorType type = v.type;
    if (!Known(type.dtype) || !CheckedShape(type.shape) || static_cast<int>(v.kind) > 3)
      return Rejected("value ", v.name, " has no shape, dtype or kind this build knows");
    if (static_cast<uint64_t>(type.bytes()) > kMaxValueBytes)
      return Rejected("value ", v.name, " has ", type.bytes(), " bytes, which no memory has");
    if (v.kind == ValueKind::kWeight) {
      if (!InRange(v.weight, s.weights.size())) return Rejected("value ", v.name, " stands for no weight");
      if (type.shape != s.weights[Ix(v.weight)].shape)
        return Rejected("value ", v.name, " has another shape than weight ", s.weights[Ix(v.weight)].name);
      type.dtype = s.weights[Ix(v.weight)].components[0].compute;
    }
    if ((v.kind != ValueKind::kWeight && v.weight != -1) ||
        (v.kind != ValueKind::kConstant && (v.constant != -1 || !v.data.empty())))
      return Rejected("value ", v.name, " has a weight or data that it should not have");
    if (v.kind == ValueKind::kConstant) {
      if (v.data.size() != static_cast<uint64_t>(type.bytes()))
        return Rejected("constant ", v.name, " has ", v.data.size(), " bytes of data for ", type.bytes());
      if (v.constant != -1 &&
          (!InRange(v.constant, s.buffers.size()) || s.buffers[Ix(v.constant)].kind != BufferKind::kConstant ||
           s.buffers[Ix(v.constant)].bytes < v.data.size() || s.buffers[Ix(v.constant)].ring != 1 ||
           !constants.insert(v.constant).second))
        return Rejected("constant ", v.name, " has no constant buffer of its own that holds it");
    }
    facts->root.push_back(static_cast<int32_t>(i));
    facts->type.push_back(std::move(type));
    facts->fed.push_back(v.kind == ValueKind::kInput);
    facts->perturbed.push_back(v.kind == ValueKind::kWeight && s.weights[Ix(v.weight)].trainable);
  }
  return Status();
}

Status CheckNodes(const Schedule& s, GraphFacts* facts) {
  std::vector<bool> made(s.values.size());
  for (size_t i = 0; i < s.values.size(); ++i) made[i] = s.values[i].kind != ValueKind::kActivation;
  for (const PlanNode& n : s.nodes) {
    if (static_cast<int>(n.op) >= kNumOps) return Rejected("node ", n.name, " has no op this build knows");
    std::vector<const TensorType*> inputs;
    bool perturbed = false, fed = false;
    for (const int32_t in : n.inputs) {
      if (in != -1 && (!InRange(in, s.values.size()) || !made[Ix(in)]))
        return Rejected("node ", n.name, " reads a value that no earlier node makes");
      inputs.push_back(in == -1 ? nullptr : &facts->type[Ix(in)]);
      if (in == -1) continue;
      perturbed = perturbed || facts->perturbed[Ix(in)];
      fed = fed || facts->fed[Ix(in)];
    }
    std::vector<TensorType> outputs;
    for (const int32_t out : n.outputs) {
      if (!InRange(out, s.values.size()) || made[Ix(out)])
        return Rejected("node ", n.name, " makes a value that exists already or does not exist at all");
      made[Ix(out)] = true;
      outputs.push_back(facts->type[Ix(out)]);
      facts->perturbed[Ix(out)] = perturbed;
      facts->fed[Ix(out)] = fed;
    }
    if (auto ok = CheckNode(n.op, n.attrs, inputs, outputs); !ok.ok())
      return Rejected("node ", n.name, ": ", ok.status().message());
    if (Row(n.op).reshape_only) facts->root[Ix(n.outputs[0])] = facts->root[Ix(n.inputs[0])];
  }
  return Status();
}

}  // namespace

bool CheckedShape(const Shape& shape) {
  if (shape.size() > kMaxRank) return false;
  int64_t n = 1;  // axes of no elements count too: strides are made of the others
  for (const int64_t d : shape)
    if (d < 0 || __builtin_mul_overflow(n, std::max<int64_t>(1, d), &n) || n >= int64_t{1} << 56) return false;
  return true;
}

Status VerifyTables(const Schedule& s, GraphFacts* facts) {
  if (s.version != kScheduleVersion)
    return Rejected("has version ", s.version, " but this build knows ", kScheduleVersion);
  if (NumInstructions(s) > kMaxInstructions)
    return Rejected("has ", NumInstructions(s), " instructions, more than ", kMaxInstructions, "; use larger tiles");
  ZO2_TRY(CheckBuffers(s));
  ZO2_TRY(CheckWeights(s));
  ZO2_TRY(CheckTiles(s));
  ZO2_TRY(CheckValues(s, facts));
  ZO2_TRY(CheckNodes(s, facts));
  if (s.loss.node != -1 && (!InRange(s.loss.node, s.nodes.size()) || s.nodes[Ix(s.loss.node)].outputs.size() != 2))
    return Rejected("its loss is node ", s.loss.node, ", which is no loss");
  return Status();
}

}  // namespace zo2::internal
