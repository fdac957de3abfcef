// Every recorded model imports and computes what PyTorch computed.
#include <gtest/gtest.h>

#include <set>

#include "frontend/import.h"
#include "models.h"

namespace zo2 {
namespace {

using models::Dir;

class Models : public testing::TestWithParam<std::string> {};

Result<Graph> Import(const std::string& name, int64_t batch, int64_t seq,
                     const std::string& file = "model.onnx") {
  ImportOptions options;
  options.bind = {{"batch", batch}, {"seq", seq}};
  return ImportOnnx(Dir(name) + "/" + file, options);
}

void CheckOutputs(const std::string& name, int64_t batch, int64_t seq, const std::string& suffix,
                  const std::string& file = "model.onnx") {
  SCOPED_TRACE(file + " batch " + std::to_string(batch) + " seq " + std::to_string(seq));
  auto graph = Import(name, batch, seq, file);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  auto inputs = models::ReadTensors(Dir(name) + "/inputs" + suffix + ".safetensors");
  auto want = models::ReadTensors(Dir(name) + "/outputs" + suffix + ".safetensors");
  std::string model_dir = Dir(name);
  if (file.find('/') != std::string::npos) model_dir += "/" + file.substr(0, file.find('/'));
  auto got = EvaluateGraph(*graph, model_dir, inputs);
  ASSERT_TRUE(got.ok()) << got.status().message();
  int compared = 0;
  for (size_t i = 0; i < got->size(); ++i) {
    auto it = want.find(graph->value(graph->outputs[i]).name);
    if (it == want.end() && want.size() == 1 && got->size() == 1) it = want.begin();  // `raw` names its own
    if (it == want.end()) continue;
    ++compared;
    EXPECT_LT(models::RelativeError((*got)[i], it->second), 2e-5) << it->first;
  }
  EXPECT_GT(compared, 0) << "no recorded output has the name of a graph output";
}

TEST_P(Models, OutputsEqualTheRecordedOnes) {
  CheckOutputs(GetParam(), 2, 16, "");
  if (std::filesystem::exists(Dir(GetParam()) + "/inputs2.safetensors")) CheckOutputs(GetParam(), 3, 9, "2");
  if (std::filesystem::exists(Dir(GetParam()) + "/ext/model.onnx"))
    CheckOutputs(GetParam(), 2, 16, "", "ext/model.onnx");
}

// Names, shapes and ids that the recorded trajectory was made with, or the exporter's map where there is
// none.
TEST_P(Models, WeightsAreTheModelsParameters) {
  auto graph = Import(GetParam(), 2, 16);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  const auto meta = models::ReadJson(Dir(GetParam()) + "/meta.json");
  const auto trajectory = models::ReadJson(Dir(GetParam()) + "/trajectory.json");
  std::map<std::string, const Weight*> mine;
  for (const Weight& w : graph->weights) {
    mine[w.name] = &w;
    EXPECT_TRUE(w.trainable) << w.name;
  }
  EXPECT_EQ(mine.size(), graph->weights.size()) << "names are not unique";
  if (trajectory.is_object()) {
    std::set<std::string> names, expected;
    for (const auto& [name, weight] : mine) names.insert(name);
    for (const auto& [name, weight] : trajectory["weights"].items()) {
      expected.insert(name);
      if (mine.count(name) == 0) continue;
      EXPECT_EQ(mine[name]->shape, weight["shape"].get<Shape>()) << name;
      EXPECT_EQ(mine[name]->tensor_id, weight["tensor_id"].get<uint32_t>()) << name;
    }
    EXPECT_EQ(names, expected);
    return;
  }
  // Each parameter of the exporter's map is exactly one weight or an alias of one.
  const auto& map = meta["parameter_map"];
  std::map<std::string, int> found;
  for (const auto& [name, weight] : mine) {
    EXPECT_TRUE(map.contains(name)) << name << " is no parameter";
    ++found[name];
    for (const std::string& alias : weight->aliases)
      if (map.contains(alias)) ++found[alias];
  }
  const bool fresh = GetParam() == "opt-freshinit-sdpa-dynamo";
  for (const auto& [name, where] : map.items()) {
    const bool dropped =
        fresh && (name.find("fc1.bias") != std::string::npos || name.find("fc2.bias") != std::string::npos);
    EXPECT_EQ(found[name], dropped ? 0 : 1) << name;
    if (!dropped) continue;
    EXPECT_TRUE(std::any_of(graph->notes.begin(), graph->notes.end(), [&](const std::string& n) {
      return n.find("dropped: " + name) == 0;
    })) << name;
  }
}

TEST_P(Models, TiesAreTheModels) {
  auto graph = Import(GetParam(), 2, 16);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  const auto meta = models::ReadJson(Dir(GetParam()) + "/meta.json");
  std::set<std::string> tied;
  for (const auto& group : meta["tied_groups"]) {
    int holders = 0;
    for (const Weight& w : graph->weights) {
      std::set<std::string> names(w.aliases.begin(), w.aliases.end());
      names.insert(w.name);
      bool all = true;
      for (const auto& name : group) all = all && names.count(name.get<std::string>()) > 0;
      holders += all;
      if (all) tied.insert(w.name);
    }
    EXPECT_EQ(holders, 1) << group.dump();
  }
  for (const Weight& w : graph->weights)
    EXPECT_TRUE(tied.count(w.name) > 0 || w.aliases.empty()) << w.name << " is tied to something";
}

// Values through any place equal those of the initializers that the exporter's map names.
TEST_P(Models, EveryPlaceHoldsTheSameValues) {
  auto graph = Import(GetParam(), 2, 16);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  const auto meta = models::ReadJson(Dir(GetParam()) + "/meta.json");
  for (const Weight& weight : graph->weights) {
    const auto& where = meta["parameter_map"][weight.name];
    std::set<std::string> expected, named;
    for (const auto& [key, transposed] : {std::pair("as_is", false), std::pair("transposed", true)})
      for (const auto& name : where[key]) expected.insert(name.get<std::string>() + (transposed ? "^T" : ""));
    std::vector<std::byte> first, other(static_cast<size_t>(weight.elements() * SizeOf(weight.dtype)));
    for (const Place& place : weight.places) {
      named.insert(place.name + (place.transposed ? "^T" : ""));
      Weight copy = weight;
      copy.places = {place};
      ASSERT_TRUE(LoadWeight(copy, Dir(GetParam()), other.data()).ok());
      if (first.empty()) first = other;
      EXPECT_EQ(first, other) << weight.name << " in " << place.name;
    }
    for (const std::string& name : named)
      EXPECT_TRUE(expected.count(name)) << weight.name << " is not in " << name;
    if (meta["parameter_survival"].contains("other name") && weight.shape.size() < 2)
      continue;  // merged by value
    EXPECT_EQ(named, expected) << weight.name;
  }
}

TEST_P(Models, NothingShapeLikeSurvives) {
  auto graph = Import(GetParam(), 2, 16);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  EXPECT_TRUE(VerifyGraph(*graph).ok());
  std::set<ValueId> depends(graph->inputs.begin(), graph->inputs.end());
  for (const Node& node : graph->nodes) {
    bool live = false;
    for (ValueId id : node.inputs)
      if (id >= 0) live = live || depends.count(id) > 0 || graph->value(id).kind == ValueKind::kWeight;
    EXPECT_TRUE(live) << node.name << " computes a constant";
    depends.insert(node.outputs.begin(), node.outputs.end());
  }
  EXPECT_EQ(graph->model_digest.size(), 64u);
}

INSTANTIATE_TEST_SUITE_P(Shared, Models, testing::ValuesIn(models::All()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Models);

TEST(Import, SharedModelsAreThere) {
  ZO2_NEEDS_SHARED();
  EXPECT_GE(models::All().size(), 40u);
}

TEST(Import, RealSizesWithoutTheirWeights) {
  ZO2_NEEDS_SHARED();
  for (const auto& [name, layers, billions] :
       {std::tuple("opt-125m", 12, 0.125), std::tuple("opt-13b", 40, 12.85),
        std::tuple("opt-175b", 96, 175.0)}) {
    SCOPED_TRACE(name);
    ImportOptions options;
    options.bind = {{"batch", 1}, {"seq", 2048}};
    auto graph = ImportOnnx(models::Shared() + "/scale/" + name + "/model.onnx", options);
    ASSERT_TRUE(graph.ok()) << graph.status().message();
    double elements = 0;
    for (const Weight& w : graph->weights) {
      elements += static_cast<double>(w.elements());
      EXPECT_EQ(w.dtype, DType::kF16) << w.name;
      EXPECT_FALSE(w.places.at(0).present) << w.name;
    }
    EXPECT_EQ(static_cast<int>(graph->weights.size()), 16 * layers + 4);
    EXPECT_NEAR(elements / 1e9, billions, 0.03 * billions);
    for (const Value& value : graph->values) EXPECT_NE(value.type.dtype, DType::kF16) << value.name;
    EXPECT_FALSE(LoadWeight(graph->weights[0], ".", nullptr).ok());
  }
}

}  // namespace
}  // namespace zo2
