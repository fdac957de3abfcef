#include "runtime/device.h"

#include <cctype>
#include <cmath>
#include <cstdlib>

#include "runtime/cpu_device.h"
#include "runtime/cuda/cuda_device.h"

namespace zo2 {
namespace {

// A number and its unit's factor; `rest` is what follows the number.
bool ParseNumber(const std::string& text, double* number, std::string* rest) {
  char* end = nullptr;
  *number = std::strtod(text.c_str(), &end);
  if (end == text.c_str() || !std::isfinite(*number) || *number < 0) return false;
  *rest = end;
  while (!rest->empty() && rest->front() == ' ') rest->erase(0, 1);
  return true;
}

bool ParseScale(std::string unit, double* scale) {
  *scale = 1;
  if (unit.empty()) return true;
  const double base = unit.size() >= 2 && unit[1] == 'i' ? 1024 : 1000;
  switch (std::toupper(static_cast<unsigned char>(unit[0]))) {
    case 'K': *scale = base; break;
    case 'M': *scale = base * base; break;
    case 'G': *scale = base * base * base; break;
    case 'T': *scale = base * base * base * base; break;
    case 'B': return unit == "B" || unit == "B/s";
    default: return false;
  }
  unit.erase(0, base == 1024 ? 2 : 1);
  return unit.empty() || unit == "B" || unit == "B/s";
}

}  // namespace

Result<uint64_t> ParseBytes(const std::string& text) {
  double number = 0, scale = 1;
  std::string rest;
  if (!ParseNumber(text, &number, &rest) || !ParseScale(rest, &scale) || number * scale > 9e18)
    return Invalid("'", text, "' is not a size: write it like 64MiB, 1.5GB or 4096");
  return static_cast<uint64_t>(std::llround(number * scale));
}

Result<LinkEmulation> ParseLinkEmulation(const std::string& text) {
  LinkEmulation link;
  size_t begin = 0;
  while (begin < text.size()) {
    size_t end = text.find(',', begin);
    if (end == std::string::npos) end = text.size();
    const std::string item = text.substr(begin, end - begin);
    begin = end + 1;
    const size_t equals = item.find('=');
    const std::string key = item.substr(0, equals);
    double number = 0, scale = 1;
    std::string rest;
    const bool is_number = equals != std::string::npos && ParseNumber(item.substr(equals + 1), &number, &rest);
    const auto out_of_range = [&](const char* range) {
      return Invalid("--emulate-link: '", item, "' is out of range; it is ", range);
    };
    if (is_number && key == "latency" && (rest == "s" || rest == "ms" || rest == "us" || rest == "ns")) {
      link.latency = number * (rest == "s" ? 1 : rest == "ms" ? 1e-3 : rest == "us" ? 1e-6 : 1e-9);
      if (link.latency > 1e6) return out_of_range("at most 1e6 s");
    } else if (is_number && (key == "up" || key == "down") && number > 0 && ParseScale(rest, &scale)) {
      const double rate = number * scale;
      if (rate < 1 || !std::isfinite(rate)) return out_of_range("at least 1 B/s and finite");
      (key == "up" ? link.up : link.down) = rate;
    } else {
      return Invalid("--emulate-link: '", item, "' is not understood; write it like up=2GB/s,down=2GB/s,latency=10us");
    }
  }
  if (!link.enabled()) return Invalid("--emulate-link: nothing is given; write it like up=2GB/s,down=2GB/s");
  return link;
}

Result<std::unique_ptr<Device>> OpenDevice(const std::string& name, const DeviceOptions& options) {
  if (name == "cpu") return OpenCpuDevice(options);
  if (name == "cuda") return cuda::OpenCudaDevice(options);
  return Error(Code::kDevice, "there is no device '", name, "': use cpu or cuda");
}

}  // namespace zo2
