#include "tests/property/planner/random_graph.h"

#include <cmath>
#include <map>

#include "tests/unit/planner/small_graph.h"

namespace zo2 {

double Random::Power(double low, double high) { return std::pow(10.0, Real(low, high)); }

namespace {

class Maker {
 public:
  Maker(Random& random, const GraphSize& size) : r_(random), size_(size) {
    batch_ = r_.Int(1, 3);
    seq_ = r_.Int(1, 7);
    heads_ = r_.Int(1, 3);
    width_ = heads_ * 2 * r_.Int(1, std::max<int64_t>(1, size.width / (2 * heads_)));
    if (r_.Chance(0.2)) width_ = heads_ * r_.Int(1, std::max<int64_t>(1, size.width / heads_));  // odd
    numbered_ = r_.Chance(0.7);
    mixed_ = r_.Chance(0.3);
    storage_ = Storage();
    trained_ = r_.Chance(0.4) ? 1 : r_.Real(0.05, 1);
  }

  Graph Run() {
    b_.graph.name = "random";
    b_.graph.model_digest = "digest";
    Begin();
    const auto blocks = r_.Int(size_.loss ? 1 : 0, size_.blocks);
    for (int64_t i = 0; i < blocks; ++i) {
      prefix_ = numbered_ ? "model.layers." + std::to_string(i) + "."
                          : "block" + std::string(static_cast<size_t>(i), 'x') + "_";
      x_ = Block(x_);
      if (r_.Chance(0.15)) b_.graph.outputs.push_back(x_);
    }
    prefix_ = "";
    if (r_.Chance(0.2)) b_.One(Op::kLinear, {x_, W({width_, width_}, WeightRole::kMatrix)});  // nobody reads it
    if (r_.Chance(0.2)) Fresh({r_.Int(1, 90), r_.Int(1, 90)}, WeightRole::kOther);            // nobody uses it
    if (size_.loss || r_.Chance(0.95)) {
      Loss();
    } else {
      b_.graph.outputs.push_back(x_);
    }
    return b_.graph;
  }

 private:
  DType Storage() {
    const DType all[] = {DType::kF32, DType::kBF16, DType::kF16};
    return all[r_.Int(0, 2)];
  }

  ValueId Fresh(const Shape& shape, WeightRole role) {
    const DType storage = mixed_ ? Storage() : shape.size() < 2 && r_.Chance(0.5) ? DType::kF32 : storage_;
    ValueId id =
        b_.Weight(prefix_ + "w" + std::to_string(b_.graph.weights.size()), shape, role, storage, r_.Chance(trained_));
    weights_[shape].push_back(id);
    return id;
  }
  // A weight of this shape: mostly a new one, now and then one that is used elsewhere too.
  ValueId W(const Shape& shape, WeightRole role) {
    auto it = weights_.find(shape);
    if (it != weights_.end() && r_.Chance(0.12))
      return it->second[static_cast<size_t>(r_.Int(0, static_cast<int64_t>(it->second.size()) - 1))];
    return Fresh(shape, role);
  }

  ValueId Constant(const Shape& shape) {
    Value v;
    v.name = "constant" + std::to_string(b_.graph.values.size());
    v.kind = ValueKind::kConstant;
    v.type = {DType::kF32, shape};
    v.data = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(v.type.bytes()));
    b_.graph.values.push_back(v);
    return static_cast<ValueId>(b_.graph.values.size() - 1);
  }

  ValueId Linear(ValueId x, int64_t in, int64_t out) {
    const bool trans = r_.Chance(0.6);
    ValueId w = W(trans ? Shape{out, in} : Shape{in, out}, WeightRole::kMatrix);
    std::vector<ValueId> operands = {x, w};
    if (r_.Chance(0.6)) operands.push_back(W({out}, WeightRole::kBias));
    return b_.One(Op::kLinear, operands, {{"trans_w", int64_t{trans}}});
  }

  ValueId Norm(ValueId x) {
    ValueId scale = W({width_}, WeightRole::kNormScale);
    if (r_.Chance(0.5)) return b_.One(Op::kRmsNorm, {x, scale}, {{"eps", 1e-6}});
    return b_.One(Op::kLayerNorm, {x, scale, r_.Chance(0.7) ? W({width_}, WeightRole::kBias) : -1}, {{"eps", 1e-5}});
  }

  void Begin() {
    if (r_.Chance(0.7)) {
      ids_ = b_.Input("input_ids", DType::kI64, {batch_, seq_});
      vocabulary_ = r_.Int(2, 300);
      table_ = Fresh({vocabulary_, width_}, WeightRole::kEmbedding);
      x_ = b_.One(Op::kEmbedding, {ids_, table_});
      return;
    }
    x_ = b_.Input("x", DType::kF32, {batch_, seq_, width_});
  }

  ValueId Attention(ValueId x) {
    const int64_t head = width_ / heads_;
    const bool bshd = r_.Chance(0.5);
    ValueId qkv[3];
    for (ValueId& y : qkv) {
      y = b_.One(Op::kReshape, {Linear(x, width_, width_)}, {{"shape", Shape{batch_, seq_, heads_, head}}});
      if (!bshd) y = b_.One(Op::kTranspose, {y}, {{"perm", Shape{0, 2, 1, 3}}});
    }
    ValueId a = b_.One(Op::kAttention, {qkv[0], qkv[1], qkv[2]},
                       {{"layout", std::string(bshd ? "bshd" : "bhsd")}, {"causal", int64_t{1}}});
    if (!bshd) a = b_.One(Op::kTranspose, {a}, {{"perm", Shape{0, 2, 1, 3}}});
    return Linear(b_.One(Op::kReshape, {a}, {{"shape", Shape{batch_, seq_, width_}}}), width_, width_);
  }

  ValueId Mlp(ValueId x) {
    const int64_t inner = r_.Int(1, 4 * width_);
    ValueId h = Linear(x, width_, inner);
    if (r_.Chance(0.3)) {
      ValueId gate = b_.One(Op::kSilu, {Linear(x, width_, inner)});
      h = b_.One(Op::kMul, {h, gate});
    } else {
      h = b_.One(r_.Chance(0.5) ? Op::kGelu : Op::kRelu, {h});
    }
    return Linear(h, inner, width_);
  }

  // Generic ops on weights: all of the weight at once.
  ValueId Generic(ValueId x) {
    switch (r_.Int(0, 6)) {
      case 0:
        return b_.One(Op::kAdd, {x, W({width_}, WeightRole::kOther)});
      case 1:
        return b_.One(Op::kMul, {x, W({seq_, width_}, WeightRole::kOther)});
      case 2:
        return b_.One(Op::kMatMul, {x, W({width_, width_}, WeightRole::kOther)});
      case 3: {
        ValueId w = W({seq_ * width_}, WeightRole::kOther);
        return b_.One(Op::kAdd, {x, b_.One(Op::kReshape, {w}, {{"shape", Shape{1, seq_, width_}}})});
      }
      case 4: {
        ValueId both =
            b_.One(Op::kMul, {W({width_, width_}, WeightRole::kOther), W({width_, width_}, WeightRole::kOther)});
        return b_.One(Op::kMatMul, {x, both});
      }
      case 5: {
        ValueId w = b_.One(Op::kTranspose, {W({width_, width_}, WeightRole::kOther)}, {{"perm", Shape{1, 0}}});
        return b_.One(Op::kMatMul, {x, w});
      }
      default:
        return b_.One(Op::kMul, {x, Constant({width_})});
    }
  }

  ValueId Block(ValueId x) {
    switch (r_.Int(0, 5)) {
      case 0:
        return Linear(x, width_, width_);
      case 1:
        return b_.One(Op::kAdd, {x, Mlp(Norm(x))});
      case 2:
        return b_.One(Op::kAdd, {x, Attention(Norm(x))});
      case 3:
        return Norm(b_.One(Op::kAdd, {x, Mlp(b_.One(Op::kAdd, {x, Attention(x)}))}));
      case 4:
        return Generic(x);
      default:
        return b_.One(Op::kTanh, {Mlp(x)});
    }
  }

  void Loss() {
    LossInfo& loss = b_.graph.loss;
    auto labels = [&](DType dtype, const Shape& shape) { return loss.labels = b_.Input("labels", dtype, shape); };
    switch (r_.Int(0, 4)) {
      case 0: {
        loss.kind = "causal-lm";
        const bool tied = table_ >= 0 && r_.Chance(0.6);
        const bool trans = tied || r_.Chance(0.5);
        const int64_t v = tied ? vocabulary_ : r_.Int(2, 300);
        ValueId w = tied ? table_ : W(trans ? Shape{v, width_} : Shape{width_, v}, WeightRole::kMatrix);
        std::vector<ValueId> operands = {x_, labels(DType::kI64, {batch_, seq_}), w};
        if (r_.Chance(0.3)) operands.push_back(W({v}, WeightRole::kBias));
        b_.Call(Op::kCausalLmLoss, operands, {{"shift", int64_t{1}}, {"trans_w", int64_t{trans}}});
        break;
      }
      case 1: {
        loss.kind = "classify";
        ValueId pooled = b_.One(Op::kReduceMean, {x_}, {{"axes", Shape{1}}, {"keepdims", int64_t{0}}});
        ValueId logits = Linear(pooled, width_, r_.Int(1, 9));
        if (r_.Chance(0.5)) b_.graph.outputs.push_back(logits);
        b_.Call(Op::kClassifyLoss, {logits, labels(DType::kI64, {batch_})});
        break;
      }
      case 2:
        loss.kind = "mse";
        b_.Call(Op::kMseLoss, {x_, labels(DType::kF32, {batch_, seq_, width_})});
        break;
      case 3: {
        loss.kind = "causal-lm";
        ValueId logits = Linear(x_, width_, r_.Int(2, 99));
        b_.graph.outputs.push_back(logits);
        b_.Call(Op::kTokenLoss, {logits, labels(DType::kI64, {batch_, seq_})}, {{"shift", int64_t{0}}});
        break;
      }
      default: {
        loss.kind = "output:own";
        ValueId own =
            b_.One(Op::kReduceMean, {b_.One(Op::kMul, {x_, x_})}, {{"axes", Shape{1, 2}}, {"keepdims", int64_t{0}}});
        b_.Call(Op::kOutputLoss, {own});
      }
    }
    loss.node = static_cast<NodeId>(b_.graph.nodes.size() - 1);
  }

  Random& r_;
  const GraphSize size_;
  GraphBuilder b_;
  int64_t batch_, seq_, heads_, width_, vocabulary_ = 0;
  bool numbered_, mixed_;
  DType storage_;
  double trained_;
  std::string prefix_;
  ValueId ids_ = -1, table_ = -1, x_ = -1;
  std::map<Shape, std::vector<ValueId>> weights_;
};

}  // namespace

Graph RandomGraph(Random& random, const GraphSize& size) { return Maker(random, size).Run(); }

Machine RandomMachine(Random& r) {
  const auto& known = BuiltinMachines();
  Machine m = known[static_cast<size_t>(r.Int(0, static_cast<int64_t>(known.size()) - 1))];
  m.name = "random";
  const double wild = r.Chance(0.3) ? 6 : 1.5;  // orders of magnitude
  auto vary = [&](double* rate) { *rate *= r.Power(-wild, wild); };
  for (auto& [dtype, rate] : m.gemm_flops) vary(&rate);
  for (auto& [dtype, rate] : m.prepare_params_per_s) vary(&rate);
  for (double* rate : {&m.attention_flops, &m.elementwise_ops, &m.memory_bytes_per_s, &m.noise_normals_per_s,
                       &m.link_up_bytes_per_s, &m.link_down_bytes_per_s, &m.copy_latency_s, &m.call_overhead_s})
    vary(rate);
  // Tiny tiles would see nothing but latencies otherwise.
  if (r.Chance(0.5)) {
    const double slow = r.Power(-6, -3);
    m.link_up_bytes_per_s *= slow;
    m.link_down_bytes_per_s *= slow;
  }
  if (r.Chance(0.3)) m.copy_latency_s = 0;
  if (r.Chance(0.3)) m.call_overhead_s = 0;
  m.link_duplex = r.Chance(0.2) ? 1 : r.Real(0.4, 1);
  m.compute_threads = static_cast<int>(r.Int(1, 8));
  return m;
}

PlanOptions RandomNumerics(Random& r, const Machine& machine) {
  PlanOptions o;
  const uint64_t tiles[] = {0, 256, 512, 1000, 4096, 20000};
  o.tile = tiles[r.Int(0, 5)];
  if (r.Chance(0.3)) o.samples = static_cast<int>(r.Int(1, 4));
  if (r.Chance(0.3)) o.micro_batches = static_cast<int>(r.Int(1, 3));
  if (r.Chance(0.3)) o.rounding = Rounding::kNearest;
  o.rademacher = r.Chance(0.2);
  if (r.Chance(0.3)) o.storage = r.Chance(0.5) ? DType::kBF16 : DType::kF16;
  if (r.Chance(0.2)) o.storage_for = {{".", {}}};
  if (r.Chance(0.3) && !machine.cuda) o.compute = DType::kBF16;
  o.prices = r.Chance(0.1);
  return o;
}

}  // namespace zo2
