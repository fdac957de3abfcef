// Shape rules of the model ops and the losses. A weight operand may have another floating-point dtype than
// the activations (one-dimensional weights are computed in f32 by default): the activation
// decides.
#include "ir/graph/op_infer.h"

namespace zo2::internal {
namespace {

InferResult One(TensorType type) { return std::vector<TensorType>{std::move(type)}; }
// The (sum, count) pair of a loss.
InferResult Pair(int64_t batch) { return std::vector<TensorType>(2, TensorType{DType::kF64, {batch}}); }

// An optional operand may also be left off at the end.
const TensorType* Optional(Types in, size_t i) { return i < in.size() ? in[i] : nullptr; }

Status NeedFloat(const char* what, const TensorType& t) {
  if (IsFloat(t.dtype)) return {};
  return Invalid(what, " must be floating point, not ", ToString(t));
}

// W[out,in] (trans_w = 1) or W[in,out]: checks `in` and the optional bias, gives `out`.
Status CheckProjection(const TensorType& w, const TensorType* bias, const Attrs& attrs, int64_t in,
                       int64_t* out) {
  ZO2_TRY(NeedFloat("weight", w));
  if (w.shape.size() != 2) return Invalid("weight must have two axes, not ", ToString(w));
  bool trans = AttrInt(attrs, "trans_w", 1) != 0;
  if (w.shape[trans ? 1 : 0] != in) {
    return Invalid("weight ", ToString(w), " does not take inputs of ", in, " features (trans_w=", trans,
                   ")");
  }
  *out = w.shape[trans ? 0 : 1];
  if (bias != nullptr) {
    ZO2_TRY(NeedFloat("bias", *bias));
    if (bias->shape != Shape{*out})
      return Invalid("bias ", ToString(*bias), " must have ", *out, " elements");
  }
  return {};
}

Status CheckVector(const char* what, const TensorType& t, int64_t n) {
  ZO2_TRY(NeedFloat(what, t));
  if (t.shape != Shape{n}) return Invalid(what, " ", ToString(t), " must be a vector of ", n);
  return {};
}

}  // namespace

InferResult InferLinear(Types in, const Attrs& attrs) {
  const TensorType& x = *in[0];
  ZO2_TRY(NeedFloat("x", x));
  if (x.shape.empty()) return Invalid("x must have at least one axis");
  int64_t out = 0;
  ZO2_TRY(CheckProjection(*in[1], Optional(in, 2), attrs, x.shape.back(), &out));
  TensorType y = x;
  y.shape.back() = out;
  return One(std::move(y));
}

InferResult InferEmbedding(Types in, const Attrs& attrs) {
  const TensorType &ids = *in[0], &w = *in[1];
  if (ids.dtype != DType::kI64) return Invalid("ids must be i64, not ", ToString(ids));
  ZO2_TRY(NeedFloat("weight", w));
  if (w.shape.size() != 2) return Invalid("weight must have two axes, not ", ToString(w));
  const int64_t to = AttrInt(attrs, "to", static_cast<int64_t>(w.dtype));
  if (to < 0 || to > static_cast<int64_t>(DType::kBool) || !IsFloat(static_cast<DType>(to)))
    return Invalid("attribute to must be the number of a floating-point dtype, not ", to);
  TensorType y{static_cast<DType>(to), ids.shape};
  y.shape.push_back(w.shape[1]);
  return One(std::move(y));
}

InferResult InferLayerNorm(Types in, const Attrs&) {
  const TensorType& x = *in[0];
  ZO2_TRY(NeedFloat("x", x));
  if (x.shape.empty()) return Invalid("x must have at least one axis");
  ZO2_TRY(CheckVector("scale", *in[1], x.shape.back()));
  if (Optional(in, 2) != nullptr) ZO2_TRY(CheckVector("bias", *in[2], x.shape.back()));
  return One(x);
}

InferResult InferRmsNorm(Types in, const Attrs&) {
  const TensorType& x = *in[0];
  ZO2_TRY(NeedFloat("x", x));
  if (x.shape.empty()) return Invalid("x must have at least one axis");
  ZO2_TRY(CheckVector("scale", *in[1], x.shape.back()));
  return One(x);
}

InferResult InferRotary(Types in, const Attrs&) {
  const TensorType& x = *in[0];
  ZO2_TRY(NeedFloat("x", x));
  if (x.shape.size() != 4 || x.shape[3] % 2 != 0) {
    return Invalid("x must have four axes and an even head size, not ", ToString(x));
  }
  for (int i : {1, 2}) {
    if (in[i]->dtype != x.dtype || !BroadcastsTo(in[i]->shape, x.shape)) {
      return Invalid("table ", ToString(*in[i]), " does not broadcast to ", ToString(x));
    }
  }
  return One(x);
}

InferResult InferAttention(Types in, const Attrs& attrs) {
  const TensorType &q = *in[0], &k = *in[1], &v = *in[2];
  ZO2_TRY(NeedFloat("q", q));
  if (q.shape.size() != 4 || k.shape.size() != 4 || v.shape.size() != 4 || k.dtype != q.dtype ||
      v.dtype != q.dtype) {
    return Invalid("q, k and v must have four axes and one dtype, not ", ToString(q), ", ", ToString(k), ", ",
                   ToString(v));
  }
  auto layout = attrs.find("layout");
  bool bshd = false;
  if (layout != attrs.end()) {
    const std::string& text = std::get<std::string>(layout->second);
    if (text != "bhsd" && text != "bshd") return Invalid("layout must be bhsd or bshd, not ", text);
    bshd = text == "bshd";
  }
  const int h = bshd ? 2 : 1, s = bshd ? 1 : 2;
  int64_t hq = q.shape[h], hkv = k.shape[h];
  if (k.shape[0] != q.shape[0] || v.shape[0] != q.shape[0] || k.shape[3] != q.shape[3] || v.shape[h] != hkv ||
      v.shape[s] != k.shape[s] || hkv <= 0 || hq % hkv != 0) {
    return Invalid("q ", ToString(q), ", k ", ToString(k), " and v ", ToString(v), " do not fit each other");
  }
  if (Optional(in, 3) != nullptr) {
    const TensorType& mask = *in[3];
    if (mask.dtype != DType::kBool && mask.dtype != q.dtype) {
      return Invalid("mask must be bool or ", Name(q.dtype), ", not ", ToString(mask));
    }
    if (!BroadcastsTo(mask.shape, {q.shape[0], hq, q.shape[s], k.shape[s]})) {
      return Invalid("mask ", ToString(mask), " does not broadcast to [batch, heads, queries, keys]");
    }
  }
  TensorType y = q;
  y.shape[3] = v.shape[3];
  return One(std::move(y));
}

InferResult InferCausalLmLoss(Types in, const Attrs& attrs) {
  const TensorType &hidden = *in[0], &labels = *in[1];
  ZO2_TRY(NeedFloat("hidden", hidden));
  if (hidden.shape.size() != 3)
    return Invalid("hidden must be [batch, seq, features], not ", ToString(hidden));
  if (labels.dtype != DType::kI64 || labels.shape != Shape{hidden.shape[0], hidden.shape[1]}) {
    return Invalid("labels ", ToString(labels), " must be i64 of the batch and seq of ", ToString(hidden));
  }
  int64_t vocabulary = 0;
  ZO2_TRY(CheckProjection(*in[2], Optional(in, 3), attrs, hidden.shape[2], &vocabulary));
  return Pair(hidden.shape[0]);
}

InferResult InferTokenLoss(Types in, const Attrs&) {
  const TensorType &logits = *in[0], &labels = *in[1];
  ZO2_TRY(NeedFloat("logits", logits));
  if (logits.shape.size() != 3)
    return Invalid("logits must be [batch, seq, vocabulary], not ", ToString(logits));
  if (labels.dtype != DType::kI64 || labels.shape != Shape{logits.shape[0], logits.shape[1]}) {
    return Invalid("labels ", ToString(labels), " must be i64 of the batch and seq of ", ToString(logits));
  }
  return Pair(logits.shape[0]);
}

InferResult InferClassifyLoss(Types in, const Attrs&) {
  const TensorType &logits = *in[0], &labels = *in[1];
  ZO2_TRY(NeedFloat("logits", logits));
  if (logits.shape.size() != 2) return Invalid("logits must be [batch, classes], not ", ToString(logits));
  if (labels.dtype != DType::kI64 || labels.shape != Shape{logits.shape[0]}) {
    return Invalid("labels ", ToString(labels), " must be i64 of the batch of ", ToString(logits));
  }
  return Pair(logits.shape[0]);
}

InferResult InferMseLoss(Types in, const Attrs&) {
  const TensorType &pred = *in[0], &labels = *in[1];
  ZO2_TRY(NeedFloat("pred", pred));
  ZO2_TRY(NeedFloat("labels", labels));
  if (pred.shape.empty() || labels.shape != pred.shape) {
    return Invalid("labels ", ToString(labels), " must have the shape of ", ToString(pred), ", batch first");
  }
  return Pair(pred.shape[0]);
}

InferResult InferOutputLoss(Types in, const Attrs&) {
  ZO2_TRY(NeedFloat("value", *in[0]));
  return Pair(in[0]->shape.empty() ? 1 : in[0]->shape[0]);
}

}  // namespace zo2::internal
