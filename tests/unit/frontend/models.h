// The models of ../shared/models as test cases.
#ifndef ZO2_TESTS_UNIT_FRONTEND_MODELS_H_
#define ZO2_TESTS_UNIT_FRONTEND_MODELS_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "frontend/evaluate.h"
#include "ir/support/safetensors.h"

namespace zo2::models {

inline std::string Shared() { return ZO2_SHARED_DIR; }

// Folder names, sorted; empty where the shared folder is absent.
inline std::vector<std::string> All() {
  std::vector<std::string> names;
  const std::string dir = Shared() + "/models";
  if (!std::filesystem::exists(dir)) return names;
  for (const auto& entry : std::filesystem::directory_iterator(dir))
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  std::sort(names.begin(), names.end());
  return names;
}

inline std::string Dir(const std::string& name) { return Shared() + "/models/" + name; }

inline nlohmann::json ReadJson(const std::string& path) {
  std::ifstream in(path);
  return nlohmann::json::parse(in, nullptr, false);
}

inline std::map<std::string, HostTensor> ReadTensors(const std::string& path) {
  std::map<std::string, HostTensor> tensors;
  auto file = SafetensorsFile::Open(path);
  EXPECT_TRUE(file.ok()) << file.status().message();
  if (!file.ok()) return tensors;
  for (const SafetensorsEntry& entry : file->header().tensors) {
    auto data = file->Data(entry.name);
    tensors[entry.name] = {{entry.dtype, entry.shape},
                           std::make_shared<std::vector<std::byte>>(data->begin(), data->end())};
  }
  return tensors;
}

// Largest |a - b| over largest |b|, for f32 tensors of one shape; infinity where anything is not finite.
inline double RelativeError(const HostTensor& a, const HostTensor& b) {
  if (a.type != b.type) return INFINITY;
  double error = 0, largest = 0;
  for (int64_t i = 0; i < b.type.elements(); ++i) {
    const double d = std::abs(static_cast<double>(a.as<float>()[i]) - b.as<float>()[i]);
    if (!std::isfinite(d)) return INFINITY;
    error = std::max(error, d);
    largest = std::max(largest, std::abs(static_cast<double>(b.as<float>()[i])));
  }
  return error / std::max(largest, 1e-30);
}

}  // namespace zo2::models

#define ZO2_NEEDS_SHARED() \
  if (zo2::models::All().empty()) GTEST_SKIP() << "needs " << zo2::models::Shared() << "/models"

#endif  // ZO2_TESTS_UNIT_FRONTEND_MODELS_H_
