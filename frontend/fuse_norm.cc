#include "frontend/fuse_norm.h"

#include "frontend/rewrite.h"

namespace zo2 {
namespace {

// Through casts between floating-point types.
ValueId ThroughCasts(const Rewriter& rw, ValueId id) {
  while (const Node* cast = rw.Producer(id, Op::kCast)) {
    ValueId source = rw.Input(*cast, 0);
    if (!IsFloat(rw.type(source).dtype) || !IsFloat(rw.type(id).dtype)) break;
    id = source;
  }
  return id;
}

// mean over the last axis, kept: gives the operand; -1 otherwise.
ValueId MeanOf(const Rewriter& rw, ValueId id) {
  const Node* mean = rw.Producer(id, Op::kReduceMean);
  if (mean == nullptr || AttrInt(mean->attrs, "keepdims", 1) == 0) return -1;
  ValueId x = rw.Input(*mean, 0);
  auto rank = static_cast<int64_t>(rw.shape(x).size());
  auto axes = AttrInts(mean->attrs, "axes");
  return axes.size() == 1 && (axes[0] == rank - 1 || axes[0] == -1) ? x : -1;
}

// x of x^2; -1 otherwise.
ValueId SquareOf(const Rewriter& rw, ValueId id) {
  if (const Node* mul = rw.Producer(id, Op::kMul)) {
    return rw.Input(*mul, 0) == rw.Input(*mul, 1) ? rw.Input(*mul, 0) : -1;
  }
  const Node* pow = rw.Producer(id, Op::kPow);
  return pow != nullptr && rw.Scalar(rw.Input(*pow, 1)) == 2.0 ? rw.Input(*pow, 0) : -1;
}

struct MeanSquare {
  ValueId of = -1;  // y of mean(y^2) + eps
  double eps = 0;
};

MeanSquare MeanSquarePlusEps(const Rewriter& rw, ValueId id) {
  const Node* add = rw.Producer(id, Op::kAdd);
  if (add == nullptr) return {};
  auto sum = rw.WithScalar(*add);
  if (!sum || sum->second < 0) return {};
  ValueId square = MeanOf(rw, sum->first);
  return square < 0 ? MeanSquare{} : MeanSquare{SquareOf(rw, square), sum->second};
}

// y / sqrt(mean(y^2) + eps) in its forms; of = -1 otherwise.
MeanSquare Normalised(const Rewriter& rw, ValueId id) {
  if (const Node* div = rw.Producer(id, Op::kDiv)) {
    const Node* sqrt = rw.Producer(rw.Input(*div, 1), Op::kSqrt);
    if (sqrt == nullptr) return {};
    MeanSquare found = MeanSquarePlusEps(rw, rw.Input(*sqrt, 0));
    return found.of == rw.Input(*div, 0) ? found : MeanSquare{};
  }
  const Node* mul = rw.Producer(id, Op::kMul);
  for (size_t i = 0; mul != nullptr && i < 2; ++i) {
    ValueId y = rw.Input(*mul, i), root = rw.Input(*mul, 1 - i), inside = -1;
    if (const Node* rsqrt = rw.Producer(root, Op::kRsqrt)) {
      inside = rw.Input(*rsqrt, 0);
    } else {
      const Node* inverse = rw.Producer(root, Op::kReciprocal);
      if (inverse == nullptr) {  // 1 / sqrt(...)
        inverse = rw.Producer(root, Op::kDiv);
        if (inverse == nullptr || rw.Scalar(rw.Input(*inverse, 0)) != 1.0) continue;
      }
      const Node* sqrt = rw.Producer(rw.Input(*inverse, inverse->op == Op::kDiv ? 1 : 0), Op::kSqrt);
      if (sqrt == nullptr) continue;
      inside = rw.Input(*sqrt, 0);
    }
    MeanSquare found = MeanSquarePlusEps(rw, inside);
    if (found.of >= 0 && found.of == y) return found;
  }
  return {};
}

// x of x - mean(x); -1 otherwise.
ValueId CentredOf(const Rewriter& rw, ValueId id) {
  const Node* sub = rw.Producer(id, Op::kSub);
  return sub != nullptr && MeanOf(rw, rw.Input(*sub, 1)) == rw.Input(*sub, 0) ? rw.Input(*sub, 0) : -1;
}

// mul(normalised, @scale), the scale possibly cast.
bool FuseScaled(Rewriter& rw, NodeId n) {
  for (size_t i : {0, 1}) {
    ValueId scale = ThroughCasts(rw, rw.Input(rw.node(n), i));
    if (!rw.IsWeight(scale) || rw.shape(scale).size() != 1) continue;
    MeanSquare found = Normalised(rw, ThroughCasts(rw, rw.Input(rw.node(n), 1 - i)));
    if (found.of < 0) continue;
    ValueId centred = CentredOf(rw, found.of);
    ValueId x = ThroughCasts(rw, centred >= 0 ? centred : found.of);
    if (rw.IsWeight(x)) continue;
    Op op = centred >= 0 ? Op::kLayerNorm : Op::kRmsNorm;
    DType out = rw.type(rw.node(n).outputs[0]).dtype;
    if (rw.type(x).dtype != out) {  // statistics in f32 and the result left there: the norm reads x in f32
      x = rw.Emit(n, Op::kCast, {x}, {{"to", static_cast<int64_t>(out)}});
    }
    if (rw.Become(n, op, {x, scale}, {{"eps", found.eps}})) return true;
  }
  return false;
}

// add(layer_norm(x, @scale), @bias).
void FuseBias(Rewriter& rw, NodeId n) {
  for (size_t i : {0, 1}) {
    ValueId normed = rw.Input(rw.node(n), i), bias = rw.Input(rw.node(n), 1 - i);
    const Node* norm = rw.Producer(normed, Op::kLayerNorm);
    if (norm == nullptr || rw.Input(*norm, 2) >= 0 || rw.Uses(normed) != 1 || !rw.IsWeight(bias)) continue;
    if (rw.Become(n, Op::kLayerNorm, {rw.Input(*norm, 0), rw.Input(*norm, 1), bias}, Attrs(norm->attrs)))
      return;
  }
}

}  // namespace

Result<void> FuseNorm(Graph& graph) {
  Rewriter rw(graph);
  for (NodeId n = 0; n < rw.size(); ++n) {
    if (rw.node(n).op == Op::kMul) FuseScaled(rw, n);
    if (rw.node(n).op == Op::kAdd) FuseBias(rw, n);
  }
  return rw.Finish();
}

}  // namespace zo2
