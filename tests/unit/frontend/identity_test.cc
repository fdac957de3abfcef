// The rules of identity on models small enough to read.
#include "frontend/identity.h"

#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <fstream>

#include "frontend/import.h"
#include "frontend/scope.h"

namespace zo2 {
namespace {

// A model under construction: x [2,4] goes through the nodes in order; the last output is the model's.
class Builder {
 public:
  Builder() {
    model_.set_ir_version(8);
    model_.add_opset_import()->set_version(17);
    graph()->set_name("g");
    Declare(graph()->add_input(), "x", {2, 4});
  }
  onnx::GraphProto* graph() { return model_.mutable_graph(); }
  onnx::ModelProto* model() { return &model_; }
  static void Declare(onnx::ValueInfoProto* value, const std::string& name, const Shape& shape) {
    value->set_name(name);
    auto* type = value->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    type->mutable_shape();
    for (int64_t d : shape) type->mutable_shape()->add_dim()->set_dim_value(d);
  }
  // Values 1, 2, 3, ... plus `start`, or all `start` when uniform.
  Builder& Tensor(const std::string& name, const Shape& shape, float start = 0, bool uniform = false) {
    auto* tensor = graph()->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::FLOAT);
    std::vector<float> values(static_cast<size_t>(NumElements(shape)), start);
    for (size_t i = 0; !uniform && i < values.size(); ++i) values[i] += static_cast<float>(i + 1);
    for (int64_t d : shape) tensor->add_dims(d);
    tensor->set_raw_data(values.data(), values.size() * 4);
    return *this;
  }
  Builder& Node(const std::string& op, const std::string& name, const std::vector<std::string>& inputs,
                const std::string& output) {
    auto* node = graph()->add_node();
    node->set_op_type(op);
    node->set_name(name);
    for (const auto& input : inputs) node->add_input(input);
    node->add_output(output);
    last_ = output;
    return *this;
  }
  Result<Graph> Import() {
    graph()->clear_output();
    auto* output = graph()->add_output();
    output->set_name(last_);
    output->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::FLOAT);
    const std::string path = testing::TempDir() + "/identity_test.onnx";
    std::ofstream out(path, std::ios::binary);
    model_.SerializeToOstream(&out);
    out.close();
    return ImportOnnx(path, {});
  }

 private:
  onnx::ModelProto model_;
  std::string last_;
};

std::set<std::string> Names(const Result<Graph>& graph) {
  EXPECT_TRUE(graph.ok()) << graph.status().message();
  std::set<std::string> names;
  if (graph.ok())
    for (const Weight& w : graph->weights) names.insert(w.name);
  return names;
}

using Set = std::set<std::string>;

TEST(Identity, NamesOfHandWrittenModelsAreKept) {
  Builder b;
  b.Tensor("W1", {4, 3}).Tensor("b1", {3}).Tensor("two", {});
  b.Node("MatMul", "", {"x", "W1"}, "h").Node("Add", "", {"h", "b1"}, "i").Node("Mul", "", {"i", "two"}, "y");
  auto graph = b.Import();
  EXPECT_EQ(Names(graph), (Set{"W1", "b1"}));
  EXPECT_EQ(graph->weights[0].shape, (Shape{4, 3}));  // no scope says that this is a transpose
}

TEST(Identity, BuffersAreConstants) {
  Builder b;
  b.model()->set_producer_name("pytorch");
  b.Tensor("rope.inv_freq", {4})
      .Tensor("attn.mask", {2, 4})
      .Tensor("norm.weight", {4})
      .Tensor("unsqueeze_3", {4});
  b.Node("Mul", "/rope/Mul", {"x", "rope.inv_freq"}, "a").Node("Add", "/attn/Add", {"a", "attn.mask"}, "b");
  b.Node("Mul", "/norm/Mul", {"norm.weight", "b"}, "c").Node("Mul", "/Mul", {"c", "unsqueeze_3"}, "y");
  EXPECT_EQ(Names(b.Import()), Set{"norm.weight"});
}

TEST(Identity, AnonymousTransposesGetTheirModulesName) {
  Builder b;
  b.Tensor("root.block.fc.bias", {3}).Tensor("onnx::MatMul_7", {4, 3}).Tensor("onnx::MatMul_8", {3, 4});
  b.Node("MatMul", "/block/fc/MatMul", {"x", "onnx::MatMul_7"}, "h");
  b.Node("Add", "/block/fc/Add", {"root.block.fc.bias", "h"}, "i");
  b.Node("MatMul", "/block/out/MatMul", {"i", "onnx::MatMul_8"}, "y");
  auto graph = b.Import();
  EXPECT_EQ(Names(graph), (Set{"root.block.fc.bias", "root.block.fc.weight", "root.block.out.weight"}));
  for (const Weight& w : graph->weights)
    if (w.name == "root.block.fc.weight") {
      EXPECT_EQ(w.shape, (Shape{3, 4}));
      float values[12];
      ASSERT_TRUE(LoadWeight(w, testing::TempDir(), values).ok());
      EXPECT_EQ(values[1], 4);  // [0][1] of the transpose of 1, 2, 3 / 4, 5, 6 / ...
    }
}

TEST(Identity, MergedEqualParametersAreSeparatedAndSharedOnesAreNot) {
  for (bool uniform : {true, false}) {
    Builder b;
    b.Tensor("a.norm.bias", {4}, 0, uniform).Tensor("a.norm.weight", {4}, 1, true);
    b.Node("LayerNormalization", "/a/norm/LayerNormalization", {"x", "a.norm.weight", "a.norm.bias"}, "h");
    b.Node("Add", "/b/fc/Add", {"h", "a.norm.bias"}, "y");
    auto graph = b.Import();
    if (uniform) {
      EXPECT_EQ(Names(graph), (Set{"a.norm.bias", "a.norm.weight", "b.fc.bias"}));
    } else {
      EXPECT_EQ(Names(graph), (Set{"a.norm.bias", "a.norm.weight"}));
      for (const Weight& w : graph->weights)
        EXPECT_EQ(w.aliases, w.name == "a.norm.bias" ? std::vector<std::string>{"b.fc.bias"}
                                                     : std::vector<std::string>{});
    }
  }
}

TEST(Identity, OnlyTablesAndProjectionsTieByBytes) {
  for (bool same : {true, false}) {
    Builder b;
    auto* ids = b.graph()->add_input();
    ids->set_name("ids");
    ids->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::INT64);
    ids->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(2);
    b.Tensor("embed.weight", {4, 4})
        .Tensor("fc.weight", {4, 4})
        .Tensor("head.weight", {4, 4}, same ? 0.0f : 1.0f);
    b.Tensor("fc2.weight", {4, 4}, 5).Tensor("fc3.weight", {4, 4}, 5);
    b.Node("Gather", "/embed/Gather", {"embed.weight", "ids"}, "e").Node("Add", "/Add", {"e", "x"}, "a");
    b.Node("MatMul", "/fc2/MatMul", {"a", "fc2.weight"}, "c")
        .Node("MatMul", "/fc3/MatMul", {"c", "fc3.weight"}, "d");
    b.Node("MatMul", "/head/MatMul", {"d", "head.weight"}, "y");
    const Set names = Names(b.Import());
    EXPECT_EQ(names.count("head.weight"), same ? 0u : 1u);
    EXPECT_TRUE(names.count("fc2.weight") && names.count("fc3.weight"));  // equal bytes, two projections
    EXPECT_EQ(names.count("fc.weight"), 0u);                              // used by nobody
  }
}

TEST(Identity, LocalFunctionsAreInlined) {
  Builder b;
  b.Tensor("fc.weight", {4, 4});
  auto* domain = b.model()->add_opset_import();
  domain->set_domain("local");
  domain->set_version(1);
  auto* function = b.model()->add_functions();
  function->set_name("Twice");
  function->set_domain("local");
  function->add_opset_import()->set_version(17);
  function->add_input("a");
  function->add_input("w");
  function->add_output("b");
  for (const auto& [in, out] : {std::pair("a", "m"), std::pair("m", "b")}) {
    auto* node = function->add_node();
    node->set_op_type("MatMul");
    node->add_input(in);
    node->add_input("w");
    node->add_output(out);
  }
  b.Node("Twice", "call", {"x", "fc.weight"}, "y");
  b.graph()->mutable_node(0)->set_domain("local");
  auto graph = b.Import();
  EXPECT_EQ(Names(graph), Set{"fc.weight"});
  EXPECT_EQ(graph->nodes.size(), 2u);
}

TEST(Identity, WeightsInConstantNodes) {
  Builder b;
  auto* node = b.graph()->add_node();
  node->set_op_type("Constant");
  node->add_output("fc.weight");
  auto* attribute = node->add_attribute();
  attribute->set_name("value");
  attribute->set_type(onnx::AttributeProto::TENSOR);
  auto* tensor = attribute->mutable_t();
  tensor->set_data_type(onnx::TensorProto::FLOAT);
  tensor->add_dims(4);
  tensor->add_dims(2);
  for (int i = 0; i < 8; ++i) tensor->add_float_data(static_cast<float>(i));
  b.Node("MatMul", "fc", {"x", "fc.weight"}, "y");
  auto graph = b.Import();
  ASSERT_EQ(Names(graph), Set{"fc.weight"});
  float values[8];
  ASSERT_TRUE(LoadWeight(graph->weights[0], testing::TempDir(), values).ok());
  EXPECT_EQ(values[5], 5);
}

TEST(Scope, LegacyScopesLeaveModulesOut) {
  ScopeMap map;
  Scope scope;
  scope.known = true;
  scope.path = {"model", "decoder", "layers", "0", "fc1"};
  map.Learn(scope, "model.model.decoder.layers.0.fc1.bias");
  scope.path.back() = "fc2";
  EXPECT_EQ(map.Module(scope), "model.model.decoder.layers.0.fc2");
  scope.path = {"model", "lm_head"};
  EXPECT_EQ(map.Module(scope), "model.lm_head");
  scope.path = {"classifier"};
  EXPECT_EQ(map.Module(scope), "classifier");
}

TEST(Scope, AnonymousNames) {
  for (const char* name : {"", "onnx::MatMul_417", "val_96", "/model/Constant_output_0", "123"})
    EXPECT_TRUE(IsAnonymous(name)) << name;
  for (const char* name : {"lm_head.weight", "W1", "val", "transformer.h.0.attn.bias"})
    EXPECT_FALSE(IsAnonymous(name)) << name;
}

}  // namespace
}  // namespace zo2
