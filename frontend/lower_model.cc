// MatMul and Gemm by weights, and the ONNX ops that are model ops already.
#include <cmath>

#include "frontend/lower.h"

namespace zo2::internal {
namespace {

using List = std::vector<int64_t>;

bool IsMatrix(const Lowering& l, size_t operand) {
  return l.Has(operand) && l.operands[operand].weight && l.shape(l.operands[operand].id).size() == 2;
}

// x[..., in] by a 2-d weight, whatever its layout.
Result<ValueId> Linear(Lowering& l, ValueId x, const NodeOperand& weight, bool flipped, ValueId bias) {
  const bool out_in = weight.transposed != flipped;  // the logical layout is [out, in]
  return l.Emit(Op::kLinear, {x, weight.id, bias}, {{"trans_w", int64_t{out_in}}});
}

Result<void> MatMul(Lowering& l) {
  ZO2_ASSIGN(ValueId a, l.In(0));
  ValueId y = -1;
  if (IsMatrix(l, 1) && !l.IsWeight(a) && !l.shape(a).empty()) {
    ZO2_ASSIGN(y, Linear(l, a, l.operands[1], false, -1));
  } else {
    ZO2_ASSIGN(ValueId b, l.In(1));
    ZO2_ASSIGN(y, l.Emit(Op::kMatMul, {a, b}));
  }
  l.results = {y};
  return {};
}

Result<ValueId> Swap(Lowering& l, ValueId x, bool swap) {
  if (!swap) return x;
  return l.Emit(Op::kTranspose, {x}, {{"perm", List{1, 0}}});
}

Result<ValueId> Scale(Lowering& l, ValueId x, double factor) {
  if (factor == 1) return x;
  return l.Emit(Op::kMul, {x, l.Scalar(l.type(x).dtype, factor)});
}

// alpha * A' * B' + beta * C
Result<void> Gemm(Lowering& l) {
  ZO2_ASSIGN(ValueId a, l.In(0));
  ZO2_ASSIGN(a, Swap(l, a, l.Int("transA", 0) != 0));
  const bool trans_b = l.Int("transB", 0) != 0, has_c = l.Has(2);
  const double alpha = l.Float("alpha", 1), beta = l.Float("beta", 1);
  ValueId y = -1;
  bool added = !has_c;
  if (IsMatrix(l, 1) && !l.IsWeight(a)) {
    ValueId bias = -1;
    if (has_c && alpha == 1 && beta == 1 && l.operands[2].weight && l.shape(l.operands[2].id).size() == 1) {
      const Shape& w = l.shape(l.operands[1].id);
      const int64_t out = w[(l.operands[1].transposed != trans_b) ? 0 : 1];
      if (l.shape(l.operands[2].id)[0] == out) bias = l.operands[2].id, added = true;
    }
    ZO2_ASSIGN(y, Linear(l, a, l.operands[1], trans_b, bias));
  } else {
    ZO2_ASSIGN(ValueId b, l.In(1));
    ZO2_ASSIGN(b, Swap(l, b, trans_b));
    ZO2_ASSIGN(y, l.Emit(Op::kMatMul, {a, b}));
  }
  ZO2_ASSIGN(y, Scale(l, y, alpha));
  if (!added) {
    ZO2_ASSIGN(ValueId c, l.In(2));
    ZO2_ASSIGN(c, Scale(l, c, beta));
    ZO2_ASSIGN(y, l.Emit(Op::kAdd, {y, c}));
  }
  l.results = {y};
  return {};
}

Result<void> LastAxisOnly(Lowering& l, ValueId x) {
  const auto rank = static_cast<int64_t>(l.shape(x).size());
  const int64_t axis = l.Int("axis", -1);
  if (rank == 0 || (axis != -1 && axis != rank - 1))
    return Invalid("a norm over several axes (axis=", axis, ") is not supported");
  for (int i = 1; i < l.node->output_size(); ++i)
    if (!l.node->output(i).empty())
      return Invalid("the mean and deviation as outputs of a norm are not supported");
  return {};
}

Result<void> LayerNorm(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(ValueId scale, l.In(1));
  ZO2_TRY(LastAxisOnly(l, x));
  ValueId bias = -1;
  if (l.Has(2)) {
    ZO2_ASSIGN(bias, l.In(2));
  }
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kLayerNorm, {x, scale, bias}, {{"eps", l.Float("epsilon", 1e-5f)}}));
  l.results = {y};
  return {};
}

Result<void> RmsNorm(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(ValueId scale, l.In(1));
  ZO2_TRY(LastAxisOnly(l, x));
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kRmsNorm, {x, scale}, {{"eps", l.Float("epsilon", 1e-5f)}}));
  l.results = {y};
  return {};
}

Result<void> Gelu(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  const std::string form = l.String("approximate", "none");
  if (form != "none" && form != "tanh") return Invalid("gelu with approximate=", form, " is not supported");
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kGelu, {x}, {{"tanh", int64_t{form == "tanh"}}}));
  l.results = {y};
  return {};
}

// Opset 23: Q, K, V [B,H,S,D], or [B,S,H*D] with q_num_heads and kv_num_heads; a mask that broadcasts.
Result<void> Attention(Lowering& l) {
  for (size_t i = 4; i < 6; ++i)
    if (l.Has(i))
      return Invalid("attention with a key/value cache is not supported; export the model without a cache");
  if (l.Has(6)) return Invalid("attention with nonpad_kv_seqlen is not supported");
  for (int i = 1; i < l.node->output_size(); ++i)
    if (!l.node->output(i).empty()) return Invalid("attention with more than one output is not supported");
  if (l.Float("softcap", 0) != 0) return Invalid("attention with softcap is not supported");
  ValueId qkv[3];
  const bool flat = l.Has(0) && l.shape(l.operands[0].id).size() == 3;
  for (size_t i = 0; i < 3; ++i) {
    ZO2_ASSIGN(qkv[i], l.In(i));
    if (!flat) continue;
    const int64_t heads = l.Int(i == 0 ? "q_num_heads" : "kv_num_heads", 0);
    const Shape shape = l.shape(qkv[i]);
    if (shape.size() != 3 || heads <= 0 || shape[2] % heads != 0)
      return Invalid("its number of heads does not divide its operand");
    ZO2_ASSIGN(qkv[i], l.Reshape(qkv[i], {shape[0], shape[1], heads, shape[2] / heads}));
  }
  if (l.shape(qkv[0]).size() != 4)
    return Invalid("attention on ", l.shape(qkv[0]).size(), " axes is not supported");
  ValueId mask = -1;
  if (l.Has(3)) {
    ZO2_ASSIGN(mask, l.In(3));
  }
  const double head = static_cast<double>(l.shape(qkv[0])[3]);
  // PyTorch, whose exporter writes this op, gives zeros where every key is masked; ONNX leaves it open (NaN).
  Attrs attrs = {{"layout", std::string(flat ? "bshd" : "bhsd")},
                 {"scale", l.Float("scale", 0) != 0 ? l.Float("scale", 0) : 1 / std::sqrt(head)},
                 {"causal", l.Int("is_causal", 0)},
                 {"zero_masked_rows", int64_t{1}}};
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kAttention, {qkv[0], qkv[1], qkv[2], mask}, attrs));
  if (flat) {
    const Shape shape = l.shape(y);
    ZO2_ASSIGN(y, l.Reshape(y, {shape[0], shape[1], shape[2] * shape[3]}));
  }
  l.results = {y};
  return {};
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

void AddModelOps(LowerTable* table) {
  LowerTable& t = *table;
  t["MatMul"] = MatMul;
  t["Gemm"] = Gemm;
  t["LayerNormalization"] = LayerNorm;
  t["RMSNormalization"] = RmsNorm;
  t["Gelu"] = Gelu;
  t["Attention"] = Attention;
  t["RotaryEmbedding"] = RotaryEmbedding;
}

}  // namespace zo2::internal
