// fuse_attention, attention_layout, attention_mask: every spelling of one attention fuses, computes the same,
// and a mask becomes causal only where no row can tell.
#include <cmath>
#include <limits>

#include "frontend/fuse_attention.h"
#include "frontend/fuse_rotary.h"
#include "tests/unit/frontend/pass_test_util.h"

namespace zo2 {
namespace {

constexpr float kLowest = std::numeric_limits<float>::lowest(), kInf = std::numeric_limits<float>::infinity();
constexpr int64_t B = 2, H = 4, S = 5, D = 6;

enum class Scale { kQuery, kKey, kBoth, kScores, kDivided };
enum class KeyForm { kSwapLast, kKeysFirst, kThreeAxes };
struct Form {
  Scale scale = Scale::kScores;
  KeyForm key = KeyForm::kSwapLast;
  bool guard = false;
  int64_t groups = H;
};

ValueId Triangle(GraphBuilder& b) {
  std::vector<uint8_t> keep;
  for (int64_t i = 0; i < S; ++i) {
    for (int64_t j = 0; j < S; ++j) keep.push_back(j <= i);
  }
  return b.Constant(DType::kBool, {1, 1, S, S}, keep);
}

ValueId FloatTriangle(GraphBuilder& b, float excluded) {
  std::vector<float> mask;
  for (int64_t i = 0; i < S; ++i) {
    for (int64_t j = 0; j < S; ++j) mask.push_back(j <= i ? 0 : excluded);
  }
  return b.Constant(DType::kF32, {S, S}, mask);
}

ValueId Repeat(GraphBuilder& b, ValueId x, int64_t groups) {
  if (groups == H) return x;
  ValueId many = b.Make(Op::kExpand, {b.Reshape(x, {B, groups, 1, S, D})},
                        {{"shape", std::vector<int64_t>{B, groups, H / groups, S, D}}});
  return b.Reshape(many, {B, H, S, D});
}

// The scores' mask: what is added (float) or kept (bool), from the builder.
using MaskMaker = std::function<ValueId(GraphBuilder&)>;

Graph Attention(const Form& form, const MaskMaker& mask = nullptr) {
  GraphBuilder b;
  auto project = [&](const char* name, int64_t heads) {
    return b.Reshape(b.Input(name, {B, S, heads * D}), {B, S, heads, D});
  };
  const float c = 0.3F;
  auto times = [&](ValueId x, float f) { return b.Make(Op::kMul, {x, b.Scalar(f)}); };
  ValueId q = b.Input("q", {B, S, H * D});
  if (form.scale == Scale::kQuery) q = times(q, c);  // before the heads are split, as OPT has it
  q = b.Transpose(b.Reshape(q, {B, S, H, D}), {0, 2, 1, 3});
  ValueId heads_last = project("k", form.groups), k = b.Transpose(heads_last, {0, 2, 1, 3}), kt = -1;
  ValueId v = Repeat(b, b.Transpose(project("v", form.groups), {0, 2, 1, 3}), form.groups);
  if (form.scale == Scale::kBoth) q = times(q, std::sqrt(c));
  if (form.key == KeyForm::kKeysFirst) {
    kt = b.Transpose(heads_last, {0, 2, 3, 1});
  } else if (form.key == KeyForm::kSwapLast) {
    kt = b.Transpose(Repeat(b, k, form.groups), {0, 1, 3, 2});
  } else {
    ValueId flat = b.Reshape(Repeat(b, k, form.groups), {B * H, S, D});
    kt = b.Reshape(b.Transpose(flat, {0, 2, 1}), {B, H, D, S});
  }
  if (form.scale == Scale::kKey) kt = times(kt, c);
  if (form.scale == Scale::kBoth) kt = times(kt, std::sqrt(c));
  ValueId scores = b.Make(Op::kMatMul, {q, kt});
  if (form.scale == Scale::kScores) scores = times(scores, c);
  if (form.scale == Scale::kDivided) scores = b.Make(Op::kDiv, {scores, b.Scalar(1 / c)});
  if (mask) {
    ValueId m = mask(b);
    scores = b.graph.value(m).type.dtype == DType::kBool ? b.Make(Op::kWhere, {m, scores, b.Scalar(-kInf)})
                                                         : b.Make(Op::kAdd, {m, scores});
  }
  ValueId p = b.Make(Op::kSoftmax, {scores}, {{"axis", int64_t{-1}}});
  if (form.guard) p = b.Make(Op::kWhere, {b.Make(Op::kIsNan, {p}), b.Scalar(0), p});
  ValueId y = b.Transpose(b.Make(Op::kMatMul, {p, v}), {0, 2, 1, 3});
  b.Output(b.Reshape(y, {B, S, H * D}));
  return std::move(b.graph);
}

// keep[batch, 1, 1, key]: example 0 is padded on the left, so that causal rows without any key exist.
Tensors LeftPadding() {
  return {{"pad", HostTensor::Of<uint8_t>(DType::kBool, {B, 1, 1, S}, {0, 0, 1, 1, 1, 1, 1, 1, 1, 0})}};
}
ValueId Padding(GraphBuilder& b) { return b.Input("pad", {B, 1, 1, S}, DType::kBool); }

int64_t Attr(const Graph& g, const char* name) {
  const Node* attention = FindOp(g, Op::kAttention);
  return attention == nullptr ? -1 : AttrInt(attention->attrs, name, -1);
}
const TensorType* MaskType(const Graph& g) {
  const Node* attention = FindOp(g, Op::kAttention);
  return attention == nullptr || attention->inputs.size() < 4 ? nullptr : &g.value(attention->inputs[3]).type;
}

TEST(FuseAttention, EverySpelling) {
  for (Scale scale : {Scale::kQuery, Scale::kKey, Scale::kBoth, Scale::kScores, Scale::kDivided}) {
    for (KeyForm key : {KeyForm::kSwapLast, KeyForm::kKeysFirst, KeyForm::kThreeAxes}) {
      for (int64_t groups : {H, int64_t{2}, int64_t{1}}) {
        if (key == KeyForm::kKeysFirst && groups != H) continue;
        SCOPED_TRACE(testing::Message() << static_cast<int>(scale) << static_cast<int>(key) << groups);
        Graph g = Apply(FuseAttention, Attention({scale, key, false, groups}));
        ASSERT_EQ(CountOps(g, Op::kAttention), 1) << PrintGraph(g);
        EXPECT_EQ(CountOps(g, Op::kSoftmax) + CountOps(g, Op::kMatMul) + CountOps(g, Op::kMul) +
                      CountOps(g, Op::kExpand),
                  0)
            << PrintGraph(g);
        EXPECT_NEAR(AttrDouble(FindOp(g, Op::kAttention)->attrs, "scale", 0), 0.3, 1e-6);
        g = Apply(AttentionLayout, g);
        EXPECT_EQ(CountOps(g, Op::kTranspose), 0) << PrintGraph(g);
        EXPECT_EQ(g.value(FindOp(g, Op::kAttention)->inputs[1]).type.shape, (Shape{B, S, groups, D}));
      }
    }
  }
}

TEST(FuseAttention, ATriangleAloneIsCausal) {
  const std::vector<MaskMaker> masks = {
      [](GraphBuilder& b) { return FloatTriangle(b, -kInf); },
      [](GraphBuilder& b) { return FloatTriangle(b, kLowest); },
      [](GraphBuilder& b) { return Triangle(b); },
      [](GraphBuilder& b) {
        return b.Make(Op::kWhere, {Triangle(b), b.Scalar(0), b.Scalar(kLowest)});
      },
      [](GraphBuilder& b) {
        return b.Make(Op::kExpand, {Triangle(b)}, {{"shape", std::vector<int64_t>{B, 1, S, S}}});
      },
  };
  for (const MaskMaker& mask : masks) {
    Graph g = Apply(FuseAttention, Attention({}, mask));
    EXPECT_EQ(Attr(g, "causal"), 1) << PrintGraph(g);
    EXPECT_EQ(MaskType(g), nullptr);
  }
}

TEST(FuseAttention, TheTriangleLeavesAnInfiniteMask) {
  // Behind a guard, rows without a key give zeros; causal and a padding mask say the same.
  auto both = [](GraphBuilder& b) { return b.Make(Op::kAnd, {Triangle(b), Padding(b)}); };
  auto added = [&](GraphBuilder& b) { return b.Make(Op::kWhere, {both(b), b.Scalar(0), b.Scalar(-kInf)}); };
  auto inverted = [&](GraphBuilder& b) {
    return b.Make(Op::kWhere, {b.Make(Op::kNot, {Padding(b)}), b.Scalar(-kInf), b.Scalar(0)});
  };
  for (bool guard : {false, true}) {
    for (const MaskMaker& mask : {MaskMaker(both), MaskMaker(added), MaskMaker(inverted)}) {
      Graph g = Apply(FuseAttention, Attention({.guard = guard}, mask), LeftPadding());
      ASSERT_NE(MaskType(g), nullptr) << PrintGraph(g);
      EXPECT_EQ(MaskType(g)->dtype, DType::kBool);
      EXPECT_EQ(MaskType(g)->shape, (Shape{B, 1, 1, S}));
      EXPECT_EQ(Attr(g, "zero_masked_rows"), guard);
    }
    EXPECT_EQ(Attr(Apply(FuseAttention, Attention({.guard = guard}, both), LeftPadding()), "causal"), 1);
  }
}

TEST(FuseAttention, AFiniteMaskStaysAsItIs) {
  // where(causal and padding, 0, lowest): a row without any key is the mean of all values, also those after
  // it.
  auto finite = [](GraphBuilder& b) {
    ValueId keep = b.Make(Op::kAnd, {Triangle(b), Padding(b)});
    keep = b.Make(Op::kExpand, {keep}, {{"shape", std::vector<int64_t>{B, 1, S, S}}});
    return b.Make(Op::kWhere, {keep, b.Scalar(0), b.Scalar(kLowest)});
  };
  for (bool guard : {false, true}) {
    Graph g = Apply(FuseAttention, Attention({.guard = guard}, finite), LeftPadding());
    EXPECT_EQ(Attr(g, "causal"), 0) << PrintGraph(g);
    EXPECT_EQ(Attr(g, "zero_masked_rows"), 0);
    ASSERT_NE(MaskType(g), nullptr);
    EXPECT_EQ(MaskType(g)->dtype, DType::kF32);
  }
  // A finite triangle beside another finite mask.
  auto sum = [](GraphBuilder& b) {
    ValueId pad = b.Make(Op::kWhere, {Padding(b), b.Scalar(0), b.Scalar(kLowest / 2)});
    return b.Make(Op::kAdd, {FloatTriangle(b, kLowest / 2), pad});
  };
  EXPECT_EQ(Attr(Apply(FuseAttention, Attention({}, sum), LeftPadding()), "causal"), 0);
}

TEST(FuseAttention, OtherConstantsAreNotTriangles) {
  auto upper = [](GraphBuilder& b) {
    std::vector<float> mask;
    for (int64_t i = 0; i < S; ++i) {
      for (int64_t j = 0; j < S; ++j) mask.push_back(j <= i + 1 ? 0 : -kInf);
    }
    return b.Constant(DType::kF32, {S, S}, mask);
  };
  auto weak = [](GraphBuilder& b) { return FloatTriangle(b, -3); };
  for (const MaskMaker& mask : {MaskMaker(upper), MaskMaker(weak)}) {
    Graph g = Apply(FuseAttention, Attention({}, mask));
    EXPECT_EQ(Attr(g, "causal"), 0);
    EXPECT_NE(MaskType(g), nullptr);
  }
}

TEST(FuseAttention, AModelsOwnAttentionIsRefined) {
  GraphBuilder b;
  auto heads = [&](const char* name) { return b.Transpose(b.Input(name, {B, S, H, D}), {0, 2, 1, 3}); };
  ValueId q = b.Make(Op::kMul, {heads("q"), b.Scalar(2)});
  ValueId mask = b.Make(Op::kAnd, {Triangle(b), Padding(b)});
  mask = b.Make(Op::kExpand, {mask}, {{"shape", std::vector<int64_t>{B, 1, S, S}}});
  b.Output(b.Make(Op::kAttention, {q, heads("k"), heads("v"), mask},
                  {{"scale", 0.25}, {"zero_masked_rows", int64_t{1}}}));
  Graph g = Apply(FuseAttention, b.graph, LeftPadding());
  EXPECT_EQ(Attr(g, "causal"), 1) << PrintGraph(g);
  EXPECT_EQ(Attr(g, "zero_masked_rows"), 1);
  EXPECT_EQ(MaskType(g)->shape, (Shape{B, 1, 1, S}));
  EXPECT_NEAR(AttrDouble(FindOp(g, Op::kAttention)->attrs, "scale", 0), 0.5, 1e-9);
}

TEST(FuseAttention, NotWhenItIsNotAttention) {
  GraphBuilder b;
  ValueId x = b.Input("x", {B, H, S, S}), v = b.Input("v", {B, H, S, D});
  b.Output(b.Make(Op::kMatMul, {b.Make(Op::kSoftmax, {x}, {{"axis", int64_t{-1}}}), v}));
  ValueId scores = b.Make(Op::kMatMul, {v, b.Transpose(v, {0, 1, 3, 2})});
  b.Output(b.Make(Op::kMatMul, {b.Make(Op::kSoftmax, {scores}, {{"axis", int64_t{2}}}), v}));
  // The mask is scaled too.
  ValueId masked = b.Make(Op::kMul, {b.Make(Op::kAdd, {scores, x}), b.Scalar(2)});
  b.Output(b.Make(Op::kMatMul, {b.Make(Op::kSoftmax, {masked}, {{"axis", int64_t{-1}}}), v}));
  EXPECT_EQ(CountOps(Apply(FuseAttention, b.graph), Op::kAttention), 0);
}

TEST(AttentionLayout, LooksThroughRotary) {
  GraphBuilder b;
  ValueId cos = b.Input("cos", {1, 1, S, D}), sin = b.Input("sin", {S, D});
  auto heads = [&](const char* name) { return b.Transpose(b.Input(name, {B, S, H, D}), {0, 2, 1, 3}); };
  ValueId q = b.Make(Op::kRotary, {heads("q"), cos, sin}), k = b.Make(Op::kRotary, {heads("k"), cos, sin});
  ValueId y = b.Make(Op::kAttention, {q, k, heads("v")}, {{"scale", 0.5}});
  b.Output(b.Transpose(y, {0, 2, 1, 3}));
  Graph g = Apply(AttentionLayout, b.graph);
  EXPECT_EQ(CountOps(g, Op::kTranspose), 0) << PrintGraph(g);
  EXPECT_EQ(CountOps(g, Op::kRotary), 2);
}

}  // namespace
}  // namespace zo2
