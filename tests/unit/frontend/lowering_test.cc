// What the node tests of ONNX do not reach: bodies that capture weights, limits, and refusals that come
// together.
#include <gtest/gtest.h>
#include <onnx/defs/parser.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "frontend/import.h"
#include "models.h"

namespace zo2 {
namespace {

// Imports a model written in ONNX's text form.
Result<Graph> Import(const std::string& graph, int opset = 21) {
  onnx::ModelProto model;
  const std::string text = "<ir_version: 10, opset_import: [\"\" : " + std::to_string(opset) + "]>\n" + graph;
  const auto parsed = onnx::OnnxParser::Parse(model, text.c_str());
  EXPECT_TRUE(parsed.IsOK()) << parsed.ErrorMessage();
  const std::string dir = testing::TempDir() + "/lowering_test";
  std::filesystem::create_directories(dir);
  const std::string path = dir + "/model.onnx";
  std::ofstream out(path, std::ios::binary);
  model.SerializeToOstream(&out);
  out.close();
  return ImportOnnx(path, {});
}

std::string ErrorOf(const std::string& graph, int opset = 21) {
  auto imported = Import(graph, opset);
  if (imported.ok()) return "imported";
  EXPECT_EQ(imported.status().code(), Code::kInvalid) << imported.status().message();
  return imported.status().message();
}

HostTensor Floats(Shape shape, const std::vector<float>& values) {
  return HostTensor::Of(DType::kF32, std::move(shape), values);
}

std::vector<float> Compute(const std::string& text, const std::map<std::string, HostTensor>& inputs) {
  auto graph = Import(text);
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  if (!graph.ok()) return {};
  auto outputs = EvaluateGraph(*graph, testing::TempDir() + "/lowering_test", inputs);
  EXPECT_TRUE(outputs.ok()) << outputs.status().message();
  if (!outputs.ok()) return {};
  const HostTensor& y = (*outputs)[0];
  return {y.as<float>(), y.as<float>() + y.type.elements()};
}

#define EXPECT_SAYS(error, part) EXPECT_NE((error).find(part), std::string::npos) << (error)

TEST(Lowering, EveryRefusedNodeIsSaidAtOnce) {
  // An op of no registry is the first trouble: the checker cannot go on, and the rest is not looked at.
  EXPECT_SAYS(ErrorOf(R"(g (float[2,8] x) => (float[2,8] y) {
    [strange] a = NoSuchOp (x)
    y = Gelu <approximate = "quick"> (a)
  })"),
              "has 1 node that zo2 does not support: strange (NoSuchOp, domain ai.onnx, version 21)");
  const std::string known = ErrorOf(R"(g (float[2,8] x) => (float[2,8] y) {
    [noise] a = RandomNormalLike (x)
    [bad_gelu] b = Gelu <approximate = "quick"> (x)
    [after] c = Relu (b)
    [bad_cast] d = Cast <to = 17> (x)
    e = Add (c, d)
    y = Add (e, a)
  })");
  EXPECT_SAYS(known, "has 3 nodes that zo2 does not support");
  EXPECT_SAYS(known, "noise (RandomNormalLike, domain ai.onnx, version 21)");
  EXPECT_SAYS(known,
              "bad_gelu (Gelu, domain ai.onnx, version 21): gelu with approximate=quick is not supported");
  EXPECT_SAYS(known,
              "bad_cast (Cast, domain ai.onnx, version 21): a cast to ONNX element type 17 is not supported");
  EXPECT_EQ(known.find("after"), std::string::npos) << known;
}

constexpr char kLoop[] = R"(g (float[1,2] x) => (float[1,2] y)
    <float[2,2] w_weight = {0.5, 0, 0, 2}, int64 n = {%N}, bool go = {1}> {
    x0 = MatMul (x, w_weight)
    y = Loop (n, go, x0) <body = b (int64 i, bool c, float[1,2] s) => (bool c2, float[1,2] t) {
      c2 = Identity (c)
      t = MatMul (s, w_weight)
    }>
  })";

std::string WithTrips(const std::string& n) {
  std::string text = kLoop;
  return text.replace(text.find("%N"), 2, n);
}

TEST(Lowering, ALoopIsUnrolledAndItsWeightStaysOne) {
  auto graph = Import(WithTrips("3"));
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  ASSERT_EQ(graph->weights.size(), 1u);
  EXPECT_EQ(graph->weights[0].name, "w_weight");
  int products = 0;
  for (const Node& node : graph->nodes) products += node.op == Op::kLinear;
  EXPECT_EQ(products, 4);
  EXPECT_EQ(Compute(WithTrips("3"), {{"x", Floats({1, 2}, {16, 1})}}), (std::vector<float>{1, 16}));
}

TEST(Lowering, LoopsHaveALimit) {
  EXPECT_SAYS(ErrorOf(WithTrips("1025")), "a loop of more than 1024 trips is not supported");
  EXPECT_EQ(ErrorOf(WithTrips("1024")), "imported");
  EXPECT_SAYS(ErrorOf(R"(g (float[1,2] x, int64 n) => (float[1,2] y) <bool go = {1}> {
    y = Loop (n, go, x) <body = b (int64 i, bool c, float[1,2] s) => (bool c2, float[1,2] t) {
      c2 = Identity (c)
      t = Relu (s)
    }>
  })"),
              "its trip count is not one known number");
}

TEST(Lowering, AScanRunsAlongItsSequence) {
  const std::string scan = R"(g (float[2] s, float[3,2] x) => (float[3,2] y) {
    last, y = Scan <num_scan_inputs = 1, body = b (float[2] a, float[2] e) => (float[2] c, float[2] d) {
      c = Add (a, e)
      d = Identity (c)
    }> (s, x)
  })";
  EXPECT_EQ(Compute(scan, {{"s", Floats({2}, {1, 0})}, {"x", Floats({3, 2}, {1, 2, 3, 4, 5, 6})}}),
            (std::vector<float>{2, 2, 5, 6, 10, 12}));
}

TEST(Lowering, AConditionOfTheInputsChoosesBetweenBothBranches) {
  const std::string branch = R"(g (float[2] x) => (float[2] y) <float zero = {0}, int64[1] axis = {0}> {
    sum = ReduceSum <keepdims = 0> (x, axis)
    c = Greater (sum, zero)
    y = If (c) <then_branch = t () => (float[2] a) { a = Neg (x) },
                else_branch = e () => (float[2] b) { b = Exp (x) }>
  })";
  EXPECT_EQ(Compute(branch, {{"x", Floats({2}, {1, 2})}}), (std::vector<float>{-1, -2}));
  EXPECT_EQ(Compute(branch, {{"x", Floats({2}, {-1, 0})}})[1], 1);
}

TEST(Lowering, TheLargestOfMinusInfinitiesAreDifferentElements) {
  const float low = -INFINITY;
  const std::string top =
      R"(g (float[1,4] x) => (float[1,4] y) <int64[1] k = {3}, float[4] zero = {0, 0, 0, 0}, int64 depth = {4}, float[2] off_on = {0, 1}, int64[1] axis = {1}> {
    v, i = TopK (x, k)
    hot = OneHot (i, depth, off_on)
    y = ReduceSum <keepdims = 0> (hot, axis)
  })";
  EXPECT_EQ(Compute(top, {{"x", Floats({1, 4}, {low, low, 5, low})}}), (std::vector<float>{1, 1, 1, 0}));
}

TEST(Lowering, ConstantsInBinary64Fold) {
  const std::string folded =
      R"(g (float[2] x) => (float[2] y) <double[2,2] a = {1, 2, 3, 4}, double[2] v = {1, 10}> {
    p = MatMul (a, v)
    f = Cast <to = 1> (p)
    y = Add (x, f)
  })";
  EXPECT_EQ(Compute(folded, {{"x", Floats({2}, {0, 0})}}), (std::vector<float>{21, 43}));
}

TEST(Lowering, RecurrentLayersHaveALimit) {
  EXPECT_SAYS(ErrorOf(R"(g (float[1025,1,2] x) => (float[1025,1,1,3] y)
      <float[1,3,2] w = {0, 0, 0, 0, 0, 0}, float[1,3,3] r = {0, 0, 0, 0, 0, 0, 0, 0, 0}> {
    y = RNN <hidden_size = 3> (x, w, r)
  })"),
              "1025 positions are more than the 1024 that a recurrent layer is unrolled for");
}

TEST(Lowering, OutputsWithoutElementsAreRefused) {
  EXPECT_SAYS(
      ErrorOf(R"(g (float[2,3] x) => (float[2,0] y) <int64[1] s = {3}, int64[1] e = {3}, int64[1] a = {1}> {
    y = Slice (x, s, e, a)
  })"),
      "output y has no elements");
}

}  // namespace
}  // namespace zo2
