// Vectors of the noise specification: tests/golden/noise, and the reference beside the repository where it is
// there.
#ifndef ZO2_TESTS_UNIT_KERNELS_GOLDEN_H_
#define ZO2_TESTS_UNIT_KERNELS_GOLDEN_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "ir/support/crc32.h"
#include "runtime/kernels/noise.h"

namespace zo2::kernels {

using Json = nlohmann::json;

inline Json Golden(const std::string& path) {
  std::ifstream file(path);
  Json json = Json::parse(file, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) std::cerr << path << " is missing or malformed\n";
  return json;
}
// A vector file of the repository, then the reference's own copy where that stands beside the repository.
inline std::vector<std::string> GoldenPaths(const std::string& ours, const std::string& reference) {
  std::vector<std::string> paths = {std::string(ZO2_SOURCE_DIR) + "/tests/golden/noise/" + ours};
  const std::string shared = std::string(ZO2_SHARED_DIR) + "/reference/" + reference;
  if (std::filesystem::exists(shared)) {
    paths.push_back(shared);
  } else {
    std::cout << "not there, so only the repository's copy is tested: " << shared << "\n";
  }
  return paths;
}

// A number, or text in any base.
inline uint64_t Number(const Json& json, int base = 0) {
  return json.is_string() ? std::strtoull(json.get<std::string>().c_str(), nullptr, base)
                          : json.get<uint64_t>();
}
inline std::vector<uint32_t> HexWords(const Json& list) {
  std::vector<uint32_t> words;
  for (const Json& item : list) words.push_back(static_cast<uint32_t>(Number(item, 16)));
  return words;
}

// Those that this machine has; says which it lacks.
inline std::vector<Isa> Isas() {
  std::vector<Isa> isas;
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa <= DetectedIsa()) {
      isas.push_back(isa);
    } else {
      std::cout << "not tested, this machine lacks it: " << Name(isa) << "\n";
    }
  }
  return isas;
}

template <typename T>
uint32_t Checksum(const std::vector<T>& values) {
  return Crc32(std::as_bytes(std::span<const T>(values)));
}

}  // namespace zo2::kernels

#endif  // ZO2_TESTS_UNIT_KERNELS_GOLDEN_H_
