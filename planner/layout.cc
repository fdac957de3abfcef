#include "planner/layout.h"

#include <algorithm>
#include <set>

#include "planner/allocate.h"
#include "planner/arith.h"
#include "planner/cost.h"

namespace zo2 {
namespace {

constexpr uint32_t kInputRing = 2;
constexpr double kFullEffort = 30;  // seconds of time limit from which on arenas are packed as well as ever

class LayoutMaker {
 public:
  LayoutMaker(const Graph& graph, const Partition& partition, const Machine& machine, const PlanOptions& options,
              Purpose purpose)
      : graph_(graph), partition_(partition), machine_(machine), options_(options), roots_(RootValues(graph)) {
    out_.purpose = purpose;
    out_.branches = purpose == Purpose::kTrain ? 2 : 1;
  }

  Result<Layout> Run(bool with_outputs) {
    FindVariant();
    FindCalls(with_outputs);
    if (out_.purpose == Purpose::kTrain) ZO2_TRY(CheckLoss());
    end_ = static_cast<int64_t>(out_.calls.size());
    out_.value.assign(graph_.values.size(), {-1, -1});
    FindLifetimes();
    PlaceHostFacing();
    for (int64_t at = 0; at < end_; ++at) PlaceNode(at);
    PlaceGroups();
    Pack();
    return std::move(out_);
  }

 private:
  const Value& value(ValueId id) const { return graph_.value(id); }
  ValueId root(ValueId id) const { return roots_[Ix(id)]; }
  const Node& node(NodeId id) const { return graph_.nodes[Ix(id)]; }
  bool IsLossOutput(ValueId id) const {
    if (graph_.loss.node < 0) return false;
    const auto& outs = node(graph_.loss.node).outputs;
    return std::find(outs.begin(), outs.end(), id) != outs.end();
  }

  void FindVariant() {
    out_.variant.assign(graph_.values.size(), false);
    for (size_t v = 0; v < graph_.values.size(); ++v) {
      const Value& x = graph_.values[v];
      if (x.kind == ValueKind::kWeight) out_.variant[v] = partition_.weights[Ix(x.weight)].trainable;
    }
    for (const Node& n : graph_.nodes) {
      bool variant = false;
      for (ValueId in : n.inputs) variant = variant || (in >= 0 && out_.variant[Ix(in)]);
      for (ValueId o : n.outputs) out_.variant[Ix(o)] = variant;
    }
  }

  void FindCalls(bool with_outputs) {
    std::vector<bool> needed(graph_.values.size());
    if (graph_.loss.node >= 0)
      for (ValueId o : node(graph_.loss.node).outputs) needed[Ix(o)] = true;
    if (with_outputs && out_.purpose == Purpose::kEvaluate) {
      for (ValueId o : graph_.outputs) {
        if (value(root(o)).kind == ValueKind::kWeight || IsLossOutput(o)) continue;
        out_.outputs.push_back(o);
        needed[Ix(o)] = true;
      }
    }
    for (size_t n = graph_.nodes.size(); n-- > 0;) {
      const Node& x = graph_.nodes[n];
      bool any = false;
      for (ValueId o : x.outputs) any = any || needed[Ix(o)];
      if (!any) continue;
      for (ValueId in : x.inputs)
        if (in >= 0) needed[Ix(in)] = true;
      if (!Row(x.op).reshape_only) out_.calls.push_back(static_cast<NodeId>(n));
    }
    std::reverse(out_.calls.begin(), out_.calls.end());
  }

  Result<void> CheckLoss() const {
    if (graph_.loss.node < 0)
      return Invalid("model ", graph_.name, " has no loss to train on; say --loss causal-lm, classify, mse or output:NAME");
    if (!out_.variant[Ix(node(graph_.loss.node).outputs[0])])
      return Invalid("no trained weight influences the loss of ", graph_.name, "; widen --train");
    return {};
  }

  void FindLifetimes() {
    last_.assign(graph_.values.size(), -1);
    is_output_.assign(graph_.values.size(), false);
    std::set<ValueId> constants;
    for (int64_t at = 0; at < end_; ++at) {
      for (ValueId in : node(out_.calls[Ix(at)]).inputs) {
        if (in < 0) continue;
        last_[Ix(root(in))] = at;
        if (value(root(in)).kind == ValueKind::kConstant) constants.insert(root(in));
      }
    }
    for (ValueId o : out_.outputs) {
      last_[Ix(root(o))] = end_;  // until it is copied
      is_output_[Ix(root(o))] = true;
      if (value(root(o)).kind == ValueKind::kConstant) constants.insert(root(o));
    }
    out_.constants.assign(constants.begin(), constants.end());
  }

  int Add(std::string name, BufferKind kind, int64_t begin, int64_t end, uint64_t bytes, uint32_t ring = 1) {
    out_.temps.push_back({std::move(name), kind, begin, end, std::max<uint64_t>(bytes, 1), ring, 0});
    return static_cast<int>(out_.temps.size() - 1);
  }

  // Rings and losses live all through the program.
  void PlaceHostFacing() {
    const bool train = out_.purpose == Purpose::kTrain;
    const auto micro = static_cast<uint64_t>(train ? options_.micro_batches : 1);
    for (ValueId in : graph_.inputs) {
      if (last_[Ix(in)] < 0) continue;
      out_.input[in] = Add("input " + value(in).name, BufferKind::kInput, 0, end_ + 1,
                           micro * static_cast<uint64_t>(value(in).type.bytes()), kInputRing);
    }
    if (train) out_.control = Add("control", BufferKind::kControl, 0, end_ + 1, sizeof(StepControl), kInputRing);
    if (graph_.loss.node < 0) return;
    int branches = train ? 2 * options_.samples : 1;
    for (int b = 0; b < branches; ++b) {
      for (size_t k = 0; k < 2; ++k) {
        ValueId v = node(graph_.loss.node).outputs[k];
        int temp = Add((k == 0 ? "loss sum " : "loss count ") + std::to_string(b), BufferKind::kLoss, 0, end_ + 1,
                       micro * static_cast<uint64_t>(value(v).type.bytes()));
        (k == 0 ? out_.loss_sum : out_.loss_count).push_back(temp);
      }
    }
  }

  // An elementwise op may write over its input when that dies here and every branch has its own.
  ValueId InPlaceOf(NodeId id, int64_t at) const {
    const Node& n = node(id);
    int alias = Row(n.op).alias_input;
    if (alias < 0 || Ix(alias) >= n.inputs.size() || n.inputs[Ix(alias)] < 0) return -1;
    ValueId in = n.inputs[Ix(alias)], from = root(in);
    if (value(from).kind != ValueKind::kActivation || last_[Ix(from)] != at || IsLossOutput(from)) return -1;
    if (!(value(in).type == value(n.outputs[0]).type)) return -1;
    if (out_.variant[Ix(from)] != out_.variant[Ix(n.outputs[0])]) return -1;
    for (size_t i = 0; i < n.inputs.size(); ++i)
      if (static_cast<int>(i) != alias && n.inputs[i] >= 0 && root(n.inputs[i]) == from) return -1;
    return from;
  }

  void PlaceNode(int64_t at) {
    NodeId id = out_.calls[Ix(at)];
    const Node& n = node(id);
    int copies = 0;  // branches of the node
    for (ValueId o : n.outputs) {
      copies = out_.variant[Ix(o)] ? out_.branches : 1;
      if (IsLossOutput(o)) continue;
      int64_t until = std::max(last_[Ix(o)], at) + 1;
      const bool output = is_output_[Ix(o)];
      ValueId from = InPlaceOf(id, at);
      for (int b = 0; b < copies; ++b) {
        if (from >= 0) {
          int temp = out_.value[Ix(from)][Ix(b)];
          out_.value[Ix(o)][Ix(b)] = temp;
          out_.temps[Ix(temp)].end = std::max(out_.temps[Ix(temp)].end, until);
          if (output) out_.temps[Ix(temp)].kind = BufferKind::kOutput;
        } else {
          out_.value[Ix(o)][Ix(b)] =
              Add(value(o).name + (copies > 1 ? (b == 0 ? " +" : " -") : ""),
                  output ? BufferKind::kOutput : BufferKind::kActivation, at, until,
                  static_cast<uint64_t>(value(o).type.bytes()));
        }
      }
    }
    PlaceWeights(id, at);
    auto types = InputTypes(graph_, id);
    auto state = static_cast<uint64_t>(StateBytes(n.op, types, n.attrs));
    if (state > 0) {
      PerBranch s = {-1, -1};
      for (int b = 0; b < copies; ++b) s[Ix(b)] = Add("state of " + n.name, BufferKind::kState, at, at + 1, state);
      out_.state[id] = s;
    }
    int64_t needed = WorkspaceBytes(n.op, types, n.attrs, part_extent_);  // what the verifier asks for, whose kernels ever
    if (machine_.cuda)
      needed = std::max(needed, WorkspaceBytes(n.op, types, n.attrs, part_extent_, KernelFlavour::kDevice));
    const auto work = static_cast<uint64_t>(needed);
    if (work > 0) out_.workspace[id] = Add("workspace of " + n.name, BufferKind::kWorkspace, at, at + 1, work);
  }

  // Branch buffers of the parts that only this node uses; group tiles note their lifetime.
  void PlaceWeights(NodeId id, int64_t at) {
    part_extent_ = 0;
    std::vector<WeightOperand> operands = WeightOperands(graph_, roots_, id);
    std::set<TileId> seen;
    for (const WeightOperand& w : operands) {
      const auto& parts = partition_.parts[Ix(w.weight)];
      uint64_t most = 0;
      bool trainable = false;
      for (const Part& p : parts) {
        if (partition_.cut[Ix(w.weight)]) part_extent_ = std::max(part_extent_, p.end - p.begin);
        const Tile& tile = partition_.tiles[Ix(p.tile)];
        if (partition_.grouped[Ix(p.tile)]) {
          auto [it, fresh] = group_life_.emplace(p.tile, std::make_pair(at, at + 1));
          it->second.second = at + 1;
        } else if (seen.insert(p.tile).second && !ReadsInSlot(partition_, operands, p.tile)) {
          most = std::max(most, tile.branch_bytes);
          trainable = tile.trainable;
        }
      }
      if (most == 0) continue;
      PerBranch s = {-1, -1};
      for (int b = 0; b < (trainable ? out_.branches : 1); ++b) {
        s[Ix(b)] = Add("weights of " + node(id).name + (b == 0 ? " +" : " -"), BufferKind::kBranch, at, at + 1, most);
      }
      out_.scratch[{id, w.operand}] = s;
    }
  }

  void PlaceGroups() {
    for (const auto& [tile, life] : group_life_) {
      const Tile& t = partition_.tiles[Ix(tile)];
      PerBranch s = {-1, -1};
      for (int b = 0; b < (t.trainable ? out_.branches : 1); ++b)
        s[Ix(b)] = Add(t.name + (b == 0 ? " +" : " -"), BufferKind::kBranch, life.first, life.second, t.branch_bytes);
      out_.group[tile] = s;
    }
  }

  static BufferKind ReportedAs(BufferKind kind) {
    switch (kind) {
      case BufferKind::kOutput: return BufferKind::kActivation;
      case BufferKind::kState: return BufferKind::kWorkspace;
      case BufferKind::kControl:
      case BufferKind::kLoss: return BufferKind::kInput;
      default: return kind;
    }
  }

  void Pack() {
    uint64_t align = machine_.alignment();
    std::vector<ArenaItem> items;
    for (const Temp& t : out_.temps) {
      uint64_t stride = (t.bytes + align - 1) / align * align;
      items.push_back({t.begin, t.end, stride * t.ring, align});
    }
    // By the limit, not by the clock: the same options always give the same offsets.
    const double effort = std::min(1.0, options_.time_limit / kFullEffort);
    ArenaPacking packing = AllocateArena(items, 0, effort);
    for (size_t i = 0; i < items.size(); ++i) out_.temps[i].offset = packing.offsets[i];
    out_.bytes = items.empty() ? 0 : packing.height;
    out_.lower_bound = packing.lower_bound;
    std::map<BufferKind, std::vector<ArenaItem>> kinds;
    for (size_t i = 0; i < items.size(); ++i) kinds[ReportedAs(out_.temps[i].kind)].push_back(items[i]);
    for (const auto& [kind, list] : kinds) {
      std::map<int64_t, int64_t> change;
      for (const ArenaItem& i : list) {
        change[i.begin] += static_cast<int64_t>(i.size);
        change[i.end] -= static_cast<int64_t>(i.size);
      }
      int64_t live = 0, most = 0;
      for (const auto& [time, delta] : change) most = std::max(most, live += delta);
      out_.peak[kind] = static_cast<uint64_t>(most);
    }
  }

  const Graph& graph_;
  const Partition& partition_;
  const Machine& machine_;
  const PlanOptions& options_;
  const std::vector<ValueId> roots_;
  Layout out_;
  int64_t end_ = 0;
  std::vector<int64_t> last_;  // per root value: the last call that reads it
  std::vector<bool> is_output_;  // likewise: the host gets it
  std::map<TileId, std::pair<int64_t, int64_t>> group_life_;
  int64_t part_extent_ = 0;  // largest part of the node being placed
};

}  // namespace

bool NeedsPrepare(const Partition& partition, TileId id) {
  const Tile& tile = partition.tiles[static_cast<size_t>(id)];
  if (tile.trainable || partition.coded[static_cast<size_t>(id)]) return true;
  for (const Segment& s : tile.segments) {
    const Component& c = partition.weights[static_cast<size_t>(s.weight)].components[0];
    if (c.storage != c.compute) return true;
  }
  return false;
}

std::vector<WeightOperand> WeightOperands(const Graph& graph, const std::vector<ValueId>& roots, NodeId id) {
  std::vector<WeightOperand> out;
  const Node& node = graph.nodes[Ix(id)];
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    if (node.inputs[i] < 0) continue;
    const Value& root = graph.value(roots[Ix(node.inputs[i])]);
    if (root.kind == ValueKind::kWeight) out.push_back({static_cast<int>(i), root.weight});
  }
  return out;
}

bool ReadsInSlot(const Partition& partition, const std::vector<WeightOperand>& operands, TileId tile) {
  if (NeedsPrepare(partition, tile) || partition.grouped[Ix(tile)]) return false;
  std::set<TileId> first;
  for (const WeightOperand& w : operands) {
    TileId t = partition.parts[Ix(w.weight)][0].tile;
    if (!partition.grouped[Ix(t)]) first.insert(t);
  }
  return first.size() == 1;
}

int NumParts(const Partition& partition, const std::vector<WeightOperand>& operands) {
  size_t n = 1;
  for (const WeightOperand& w : operands)
    if (partition.cut[Ix(w.weight)]) n = std::max(n, partition.parts[Ix(w.weight)].size());
  return static_cast<int>(n);
}

Result<Layout> MakeLayout(const Graph& graph, const Partition& partition, const Machine& machine,
                          const PlanOptions& options, Purpose purpose, bool with_outputs) {
  return LayoutMaker(graph, partition, machine, options, purpose).Run(with_outputs);
}

}  // namespace zo2
