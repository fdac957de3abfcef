// attach_loss, and what the pipeline assigns after the passes.
#include <sstream>

#include "frontend/attach_loss.h"
#include "frontend/pipeline.h"
#include "tests/unit/frontend/pass_test_util.h"

namespace zo2 {
namespace {

// hidden -> norm -> linear -> logits [2,3,7]
GraphBuilder Language(bool bias = false) {
  GraphBuilder b;
  ValueId w = b.Weight("embed.weight", {7, 8});
  ValueId x = b.Make(Op::kEmbedding, {b.Input("input_ids", {2, 3}, DType::kI64), w});
  x = b.Make(Op::kLayerNorm, {x, b.Weight("norm.weight", {8}), b.Weight("norm.bias", {8})}, {{"eps", 1e-5}});
  std::vector<ValueId> inputs = {x, w};
  if (bias) inputs.push_back(b.Weight("head.bias", {7}));
  b.Output(b.Make(Op::kLinear, inputs, {{"trans_w", int64_t{1}}}), "logits");
  return b;
}

Result<void> Attach(Graph& g, const std::string& loss, std::vector<std::string> keep = {}) {
  auto result = AttachLoss(g, {loss, std::move(keep)});
  if (result.ok()) {
    auto valid = VerifyGraph(g);
    EXPECT_TRUE(valid.ok()) << valid.status().message();
  }
  return result;
}

TEST(AttachLoss, TheHeadGoesIntoTheLoss) {
  for (bool bias : {false, true}) {
    Graph g = Language(bias).graph;
    ASSERT_TRUE(Attach(g, "auto").ok());
    EXPECT_EQ(g.loss.kind, "causal-lm");
    EXPECT_EQ(CountOps(g, Op::kLinear), 0) << "logits of the whole vocabulary must not exist";
    const Node& loss = g.nodes[static_cast<size_t>(g.loss.node)];
    EXPECT_EQ(loss.op, Op::kCausalLmLoss);
    EXPECT_EQ(loss.inputs.size(), bias ? 4U : 3U);
    EXPECT_TRUE(g.outputs.empty());
    EXPECT_EQ(g.value(g.loss.labels).name, "labels");
    EXPECT_EQ(g.inputs.back(), g.loss.labels);
    EXPECT_EQ(g.value(g.loss.labels).type, (TensorType{DType::kI64, {2, 3}}));
  }
}

TEST(AttachLoss, LogitsStayWhenAskedFor) {
  Graph g = Language().graph;
  ASSERT_TRUE(Attach(g, "causal-lm", {"logits"}).ok());
  EXPECT_EQ(CountOps(g, Op::kLinear), 1);
  EXPECT_EQ(g.outputs.size(), 1U);
}

TEST(AttachLoss, LogitsThatNoLinearMakes) {
  GraphBuilder b = Language();
  ValueId logits = b.graph.outputs[0];
  b.graph.outputs.clear();
  b.Output(b.Make(Op::kTanh, {logits}), "capped");
  ASSERT_TRUE(Attach(b.graph, "auto").ok());
  EXPECT_EQ(b.graph.nodes[static_cast<size_t>(b.graph.loss.node)].op, Op::kTokenLoss);
}

TEST(AttachLoss, OtherKinds) {
  auto model = [](Shape shape) {
    GraphBuilder b;
    b.Output(b.Make(Op::kNeg, {b.Input("x", std::move(shape))}), "y");
    return std::move(b.graph);
  };
  struct Case {
    Shape shape;
    const char* loss;
    const char* kind;
    Op op;
  };
  for (const Case& c :
       {Case{{2, 5}, "auto", "classify", Op::kClassifyLoss}, Case{{2, 1}, "auto", "mse", Op::kMseLoss},
        Case{{}, "auto", "output:y", Op::kOutputLoss}, Case{{2}, "auto", "output:y", Op::kOutputLoss},
        Case{{2, 5}, "mse", "mse", Op::kMseLoss}, Case{{2, 5}, "output:y", "output:y", Op::kOutputLoss}}) {
    Graph g = model(c.shape);
    ASSERT_TRUE(Attach(g, c.loss).ok()) << c.loss;
    EXPECT_EQ(g.loss.kind, c.kind);
    EXPECT_EQ(g.nodes[static_cast<size_t>(g.loss.node)].op, c.op);
    EXPECT_EQ(g.outputs.size(), 1U) << "outputs are kept";
  }
  Graph none = model({2, 5});
  ASSERT_TRUE(Attach(none, "none").ok());
  EXPECT_EQ(none.loss.node, -1);
}

TEST(AttachLoss, ErrorsSayWhatToDo) {
  auto message = [](const std::string& loss, std::vector<std::string> keep = {}) {
    Graph g = Language().graph;
    auto result = Attach(g, loss, std::move(keep));
    EXPECT_FALSE(result.ok());
    EXPECT_EQ(result.status().code(), Code::kInvalid);
    return result.status().message();
  };
  EXPECT_NE(message("hinge").find("not one of auto"), std::string::npos);
  EXPECT_NE(message("output:los").find("it has: logits"), std::string::npos);
  EXPECT_NE(message("classify").find("[batch, classes]"), std::string::npos);
  EXPECT_NE(message("auto", {"hidden"}).find("no output hidden"), std::string::npos);
  GraphBuilder b = Language();
  b.Make(Op::kNeg, {b.Input("labels", {2, 9}, DType::kI64)});
  auto clash = Attach(b.graph, "auto");
  ASSERT_FALSE(clash.ok());
  EXPECT_NE(clash.status().message().find("another shape"), std::string::npos);
}

TEST(RunPasses, AssignsRolesDecayIdsAndTheTrainableSet) {
  Graph g = Language(true).graph;
  LoadOptions options;
  options.train = "norm|head";
  std::ostringstream printed;
  options.print_after = "attach-loss";
  options.print_to = &printed;
  auto result = RunPasses(g, options);
  ASSERT_TRUE(result.ok()) << result.status().message();
  EXPECT_NE(printed.str().find("// after attach-loss"), std::string::npos);
  EXPECT_EQ(printed.str().find("// after simplify"), std::string::npos);
  std::map<std::string, const Weight*> w;
  for (const Weight& weight : g.weights) w[weight.name] = &weight;
  EXPECT_EQ(w["embed.weight"]->role, WeightRole::kEmbedding) << "tied: both embedding and head";
  EXPECT_TRUE(w["embed.weight"]->decay);
  EXPECT_FALSE(w["embed.weight"]->trainable);
  EXPECT_EQ(w["norm.weight"]->role, WeightRole::kNormScale);
  EXPECT_FALSE(w["norm.weight"]->decay);
  EXPECT_TRUE(w["norm.weight"]->trainable);
  EXPECT_EQ(w["norm.bias"]->role, WeightRole::kBias);
  EXPECT_EQ(w["head.bias"]->role, WeightRole::kBias);
  for (const auto& [name, weight] : w) EXPECT_NE(weight->tensor_id, 0U) << name;
  EXPECT_EQ(g.model_digest.size(), 64U);
  Graph all = Language(true).graph;
  ASSERT_TRUE(RunPasses(all, {}).ok());
  EXPECT_EQ(all.model_digest, g.model_digest) << "the digest is of the model, not of what is trained";
}

TEST(RunPasses, RefusesBadOptions) {
  auto message = [](LoadOptions options) {
    Graph g = Language().graph;
    auto result = RunPasses(g, options);
    EXPECT_FALSE(result.ok());
    return result.status().message();
  };
  LoadOptions options;
  options.train = "(";
  EXPECT_NE(message(options).find("not a regular expression"), std::string::npos);
  options.train = "decoder";
  EXPECT_NE(message(options).find("matches none"), std::string::npos);
  options = {};
  options.print_after = "fuse";
  EXPECT_NE(message(options).find("fuse-attention"), std::string::npos);
}

}  // namespace
}  // namespace zo2
