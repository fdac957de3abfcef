#include "planner/options.h"

#include <cctype>
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace zo2 {
namespace {

// Number and unit of `text`, lower case, spaces dropped.
bool Split(const std::string& text, double* number, std::string* unit) {
  const char* begin = text.c_str();
  char* end = nullptr;
  *number = std::strtod(begin, &end);
  if (end == begin || !std::isfinite(*number) || *number < 0) return false;
  unit->clear();
  for (; *end != '\0'; ++end) {
    if (*end != ' ') unit->push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(*end))));
  }
  return true;
}

// Factor of "", "b", "k", "kib", "kb", ...; 0 when it is no unit.
double Factor(const std::string& unit) {
  if (unit.empty() || unit == "b") return 1;
  const std::string letters = "kmgt";
  size_t power = letters.find(unit[0]);
  if (power == std::string::npos) return 0;
  std::string rest = unit.substr(1);
  if (rest.empty() || rest == "ib" || rest == "i") return std::pow(1024.0, static_cast<double>(power + 1));
  if (rest == "b") return std::pow(1000.0, static_cast<double>(power + 1));
  return 0;
}

std::string Format(const char* format, double number, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof text, format, number, unit);
  return text;
}

}  // namespace

Result<uint64_t> ParseSize(const std::string& text) {
  double number = 0;
  std::string unit;
  if (!Split(text, &number, &unit) || Factor(unit) == 0) {
    return Invalid("'", text, "' is no size; write it like 64MiB, 1.5GB or 4096");
  }
  double bytes = number * Factor(unit);
  if (bytes >= 9.2e18) return Invalid("size '", text, "' is too large");
  return static_cast<uint64_t>(std::llround(bytes));
}

Result<double> ParseRate(const std::string& text) {
  double number = 0;
  std::string unit;
  bool ok = Split(text, &number, &unit);
  if (ok && unit.size() >= 2 && unit.substr(unit.size() - 2) == "/s") unit.resize(unit.size() - 2);
  const double rate = ok ? number * Factor(unit) : 0;
  if (!(rate >= kLeastRate && rate <= kMostRate)) {
    return Invalid("'", text, "' is no rate; write it like 2GB/s or 500MiB/s");
  }
  return rate;
}

std::string FormatSize(double bytes) {
  const char* units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  int i = 0;
  while (std::fabs(bytes) >= 1024 && i < 4) {
    bytes /= 1024;
    ++i;
  }
  return Format(i == 0 ? "%.0f %s" : "%.2f %s", bytes, units[i]);
}

std::string FormatSeconds(double s) {
  if (s >= 3 * 86400) return Format("%.1f %s", s / 86400, "days");
  if (s >= 3 * 3600) return Format("%.1f %s", s / 3600, "h");
  if (s >= 180) return Format("%.1f %s", s / 60, "min");
  if (s >= 1) return Format("%.3f %s", s, "s");
  if (s >= 1e-3) return Format("%.2f %s", s * 1e3, "ms");
  return Format("%.1f %s", s * 1e6, "us");
}

}  // namespace zo2
