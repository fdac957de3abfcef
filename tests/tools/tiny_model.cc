#include "tests/tools/tiny_model.h"

#include <utility>

namespace zo2::tiny {
namespace {

size_t At(int32_t index) { return static_cast<size_t>(index); }

class ModelBuilder {
 public:
  explicit ModelBuilder(const Options& options) : o_(options), s_(m_.schedule) {}

  Model Build() {
    s_.arenas = {{Tier::kDevice, 0, 0, 0}, {Tier::kHost, 0, 0, 0}};
    s_.model_name = "tiny";
    MakeGraph();
    Follow();
    MakeTiles();
    return std::move(m_);
  }

 private:
  int32_t AddValue(std::string name, ValueKind kind, TensorType type, int32_t weight = -1) {
    s_.values.push_back({std::move(name), kind, std::move(type), weight, -1, ""});
    return static_cast<int32_t>(s_.values.size()) - 1;
  }
  int32_t AddWeight(std::string name, Shape shape, WeightRole role, bool trainable) {
    PlanWeight w;
    w.name = name;
    w.shape = shape;
    w.role = role;
    w.trainable = trainable;
    w.decay = role == WeightRole::kMatrix;
    w.components = {{name, static_cast<uint32_t>(17 + s_.weights.size()), DType::kF32, WireFormat::kF32,
                     DType::kF32, shape, trainable}};
    s_.weights.push_back(std::move(w));
    return AddValue(std::move(name), ValueKind::kWeight, {DType::kF32, std::move(shape)},
                    static_cast<int32_t>(s_.weights.size()) - 1);
  }
  int32_t AddNode(Op op, std::string name, std::vector<int32_t> inputs, std::vector<TensorType> types,
                  Attrs attrs = {}) {
    PlanNode node{op, name, std::move(attrs), std::move(inputs), {}};
    for (size_t i = 0; i < types.size(); ++i)
      node.outputs.push_back(AddValue(name + (i > 0 ? "_count" : ""), ValueKind::kActivation, types[i]));
    s_.nodes.push_back(std::move(node));
    return s_.nodes.back().outputs[0];
  }
  int32_t Reshape(std::string name, int32_t value, Shape shape) {
    const DType dtype = s_.values[At(value)].type.dtype;
    const std::vector<int64_t> attr = shape;
    return AddNode(Op::kReshape, std::move(name), {value}, {{dtype, std::move(shape)}}, {{"shape", attr}});
  }

  void MakeGraph() {
    const Shape shape = o_.lm_head ? Shape{1, 2, 4} : Shape{2, 4};
    const TensorType hidden{DType::kF32, shape};
    m_.batch = shape[0];
    const TensorType ids{DType::kI64, Shape(shape.begin(), shape.end() - 1)};
    m_.x = AddValue("x", ValueKind::kInput, o_.embedding ? ids : hidden);
    m_.labels = AddValue("labels", ValueKind::kInput, ids);
    const bool train_first = !o_.freeze_first, bias = o_.bias && !o_.embedding;
    const int32_t w0 = AddWeight("W0", {o_.embedding ? 6 : 4, 4},
                                 o_.embedding ? WeightRole::kEmbedding : WeightRole::kMatrix, train_first);
    const int32_t b0 = bias ? AddWeight("b0", {4}, WeightRole::kBias, train_first) : -1;
    const int64_t classes = o_.lm_head ? 6 : 3;
    const bool shared = o_.embedding && o_.tied && o_.lm_head;  // one matrix looks up and multiplies
    const int32_t w1 = shared ? w0
                              : AddWeight("W1", o_.columns ? Shape{4, classes} : Shape{classes, 4},
                                          WeightRole::kMatrix, true);
    const int32_t b1 = o_.bias && !shared ? AddWeight("b1", {classes}, WeightRole::kBias, true) : -1;
    int32_t h = m_.x;
    if (o_.constant) {
      const int32_t c = AddValue("c", ValueKind::kConstant, {DType::kF32, {4}});
      const float data[4] = {0.5f, -1.0f, 2.0f, 0.25f};
      s_.values[At(c)].data.assign(reinterpret_cast<const char*>(data), sizeof(data));
      h = AddNode(Op::kAdd, "shifted", {h, c}, {hidden});
    }
    const auto with = [](std::vector<int32_t> inputs, int32_t b) {
      if (b >= 0) inputs.push_back(b);
      return inputs;
    };
    for (int use = 0; use < (o_.tied && !o_.embedding ? 2 : 1); ++use) {
      const std::string n = std::to_string(use);
      h = AddNode(o_.embedding ? Op::kEmbedding : Op::kLinear, "h" + n, with({h, w0}, b0), {hidden});
      h = AddNode(Op::kRelu, "a" + n, {h}, {hidden});
    }
    Shape out = {2, 3};
    if (o_.reshape) {
      const int32_t s = AddWeight("s", {4}, WeightRole::kOther, true);
      h = AddNode(Op::kAdd, "moved", {h, Reshape("s as row", s, {1, 4})}, {hidden});
      h = Reshape("h as batch", h, {1, 2, 4});
      out = {1, 2, 3};
    }
    if (o_.idle) AddWeight("idle", {4}, WeightRole::kOther, true);
    const TensorType pair{DType::kF64, {m_.batch}};
    if (o_.lm_head) {
      AddNode(Op::kCausalLmLoss, "loss", with({h, m_.labels, w1}, b1), {pair, pair});
    } else {
      const Attrs attrs = o_.columns ? Attrs{{"trans_w", int64_t{0}}} : Attrs{};
      m_.logits = AddNode(Op::kLinear, "logits", with({h, w1}, b1), {{DType::kF32, out}}, attrs);
      if (o_.reshape) m_.logits = Reshape("logits as rows", m_.logits, {2, 3});
      AddNode(Op::kClassifyLoss, "loss", {m_.logits, m_.labels}, {pair, pair});
    }
    s_.loss = {o_.lm_head ? "causal-lm" : "classify", "tiny", static_cast<int32_t>(s_.nodes.size()) - 1,
               m_.labels};
  }

  void Follow() {
    m_.trained.assign(s_.values.size(), false);
    for (size_t v = 0; v < s_.values.size(); ++v) {
      m_.root.push_back(static_cast<int32_t>(v));
      if (s_.values[v].kind == ValueKind::kWeight)
        m_.trained[v] = s_.weights[At(s_.values[v].weight)].trainable;
    }
    for (const PlanNode& node : s_.nodes) {
      for (const int32_t in : node.inputs)
        for (const int32_t out : node.outputs)
          m_.trained[At(out)] = m_.trained[At(out)] || m_.trained[At(in)];
      if (node.op == Op::kReshape) m_.root[At(node.outputs[0])] = m_.root[At(node.inputs[0])];
    }
  }

  void MakeTiles() {
    m_.parts.resize(s_.weights.size());
    for (size_t w = 0; w < s_.weights.size(); ++w) {
      const PlanWeight& weight = s_.weights[w];
      if (weight.role == WeightRole::kBias) continue;  // in the tile of the matrix before it
      const bool bias = w + 1 < s_.weights.size() && s_.weights[w + 1].role == WeightRole::kBias;
      const bool matrix = weight.role != WeightRole::kOther,
                 columns = !matrix || (o_.columns && weight.name == "W1");
      const int64_t length = columns ? weight.cols() : weight.rows();
      const int64_t step = o_.cut && matrix ? length / 2 : length;
      for (int64_t r = 0; r < length; r += step) {
        const Keep keep = weight.name == "W0" ? o_.first : weight.name == "W1" ? o_.second : Keep::kPlain;
        const bool coded = keep == Keep::kFrozenCodes || keep == Keep::kResidentCodes ||
                           keep == Keep::kHostUpdate || keep == Keep::kRefresh;
        Tile tile;
        tile.name = weight.name + ":" + std::to_string(r);
        tile.trainable = weight.trainable;
        tile.tile_class = static_cast<int32_t>(w);
        uint64_t bytes = 0, wire = 0;
        const auto add = [&](size_t of, int64_t r0, int64_t r1, int64_t c0, int64_t c1) {
          Component& c = s_.weights[of].components[0];
          if (coded) c.wire = s_.weights[of].role == WeightRole::kBias ? WireFormat::kBF16 : o_.wire;
          tile.segments.push_back({static_cast<int32_t>(of), 0, r0, r1, c0, c1, bytes, wire, bytes});
          const uint64_t values = static_cast<uint64_t>((r1 - r0) * (c1 - c0)) * 4;
          bytes = (bytes + values + 63) / 64 * 64;
          wire = (wire + (coded ? WireBytes(c.wire, r1 - r0, c1 - c0) : values) + 63) / 64 * 64;
        };
        if (columns) {
          add(w, 0, weight.rows(), r, r + step);
        } else {
          add(w, r, r + step, 0, weight.cols());
        }
        if (bias) add(w + 1, 0, 1, r, r + step);
        tile.bytes = tile.branch_bytes = bytes;
        tile.wire_bytes = wire;
        m_.keep.push_back(keep);
        m_.parts[w].push_back({static_cast<TileId>(s_.tiles.size()), r, r + step});
        s_.tiles.push_back(std::move(tile));
      }
    }
  }

  Options o_;
  Model m_;
  Schedule& s_;
};

}  // namespace

Model MakeModel(const Options& options) { return ModelBuilder(options).Build(); }

}  // namespace zo2::tiny
