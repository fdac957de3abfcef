// fuse_norm, fuse_activation, fuse_rotary.
#include "frontend/fuse_activation.h"
#include "frontend/fuse_norm.h"
#include "frontend/fuse_rotary.h"
#include "tests/unit/frontend/pass_test_util.h"

namespace zo2 {
namespace {

Attrs LastAxis() { return {{"axes", std::vector<int64_t>{-1}}, {"keepdims", int64_t{1}}}; }

// y / sqrt(mean(y^2) + eps) in one of four forms.
ValueId Normalise(GraphBuilder& b, ValueId y, int form) {
  ValueId square = form % 2 ? b.Make(Op::kMul, {y, y}) : b.Make(Op::kPow, {y, b.Scalar(2)});
  ValueId sum = b.Make(Op::kAdd, {b.Make(Op::kReduceMean, {square}, LastAxis()), b.Scalar(1e-3F)});
  if (form == 0) return b.Make(Op::kMul, {y, b.Make(Op::kReciprocal, {b.Make(Op::kSqrt, {sum})})});
  if (form == 1) return b.Make(Op::kDiv, {y, b.Make(Op::kSqrt, {sum})});
  if (form == 2) return b.Make(Op::kMul, {b.Make(Op::kRsqrt, {sum}), y});
  return b.Make(Op::kMul, {y, b.Make(Op::kDiv, {b.Scalar(1), b.Make(Op::kSqrt, {sum})})});
}

TEST(FuseNorm, RmsInEveryForm) {
  for (int form = 0; form < 4; ++form) {
    GraphBuilder b;
    ValueId x = b.Input("x", {2, 3, 8}), scale = b.Weight("s", {8}), y = Normalise(b, x, form);
    b.Output(b.Make(Op::kMul, form % 2 ? std::vector{scale, y} : std::vector{y, scale}));
    Graph g = Apply(FuseNorm, b.graph);
    ASSERT_EQ(g.nodes.size(), 1U) << form << PrintGraph(g);
    EXPECT_EQ(g.nodes[0].op, Op::kRmsNorm);
    EXPECT_FLOAT_EQ(AttrDouble(g.nodes[0].attrs, "eps", 0), 1e-3F);
  }
}

TEST(FuseNorm, LayerInEveryForm) {
  for (int form = 0; form < 4; ++form) {
    GraphBuilder b;
    ValueId x = b.Input("x", {2, 3, 8});
    ValueId d = b.Make(Op::kSub, {x, b.Make(Op::kReduceMean, {x}, LastAxis())});
    ValueId y = b.Make(Op::kMul, {Normalise(b, d, form), b.Weight("s", {8})});
    b.Output(b.Make(Op::kAdd, {y, b.Weight("t", {8})}));
    Graph g = Apply(FuseNorm, b.graph);
    ASSERT_EQ(g.nodes.size(), 1U) << form << PrintGraph(g);
    EXPECT_EQ(g.nodes[0].op, Op::kLayerNorm);
    EXPECT_EQ(g.nodes[0].inputs.size(), 3U);
  }
}

TEST(FuseNorm, NotOverAnotherAxisOrAnotherValue) {
  GraphBuilder b;
  ValueId x = b.Input("x", {2, 8, 8}), z = b.Input("z", {2, 8, 8}), s = b.Weight("s", {8});
  Attrs axis1 = {{"axes", std::vector<int64_t>{1}}, {"keepdims", int64_t{1}}};
  ValueId mean = b.Make(Op::kReduceMean, {b.Make(Op::kMul, {x, x})}, axis1);
  ValueId wrong_axis = b.Make(Op::kMul, {x, b.Make(Op::kRsqrt, {b.Make(Op::kAdd, {mean, b.Scalar(1e-3F)})})});
  b.Output(b.Make(Op::kMul, {wrong_axis, s}));
  ValueId other = b.Make(Op::kReduceMean, {b.Make(Op::kMul, {z, z})}, LastAxis());
  ValueId wrong_value =
      b.Make(Op::kMul, {x, b.Make(Op::kRsqrt, {b.Make(Op::kAdd, {other, b.Scalar(1e-3F)})})});
  b.Output(b.Make(Op::kMul, {wrong_value, s}));
  ValueId divided = b.Make(Op::kDiv, {x, b.Make(Op::kSqrt, {b.Make(Op::kAdd, {other, b.Scalar(1e-3F)})})});
  b.Output(b.Make(Op::kMul, {divided, s}));
  EXPECT_EQ(CountOps(Apply(FuseNorm, b.graph), Op::kRmsNorm), 0);
}

TEST(FuseActivation, ErfGeluInAnyGrouping) {
  for (int form = 0; form < 4; ++form) {
    GraphBuilder b;
    ValueId x = b.Input("x", {2, 8});
    ValueId u = form % 2 ? b.Make(Op::kDiv, {x, b.Scalar(1.41421356F)})
                         : b.Make(Op::kMul, {b.Scalar(0.70710678F), x});
    ValueId gate = b.Make(Op::kAdd, {b.Make(Op::kErf, {u}), b.Scalar(1)});
    ValueId half = b.Scalar(0.5F);
    if (form == 0) b.Output(b.Make(Op::kMul, {b.Make(Op::kMul, {x, half}), gate}));
    if (form == 1) b.Output(b.Make(Op::kMul, {b.Make(Op::kMul, {x, gate}), half}));
    if (form == 2) b.Output(b.Make(Op::kMul, {x, b.Make(Op::kMul, {half, gate})}));
    if (form == 3) b.Output(b.Make(Op::kMul, {half, b.Make(Op::kMul, {gate, x})}));
    Graph g = Apply(FuseActivation, b.graph);
    ASSERT_EQ(g.nodes.size(), 1U) << form << PrintGraph(g);
    EXPECT_EQ(AttrInt(g.nodes[0].attrs, "tanh", -1), 0);
  }
}

// 0.5 x (1 + tanh(c (x + a x^3))) with the cube as pow or product, or c x (1 + a x^2); x a product in
// `nested`.
Graph TanhGelu(int form, float c = 0.79788456F, bool nested = false) {
  GraphBuilder b;
  ValueId x = b.Input("x", {2, 8});
  if (nested) x = b.Make(Op::kMul, {x, b.Input("y", {2, 8})});
  ValueId a = b.Scalar(0.044715F), argument = -1;
  if (form == 2) {
    ValueId square = b.Make(Op::kMul, {b.Make(Op::kMul, {a, x}), x});
    argument =
        b.Make(Op::kMul, {b.Make(Op::kMul, {x, b.Scalar(c)}), b.Make(Op::kAdd, {b.Scalar(1), square})});
  } else {
    ValueId cube =
        form == 0 ? b.Make(Op::kPow, {x, b.Scalar(3)}) : b.Make(Op::kMul, {b.Make(Op::kMul, {x, x}), x});
    argument = b.Make(Op::kMul, {b.Make(Op::kAdd, {x, b.Make(Op::kMul, {cube, a})}), b.Scalar(c)});
  }
  ValueId gate = b.Make(Op::kAdd, {b.Make(Op::kTanh, {argument}), b.Scalar(1)});
  b.Output(b.Make(Op::kMul, {b.Make(Op::kMul, {x, b.Scalar(0.5F)}), gate}));
  return b.graph;
}

TEST(FuseActivation, TanhGelu) {
  for (int form = 0; form < 3; ++form) {
    for (bool nested : {false, true}) {
      Graph g = Apply(FuseActivation, TanhGelu(form, 0.79788456F, nested));
      ASSERT_EQ(g.nodes.size(), nested ? 2U : 1U) << form << PrintGraph(g);
      EXPECT_EQ(AttrInt(g.nodes.back().attrs, "tanh", -1), 1);
    }
  }
  EXPECT_EQ(CountOps(Apply(FuseActivation, TanhGelu(0, 0.79F)), Op::kGelu), 0)
      << "another constant is not GELU";
}

TEST(FuseActivation, SiluAndItsGate) {
  GraphBuilder b;
  ValueId x = b.Input("x", {2, 8}), up = b.Input("up", {2, 8});
  ValueId silu = b.Make(Op::kMul, {b.Make(Op::kSigmoid, {x}), x});
  b.Output(b.Make(Op::kMul, {silu, up}));
  b.Output(b.Make(Op::kMul, {b.Make(Op::kSigmoid, {x}), up}));
  Graph g = Apply(FuseActivation, b.graph);
  EXPECT_EQ(CountOps(g, Op::kSilu), 1);
  EXPECT_EQ(CountOps(g, Op::kSigmoid), 1);
}

TEST(FuseRotary, TwoHalves) {
  for (int64_t cut : {4, 2}) {  // a cut elsewhere is not rotary
    GraphBuilder b;
    ValueId x = b.Input("x", {2, 3, 5, 8}), cos = b.Input("cos", {1, 1, 5, 8}), sin = b.Input("sin", {5, 8});
    auto slice = [&](int64_t begin, int64_t end) {
      return b.Make(Op::kSlice, {x},
                    {{"starts", std::vector<int64_t>{begin}},
                     {"ends", std::vector<int64_t>{end}},
                     {"axes", std::vector<int64_t>{3}},
                     {"steps", std::vector<int64_t>{1}}});
    };
    ValueId rotated =
        b.Make(Op::kConcat, {b.Make(Op::kNeg, {slice(cut, 8)}), slice(0, cut)}, {{"axis", int64_t{-1}}});
    b.Output(b.Make(Op::kAdd, {b.Make(Op::kMul, {x, cos}), b.Make(Op::kMul, {rotated, sin})}));
    Graph g = Apply(FuseRotary, b.graph);
    EXPECT_EQ(CountOps(g, Op::kRotary), cut == 4 ? 1 : 0) << PrintGraph(g);
    EXPECT_EQ(g.nodes.size() == 1, cut == 4);
  }
}

}  // namespace
}  // namespace zo2
