#include "ir/support/wire_format.h"

#include <utility>

namespace zo2 {
namespace {

// The first name of a format is the one that is printed.
constexpr std::pair<std::string_view, WireFormat> kNames[] = {
    {"f32", WireFormat::kF32},   {"bf16", WireFormat::kBF16}, {"f16", WireFormat::kF16},  {"e4m3", WireFormat::kE4M3},
    {"int8", WireFormat::kI8},   {"int4", WireFormat::kI4},   {"fp32", WireFormat::kF32}, {"fp16", WireFormat::kF16},
    {"fp8", WireFormat::kE4M3},
};

}  // namespace

std::string_view Name(WireFormat w) {
  for (const auto& [name, format] : kNames)
    if (format == w) return name;
  return "?";
}

std::optional<WireFormat> ParseWireFormat(std::string_view text) {
  for (const auto& [name, format] : kNames)
    if (name == text) return format;
  return std::nullopt;
}

}  // namespace zo2
