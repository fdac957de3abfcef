#include "runtime/host_id.h"

#include <algorithm>
#include <cctype>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "runtime/kernels/noise.h"

namespace zo2 {

std::map<std::string, std::string> ThisMachine(const std::string& link,
                                               const std::map<std::string, std::string>& device) {
  std::string processor = "unknown";
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(':');
    if (line.rfind("model name", 0) != 0 || colon == std::string::npos) continue;
    processor = line.substr(std::min(line.size(), colon + 2));
    break;
  }
  std::map<std::string, std::string> here = {{"processor", processor},
                                             {"cores", std::to_string(std::thread::hardware_concurrency())},
                                             {"instructions", std::string(kernels::Name(kernels::BestIsa()))},
                                             {"link", link}};
  if (device.count("name") > 0) here["gpu"] = device.at("name");
  return here;
}

namespace {

// The report's object "machine"; null where there is none.
nlohmann::json MachineOf(const Schedule& schedule) {
  const auto report = nlohmann::json::parse(schedule.report, nullptr, false);
  if (!report.is_object() || !report.contains("machine") || !report["machine"].is_object()) return nullptr;
  return report["machine"];
}

bool IsMeasured(const nlohmann::json& machine) {
  return machine.contains("measured_on") && machine["measured_on"].is_object() &&
         !machine["measured_on"].empty();
}

// Built-in machines are called by their GPU, "h100-pcie5"; GPUs call themselves "NVIDIA H100 PCIe".
std::string OtherGpu(const std::string& machine, const std::map<std::string, std::string>& here) {
  const auto gpu = here.find("gpu");
  if (gpu == here.end() || machine.empty()) return "";
  std::string letters;  // and digits, in lower case
  for (const char c : gpu->second)
    if (std::isalnum(static_cast<unsigned char>(c))) letters += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  if (letters.find(machine.substr(0, machine.find('-'))) != std::string::npos) return "";
  return "the plan's times are for the built-in machine " + machine + ", here is " + gpu->second +
         "; zo2-run profile --device cuda measures it";
}

}  // namespace

std::string MachineWarning(const Schedule& schedule, const std::map<std::string, std::string>& here) {
  const nlohmann::json machine = MachineOf(schedule);
  if (machine.is_null()) return "";
  if (!IsMeasured(machine)) return OtherGpu(UnmeasuredMachine(schedule), here);
  const nlohmann::json& measured = machine["measured_on"];
  std::string differences;
  for (const auto& [what, text] : here) {
    const std::string there = measured.contains(what) && measured[what].is_string()
                                  ? measured[what].get<std::string>()
                                  : std::string();
    if (there == text) continue;
    const auto print = [](const std::string& s) { return s.empty() ? std::string("none") : s; };
    differences += (differences.empty() ? "" : "; ") + what + " " + print(there) + ", here " + print(text);
  }
  if (differences.empty()) return "";
  return "the plan's times are for another machine (" + differences + "); zo2-run profile measures this one";
}

std::string UnmeasuredMachine(const Schedule& schedule) {
  const nlohmann::json machine = MachineOf(schedule);
  if (machine.is_null() || IsMeasured(machine)) return "";
  return machine.contains("name") && machine["name"].is_string() ? machine["name"].get<std::string>() : "";
}

}  // namespace zo2
