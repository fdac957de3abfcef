#include "ir/graph/graph.h"

#include <gtest/gtest.h>

#include <functional>

#include "ir/support/crc32.h"
#include "tests/unit/graph/graph_builder.h"

namespace zo2 {
namespace {

// x -> linear -> gelu -> output, a constant, and something dead.
Graph Small() {
  GraphBuilder b;
  ValueId x = b.Input("x", {2, 8}), unused = b.Input("unused", {3});
  ValueId w = b.Weight("fc.weight", {4, 8}), bias = b.Weight("fc.bias", {4});
  b.Weight("never.used", {7});
  ValueId y = b.Make(Op::kLinear, {x, w, bias});
  b.Make(Op::kNeg, {unused});
  ValueId z = b.Make(Op::kAdd, {b.Make(Op::kGelu, {y}, {{"tanh", int64_t{1}}}), b.Scalar(0.5F)});
  b.Output(z, "out");
  return std::move(b.graph);
}

TEST(Graph, PrintsWeightsByName) {
  Graph g = Small();
  ASSERT_TRUE(RemoveDeadCode(g).ok());
  EXPECT_EQ(PrintGraph(g),
            "graph test\n"
            "input $x : f32[2,8]\n"
            "weight @fc.weight : f32[4,8] other, decays\n"
            "weight @fc.bias : f32[4] other, decays\n"
            "%3 = linear($x, @fc.weight, @fc.bias) : f32[2,4]\n"
            "%4 = gelu(%3) {tanh=1} : f32[2,4]\n"
            "%6 = add(%4, f32[]{0.5}) : f32[2,4]\n"
            "output %6 out : f32[2,4]\n");
}

TEST(Graph, RemoveDeadCodeKeepsOutputsAndTheLoss) {
  Graph g = Small();
  ASSERT_TRUE(VerifyGraph(g).ok());
  ASSERT_TRUE(RemoveDeadCode(g).ok());
  EXPECT_TRUE(VerifyGraph(g).ok());
  EXPECT_EQ(g.nodes.size(), 3U);
  EXPECT_EQ(g.inputs.size(), 1U);
  EXPECT_EQ(g.weights.size(), 2U);

  GraphBuilder b;
  ValueId x = b.Input("x", {2, 8}), labels = b.Input("labels", {2}, DType::kI64);
  b.Make(Op::kNeg, {x});
  b.Nodes(Op::kClassifyLoss, {x, labels});
  b.graph.loss = {"classify", "", 1, labels};
  ASSERT_TRUE(RemoveDeadCode(b.graph).ok());
  EXPECT_TRUE(VerifyGraph(b.graph).ok());
  EXPECT_EQ(b.graph.nodes.size(), 1U);
  EXPECT_EQ(b.graph.loss.node, 0);
  EXPECT_EQ(b.graph.value(b.graph.loss.labels).name, "labels");
}

// Every way to break the small graph is found, and the message names the place.
TEST(Graph, VerifierRejectsMutants) {
  struct Mutant {
    const char* what;
    std::function<void(Graph&)> mutate;
    const char* message;
  };
  const std::vector<Mutant> mutants = {
      {"operand out of range", [](Graph& g) { g.nodes[0].inputs[0] = 99; }, "does not exist"},
      {"operand missing", [](Graph& g) { g.nodes[0].inputs[1] = -1; }, "absent"},
      {"use before definition", [](Graph& g) { std::swap(g.nodes[0], g.nodes[1]); }, "before it is produced"},
      {"two producers", [](Graph& g) { g.nodes[1].outputs = g.nodes[0].outputs; }, "two producers"},
      {"writes an input", [](Graph& g) { g.nodes[1].outputs = {g.inputs[0]}; }, "not an activation"},
      {"wrong shape", [](Graph& g) { g.value(g.nodes[0].outputs[0]).type.shape[1] = 5; }, "must be"},
      {"wrong dtype", [](Graph& g) { g.value(g.nodes[1].outputs[0]).type.dtype = DType::kF16; }, "must be"},
      {"unknown attribute", [](Graph& g) { g.nodes[1].attrs["axis"] = int64_t{0}; }, "no attribute"},
      {"attribute type", [](Graph& g) { g.nodes[1].attrs["tanh"] = 1.0; }, "wrong type"},
      {"unknown op", [](Graph& g) { g.nodes[1].op = static_cast<Op>(kNumOps); }, "outside of the registry"},
      {"weight as activation", [](Graph& g) { g.nodes[0].inputs[0] = g.nodes[0].inputs[1]; },
       "must not be a weight"},
      {"weight index", [](Graph& g) { g.value(g.nodes[0].inputs[1]).weight = 9; }, "does not exist"},
      {"weight shape",
       [](Graph& g) {
         g.weights[0].shape = {8, 4};
       },
       "but weight"},
      {"weight names", [](Graph& g) { g.weights[1].name = "fc.weight"; }, "two weights"},
      {"constant bytes",
       [](Graph& g) { g.value(g.nodes[2].inputs[1]).data = std::make_shared<std::vector<std::byte>>(3); },
       "holds 3"},
      {"constant without data", [](Graph& g) { g.value(g.nodes[2].inputs[1]).data = nullptr; }, "holds 0"},
      {"activation with data",
       [](Graph& g) { g.value(g.nodes[2].inputs[0]).data = std::make_shared<std::vector<std::byte>>(3); },
       "not a constant"},
      {"unlisted input", [](Graph& g) { g.inputs.clear(); }, "not listed"},
      {"input twice", [](Graph& g) { g.inputs.push_back(g.inputs[0]); }, "listed twice"},
      {"input kind", [](Graph& g) { g.inputs[0] = g.outputs[0]; }, "not an input"},
      {"output out of range", [](Graph& g) { g.outputs[0] = 99; }, "no producer"},
      {"output without producer", [](Graph& g) { g.nodes.pop_back(); }, "no producer"},
      {"negative dimension", [](Graph& g) { g.value(g.inputs[0]).type.shape[0] = -2; }, "negative"},
      {"huge value",
       [](Graph& g) {
         g.value(g.inputs[0]).type.shape = {int64_t{1} << 40, int64_t{1} << 40};
       },
       "too large"},
      {"loss is no loss", [](Graph& g) { g.loss.node = 1; }, "not a loss"},
      {"loss out of range", [](Graph& g) { g.loss.node = 77; }, "not a loss"},
      {"labels are no input", [](Graph& g) { g.loss.labels = g.outputs[0]; }, "not an input"},
  };
  for (const Mutant& mutant : mutants) {
    Graph g = Small();
    ASSERT_TRUE(RemoveDeadCode(g).ok());
    ASSERT_TRUE(VerifyGraph(g).ok());
    mutant.mutate(g);
    auto verified = VerifyGraph(g);
    ASSERT_FALSE(verified.ok()) << mutant.what;
    EXPECT_NE(verified.status().message().find(mutant.message), std::string::npos)
        << mutant.what << ": " << verified.status().message();
  }
}

TEST(Graph, TensorIdsAreCrcsAndCollisionsMoveOn) {
  Graph g;
  // Two names of one CRC-32, found by search.
  for (const char* name : {"plumless", "buckeroo", "a"}) {
    Weight w;
    w.name = name;
    g.weights.push_back(w);
  }
  ASSERT_EQ(Crc32("plumless"), Crc32("buckeroo"));
  ASSERT_TRUE(AssignTensorIds(g).ok());
  EXPECT_EQ(g.weights[1].tensor_id, Crc32("buckeroo"));  // first in byte order
  EXPECT_EQ(g.weights[0].tensor_id, Crc32(std::string_view("plumless\0"
                                                           "1",
                                                           10)));
  EXPECT_EQ(g.weights[2].tensor_id, Crc32("a"));
  g.weights[1].name = "a";
  EXPECT_FALSE(AssignTensorIds(g).ok());
}

}  // namespace
}  // namespace zo2
