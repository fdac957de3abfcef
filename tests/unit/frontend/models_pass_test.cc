// The whole pipeline on every model of shared/models: what must fuse has fused, every weight has a role, the
// fused graph computes what PyTorch computed, and its text is the golden one (ZO2_UPDATE_GOLDEN=1 writes it
// anew).
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "frontend/evaluate.h"
#include "frontend/pipeline.h"
#include "ir/support/safetensors.h"
#include "tests/unit/graph/graph_builder.h"

namespace zo2 {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> Models() {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(fs::path(ZO2_SHARED_DIR) / "models", ignored)) {
    if (fs::exists(entry.path() / "model.onnx")) names.push_back(entry.path().filename());
  }
  std::sort(names.begin(), names.end());
  return names;
}

fs::path Folder(const std::string& model) { return fs::path(ZO2_SHARED_DIR) / "models" / model; }

LoadOptions Options(int64_t batch, int64_t seq) {
  LoadOptions options;
  options.import.bind = {{"batch", batch}, {"seq", seq}};
  return options;
}

Result<Graph> Load(const std::string& model, const LoadOptions& options) {
  return LoadModel(Folder(model) / "model.onnx", options);
}

class EveryModel : public testing::TestWithParam<std::string> {};
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(EveryModel);
INSTANTIATE_TEST_SUITE_P(Shared, EveryModel, testing::ValuesIn(Models()), [](const auto& info) {
  return std::regex_replace(info.param, std::regex("[^a-zA-Z0-9]"), "_");
});

TEST(SharedModels, AreThere) {
  if (Models().empty()) GTEST_SKIP() << "no models in " << ZO2_SHARED_DIR << "/models";
}

int Layers(const Graph& g) {
  std::set<std::string> layers;
  std::smatch match;
  for (const Weight& w : g.weights) {
    if (std::regex_search(w.name, match, std::regex("(layers?|h)\\.(\\d+)\\."))) layers.insert(match[2]);
  }
  return static_cast<int>(layers.size());
}

TEST_P(EveryModel, Fuses) {
  const std::string& model = GetParam();
  auto loaded = Load(model, Options(2, 16));
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  const Graph& g = *loaded;
  const int layers = Layers(g);
  ASSERT_GE(layers, 1);
  std::map<Op, int> expected = {
      {Op::kAttention, layers}, {Op::kSoftmax, 0}, {Op::kMatMul, 0}, {Op::kTranspose, 0}, {Op::kExpand, 0}};
  auto starts = [&](const char* prefix) { return model.starts_with(prefix); };
  bool language = !starts("bert") && !starts("opt-direct");
  if (starts("opt")) {
    expected.insert({{Op::kLayerNorm, 2 * layers + 1}, {Op::kRelu, layers}, {Op::kEmbedding, 2}});
    expected[Op::kLinear] = 6 * layers + (language ? 0 : 1);
  } else if (starts("gpt2")) {
    expected.insert({{Op::kLayerNorm, 2 * layers + 1}, {Op::kGelu, layers}, {Op::kEmbedding, 2}});
    expected[Op::kLinear] = 4 * layers;
  } else if (starts("bert")) {
    expected.insert(
        {{Op::kLayerNorm, 2 * layers + 1}, {Op::kGelu, layers}, {Op::kEmbedding, 3}, {Op::kTanh, 1}});
    expected[Op::kLinear] = 6 * layers + 2;
  } else {
    ASSERT_TRUE(starts("llama") || starts("qwen2")) << "say here what " << model << " must fuse to";
    expected.insert({{Op::kRmsNorm, 2 * layers + 1}, {Op::kSilu, layers}, {Op::kRotary, 2 * layers}});
    expected[Op::kEmbedding] = 1;
    expected[Op::kLinear] = 7 * layers;
  }
  expected[language ? Op::kCausalLmLoss : Op::kClassifyLoss] = 1;
  std::map<Op, int> counts;
  int losses = 0;
  for (const Node& node : g.nodes) {
    ++counts[node.op];
    losses += node.op >= Op::kCausalLmLoss && node.op <= Op::kOutputLoss;
    if (node.op == Op::kGelu) {
      EXPECT_EQ(AttrInt(node.attrs, "tanh", 0), starts("gpt2") ? 1 : 0);
    }
    if (node.op == Op::kAttention) {
      EXPECT_TRUE(node.attrs.contains("layout")) << "transposes are left around attention";
    }
  }
  for (const auto& [op, n] : expected) EXPECT_EQ(counts[op], n) << Name(op);
  EXPECT_EQ(losses, 1);
  if (HasFailure()) std::cout << PrintGraph(g);

  for (const Weight& weight : g.weights) EXPECT_NE(weight.role, WeightRole::kOther) << weight.name;
  for (const Node& node : g.nodes) {
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      if (node.inputs[i] < 0 || g.value(node.inputs[i]).kind != ValueKind::kWeight) continue;
      EXPECT_FALSE(Row(node.op).weights.empty())
          << Name(node.op) << " reads " << g.value(node.inputs[i]).name;
    }
  }
}

TEST_P(EveryModel, HasItsGoldenText) {
  auto loaded = Load(GetParam(), Options(2, 16));
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  const std::string text = PrintGraph(*loaded);
  fs::path path = fs::path(ZO2_SOURCE_DIR) / "tests/golden/graphs" / (GetParam() + ".txt");
  if (std::getenv("ZO2_UPDATE_GOLDEN") != nullptr) {
    fs::create_directories(path.parent_path());
    std::ofstream(path) << text;
  }
  std::ifstream file(path);
  std::stringstream golden;
  golden << file.rdbuf();
  EXPECT_EQ(text, golden.str()) << "ZO2_UPDATE_GOLDEN=1 writes " << path;
}

std::map<std::string, HostTensor> Tensors(const fs::path& path) {
  std::map<std::string, HostTensor> tensors;
  auto file = SafetensorsFile::Open(path);
  if (!file.ok()) {
    ADD_FAILURE() << file.status().message();
    return tensors;
  }
  for (const SafetensorsEntry& entry : file->header().tensors) {
    auto data = file->Data(entry.name);
    if (!data.ok()) continue;
    auto bytes = std::make_shared<const std::vector<std::byte>>(data->begin(), data->end());
    tensors[entry.name] = {{entry.dtype, entry.shape}, std::move(bytes)};
  }
  return tensors;
}

// The fused graph, evaluated by the frontend's interpreter, against PyTorch's outputs.
void CompareWithPyTorch(const std::string& model, const std::string& suffix) {
  auto inputs = Tensors(Folder(model) / ("inputs" + suffix + ".safetensors"));
  auto expected = Tensors(Folder(model) / ("outputs" + suffix + ".safetensors"));
  ASSERT_TRUE(inputs.contains("input_ids"));
  const Shape& shape = inputs["input_ids"].type.shape;
  LoadOptions options = Options(shape[0], shape[1]);
  options.loss = "none";
  auto loaded = Load(model, options);
  ASSERT_TRUE(loaded.ok()) << loaded.status().message();
  auto outputs = EvaluateGraph(*loaded, Folder(model), inputs);
  ASSERT_TRUE(outputs.ok()) << outputs.status().message();
  int compared = 0;
  for (size_t i = 0; i < outputs->size(); ++i) {
    std::string name = loaded->value(loaded->outputs[i]).name;
    if (!expected.contains(name) && expected.size() == 1 && outputs->size() == 1)
      name = expected.begin()->first;
    if (!expected.contains(name)) continue;
    ++compared;
    HostTensor want = ToF32(expected[name]), got = ToF32((*outputs)[i]);
    ASSERT_EQ(want.type.elements(), got.type.elements()) << name;
    float largest = 0;
    for (int64_t j = 0; j < want.type.elements(); ++j)
      largest = std::max(largest, std::fabs(want.as<float>()[j]));
    for (int64_t j = 0; j < want.type.elements(); ++j) {
      ASSERT_NEAR(want.as<float>()[j], got.as<float>()[j], 2e-5F * largest) << name << " element " << j;
    }
  }
  EXPECT_GE(compared, 1);
}

TEST_P(EveryModel, FusedGraphComputesWhatPyTorchComputed) { CompareWithPyTorch(GetParam(), ""); }

TEST_P(EveryModel, AlsoInAnotherShape) {
  if (!fs::exists(Folder(GetParam()) / "inputs2.safetensors"))
    GTEST_SKIP() << "the shape of this model is fixed";
  CompareWithPyTorch(GetParam(), "2");
}

// Real sizes: the graph of a 175B model goes through the passes, its weights elsewhere.
TEST(ScaleModels, Fuse) {
  int found = 0;
  for (const auto& [name, layers] :
       std::map<std::string, int>{{"opt-125m", 12}, {"opt-13b", 40}, {"opt-175b", 96}}) {
    fs::path path = fs::path(ZO2_SHARED_DIR) / "scale" / name / "model.onnx";
    if (!fs::exists(path)) continue;
    ++found;
    auto g = LoadModel(path, Options(1, 2048));
    ASSERT_TRUE(g.ok()) << g.status().message();
    EXPECT_EQ(CountOps(*g, Op::kAttention), layers) << name;
    EXPECT_EQ(CountOps(*g, Op::kLayerNorm), 2 * layers + 1) << name;
    EXPECT_EQ(CountOps(*g, Op::kLinear), 6 * layers) << name;
    EXPECT_EQ(CountOps(*g, Op::kSoftmax) + CountOps(*g, Op::kMatMul) + CountOps(*g, Op::kTranspose), 0)
        << name;
    EXPECT_EQ(CountOps(*g, Op::kCausalLmLoss), 1) << name;
    for (const Weight& weight : g->weights) EXPECT_NE(weight.role, WeightRole::kOther) << weight.name;
  }
  if (found == 0) GTEST_SKIP() << "no models in " << ZO2_SHARED_DIR << "/scale";
}

}  // namespace
}  // namespace zo2
