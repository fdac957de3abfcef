// Bad files and bad requests: one sentence each.
#include <gtest/gtest.h>
#include <onnx/onnx_pb.h>

#include <fstream>

#include "frontend/import.h"
#include "models.h"

namespace zo2 {
namespace {

std::string Temp(const std::string& name) {
  const std::string dir = testing::TempDir() + "/import_errors_test";
  std::filesystem::create_directories(dir);
  return dir + "/" + name;
}

// y = x [batch, 4] @ w [4, 3]
onnx::ModelProto Small() {
  onnx::ModelProto model;
  model.set_ir_version(8);
  auto* opset = model.add_opset_import();
  opset->set_version(17);
  auto* graph = model.mutable_graph();
  graph->set_name("small");
  auto declare = [](onnx::ValueInfoProto* value, const std::string& name, const std::string& dim,
                    int64_t last) {
    value->set_name(name);
    auto* type = value->mutable_type()->mutable_tensor_type();
    type->set_elem_type(onnx::TensorProto::FLOAT);
    if (dim.empty())
      type->mutable_shape()->add_dim();
    else
      type->mutable_shape()->add_dim()->set_dim_param(dim);
    type->mutable_shape()->add_dim()->set_dim_value(last);
  };
  declare(graph->add_input(), "x", "batch", 4);
  declare(graph->add_output(), "y", "batch", 3);
  auto* w = graph->add_initializer();
  w->set_name("fc.weight");
  w->set_data_type(onnx::TensorProto::FLOAT);
  w->add_dims(4);
  w->add_dims(3);
  w->set_raw_data(std::string(48, '\0'));
  auto* node = graph->add_node();
  node->set_op_type("MatMul");
  node->set_name("fc");
  node->add_input("x");
  node->add_input("fc.weight");
  node->add_output("y");
  return model;
}

std::string Save(const onnx::ModelProto& model) {
  const std::string path = Temp("small.onnx");
  std::ofstream out(path, std::ios::binary);
  model.SerializeToOstream(&out);
  return path;
}

std::string ErrorOf(const onnx::ModelProto& model, std::map<std::string, int64_t> bind = {{"batch", 2}}) {
  ImportOptions options;
  options.bind = std::move(bind);
  auto graph = ImportOnnx(Save(model), options);
  if (graph.ok()) return "imported";
  EXPECT_EQ(graph.status().code(), Code::kInvalid) << graph.status().message();
  EXPECT_EQ(graph.status().message().find('\n'), std::string::npos);
  return graph.status().message();
}

#define EXPECT_SAYS(error, part) EXPECT_NE((error).find(part), std::string::npos) << (error)

onnx::TensorProto* External(onnx::ModelProto* model, const std::string& location, const std::string& offset,
                            const std::string& length) {
  auto* w = model->mutable_graph()->mutable_initializer(0);
  w->clear_raw_data();
  w->set_data_location(onnx::TensorProto::EXTERNAL);
  for (const auto& [key, value] :
       {std::pair("location", location), std::pair("offset", offset), std::pair("length", length)}) {
    if (value.empty()) continue;
    auto* entry = w->add_external_data();
    entry->set_key(key);
    entry->set_value(value);
  }
  return w;
}

TEST(ImportErrors, TheSmallModelIsGood) {
  EXPECT_EQ(ErrorOf(Small()), "imported");
  EXPECT_EQ(ErrorOf(Small(), {{"x.0", 2}}), "imported");
}

TEST(ImportErrors, NotOnnx) {
  const std::string path = Temp("text.onnx");
  std::ofstream(path) << "this is not a model";
  EXPECT_SAYS(ImportOnnx(path, {}).status().message(), "is not an ONNX model");
  std::ofstream(path, std::ios::trunc).close();
  EXPECT_SAYS(ImportOnnx(path, {}).status().message(), "is not an ONNX model");
  EXPECT_SAYS(ImportOnnx(Temp("absent.onnx"), {}).status().message(), "No such file");
  // Every truncation of a good file is refused, none crashes.
  std::string bytes = Small().SerializeAsString();
  ImportOptions options;
  options.bind = {{"batch", 2}};
  for (size_t n = 0; n < bytes.size(); ++n) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes.substr(0, n);
    EXPECT_FALSE(ImportOnnx(path, options).ok()) << n;
  }
  // Nor does any single damaged byte crash; most are refused, some only change values or names.
  for (size_t n = 0; n < bytes.size(); ++n)
    for (int flip : {1, 0x80, 0xff}) {
      std::string damaged = bytes;
      damaged[n] = static_cast<char>(damaged[n] ^ flip);
      std::ofstream(path, std::ios::binary | std::ios::trunc) << damaged;
      auto graph = ImportOnnx(path, options);
      EXPECT_TRUE(graph.ok() || graph.status().code() == Code::kInvalid)
          << n << ": " << graph.status().message();
    }
}

TEST(ImportErrors, Dimensions) {
  EXPECT_SAYS(ErrorOf(Small(), {}), "has dimensions without a size: batch; bind them with --bind batch=N");
  EXPECT_SAYS(ErrorOf(Small(), {{"batch", 2}, {"sequence", 3}}),
              "has no dimension named sequence; it has batch");
  EXPECT_SAYS(ErrorOf(Small(), {{"batch", 0}}), "cannot be bound to 0");
  auto anonymous = Small();
  anonymous.mutable_graph()
      ->mutable_input(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(0)
      ->Clear();
  EXPECT_SAYS(ErrorOf(anonymous, {}), "x.0");
  EXPECT_EQ(ErrorOf(anonymous, {{"x.0", 2}}), "imported");
  EXPECT_EQ(ErrorOf(anonymous, {{"batch", 2}}), "imported");
  auto fixed = Small();
  fixed.mutable_graph()
      ->mutable_input(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(0)
      ->set_dim_value(5);
  EXPECT_SAYS(ErrorOf(fixed, {{"batch", 2}}), "batch is fixed at 5");
  EXPECT_EQ(ErrorOf(fixed, {{"batch", 5}}), "imported");
}

TEST(ImportErrors, EveryUnsupportedNodeAtOnce) {
  auto model = Small();
  auto* custom = model.add_opset_import();
  custom->set_domain("com.example");
  custom->set_version(3);
  auto* graph = model.mutable_graph();
  graph->mutable_node(0)->set_output(0, "h");
  auto* a = graph->add_node();
  a->set_op_type("Magic");
  a->set_domain("com.example");
  a->set_name("trick");
  a->add_input("h");
  a->add_output("m");
  auto* b = graph->add_node();
  b->set_op_type("StringNormalizer");
  b->set_name("words");
  b->add_input("m");
  b->add_output("y");
  const std::string error = ErrorOf(model);
  EXPECT_SAYS(error, "has 2 nodes that zo2 does not support");
  EXPECT_SAYS(error, "trick (Magic, domain com.example, version 3)");
  EXPECT_SAYS(error, "words (StringNormalizer, domain ai.onnx, version 17)");
}

TEST(ImportErrors, Structure) {
  auto model = Small();
  model.mutable_graph()->mutable_node(0)->set_input(0, "nobody");
  EXPECT_SAYS(ErrorOf(model), "nobody");
  model = Small();
  model.mutable_graph()->mutable_output(0)->set_name("z");
  EXPECT_SAYS(ErrorOf(model), "z");
  model = Small();
  model.mutable_opset_import(0)->set_version(9);
  EXPECT_SAYS(ErrorOf(model), "uses ONNX opset 9; supported are 13 to 24");
  model = Small();
  model.mutable_graph()
      ->mutable_input(0)
      ->mutable_type()
      ->mutable_tensor_type()
      ->mutable_shape()
      ->mutable_dim(1)
      ->set_dim_value(5);
  EXPECT_SAYS(ErrorOf(model), "fc (MatMul");
  model = Small();
  *model.mutable_graph()->add_initializer() = model.graph().initializer(0);
  EXPECT_SAYS(ErrorOf(model), "two initializers named fc.weight");
}

TEST(ImportErrors, ShapesThatDependOnValues) {
  auto model = Small();
  auto* graph = model.mutable_graph();
  auto* ids = graph->add_input();
  ids->set_name("size");
  ids->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::INT64);
  ids->mutable_type()->mutable_tensor_type()->mutable_shape()->add_dim()->set_dim_value(2);
  graph->mutable_node(0)->set_output(0, "h");
  auto* node = graph->add_node();
  node->set_op_type("Reshape");
  node->set_name("dynamic");
  node->add_input("h");
  node->add_input("size");
  node->add_output("y");
  EXPECT_SAYS(ErrorOf(model),
              "dynamic (Reshape, domain ai.onnx, version 17): its shape depends on the values of the inputs");
}

// An index that is one number for all examples, as an exporter makes it of logits_to_keep.
TEST(ImportErrors, ScalarInputs) {
  auto model = Small();
  auto* graph = model.mutable_graph();
  auto* index = graph->add_input();
  index->set_name("keep");
  index->mutable_type()->mutable_tensor_type()->set_elem_type(onnx::TensorProto::INT64);
  index->mutable_type()->mutable_tensor_type()->mutable_shape();
  graph->mutable_node(0)->set_output(0, "h");
  auto* node = graph->add_node();
  node->set_op_type("Gather");
  node->set_name("pick");
  node->add_input("h");
  node->add_input("keep");
  node->add_output("y");
  auto* axis = node->add_attribute();
  axis->set_name("axis");
  axis->set_type(onnx::AttributeProto::INT);
  axis->set_i(1);
  graph->mutable_output(0)->mutable_type()->mutable_tensor_type()->mutable_shape()->mutable_dim()->RemoveLast();
  auto inputs = [&](std::map<std::string, int64_t> bind) {
    ImportOptions options;
    options.bind = std::move(bind);
    auto imported = ImportOnnx(Save(model), options);
    EXPECT_TRUE(imported.ok()) << imported.status().message();
    return imported.ok() ? imported->inputs.size() : 0;
  };
  EXPECT_EQ(inputs({{"batch", 2}}), 2u);
  EXPECT_EQ(inputs({{"batch", 2}, {"keep", 2}}), 1u);
  EXPECT_EQ(inputs({{"batch", 2}, {"keep", -3}}), 1u);
  EXPECT_SAYS(ErrorOf(model, {{"batch", 2}, {"keep", 3}}), "pick (Gather, domain ai.onnx, version 17): it takes index 3 of an axis of 3");
  EXPECT_SAYS(ErrorOf(model, {{"batch", 2}, {"keep", -4}}), "it takes index -4 of an axis of 3");
}

TEST(ImportErrors, HostileTensors) {
  auto model = Small();
  model.mutable_graph()->mutable_initializer(0)->set_raw_data(std::string(44, '\0'));
  EXPECT_SAYS(ErrorOf(model), "has 44 bytes of data where its shape needs 48");
  model.mutable_graph()->mutable_initializer(0)->set_dims(0, -4);
  EXPECT_SAYS(ErrorOf(model), "impossible dimension -4");
  model.mutable_graph()->mutable_initializer(0)->set_dims(0, int64_t{1} << 40);
  model.mutable_graph()->mutable_initializer(0)->set_dims(1, int64_t{1} << 40);
  EXPECT_SAYS(ErrorOf(model), "impossibly large");
  std::ofstream(Temp("weights.bin"), std::ios::binary) << std::string(100, '\0');
  struct Case {
    const char *location, *offset, *length, *says;
  } cases[] = {
      {"weights.bin", "52", "48", "imported"},
      {"weights.bin", "53", "48", "which has only 100: the file is truncated"},
      {"weights.bin", "18446744073709551615", "48", "truncated"},
      {"weights.bin", "0", "18446744073709551615", "where its shape needs 48"},
      {"weights.bin", "0", "47", "has 47 bytes of external data where its shape needs 48"},
      {"weights.bin", "-1", "48", "not a number: -1"},
      {"weights.bin", "99999999999999999999", "48", "not a number"},
      {"../weights.bin", "0", "48", "not inside the model's folder"},
      {"a/../../b", "0", "48", "not inside the model's folder"},
      {"/etc/passwd", "0", "48", "not inside the model's folder"},
      {"", "0", "48", "not inside the model's folder"},
      {"absent.bin", "0", "48", "imported"},
  };
  for (const Case& c : cases) {
    auto external = Small();
    External(&external, c.location, c.offset, c.length);
    SCOPED_TRACE(std::string(c.location) + " " + c.offset + " " + c.length);
    EXPECT_SAYS(ErrorOf(external), c.says);
  }
}

}  // namespace
}  // namespace zo2
