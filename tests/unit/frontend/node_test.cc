// ONNX's own node tests through the importer and the interpreter: what imports must compute what ONNX says.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>

#include "frontend/import.h"
#include "frontend/onnx_file.h"
#include "models.h"

namespace zo2 {
namespace {

Result<HostTensor> ReadPb(const std::string& path) {
  onnx::TensorProto proto;
  std::ifstream in(path, std::ios::binary);
  if (!proto.ParseFromIstream(&in)) return Invalid("not a tensor: ", path);
  return ReadProto(proto);
}

HostTensor Computed(const HostTensor& t) {
  return t.type.dtype == DType::kF16 || t.type.dtype == DType::kBF16 ? ToF32(t) : t;
}

// Largest error relative to max(1, |want|); infinity where types differ or only one side is not finite.
double ErrorOf(const HostTensor& got, const HostTensor& want) {
  if (got.type != want.type) return INFINITY;
  double error = 0;
  for (int64_t i = 0; i < want.type.elements(); ++i) {
    double a = 0, b = 0;
    switch (want.type.dtype) {
      case DType::kF32:
        a = got.as<float>()[i], b = want.as<float>()[i];
        break;
      case DType::kF64:
        a = got.as<double>()[i], b = want.as<double>()[i];
        break;
      case DType::kI64:
        a = static_cast<double>(got.as<int64_t>()[i]), b = static_cast<double>(want.as<int64_t>()[i]);
        break;
      case DType::kI32:
        a = got.as<int32_t>()[i], b = want.as<int32_t>()[i];
        break;
      case DType::kI16:
        a = got.as<int16_t>()[i], b = want.as<int16_t>()[i];
        break;
      default:
        a = got.as<uint8_t>()[i], b = want.as<uint8_t>()[i];
    }
    if (a == b || (std::isnan(a) && std::isnan(b))) continue;
    if (!std::isfinite(a) || !std::isfinite(b)) return INFINITY;
    error = std::max(error, std::abs(a - b) / std::max(1.0, std::abs(b)));
  }
  return error;
}

TEST(NodeTests, WhatImportsIsRight) {
  const std::string root = std::string(ZO2_SOURCE_DIR) + "/.deps/onnx/node-tests";
  if (!std::filesystem::exists(root)) GTEST_SKIP() << "needs ONNX's node tests under " << root;
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(root))
    names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  int passed = 0, unsupported = 0, others = 0;
  for (const std::string& name : names) {
    const std::string dir = root + "/" + name;
    if (!std::filesystem::exists(dir + "/test_data_set_0")) continue;
    auto graph = ImportOnnx(dir + "/model.onnx", {});
    if (!graph.ok()) {
      EXPECT_NE(graph.status().code(), Code::kInternal) << name << ": " << graph.status().message();
      ++unsupported;
      if (std::getenv("ZO2_VERBOSE")) std::cout << name << ": " << graph.status().message() << "\n";
      continue;
    }
    OnnxFile file = std::move(*OnnxFile::Open(dir + "/model.onnx"));
    std::map<std::string, HostTensor> inputs, want;
    bool readable = true;
    for (int i = 0; i < file.graph().input_size(); ++i) {
      auto t = ReadPb(dir + "/test_data_set_0/input_" + std::to_string(i) + ".pb");
      readable = readable && t.ok();
      if (t.ok()) inputs[file.graph().input(i).name()] = Computed(*t);
    }
    for (int i = 0; i < file.graph().output_size(); ++i) {
      auto t = ReadPb(dir + "/test_data_set_0/output_" + std::to_string(i) + ".pb");
      readable = readable && t.ok();
      if (t.ok()) want[file.graph().output(i).name()] = Computed(*t);
    }
    if (!readable) {
      ++others;
      continue;
    }
    auto got = EvaluateGraph(*graph, dir, inputs);
    if (!got.ok() && got.status().code() == Code::kInternal) {
      ++others;  // an element type that the interpreter does not compute with
      if (std::getenv("ZO2_VERBOSE")) std::cout << name << ": " << got.status().message() << "\n";
      continue;
    }
    EXPECT_TRUE(got.ok()) << name << ": " << got.status().message();
    if (!got.ok()) continue;
    const bool narrow = [&] {  // computed in f32 here, in f16 there
      auto is_narrow = [](const onnx::ValueInfoProto& value) {
        const int type = value.type().tensor_type().elem_type();
        return type == onnx::TensorProto::FLOAT16 || type == onnx::TensorProto::BFLOAT16;
      };
      const auto& graph = file.graph();
      return std::any_of(graph.input().begin(), graph.input().end(), is_narrow) ||
             std::any_of(graph.output().begin(), graph.output().end(), is_narrow);
    }();
    const bool four_digits = name == "test_averagepool_2d_ceil_last_window_starts_on_pad";  // written out by hand
    const double limit = narrow ? 2e-2 : four_digits ? 1e-4 : 1e-5;
    for (size_t i = 0; i < got->size(); ++i)
      EXPECT_LT(ErrorOf((*got)[i], want[graph->value(graph->outputs[i]).name]), limit) << name;
    ++passed;
  }
  std::cout << passed << " node tests computed, " << unsupported << " refused at import, " << others
            << " set aside\n";
  EXPECT_GT(passed, 800);
}

}  // namespace
}  // namespace zo2
