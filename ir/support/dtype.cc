#include "ir/support/dtype.h"

namespace zo2 {
namespace {
constexpr std::string_view kNames[] = {"f32", "bf16", "f16", "f64", "i64", "i32", "i16", "i8", "u8", "bool"};
}  // namespace

std::string_view Name(DType t) { return kNames[static_cast<int>(t)]; }

std::optional<DType> ParseDType(std::string_view name) {
  for (int i = 0; i < 10; ++i)
    if (kNames[i] == name) return static_cast<DType>(i);
  return std::nullopt;
}

}  // namespace zo2
