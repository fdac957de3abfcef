#include "frontend/export.h"

#include <gtest/gtest.h>

#include <cstring>

#include "frontend/check.h"
#include "frontend/import.h"
#include "models.h"

namespace zo2 {
namespace {

using models::Dir;

Result<Graph> Import(const std::string& path, const std::string& weights = "") {
  ImportOptions options;
  options.weights = weights;
  options.bind = {{"batch", 2}, {"seq", 16}};
  return ImportOnnx(path, options);
}

std::string Temp(const std::string& name) {
  const std::string dir = testing::TempDir() + "/export_test";
  std::filesystem::create_directories(dir);
  return dir + "/" + name;
}

// Values that differ from weight to weight and element to element.
std::map<std::string, HostTensor> Tuned(const Graph& graph) {
  std::map<std::string, HostTensor> tuned;
  uint32_t state = 12345;
  for (const Weight& w : graph.weights) {
    std::vector<float> values(static_cast<size_t>(w.elements()));
    for (float& v : values) {
      state = state * 1664525 + 1013904223;
      v = (static_cast<float>(state >> 8) / 16777216.0f - 0.5f) * 0.2f;
      if (w.role == WeightRole::kNormScale) v += 1;
    }
    tuned[w.name] = HostTensor::Of<float>(DType::kF32, w.shape, values);
  }
  return tuned;
}

void Write(const std::string& path, const std::map<std::string, HostTensor>& tensors) {
  std::vector<SafetensorsWriter::Tensor> header;
  for (const auto& [name, t] : tensors) header.push_back({name, t.type.dtype, t.type.shape});
  auto writer = SafetensorsWriter::Create(path, header);
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  for (const auto& [name, t] : tensors) ASSERT_TRUE(writer->Append(*t.data).ok());
  ASSERT_TRUE(writer->Finish().ok());
}

std::vector<std::byte> Load(const Weight& weight, const std::string& dir) {
  std::vector<std::byte> bytes(static_cast<size_t>(weight.elements() * SizeOf(weight.dtype)));
  auto done = LoadWeight(weight, dir, bytes.data());
  EXPECT_TRUE(done.ok()) << done.status().message();
  return bytes;
}

class Exported : public testing::TestWithParam<std::string> {};

TEST_P(Exported, HoldsTheTunedValuesEverywhereAndComputesWithThem) {
  const std::string name = GetParam(), tuned_path = Temp(name + ".safetensors"), out = Temp(name + ".onnx");
  const std::string model =
      std::filesystem::exists(Dir(name) + "/ext") ? Dir(name) + "/ext/model.onnx" : Dir(name) + "/model.onnx";
  auto graph = Import(model);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  const auto tuned = Tuned(*graph);
  Write(tuned_path, tuned);
  auto report = ExportOnnx(model, tuned_path, out);
  ASSERT_TRUE(report.ok()) << report.status().message();
  EXPECT_EQ(report->replaced, graph->weights.size());

  auto back = Import(out);
  ASSERT_TRUE(back.ok()) << back.status().message();
  std::set<std::string> names;
  for (const Weight& w : back->weights) {
    names.insert(w.name);
    ASSERT_TRUE(tuned.count(w.name)) << w.name;
    for (const Place& place : w.places) {
      Weight copy = w;
      copy.places = {place};
      EXPECT_EQ(Load(copy, Temp("..") + "/export_test"), *tuned.at(w.name).data)
          << w.name << " in " << place.name;
    }
  }
  EXPECT_EQ(names.size(), tuned.size());
  const auto inputs = models::ReadTensors(Dir(name) + "/inputs.safetensors");
  auto want = EvaluateGraph(*graph, Dir(name), inputs, tuned);
  auto got = EvaluateGraph(*back, Temp("..") + "/export_test", inputs);
  ASSERT_TRUE(want.ok()) << want.status().message();
  ASSERT_TRUE(got.ok()) << got.status().message();
  for (size_t i = 0; i < want->size(); ++i) EXPECT_LT(models::RelativeError((*got)[i], (*want)[i]), 1e-6);
}

std::vector<std::string> Chosen() {
  std::vector<std::string> names = models::All();
  names.erase(std::remove(names.begin(), names.end(), "opt-direct-sdpa-legacy"),
              names.end());  // an input of its own
  return names;
}
INSTANTIATE_TEST_SUITE_P(Shared, Exported, testing::ValuesIn(Chosen()), [](const auto& info) {
  std::string name = info.param;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
});
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Exported);

TEST(Export, SplitsWhatTheExporterMerged) {
  ZO2_NEEDS_SHARED();
  for (const std::string name : {"opt-freshinit-sdpa-legacy", "opt-freshinit-sdpa-dynamo"}) {
    const std::string model = Dir(name) + "/model.onnx";
    auto graph = Import(model);
    ASSERT_TRUE(graph.ok());
    Write(Temp("fresh.safetensors"), Tuned(*graph));
    auto report = ExportOnnx(model, Temp("fresh.safetensors"), Temp("fresh.onnx"));
    ASSERT_TRUE(report.ok()) << report.status().message();
    int split = 0;
    for (const std::string& note : report->notes) split += note.find("own initializer") != std::string::npos;
    EXPECT_GT(split, 15) << name;
  }
}

TEST(Export, Errors) {
  ZO2_NEEDS_SHARED();
  const std::string model = Dir("opt-sdpa-legacy") + "/model.onnx";
  Write(Temp("none.safetensors"), {{"other", HostTensor::Of<float>(DType::kF32, {1}, {1})}});
  auto report = ExportOnnx(model, Temp("none.safetensors"), Temp("none.onnx"));
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("no tensor that is named like a weight"), std::string::npos);
  EXPECT_FALSE(FileExists(Temp("none.onnx")));
  EXPECT_FALSE(ExportOnnx(model, Temp("nothing.safetensors"), Temp("none.onnx")).ok());
  // Nothing is left of an output that cannot be finished: this model's data file is not there.
  Write(Temp("one.safetensors"), {{"m.model.decoder.final_layer_norm.bias",
                                   HostTensor::Of<float>(DType::kF32, {768}, std::vector<float>(768))}});
  report = ExportOnnx(models::Shared() + "/scale/opt-125m/model.onnx", Temp("one.safetensors"),
                      Temp("scale.onnx"));
  ASSERT_FALSE(report.ok());
  EXPECT_NE(report.status().message().find("model.onnx.data, which is not there"), std::string::npos)
      << report.status().message();
  EXPECT_FALSE(FileExists(Temp("scale.onnx")));
  EXPECT_FALSE(FileExists(Temp("scale.onnx.data")));
}

// ---- --weights ----

TEST(Overrides, ByCanonicalNameAliasPlaceAndShorterName) {
  ZO2_NEEDS_SHARED();
  const std::string model = Dir("opt-sdpa-legacy") + "/model.onnx";
  auto graph = Import(model);
  ASSERT_TRUE(graph.ok());
  auto tuned = Tuned(*graph);
  // The tied embedding by its other name; one matrix as the file stores it, transposed; one name without its
  // root.
  const std::string embed = "model.decoder.embed_tokens.weight",
                    q = "model.decoder.layers.0.self_attn.q_proj.weight",
                    fc1 = "model.decoder.layers.0.fc1.bias";
  auto stored = tuned;
  stored["lm_head.weight"] = tuned[embed];
  stored.erase(embed);
  stored["decoder.layers.0.fc1.bias"] = tuned[fc1];
  stored.erase(fc1);
  std::vector<float> flipped(48 * 48);
  for (int r = 0; r < 48; ++r)
    for (int c = 0; c < 48; ++c) flipped[static_cast<size_t>(c * 48 + r)] = tuned[q].as<float>()[r * 48 + c];
  stored["onnx::MatMul_415"] = HostTensor::Of<float>(DType::kF32, {48, 48}, flipped);
  stored.erase(q);
  Write(Temp("names.safetensors"), stored);
  graph = Import(model, Temp("names.safetensors"));
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  for (const Weight& w : graph->weights)
    EXPECT_EQ(Load(w, Dir("opt-sdpa-legacy")), *tuned.at(w.name).data) << w.name;
}

TEST(Overrides, OtherDtypesShardsAndErrors) {
  ZO2_NEEDS_SHARED();
  const std::string model = Dir("opt-sdpa-legacy") + "/model.onnx", path = Temp("override.safetensors");
  const std::string embed = "model.decoder.embed_tokens.weight";
  Write(path, {{"model.decoder.final_layer_norm.bias",
                HostTensor::Of<uint16_t>(DType::kBF16, {48}, std::vector<uint16_t>(48, 0x3f80))}});
  auto graph = Import(model, path);
  ASSERT_TRUE(graph.ok()) << graph.status().message();
  for (const Weight& w : graph->weights)
    EXPECT_EQ(w.dtype, w.name == "model.decoder.final_layer_norm.bias" ? DType::kBF16 : DType::kF32);

  Write(path, {{embed, HostTensor::Of<float>(DType::kF32, {130, 48}, std::vector<float>(130 * 48))}});
  EXPECT_NE(
      Import(model, path).status().message().find("f32[130,48], but weight " + embed + " is f32[131,48]"),
      std::string::npos);
  Write(path, {{embed, HostTensor::Of<float>(DType::kF32, {131, 48}, std::vector<float>(131 * 48))},
               {"lm_head.weight",
                HostTensor::Of<float>(DType::kF32, {131, 48}, std::vector<float>(131 * 48, 1.0f))}});
  EXPECT_NE(Import(model, path).status().message().find("but the model ties them"), std::string::npos);
  Write(path, {{"unknown.weight", HostTensor::Of<float>(DType::kF32, {1}, {1})}});
  EXPECT_NE(Import(model, path).status().message().find("none is named like a weight"), std::string::npos);
}

TEST(Check, SaysWhatWasFound) {
  ZO2_NEEDS_SHARED();
  auto graph = Import(Dir("opt-sdpa-dynamo") + "/model.onnx");
  ASSERT_TRUE(graph.ok());
  const std::string text = CheckReport(*graph);
  for (const char* part :
       {"input input_ids : i64[2,16]", "47472 parameters", "linear x13",
        "also model.decoder.embed_tokens.weight", "note tied", "stored as val_96 transposed", "embedding x2"})
    EXPECT_NE(text.find(part), std::string::npos) << part << " is not in\n" << text;
}

}  // namespace
}  // namespace zo2
