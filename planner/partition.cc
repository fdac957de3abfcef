#include "planner/partition.h"

#include <algorithm>
#include <bit>
#include <cctype>
#include <cstring>
#include <map>
#include <set>
#include <tuple>

#include "planner/arith.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

constexpr int64_t kRowMultiple = 64;
constexpr uint64_t kSmall = 16 << 10;

// Where a weight is used.
struct Use {
  NodeId node = -1;
  int operand = -1;
  WeightRole role = WeightRole::kOther;
  TileMode mode = TileMode::kWhole;
  int axis = 0;
};

std::vector<std::vector<Use>> FindUses(const Graph& graph, const std::vector<ValueId>& roots) {
  std::vector<std::vector<Use>> uses(graph.weights.size());
  for (size_t n = 0; n < graph.nodes.size(); ++n) {
    const Node& node = graph.nodes[n];
    const OpRow& row = Row(node.op);
    if (row.reshape_only) continue;
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] < 0) continue;
      const Value& root = graph.value(roots[static_cast<size_t>(node.inputs[i])]);
      if (root.kind != ValueKind::kWeight) continue;
      Use use{static_cast<NodeId>(n), static_cast<int>(i)};
      bool direct = graph.value(node.inputs[i]).kind == ValueKind::kWeight;
      for (const WeightUse& w : row.weights) {
        if (direct && w.operand == use.operand) {
          use.role = w.role;
          use.mode = w.mode;
          use.axis = TileAxis(node.op, w.operand, node.attrs);
        }
      }
      uses[static_cast<size_t>(root.weight)].push_back(use);
    }
  }
  return uses;
}

// The operand of `op` that holds the matrix whose tiling the bias operand follows; -1 when there is none.
int MatrixOperand(Op op, int bias_operand) {
  for (const WeightUse& w : Row(op).weights) {
    if (w.operand == bias_operand && w.role == WeightRole::kBias && w.mode != TileMode::kWhole) {
      for (const WeightUse& m : Row(op).weights)
        if (m.role == WeightRole::kMatrix) return m.operand;
    }
  }
  return -1;
}

class Partitioner {
 public:
  Partitioner(const Graph& graph, const Machine& machine, const PlanOptions& options, std::vector<WireFormat> wire)
      : graph_(graph),
        align_(machine.alignment()),
        wire_(std::move(wire)),
        roots_(RootValues(graph)),
        uses_(FindUses(graph, roots_)) {
    uint64_t total = 0;
    for (const Weight& w : graph.weights) total += Bytes(w);
    out_.target = options.tile > 0 ? options.tile : TileTarget(total);
  }

  Result<Partition> Run() {
    MakeWeights();
    DecideCuts();
    // Tiles in order of first use.
    std::vector<bool> placed(graph_.weights.size());
    for (const Node& node : graph_.nodes) {
      for (ValueId in : node.inputs) {
        if (in < 0) continue;
        const Value& value = graph_.value(roots_[static_cast<size_t>(in)]);
        if (value.kind != ValueKind::kWeight || placed[Index(value.weight)]) continue;
        if (uses_[Index(value.weight)].empty()) continue;
        Place(value.weight, &placed);
      }
    }
    for (size_t w = 0; w < graph_.weights.size(); ++w)  // used by nothing: still somebody's parameter
      if (!placed[w]) Place(static_cast<WeightId>(w), &placed);
    Classify();
    return std::move(out_);
  }

 private:
  static size_t Index(int32_t id) { return static_cast<size_t>(id); }
  static uint64_t Bytes(const Weight& w) { return static_cast<uint64_t>(w.elements() * SizeOf(w.dtype)); }
  const Weight& weight(WeightId id) const { return graph_.weights[Index(id)]; }

  void MakeWeights() {
    std::vector<DType> compute(graph_.weights.size(), DType::kF32);
    for (const Value& v : graph_.values)
      if (v.kind == ValueKind::kWeight) compute[Index(v.weight)] = v.type.dtype;
    for (size_t i = 0; i < graph_.weights.size(); ++i) {
      const Weight& w = graph_.weights[i];
      PlanWeight p;
      p.name = w.name;
      p.aliases = w.aliases;
      p.shape = w.shape;
      p.role = w.role;
      p.trainable = w.trainable;
      p.decay = w.decay;
      p.places = w.places;
      p.components = {{w.name, w.tensor_id, w.dtype, wire_[i], compute[i], w.shape, w.trainable}};
      out_.weights.push_back(std::move(p));
    }
    out_.parts.resize(graph_.weights.size());
    out_.cut.assign(graph_.weights.size(), false);
    ranges_.resize(graph_.weights.size());
    rides_.assign(graph_.weights.size(), -1);
    ridden_.assign(graph_.weights.size(), -1);
    axis_.assign(graph_.weights.size(), 0);
  }

  // Ranges along the tile axis for each weight, and which bias rides with which matrix.
  void DecideCuts() {
    for (size_t w = 0; w < graph_.weights.size(); ++w) {
      const Weight& weight = graph_.weights[w];
      for (const Use& use : uses_[w]) {
        int matrix = MatrixOperand(graph_.nodes[Index(use.node)].op, use.operand);
        if (matrix < 0) continue;
        const Value& m = graph_.value(graph_.nodes[Index(use.node)].inputs[Index(matrix)]);
        if (m.kind != ValueKind::kWeight) continue;
        bool alone = uses_[w].size() == 1 && uses_[Index(m.weight)].size() == 1;
        if (alone && weight.trainable == graph_.weights[Index(m.weight)].trainable) {
          rides_[w] = m.weight;
          ridden_[Index(m.weight)] = static_cast<WeightId>(w);
        } else if (uses_[w].size() != 1) {
          keep_whole_.insert(m.weight);  // the bias's segments could not follow the matrix's parts
        }
      }
    }
    for (size_t w = 0; w < graph_.weights.size(); ++w) {
      const Weight& weight = graph_.weights[w];
      int64_t extent = weight.rows();
      bool can = weight.shape.size() == 2 && !uses_[w].empty() && !keep_whole_.count(static_cast<WeightId>(w));
      for (const Use& use : uses_[w]) {
        can = can && use.mode != TileMode::kWhole && use.axis == uses_[w][0].axis;
      }
      if (can) {
        axis_[w] = uses_[w][0].axis;
        extent = axis_[w] == 0 ? weight.rows() : weight.cols();
      }
      int64_t step = extent;
      if (can && Bytes(weight) > out_.target && extent > 1) {
        auto unit = static_cast<int64_t>(Bytes(weight)) / extent;  // bytes of one row (or column)
        int64_t most = std::max<int64_t>(1, static_cast<int64_t>(out_.target) / std::max<int64_t>(1, unit));
        if (most >= kRowMultiple) most = most / kRowMultiple * kRowMultiple;
        int64_t count = (extent + most - 1) / most;
        step = (extent + count - 1) / count;
        if (most >= kRowMultiple) step = (step + kRowMultiple - 1) / kRowMultiple * kRowMultiple;
      }
      for (int64_t b = 0; b < extent || b == 0; b += std::max<int64_t>(1, step))
        ranges_[w].push_back({b, std::min(extent, b + step)});
      out_.cut[w] = ranges_[w].size() > 1;
    }
    // A bias on its own follows the parts of its matrix.
    for (size_t w = 0; w < graph_.weights.size(); ++w) {
      if (rides_[w] >= 0 || uses_[w].size() != 1) continue;
      const Use& use = uses_[w][0];
      int matrix = MatrixOperand(graph_.nodes[Index(use.node)].op, use.operand);
      if (matrix < 0) continue;
      const Value& m = graph_.value(graph_.nodes[Index(use.node)].inputs[Index(matrix)]);
      if (m.kind != ValueKind::kWeight || !out_.cut[Index(m.weight)]) continue;
      ranges_[w] = ranges_[Index(m.weight)];
      out_.cut[w] = true;
    }
  }

  TileId NewTile(const std::string& name, const std::string& layer, bool grouped) {
    out_.tiles.push_back({});
    out_.tiles.back().name = name;
    out_.tiles.back().trainable = false;
    out_.grouped.push_back(grouped);
    out_.coded.push_back(false);
    out_.layer.push_back(layer);
    return static_cast<TileId>(out_.tiles.size() - 1);
  }

  void AddSegment(TileId id, WeightId w, int64_t begin, int64_t end) {
    Tile& tile = out_.tiles[Index(id)];
    const PlanWeight& weight = out_.weights[Index(w)];
    const Component& c = weight.components[0];
    Segment s;
    s.weight = w;
    // A 1-d weight is one row of many columns; its parts are ranges of columns.
    bool columns = weight.shape.size() < 2 || axis_[Index(w)] == 1;
    s.row_begin = columns ? 0 : begin;
    s.row_end = columns ? weight.rows() : end;
    s.col_begin = columns && out_.cut[Index(w)] ? begin : 0;
    s.col_end = columns && out_.cut[Index(w)] ? end : weight.cols();
    s.offset = AlignUp(tile.bytes, align_);
    s.wire_offset = AlignUp(tile.wire_bytes, align_);
    s.branch_offset = AlignUp(tile.branch_bytes, align_);
    auto n = static_cast<uint64_t>(s.elements());
    tile.bytes = AlignUp(s.offset + n * static_cast<uint64_t>(SizeOf(c.storage)), align_);
    tile.wire_bytes =
        AlignUp(s.wire_offset + WireBytes(c.wire, s.row_end - s.row_begin, s.col_end - s.col_begin), align_);
    if (c.wire != PlainWire(c.storage)) out_.coded[Index(id)] = true;
    tile.branch_bytes = AlignUp(s.branch_offset + n * static_cast<uint64_t>(SizeOf(c.compute)), align_);
    tile.trainable = tile.trainable || weight.trainable;
    tile.segments.push_back(s);
    out_.parts[Index(w)].push_back({id, static_cast<int32_t>(tile.segments.size() - 1), begin, end});
  }

  void Place(WeightId w, std::vector<bool>* placed) {
    if (rides_[Index(w)] >= 0) w = rides_[Index(w)];
    if ((*placed)[Index(w)]) return;
    (*placed)[Index(w)] = true;
    const Weight& weight = graph_.weights[Index(w)];
    std::string layer = LayerPrefix(weight.name);
    WeightId bias = ridden_[Index(w)];
    if (bias >= 0) (*placed)[Index(bias)] = true;
    bool vector = weight.shape.size() < 2;
    bool small = bias < 0 && (Bytes(weight) <= std::min(kSmall, out_.target / 4) ||
                              (vector && Bytes(weight) <= out_.target / 4));
    if (small) {
      bool fits = group_ >= 0 && group_layer_ == layer && out_.tiles[Index(group_)].trainable == weight.trainable &&
                  out_.tiles[Index(group_)].bytes + Bytes(weight) <= out_.target / 4;
      if (!fits) {
        group_ = NewTile((layer.empty() ? weight.name : layer + "small"), layer, true);
        group_layer_ = layer;
      }
      for (auto [b, e] : ranges_[Index(w)]) AddSegment(group_, w, b, e);
      return;
    }
    if (layer != group_layer_) group_ = -1;  // groups hold neighbours only
    const auto& ranges = ranges_[Index(w)];
    for (size_t i = 0; i < ranges.size(); ++i) {
      std::string name = weight.name;
      if (ranges.size() > 1) name += "[" + std::to_string(ranges[i].first) + ":" + std::to_string(ranges[i].second) + "]";
      TileId id = NewTile(name, layer, false);
      AddSegment(id, w, ranges[i].first, ranges[i].second);
      if (bias < 0) continue;
      if (ranges.size() > 1) out_.cut[Index(bias)] = true;
      int64_t whole = graph_.weights[Index(bias)].elements();
      AddSegment(id, bias, ranges.size() > 1 ? ranges[i].first : 0, ranges.size() > 1 ? ranges[i].second : whole);
    }
  }

  void Classify() {
    std::map<std::tuple<uint64_t, uint64_t, uint64_t, WireFormat, bool, bool, size_t, int>, int32_t> classes;
    for (size_t t = 0; t < out_.tiles.size(); ++t) {
      Tile& tile = out_.tiles[t];
      const Segment& s = tile.segments[0];
      const PlanWeight& first = out_.weights[Index(s.weight)];
      auto key = std::make_tuple(tile.bytes, tile.wire_bytes, tile.branch_bytes, first.components[0].wire,
                                 tile.trainable, static_cast<bool>(out_.grouped[t]), tile.segments.size(),
                                 static_cast<int>(first.role));
      tile.tile_class = classes.emplace(key, static_cast<int32_t>(classes.size())).first->second;
    }
    out_.classes = static_cast<int>(classes.size());
  }

  const Graph& graph_;
  const uint64_t align_;
  const std::vector<WireFormat> wire_;  // per weight
  const std::vector<ValueId> roots_;
  const std::vector<std::vector<Use>> uses_;
  Partition out_;
  std::vector<std::vector<std::pair<int64_t, int64_t>>> ranges_;  // per weight, along its tile axis
  std::vector<WeightId> rides_, ridden_;  // bias -> its matrix, matrix -> its bias; -1
  std::vector<int> axis_;
  std::set<WeightId> keep_whole_;
  TileId group_ = -1;
  std::string group_layer_;
};

}  // namespace

std::vector<ValueId> RootValues(const Graph& graph) {
  std::vector<ValueId> roots(graph.values.size());
  for (size_t i = 0; i < roots.size(); ++i) roots[i] = static_cast<ValueId>(i);
  for (const Node& node : graph.nodes) {
    if (Row(node.op).reshape_only)
      roots[static_cast<size_t>(node.outputs[0])] = roots[static_cast<size_t>(node.inputs[0])];
  }
  return roots;
}

std::string LayerPrefix(const std::string& name) {
  for (size_t begin = 0; begin < name.size();) {
    size_t end = name.find_first_of("./", begin);
    if (end == std::string::npos) end = name.size();
    bool digits = end > begin;
    for (size_t i = begin; i < end; ++i) digits = digits && std::isdigit(static_cast<unsigned char>(name[i]));
    if (digits && end < name.size()) return name.substr(0, end + 1);
    begin = end + 1;
  }
  return "";
}

uint64_t TileTarget(uint64_t total) {
  uint64_t target = std::bit_ceil(std::max<uint64_t>(1, total / 4096));
  return std::clamp<uint64_t>(target, uint64_t{1} << 20, uint64_t{32} << 20);
}

Result<Partition> MakePartition(const Graph& graph, const Machine& machine, const PlanOptions& options) {
  for (const Weight& w : graph.weights) {
    if (!IsFloat(w.dtype) || w.dtype == DType::kF64)
      return Invalid("weight ", w.name, " is stored as ", Name(w.dtype), "; plans take f32, bf16 and f16");
    if (w.elements() <= 0 || w.elements() >= (int64_t{1} << 58))
      return Invalid("weight ", w.name, " has ", w.elements(), " elements, which no plan can hold");
  }
  ZO2_ASSIGN(WireChoice wire, ChooseWires(graph, options));
  return Partitioner(graph, machine, options, std::move(wire.formats)).Run();
}

}  // namespace zo2
