// Small files that ask for much: bounded, and said.
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <filesystem>
#include <fstream>

#include "frontend/import.h"

namespace zo2 {
namespace {

class Model {
 public:
  Model() {
    proto_.set_ir_version(10);
    proto_.add_opset_import()->set_version(18);
    proto_.mutable_graph()->set_name("hostile");
    Declare(proto_.mutable_graph()->add_input(), "x");
    Declare(proto_.mutable_graph()->add_output(), "y");
    Node("Relu", {"x"}, "y");
  }
  Model& Node(const std::string& op, const std::vector<std::string>& inputs, const std::string& output) {
    Fill(proto_.mutable_graph()->add_node(), op, "", inputs, output);
    return *this;
  }
  Model& Output(const std::string& name) {
    Declare(proto_.mutable_graph()->add_output(), name);
    return *this;
  }
  Model& Ints(const std::string& name, const std::vector<int64_t>& values, bool scalar = false) {
    auto* tensor = proto_.mutable_graph()->add_initializer();
    tensor->set_name(name);
    tensor->set_data_type(onnx::TensorProto::INT64);
    if (!scalar) tensor->add_dims(static_cast<int64_t>(values.size()));
    for (const int64_t v : values) tensor->add_int64_data(v);
    return *this;
  }
  // Two calls of `callee` one after the other.
  Model& Function(const std::string& name, const std::string& callee, const std::string& domain = "local") {
    if (proto_.functions_size() == 0) {
      auto* opset = proto_.add_opset_import();
      opset->set_domain("local");
      opset->set_version(1);
      Fill(proto_.mutable_graph()->add_node(), name, "local", {"x"}, "z");
    }
    auto* function = proto_.add_functions();
    function->set_domain("local");
    function->set_name(name);
    function->add_input("a");
    function->add_output("b");
    *function->mutable_opset_import() = proto_.opset_import();
    Fill(function->add_node(), callee, domain, {"a"}, "t");
    Fill(function->add_node(), callee, domain, {"t"}, "b");
    return *this;
  }
  Result<Graph> Import(const ImportOptions& options = {}) const {
    const std::string path = testing::TempDir() + "/hostile_model_test.onnx";
    std::ofstream out(path, std::ios::binary);
    proto_.SerializeToOstream(&out);
    out.close();
    return ImportOnnx(path, options);
  }
  // What is wrong, and that the file is to blame.
  std::string Error() const {
    const Result<Graph> graph = Import();
    if (graph.ok()) return "imported";
    EXPECT_EQ(graph.status().code(), Code::kInvalid);
    return graph.status().message();
  }

 private:
  static void Declare(onnx::ValueInfoProto* value, const std::string& name) {
    value->set_name(name);
    auto* type = value->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    for (const int64_t size : {2, 4}) type->mutable_shape()->add_dim()->set_dim_value(size);
  }
  static void Fill(onnx::NodeProto* node, const std::string& op, const std::string& domain,
                   const std::vector<std::string>& inputs, const std::string& output) {
    node->set_op_type(op);
    node->set_domain(domain);
    node->set_name(output);
    for (const std::string& input : inputs) node->add_input(input);
    node->add_output(output);
  }
  onnx::ModelProto proto_;
};

#define EXPECT_SAYS(error, part) EXPECT_NE((error).find(part), std::string::npos) << (error)

TEST(HostileModel, FunctionsAreExpanded) {
  Model model;
  model.Function("f0", "f1").Function("f1", "Relu", "");
  const Result<Graph> graph = model.Import();
  ASSERT_TRUE(graph.ok()) << graph.status().message();
}

TEST(HostileModel, FunctionsThatCallTheNextTwiceAreCountedBeforeTheyAreExpanded) {
  Model model;
  for (int i = 0; i < 30; ++i)
    model.Function("f" + std::to_string(i), i < 29 ? "f" + std::to_string(i + 1) : "Relu",
                   i < 29 ? "local" : "");
  EXPECT_SAYS(model.Error(), "its functions expand to 1073741825 nodes, more than 100000");
}

TEST(HostileModel, FunctionsThatNeverEnd) {
  EXPECT_SAYS(Model().Function("f0", "f0").Error(), "function f0 calls itself");
  EXPECT_SAYS(Model().Function("f0", "f1").Function("f1", "f0").Error(), "calls itself");
  Model deep;
  for (int i = 0; i < 100; ++i) deep.Function("f" + std::to_string(i), "f" + std::to_string(i + 1));
  EXPECT_SAYS(deep.Error(), "functions are nested more than 64 deep");
}

TEST(HostileModel, RangesAreAsLongAsAConstantMayBe) {
  Model model;
  model.Ints("a", {0}, true)
      .Ints("b", {int64_t{1} << 29}, true)
      .Ints("c", {1}, true)
      .Node("Range", {"a", "b", "c"}, "r");
  EXPECT_SAYS(model.Error(), "a range of 5.36871e+08 elements is not supported");
  Model none;
  none.Ints("a", {0}, true).Ints("b", {9}, true).Ints("c", {0}, true).Node("Range", {"a", "b", "c"}, "r");
  EXPECT_SAYS(none.Error(), "a range with a delta of 0");
}

TEST(HostileModel, SizesBesideAZeroAreCounted) {
  Model model;
  model.Ints("s", {0, int64_t{1} << 40, int64_t{1} << 40}).Node("ConstantOfShape", {"s"}, "c");
  EXPECT_SAYS(model.Error(), "its result would have more than 2^48 elements");
}

// Each constant is within the limit, but 40 of them are more than 16 times it: the later ones are left to be
// computed.
TEST(HostileModel, FoldedConstantsAreBoundedTogether) {
  ImportOptions options;
  options.max_fold_bytes = 2 * 4 * sizeof(float);
  const auto nodes = [&](int n) -> size_t {
    Model model;
    model.Ints("s", {2, 4}).Node("ConstantOfShape", {"s"}, "c0");
    for (int i = 0; i < n; ++i) model.Node("Cos", {"c" + std::to_string(i)}, "c" + std::to_string(i + 1));
    model.Node("Add", {"x", "c" + std::to_string(n)}, "z").Output("z");
    const Result<Graph> graph = model.Import(options);
    EXPECT_TRUE(graph.ok()) << graph.status().message();
    return graph.ok() ? graph->nodes.size() : 0;
  };
  EXPECT_EQ(nodes(5), 2u);
  EXPECT_GT(nodes(40), 20u);
  options.max_fold_bytes *= 100;
  EXPECT_EQ(nodes(40), 2u);
}

}  // namespace
}  // namespace zo2
