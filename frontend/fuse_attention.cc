#include "frontend/fuse_attention.h"

#include <cmath>
#include <map>
#include <tuple>

#include "frontend/attention_mask.h"
#include "frontend/rewrite.h"

namespace zo2 {
namespace {

using Perm = std::vector<int64_t>;
const Perm kSwapHeads = {0, 2, 1, 3}, kSwapLast = {0, 1, 3, 2}, kKeysFirst = {0, 2, 3, 1};

struct Pieces {
  ValueId q = -1, k = -1, v = -1;  // [batch, heads, seq, size]
  double scale = 1;
  MaskTerms mask;
  bool guarded = false;  // NaN rows become zeros
};

bool IsTranspose(const Rewriter& rw, ValueId id, const Perm& perm) {
  const Node* transpose = rw.Producer(id, Op::kTranspose);
  return transpose != nullptr && AttrInts(transpose->attrs, "perm") == perm;
}

// c and y of y * c or y / c; nullopt otherwise.
std::optional<std::pair<ValueId, double>> Scaled(const Rewriter& rw, const Node& node) {
  std::optional<std::pair<ValueId, double>> found;
  if (node.op == Op::kMul) found = rw.WithScalar(node);
  if (node.op == Op::kDiv) {
    auto c = rw.Scalar(rw.Input(node, 1));
    if (c) found = {rw.Input(node, 0), 1 / *c};
  }
  if (found && (!std::isfinite(found->second) || rw.shape(found->first) != rw.shape(node.outputs[0])))
    return {};
  return found;
}

// Takes a factor out of `id`, looking through transposes and reshapes, which are made again without it.
ValueId TakeScale(Rewriter& rw, NodeId n, ValueId id, double* scale, int depth = 4) {
  const Node* node = depth > 0 ? rw.Producer(id) : nullptr;
  if (node == nullptr) return id;
  if (auto scaled = Scaled(rw, *node)) {
    *scale *= scaled->second;
    return TakeScale(rw, n, scaled->first, scale, depth - 1);
  }
  if (node->op != Op::kTranspose && node->op != Op::kReshape) return id;
  double inner = 1;
  ValueId source = rw.Input(*node, 0), bare = TakeScale(rw, n, source, &inner, depth - 1);
  if (bare == source) return id;
  ValueId again = rw.Emit(n, node->op, {bare}, node->attrs);
  if (again < 0) return id;
  *scale *= inner;
  return again;
}

// x of heads repeated `times` each: reshape(expand(reshape(x, [b,h,1,s,d]), [b,h,times,s,d]),
// [b,h*times,s,d]).
ValueId Unrepeated(const Rewriter& rw, ValueId id) {
  const Node* merge = rw.Producer(id, Op::kReshape);
  const Node* expand = merge == nullptr ? nullptr : rw.Producer(rw.Input(*merge, 0), Op::kExpand);
  const Node* split = expand == nullptr ? nullptr : rw.Producer(rw.Input(*expand, 0), Op::kReshape);
  if (split == nullptr) return id;
  ValueId x = rw.Input(*split, 0);
  const Shape &from = rw.shape(x), &one = rw.shape(split->outputs[0]), &many = rw.shape(expand->outputs[0]);
  if (from.size() != 4 || many.size() != 5 || one != Shape{from[0], from[1], 1, from[2], from[3]}) return id;
  bool repeats = many == Shape{from[0], from[1], many[2], from[2], from[3]} &&
                 rw.shape(id) == Shape{from[0], from[1] * many[2], from[2], from[3]};
  return repeats ? x : id;
}

// k from the second operand of the scores' product, which is its transpose.
ValueId Keys(Rewriter& rw, NodeId n, ValueId transposed, double* scale) {
  while (const Node* node = rw.Producer(transposed)) {
    auto scaled = Scaled(rw, *node);
    if (!scaled) break;
    *scale *= scaled->second;
    transposed = scaled->first;
  }
  if (IsTranspose(rw, transposed, kSwapLast)) return rw.Input(*rw.Producer(transposed), 0);
  if (IsTranspose(rw, transposed, kKeysFirst)) {
    return rw.Transpose(n, rw.Input(*rw.Producer(transposed), 0), kSwapHeads);
  }
  // reshape(transpose(reshape(k, [b*h, s, d]), [0,2,1]), [b, h, d, s])
  const Node* split = rw.Producer(transposed, Op::kReshape);
  if (split != nullptr && IsTranspose(rw, rw.Input(*split, 0), {0, 2, 1})) {
    ValueId merged = rw.Input(*rw.Producer(rw.Input(*split, 0)), 0);
    const Shape to = rw.shape(transposed);
    if (to.size() == 4 && rw.shape(merged) == Shape{to[0] * to[1], to[3], to[2]}) {
      return rw.Reshape(n, merged, {to[0], to[1], to[3], to[2]});
    }
  }
  return rw.Transpose(n, transposed, kSwapLast);
}

// Reads the softmax's operand down to the product q * k^T. `scale` multiplies everything below.
bool ReadScores(Rewriter& rw, ValueId id, double scale, int depth, Pieces* out, ValueId* product) {
  const Node* node = depth > 0 ? rw.Producer(id) : nullptr;
  if (node == nullptr) return false;
  DType dtype = rw.type(id).dtype;
  if (node->op == Op::kMatMul) {
    *product = id;
    out->scale *= scale;
    return rw.shape(id).size() == 4;
  }
  if (node->op == Op::kCast) {
    ValueId source = rw.Input(*node, 0);
    return IsFloat(dtype) && IsFloat(rw.type(source).dtype) &&
           ReadScores(rw, source, scale, depth - 1, out, product);
  }
  if (auto scaled = Scaled(rw, *node)) {
    return ReadScores(rw, scaled->first, scale * scaled->second, depth - 1, out, product);
  }
  if (scale != 1) return false;  // a mask below would be scaled too
  if (node->op == Op::kAdd) {
    for (size_t i : {0, 1}) {
      Pieces attempt = *out;
      ValueId scores = rw.Input(*node, i);
      if (rw.type(scores) != rw.type(id) || !ReadScores(rw, scores, scale, depth - 1, &attempt, product))
        continue;
      attempt.mask.added.push_back(rw.Input(*node, 1 - i));
      *out = std::move(attempt);
      return true;
    }
    return false;
  }
  if (node->op == Op::kWhere) {  // where(keep, scores, excluded)
    auto excluded = rw.Scalar(rw.Input(*node, 2));
    ValueId scores = rw.Input(*node, 1);
    if (!excluded || !std::isinf(*excluded) || *excluded > 0 || rw.type(scores) != rw.type(id)) return false;
    if (!ReadScores(rw, scores, scale, depth - 1, out, product)) return false;
    out->mask.kept.push_back(rw.Input(*node, 0));
    return true;
  }
  return false;
}

// Reads the first operand of the product with v down to the softmax's operand; -1 when it is none.
ValueId ReadSoftmax(Rewriter& rw, ValueId id, bool* guarded) {
  for (int depth = 0; depth < 6; ++depth) {
    const Node* node = rw.Producer(id);
    if (node == nullptr) return -1;
    if (node->op == Op::kSoftmax) {
      auto last = static_cast<int64_t>(rw.shape(id).size()) - 1;
      int64_t axis = AttrInt(node->attrs, "axis", -1);
      return axis == -1 || axis == last ? rw.Input(*node, 0) : -1;
    }
    if (node->op == Op::kCast && IsFloat(rw.type(id).dtype) && IsFloat(rw.type(rw.Input(*node, 0)).dtype)) {
      id = rw.Input(*node, 0);
    } else if (node->op == Op::kWhere) {  // where(isnan(p), 0, p)
      const Node* test = rw.Producer(rw.Input(*node, 0), Op::kIsNan);
      ValueId p = rw.Input(*node, 2);
      if (test == nullptr || rw.Input(*test, 0) != p || rw.Scalar(rw.Input(*node, 1)) != 0.0) return -1;
      *guarded = true;
      id = p;
    } else {
      return -1;
    }
  }
  return -1;
}

// Every layer has the same mask: it is read and made once.
using Masks = std::map<std::tuple<std::vector<ValueId>, std::vector<ValueId>, Shape, DType>, Mask>;

bool Build(Rewriter& rw, NodeId n, Pieces pieces, Masks* masks) {
  for (int i = 0; i < 2; ++i) {  // the factor may stand before or after the repetition
    pieces.q = TakeScale(rw, n, pieces.q, &pieces.scale);
    pieces.k = TakeScale(rw, n, pieces.k, &pieces.scale);
    ValueId k = Unrepeated(rw, pieces.k), v = Unrepeated(rw, pieces.v);
    if (rw.shape(k)[1] == rw.shape(v)[1]) {
      pieces.k = k;
      pieces.v = v;
    }
  }
  const Shape q = rw.shape(pieces.q);
  const Shape scores = {q[0], q[1], q[2], rw.shape(pieces.k)[2]};
  DType dtype = rw.type(pieces.q).dtype;
  auto [it, added] = masks->try_emplace({pieces.mask.added, pieces.mask.kept, scores, dtype});
  if (added) it->second = CombineMasks(rw, n, pieces.mask, scores, dtype);
  const Mask mask = it->second;
  if (!mask.ok || rw.IsWeight(mask.value)) return false;
  for (ValueId id : {pieces.q, pieces.k, pieces.v}) {
    if (rw.IsWeight(id)) return false;
  }
  Attrs attrs = {{"scale", pieces.scale},
                 {"causal", int64_t{mask.causal}},
                 {"zero_masked_rows", int64_t{pieces.guarded && mask.may_be_infinite}}};
  std::vector<ValueId> inputs = {pieces.q, pieces.k, pieces.v};
  if (mask.value >= 0) inputs.push_back(mask.value);
  return rw.Become(n, Op::kAttention, std::move(inputs), std::move(attrs));
}

// matmul(softmax(...), v)
void Fuse(Rewriter& rw, NodeId n, Masks* masks) {
  const Node& node = rw.node(n);
  Pieces pieces;
  ValueId scores = ReadSoftmax(rw, rw.Input(node, 0), &pieces.guarded), product = -1;
  pieces.v = rw.Input(node, 1);
  if (scores < 0 || rw.shape(pieces.v).size() != 4) return;
  if (!ReadScores(rw, scores, 1, 12, &pieces, &product)) return;
  pieces.q = rw.Input(*rw.Producer(product), 0);
  pieces.k = Keys(rw, n, rw.Input(*rw.Producer(product), 1), &pieces.scale);
  if (pieces.k < 0 || rw.shape(pieces.q).size() != 4 || rw.shape(pieces.k).size() != 4) return;
  Build(rw, n, std::move(pieces), masks);
}

// An attention node that the model had.
void Refine(Rewriter& rw, NodeId n, Masks* masks) {
  const Node& node = rw.node(n);
  auto layout = node.attrs.find("layout");
  if (layout != node.attrs.end() && layout->second != AttrValue("bhsd")) return;
  Pieces pieces;
  pieces.q = rw.Input(node, 0);
  pieces.k = rw.Input(node, 1);
  pieces.v = rw.Input(node, 2);
  pieces.scale = AttrDouble(node.attrs, "scale", 1 / std::sqrt(static_cast<double>(rw.shape(pieces.q)[3])));
  pieces.guarded = AttrInt(node.attrs, "zero_masked_rows", 0) != 0;
  ValueId mask = rw.Input(node, 3);
  bool causal = AttrInt(node.attrs, "causal", 0) != 0;
  if (mask >= 0) (rw.type(mask).dtype == DType::kBool ? pieces.mask.kept : pieces.mask.added).push_back(mask);
  if (causal) return;  // nothing to find in the mask that would be safe to move
  Build(rw, n, std::move(pieces), masks);
}

// y of transpose(y) for [batch, seq, heads, size] -> [batch, heads, seq, size], also behind rotary; -1
// otherwise.
ValueId SeqFirst(Rewriter& rw, NodeId n, ValueId id) {
  if (IsTranspose(rw, id, kSwapHeads)) return rw.Input(*rw.Producer(id), 0);
  const Node* rotary = rw.Producer(id, Op::kRotary);
  if (rotary == nullptr || !IsTranspose(rw, rw.Input(*rotary, 0), kSwapHeads)) return -1;
  std::vector<ValueId> inputs = {rw.Input(*rw.Producer(rw.Input(*rotary, 0)), 0)};
  for (size_t i : {1, 2}) {  // tables [., 1, seq, size] -> [., seq, 1, size]
    ValueId table = rw.Input(*rotary, i);
    Shape shape = rw.shape(table);
    while (shape.size() < 4) shape.insert(shape.begin(), 1);
    if (shape[1] != 1) return -1;
    std::swap(shape[1], shape[2]);
    inputs.push_back(rw.Reshape(n, table, shape));
    if (inputs.back() < 0) return -1;
  }
  Attrs attrs = rotary->attrs;
  attrs["layout"] = std::string("bshd");
  return rw.Emit(n, Op::kRotary, std::move(inputs), std::move(attrs));
}

}  // namespace

Result<void> FuseAttention(Graph& graph) {
  Rewriter rw(graph);
  Masks masks;
  for (NodeId n = 0; n < rw.size(); ++n) {
    if (rw.node(n).op == Op::kMatMul) Fuse(rw, n, &masks);
    if (rw.node(n).op == Op::kAttention) Refine(rw, n, &masks);
  }
  return rw.Finish();
}

Result<void> AttentionLayout(Graph& graph) {
  Rewriter rw(graph);
  for (NodeId n = 0; n < rw.size(); ++n) {
    ValueId result = rw.Input(rw.node(n), 0);
    if (rw.node(n).op != Op::kTranspose || !IsTranspose(rw, rw.node(n).outputs[0], kSwapHeads)) continue;
    const Node* attention = rw.Producer(result, Op::kAttention);
    if (attention == nullptr || rw.Uses(result) != 1 || attention->attrs.contains("layout")) continue;
    std::vector<ValueId> inputs;
    for (size_t i : {0, 1, 2}) {
      ValueId y = SeqFirst(rw, n, rw.Input(*attention, i));
      if (y < 0) break;
      inputs.push_back(y);
    }
    if (inputs.size() != 3) continue;
    if (rw.Input(*attention, 3) >= 0) inputs.push_back(rw.Input(*attention, 3));
    Attrs attrs = attention->attrs;
    attrs["layout"] = std::string("bshd");
    rw.Become(n, Op::kAttention, std::move(inputs), std::move(attrs));
  }
  return rw.Finish();
}

}  // namespace zo2
