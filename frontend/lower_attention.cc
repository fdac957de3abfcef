// Opset 23's Attention and RotaryEmbedding.
#include <cmath>
#include <limits>

#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();

// What the operator is given, with heads before positions unless `bshd`.
struct Heads {
  ValueId q = -1, k = -1, v = -1;
  bool flat = false;                                // operands were [B,S,H*D]
  bool bshd = false;                                // and still have positions before heads: [B,S,H,D]
  int64_t past = 0;                                 // positions of the cache, before those of k and v
  int64_t queries() const { return bshd ? 1 : 2; }  // axis of the positions
};

Heads ReadHeads(Lowering& l, Build& b) {
  Heads h;
  ValueId* qkv[] = {&h.q, &h.k, &h.v};
  for (size_t i = 0; i < 3; ++i) *qkv[i] = b.In(i);
  h.flat = h.bshd = b.rank(h.q) == 3;
  for (size_t i = 0; h.flat && b.ok() && i < 3; ++i) {
    const int64_t heads = l.Int(i == 0 ? "q_num_heads" : "kv_num_heads", 0);
    const Shape shape = b.shape(*qkv[i]);
    if (shape.size() != 3 || heads <= 0 || shape[2] % heads != 0) {
      b.Fail("its number of heads does not divide its operand");
      return h;
    }
    *qkv[i] = b.Reshape(*qkv[i], {shape[0], shape[1], heads, shape[2] / heads});
  }
  for (const ValueId* x : qkv)
    if (b.ok() && b.rank(*x) != 4) b.Fail("attention on ", b.rank(*x), " axes is not supported");
  const bool has_past = l.Has(4) || l.Has(5);
  if (has_past && !(l.Has(4) && l.Has(5))) b.Fail("it has a cache of keys or of values, but not both");
  if (h.bshd && (has_past || b.Wants(1) || b.Wants(2) || b.Wants(3) || l.Float("softcap", 0) != 0)) {
    for (ValueId* x : qkv) *x = b.Transpose(*x, {0, 2, 1, 3});
    h.bshd = false;
  }
  if (has_past) {
    const ValueId past = b.In(4);
    h.past = b.dim(past, 2);
    h.k = b.Concat({past, h.k}, 2);
    h.v = b.Concat({b.In(5), h.v}, 2);
  }
  return h;
}

// Everything that keeps a query from a key, as one operand that broadcasts to [B, heads, queries, keys]; -1
// where there is nothing. `causal`: taken by the op itself where it can be.
ValueId Mask(Lowering& l, Build& b, const Heads& h, bool as_float, int64_t* causal) {
  const int64_t queries = b.dim(h.q, h.queries()), keys = b.dim(h.k, h.queries());
  ValueId added = -1, allowed = -1;
  const auto allow = [&](ValueId mask) { allowed = allowed < 0 ? mask : b(Op::kAnd, {allowed, mask}); };
  if (ValueId mask = b.Optional(3); mask >= 0) {
    const bool is_bool = b.dtype(mask) == DType::kBool;
    const int64_t rank = b.rank(mask), missing = keys - b.dim(mask, rank - 1);
    if (rank > 0 && missing > 0 &&
        b.dim(mask, rank - 1) > 1) {  // of the first keys only: the others are masked
      List pads(static_cast<size_t>(2 * rank), 0);
      pads.back() = missing;
      mask = b.Pad(mask, pads, is_bool ? 0 : kMinusInfinity);
    }
    (is_bool ? allowed : added) = mask;
  }
  if (ValueId lengths = b.Optional(6); lengths >= 0)
    allow(b.Less(b.Iota(keys), b.Reshape(b.Cast(lengths, DType::kI64), {b.dim(h.q, 0), 1, 1, 1})));
  *causal = l.Int("is_causal", 0) != 0 ? 1 : 0;
  if (*causal != 0 && (h.past > 0 || as_float)) {  // query i stands behind the cache
    const ValueId last = b.Reshape(b.AddNumber(b.Iota(queries), static_cast<double>(h.past)), {queries, 1});
    allow(b(Op::kLessEqual, {b.Iota(keys), last}));
    *causal = 0;
  }
  if (allowed >= 0 && (added >= 0 || as_float)) {
    const ValueId blocked = b.Where(allowed, b.Number(DType::kF32, 0), b.Number(DType::kF32, kMinusInfinity));
    return added < 0 ? blocked : b.Add(added, blocked);
  }
  return allowed >= 0 ? allowed : added;
}

// Scores and their softmax as values of their own, for what the fused op does not do. `stage` as
// qk_matmul_output_mode: 0 the scaled products, 1 masked, 2 capped, 3 after the softmax.
ValueId Scores(Lowering& l, Build& b, const Heads& h, ValueId mask, double scale, int64_t stage) {
  const Shape q = b.shape(h.q), k = b.shape(h.k);
  if (!b.ok()) return -1;
  const int64_t heads = k[1], group = heads == 0 ? 0 : q[1] / heads;
  if (heads == 0 || heads * group != q[1]) b.Fail("its query heads are no multiple of its key heads");
  const ValueId grouped = b.Reshape(b.Scale(h.q, scale), {q[0], heads, group, q[2], q[3]});
  const ValueId keys = b.Reshape(b.Transpose(h.k, {0, 1, 3, 2}), {k[0], heads, 1, k[3], k[2]});
  ValueId s = b.Reshape(b.MatMul(grouped, keys), {q[0], q[1], q[2], k[2]});
  if (stage >= 1 && mask >= 0) s = b.Add(s, mask);
  const double cap = l.Float("softcap", 0);
  if (stage >= 2 && cap != 0) s = b.Scale(b.Unary(Op::kTanh, b.Scale(s, 1 / cap)), cap);
  return stage >= 3 ? b(Op::kSoftmax, {s}, {{"axis", int64_t{3}}}) : s;
}

// Q, K, V [B,H,S,D], or [B,S,H*D] with q_num_heads and kv_num_heads; a mask that broadcasts; a cache of keys
// and values.
Result<void> Attention(Lowering& l) {
  Build b(l);
  const Heads h = ReadHeads(l, b);
  if (!b.ok()) return b.status();
  const double cap = l.Float("softcap", 0), given = l.Float("scale", 0);
  const double scale = given != 0 ? given : 1 / std::sqrt(static_cast<double>(b.dim(h.q, 3)));
  int64_t causal = 0;
  const bool scores = cap != 0 || b.Wants(3);
  const ValueId mask = Mask(l, b, h, scores, &causal);
  ValueId y = -1;
  if (cap != 0) {
    const Shape v = b.shape(h.v), q = b.shape(h.q);
    if (!b.ok()) return b.status();
    const ValueId weights = b.Reshape(Scores(l, b, h, mask, scale, 3),
                                      {q[0], v[1], q[1] / std::max<int64_t>(1, v[1]), q[2], v[2]});
    y = b.Reshape(b.MatMul(weights, b.Reshape(h.v, {v[0], v[1], 1, v[2], v[3]})), {q[0], q[1], q[2], v[3]});
  } else {
    // PyTorch, whose exporter writes this op, gives zeros where every key is masked; ONNX leaves it open
    // (NaN).
    y = b(Op::kAttention, {h.q, h.k, h.v, mask},
          {{"layout", std::string(h.bshd ? "bshd" : "bhsd")},
           {"scale", scale},
           {"causal", causal},
           {"zero_masked_rows", int64_t{1}}});
  }
  if (h.flat) {
    if (!h.bshd) y = b.Transpose(y, {0, 2, 1, 3});
    const Shape shape = b.shape(y);
    if (b.ok()) y = b.Reshape(y, {shape[0], shape[1], shape[2] * shape[3]});
  }
  std::vector<ValueId> results = {y, h.k, h.v};
  if (b.Wants(3)) results.push_back(Scores(l, b, h, mask, scale, l.Int("qk_matmul_output_mode", 0)));
  return b.Done(std::move(results));
}

// Opset 23: X [B,H,S,D] or [B,S,H*D]; cos and sin [B,S,D'/2], or [positions, D'/2] with position_ids [B,S];
// D' of the D columns rotate.
Result<void> RotaryEmbedding(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  const bool flat = l.shape(x).size() == 3, interleaved = l.Int("interleaved", 0) != 0;
  if (flat) {
    const Shape s = l.shape(x);
    const int64_t heads = l.Int("num_heads", 0);
    if (heads <= 0 || s[2] % heads != 0) return Invalid("num_heads does not divide its operand");
    ZO2_ASSIGN(x, l.Reshape(x, {s[0], s[1], heads, s[2] / heads}));
  }
  if (l.shape(x).size() != 4)
    return Invalid("rotary embedding of ", l.shape(x).size(), " axes is not supported");
  ValueId table[2];
  for (size_t i = 0; i < 2; ++i) {
    ZO2_ASSIGN(table[i], l.In(1 + i));
    if (l.Has(3)) {
      ZO2_ASSIGN(ValueId ids, l.In(3));
      ZO2_ASSIGN(ids, l.Cast(ids, DType::kI64));
      ZO2_ASSIGN(table[i], l.Emit(Op::kGather, {table[i], ids}, {{"axis", int64_t{0}}}));
    }
    Shape s = l.shape(table[i]);
    if (s.size() != 3) return Invalid("its cos and sin have ", s.size(), " axes, not 3");
    // [B, S, D/2] -> [B, S, D] as the rotary op reads it, then an axis for the heads.
    if (interleaved) {
      ZO2_ASSIGN(table[i], l.Reshape(table[i], {s[0], s[1], s[2], 1}));
      ZO2_ASSIGN(table[i], l.Emit(Op::kExpand, {table[i]}, {{"shape", List{s[0], s[1], s[2], 2}}}));
    } else {
      ZO2_ASSIGN(table[i], l.Emit(Op::kConcat, {table[i], table[i]}, {{"axis", int64_t{2}}}));
    }
    ZO2_ASSIGN(table[i],
               l.Reshape(table[i], flat ? Shape{s[0], s[1], 1, 2 * s[2]} : Shape{s[0], 1, s[1], 2 * s[2]}));
  }
  const int64_t d = l.shape(x)[3], rotated = l.shape(table[0])[3];
  if (rotated > d) return Invalid("its cos has more columns than its operand");
  ValueId part = x;
  if (rotated < d) {
    ZO2_ASSIGN(part, l.Slice(x, 3, 0, rotated));
  }
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kRotary, {part, table[0], table[1]},
                               {{"interleaved", int64_t{interleaved}},
                                {"layout", std::string(flat ? "bshd" : "bhsd")}}));
  if (rotated < d) {
    ZO2_ASSIGN(ValueId rest, l.Slice(x, 3, rotated, d));
    ZO2_ASSIGN(y, l.Emit(Op::kConcat, {y, rest}, {{"axis", int64_t{3}}}));
  }
  if (flat) {
    const Shape s = l.shape(y);
    ZO2_ASSIGN(y, l.Reshape(y, {s[0], s[1], s[2] * s[3]}));
  }
  l.results = {y};
  return {};
}

}  // namespace

void AddAttention(LowerTable* table) {
  (*table)["Attention"] = Attention;
  (*table)["RotaryEmbedding"] = RotaryEmbedding;
}

}  // namespace zo2::internal
