// canonical_linear, sink_reshapes, simplify, recognise_embedding.
#include "frontend/canonical_linear.h"
#include "frontend/recognise_embedding.h"
#include "frontend/simplify.h"
#include "frontend/sink_reshapes.h"
#include "tests/unit/frontend/pass_test_util.h"

namespace zo2 {
namespace {

TEST(CanonicalLinear, BothLayoutsAndBothOrdersOfTheBias) {
  for (bool transposed : {false, true}) {
    for (bool bias_first : {false, true}) {
      GraphBuilder b;
      ValueId x = b.Input("x", {2, 3, 8}), bias = b.Weight("b", {5});
      ValueId w = transposed ? b.Transpose(b.Weight("w", {5, 8}), {1, 0}) : b.Weight("w", {8, 5});
      ValueId y = b.Make(Op::kMatMul, {x, w});
      b.Output(b.Make(Op::kAdd, bias_first ? std::vector{bias, y} : std::vector{y, bias}));
      Graph g = Apply(CanonicalLinear, b.graph);
      ASSERT_EQ(g.nodes.size(), 1U) << PrintGraph(g);
      EXPECT_EQ(g.nodes[0].op, Op::kLinear);
      EXPECT_EQ(g.nodes[0].inputs.size(), 3U);
      EXPECT_EQ(AttrInt(g.nodes[0].attrs, "trans_w", -1), transposed ? 1 : 0);
    }
  }
}

TEST(CanonicalLinear, LeavesAloneWhatIsNotOne) {
  GraphBuilder b;
  ValueId x = b.Input("x", {2, 3, 8}), w = b.Weight("w", {8, 5});
  ValueId y = b.Make(Op::kMatMul, {x, w});
  b.Output(b.Make(Op::kAdd, {y, b.Weight("not.a.bias", {3, 5})}));
  b.Output(b.Make(Op::kMatMul, {b.Make(Op::kNeg, {x}), b.Make(Op::kNeg, {w})}));
  b.Output(b.Make(Op::kAdd, {y, b.Weight("second.reader", {5})}));
  Graph g = Apply(CanonicalLinear, b.graph);
  EXPECT_EQ(CountOps(g, Op::kLinear), 1);
  EXPECT_EQ(CountOps(g, Op::kAdd), 2);
  EXPECT_EQ(CountOps(g, Op::kMatMul), 1);
}

TEST(SinkReshapes, Conv1DAndMlpOnTwoAxes) {
  GraphBuilder b;
  ValueId x = b.Input("x", {2, 3, 8});
  ValueId flat = b.Reshape(x, {6, 8});
  ValueId h = b.Make(Op::kLayerNorm, {flat, b.Weight("s", {8}), b.Weight("t", {8})}, {{"eps", 1e-5}});
  h = b.Make(Op::kLinear, {h, b.Weight("w", {8, 8}), b.Weight("b", {8})}, {{"trans_w", int64_t{0}}});
  h = b.Make(Op::kAdd, {flat, b.Make(Op::kMul, {b.Make(Op::kRelu, {h}), b.Scalar(2)})});
  b.Output(b.Reshape(h, {2, 3, 8}));
  Graph g = Apply(SinkReshapes, b.graph);
  EXPECT_EQ(CountOps(g, Op::kReshape), 0) << PrintGraph(g);
  EXPECT_EQ(g.value(g.nodes.back().outputs[0]).type.shape, (Shape{2, 3, 8}));
}

TEST(SinkReshapes, SplitsRowsThatWereMergedWithHeads) {
  GraphBuilder b;
  ValueId heads = b.Input("x", {2, 3, 4, 2});
  ValueId y = b.Make(Op::kLinear, {b.Reshape(heads, {6, 8}), b.Weight("w", {5, 8})});
  b.Output(b.Make(Op::kAdd, {b.Reshape(b.Make(Op::kRelu, {y}), {2, 3, 5}), b.Input("r", {2, 3, 5})}));
  Graph g = Apply(SinkReshapes, b.graph);
  EXPECT_EQ(CountOps(g, Op::kReshape), 1) << PrintGraph(g);
  EXPECT_EQ(g.value(FindOp(g, Op::kLinear)->outputs[0]).type.shape, (Shape{2, 3, 5}));
}

TEST(SinkReshapes, KeepsReshapesThatMixRows) {
  GraphBuilder b;
  ValueId x = b.Input("x", {2, 3, 8});
  b.Output(b.Make(Op::kGelu, {b.Reshape(x, {2, 3, 2, 4})}));
  b.Output(b.Make(Op::kAdd, {b.Reshape(x, {6, 8}), b.Input("y", {6, 8})}));
  Graph g = Apply(SinkReshapes, b.graph);
  EXPECT_EQ(CountOps(g, Op::kReshape), 2);
}

TEST(Simplify, Identities) {
  GraphBuilder b;
  ValueId x = b.Input("x", {2, 3});
  ValueId y = b.Make(Op::kMul, {b.Make(Op::kAdd, {x, b.Scalar(0)}), b.Scalar(1)});
  y = b.Transpose(b.Transpose(y, {1, 0}), {1, 0});
  y = b.Reshape(b.Reshape(y, {6}), {2, 3});
  y = b.Make(Op::kCast, {y}, {{"to", static_cast<int64_t>(DType::kF32)}});
  y = b.Make(Op::kExpand, {y}, {{"shape", std::vector<int64_t>{2, 3}}});
  b.Output(b.Make(Op::kNeg, {y}), "out");
  Graph g = Apply(Simplify, b.graph);
  EXPECT_EQ(g.nodes.size(), 1U) << PrintGraph(g);
  EXPECT_EQ(g.value(g.outputs[0]).name, "out");
}

TEST(Simplify, NeutralOperandsThatBroadcastBecomeExpands) {
  GraphBuilder b;
  ValueId x = b.Input("x", {2, 1, 3}, DType::kBool);
  ValueId y = b.Make(Op::kAnd, {b.Constant<uint8_t>(DType::kBool, {4, 1}, {1, 1, 1, 1}), x});
  b.Output(b.Make(Op::kNot, {y}));
  Graph g = Apply(Simplify, b.graph);
  EXPECT_EQ(CountOps(g, Op::kAnd), 0);
  EXPECT_EQ(CountOps(g, Op::kExpand), 1);
}

TEST(Simplify, EqualExpressionsOnce) {
  GraphBuilder b;
  ValueId x = b.Input("x", {2, 3});
  ValueId y = b.Make(Op::kAdd, {x, b.Scalar(2)}), z = b.Make(Op::kAdd, {x, b.Scalar(2)});
  b.Output(b.Make(Op::kMul, {y, z}));
  b.Output(b.Make(Op::kAdd, {x, b.Scalar(3)}));
  Graph g = Apply(Simplify, b.graph);
  EXPECT_EQ(CountOps(g, Op::kAdd), 2);
}

TEST(Simplify, GathersThatEnumerate) {
  // mask[batch, key] as gather_nd with ids [B,1,1,S,2], as gather of the flat mask, and with a repeated axis.
  for (int form = 0; form < 4; ++form) {
    GraphBuilder b;
    ValueId mask = b.Input("mask", {2, 3});
    std::vector<int64_t> pairs, flat, repeated, shifted;
    for (int64_t i = 0; i < 2; ++i) {
      for (int64_t j = 0; j < 3; ++j) {
        pairs.insert(pairs.end(), {i, j});
        flat.push_back(i * 3 + j);
        shifted.push_back((i * 3 + j + 1) % 6);
      }
      for (int64_t p = 0; p < 12; ++p) repeated.push_back(i * 3 + p % 3);
    }
    ValueId row = b.Reshape(mask, {6});
    if (form == 0) b.Output(b.Make(Op::kGatherNd, {mask, b.Ints({2, 1, 1, 3, 2}, pairs)}));
    if (form == 1) b.Output(b.Make(Op::kGather, {row, b.Ints({2, 1, 1, 3}, flat)}, {{"axis", int64_t{0}}}));
    if (form == 2)
      b.Output(b.Make(Op::kGather, {row, b.Ints({2, 1, 4, 3}, repeated)}, {{"axis", int64_t{0}}}));
    if (form == 3) b.Output(b.Make(Op::kGather, {row, b.Ints({2, 3}, shifted)}, {{"axis", int64_t{0}}}));
    Graph g = Apply(Simplify, b.graph);
    EXPECT_EQ(CountOps(g, Op::kGather) + CountOps(g, Op::kGatherNd), form == 3 ? 1 : 0) << form;
    EXPECT_EQ(CountOps(g, Op::kExpand), form == 2 ? 1 : 0) << form;
  }
}

TEST(RecogniseEmbedding, GatherAndSlice) {
  GraphBuilder b;
  ValueId w = b.Weight("w", {5, 4});
  b.Output(b.Make(Op::kGather, {w, b.Input("ids", {2, 3}, DType::kI64)}, {{"axis", int64_t{0}}}));
  b.Output(b.Make(Op::kGather, {w, b.Ints({2}, {-1, 1})}, {{"axis", int64_t{0}}}));
  b.Output(b.Make(Op::kSlice, {w},
                  {{"starts", std::vector<int64_t>{1}},
                   {"ends", std::vector<int64_t>{4}},
                   {"axes", std::vector<int64_t>{0}},
                   {"steps", std::vector<int64_t>{1}}}));
  Graph g = Apply(RecogniseEmbedding, b.graph);
  EXPECT_EQ(CountOps(g, Op::kEmbedding), 3) << PrintGraph(g);
  GraphBuilder c;
  c.Output(c.Make(Op::kGather, {c.Weight("w", {5, 4}), c.Ints({2}, {3, 1})}, {{"axis", int64_t{1}}}));
  EXPECT_EQ(CountOps(Apply(RecogniseEmbedding, c.graph), Op::kEmbedding), 0);
}

}  // namespace
}  // namespace zo2
