#include "planner/machine.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "ir/schedule/schedule.h"
#include "ir/support/file.h"
#include "planner/options.h"

namespace zo2 {
namespace {

using Json = nlohmann::json;
constexpr uint64_t kGiB = uint64_t{1} << 30;

Machine Cpu() {
  Machine m;
  m.name = "cpu-2core";
  m.compute_threads = 2;
  m.device_bytes = 16 * kGiB;
  m.host_bytes = 16 * kGiB;
  m.disk_bytes = 100 * kGiB;
  m.gemm_flops = {{DType::kF32, 1.3e11}, {DType::kBF16, 2.87e11}, {DType::kF16, 1e9}};
  m.attention_flops = 6e10;
  m.elementwise_ops = 8e8;
  m.memory_bytes_per_s = 1.6e10;
  m.noise_normals_per_s = 2.32e9;
  m.prepare_params_per_s = {{DType::kF32, 1.1e9}, {DType::kBF16, 0.9e9}, {DType::kF16, 0.8e9}};
  m.link_up_bytes_per_s = 1e10;
  m.link_down_bytes_per_s = 1e10;
  m.link_duplex = 0.6;
  m.copy_latency_s = 2e-6;
  m.call_overhead_s = 4e-6;
  m.disk_read_bytes_per_s = 1e9;
  m.disk_write_bytes_per_s = 5e8;
  m.spread = 0.1;
  m.source = {{"all", "two AVX-512 server cores, measured with LibTorch 2.11 (DESIGN sections 8, 13)"},
              {"link", "memory copy on a thread of its own"}};
  return m;
}

// A GPU from its data sheet: dense 16-bit tensor rate and memory rate, both times what libraries usually reach.
Machine Gpu(const char* name, uint64_t gib, uint64_t host_gib, double tensor16, double f32, double memory,
            double up, double down, double duplex, const char* sheet) {
  Machine m;
  m.name = name;
  m.cuda = true;
  m.compute_threads = 1;
  m.device_bytes = gib * kGiB;
  m.host_bytes = host_gib * kGiB;
  m.disk_bytes = 2000 * kGiB;
  m.gemm_flops = {{DType::kF32, 0.8 * f32}, {DType::kBF16, 0.65 * tensor16}, {DType::kF16, 0.65 * tensor16}};
  m.attention_flops = 0.4 * tensor16;
  m.memory_bytes_per_s = 0.8 * memory;
  m.elementwise_ops = m.memory_bytes_per_s / 4;
  // About 60 fp32 operations per normal (10 Philox rounds, logarithm, square root, sine and cosine for two).
  m.noise_normals_per_s = 0.25 * f32 / 60;
  double prepare = 1 / (2 / m.noise_normals_per_s + 8 / m.memory_bytes_per_s);
  m.prepare_params_per_s = {{DType::kF32, prepare}, {DType::kBF16, prepare}, {DType::kF16, prepare}};
  m.link_up_bytes_per_s = up;
  m.link_down_bytes_per_s = down;
  m.link_duplex = duplex;
  m.copy_latency_s = 1e-5;
  m.call_overhead_s = 5e-6;
  m.disk_read_bytes_per_s = 5e9;
  m.disk_write_bytes_per_s = 3e9;
  m.spread = 0.2;
  m.source = {{"all", sheet},
              {"gemm", "data sheet, dense, times 0.65"},
              {"memory", "data sheet times 0.8"},
              {"noise", "fp32 rate / 4 / 60 operations per normal; not measured"},
              {"link", "pinned copies as commonly measured on this PCIe generation"}};
  return m;
}

template <typename T>
Result<void> Read(const Json& json, const char* key, T* out, double least, const std::string& origin) {
  if (!json.contains(key)) return {};
  const Json& value = json[key];
  if (!value.is_number() || !(value.get<double>() >= least) || value.get<double>() > 1e19) {
    return Invalid(origin, ": \"", key, "\" must be a number of at least ", least);
  }
  *out = static_cast<T>(value.get<double>());
  return {};
}

Result<void> ReadByDType(const Json& json, const char* key, std::map<DType, double>* out,
                         const std::string& origin) {
  if (!json.contains(key)) return {};
  const Json& value = json[key];
  if (value.is_number() && value.get<double>() > 0) {
    for (DType t : {DType::kF32, DType::kBF16, DType::kF16}) (*out)[t] = value.get<double>();
    return {};
  }
  if (!value.is_object()) return Invalid(origin, ": \"", key, "\" must be a number or an object by dtype");
  for (const auto& [name, rate] : value.items()) {
    auto dtype = ParseDType(name);
    if (!dtype || !rate.is_number() || !(rate.get<double>() > 0)) {
      return Invalid(origin, ": \"", key, "\" has a bad entry \"", name, "\"; it maps f32, bf16, f16 to rates above 0");
    }
    (*out)[*dtype] = rate.get<double>();
  }
  return {};
}

}  // namespace

uint64_t Machine::alignment() const { return cuda ? kGpuAlignment : kCpuAlignment; }

double Machine::GemmFlops(DType dtype, double m, double n, double k) const {
  const GemmPoint* best = nullptr;
  double best_distance = 0;
  for (const GemmPoint& p : gemm_table) {
    if (p.dtype != dtype) continue;
    double dm = std::fabs(std::log2(m / p.m)), dn = std::fabs(std::log2(n / p.n)), dk = std::fabs(std::log2(k / p.k));
    if (dm > 1 || dn > 1 || dk > 1) continue;
    if (best == nullptr || dm + dn + dk < best_distance) {
      best = &p;
      best_distance = dm + dn + dk;
    }
  }
  if (best != nullptr) return best->flops;
  auto it = gemm_flops.find(dtype);
  if (it == gemm_flops.end()) it = gemm_flops.find(DType::kF32);
  return it == gemm_flops.end() ? 1e9 : it->second;
}

std::string CallSignature(Op op, const std::vector<const TensorType*>& inputs) {
  std::string text(Name(op));
  text += '(';
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (i > 0) text += ',';
    if (inputs[i] == nullptr) {
      text += '-';
      continue;
    }
    text += Name(inputs[i]->dtype);
    text += '[';
    for (size_t a = 0; a < inputs[i]->shape.size(); ++a) {
      if (a > 0) text += ',';
      text += std::to_string(inputs[i]->shape[a]);
    }
    text += ']';
  }
  return text + ")";
}

const std::vector<Machine>& BuiltinMachines() {
  static const auto& machines = *new std::vector<Machine>{
      Cpu(),
      Gpu("h100-pcie5", 80, 512, 756e12, 51e12, 2.0e12, 5.0e10, 5.0e10, 0.8, "NVIDIA H100 PCIe data sheet (2022)"),
      Gpu("a100-pcie4", 80, 512, 312e12, 19.5e12, 1.9e12, 2.5e10, 2.5e10, 0.5,
          "NVIDIA A100 80GB PCIe data sheet (2021); duplex: 25 GB/s up falls to 11-13 while downloading"),
      Gpu("rtx4090", 24, 128, 165e12, 82e12, 1.0e12, 2.5e10, 2.5e10, 0.7, "NVIDIA Ada architecture paper (2022)"),
      Gpu("laptop-8g", 8, 32, 90e12, 15e12, 0.256e12, 1.2e10, 1.2e10, 0.7,
          "NVIDIA GeForce RTX 4060 Laptop specification (2023), PCIe 4.0 x8"),
  };
  return machines;
}

Result<Machine> MachineFromJson(const std::string& text, const std::string& origin) {
  Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return Invalid(origin, " is no JSON object; a machine file is one");
  std::string kind = json.contains("kind") && json["kind"].is_string() ? json["kind"].get<std::string>() : "cpu";
  if (kind != "cpu" && kind != "cuda") return Invalid(origin, ": \"kind\" must be \"cpu\" or \"cuda\", not \"", kind, "\"");
  Machine m = BuiltinMachines()[kind == "cpu" ? 0 : 1];
  m.source = {{"defaults", "what the file leaves out is taken from " + m.name}};
  m.name = json.contains("name") && json["name"].is_string() ? json["name"].get<std::string>() : origin;
  if (json.contains("source")) {
    if (json["source"].is_string()) m.source["all"] = json["source"].get<std::string>();
    if (json["source"].is_object()) {
      for (const auto& [key, value] : json["source"].items())
        if (value.is_string()) m.source[key] = value.get<std::string>();
    }
  }
  ZO2_TRY(Read(json, "compute_threads", &m.compute_threads, 1, origin));
  ZO2_TRY(Read(json, "device_bytes", &m.device_bytes, 0, origin));
  ZO2_TRY(Read(json, "host_bytes", &m.host_bytes, 0, origin));
  ZO2_TRY(Read(json, "disk_bytes", &m.disk_bytes, 0, origin));
  ZO2_TRY(ReadByDType(json, "gemm_flops", &m.gemm_flops, origin));
  ZO2_TRY(ReadByDType(json, "prepare_params_per_s", &m.prepare_params_per_s, origin));
  constexpr double kPositive = 1e-12;
  ZO2_TRY(Read(json, "attention_flops", &m.attention_flops, kPositive, origin));
  ZO2_TRY(Read(json, "elementwise_ops", &m.elementwise_ops, kPositive, origin));
  ZO2_TRY(Read(json, "memory_bytes_per_s", &m.memory_bytes_per_s, kPositive, origin));
  ZO2_TRY(Read(json, "noise_normals_per_s", &m.noise_normals_per_s, kPositive, origin));
  ZO2_TRY(Read(json, "link_up_bytes_per_s", &m.link_up_bytes_per_s, kPositive, origin));
  ZO2_TRY(Read(json, "link_down_bytes_per_s", &m.link_down_bytes_per_s, kPositive, origin));
  ZO2_TRY(Read(json, "link_duplex", &m.link_duplex, 0.05, origin));
  ZO2_TRY(Read(json, "copy_latency_s", &m.copy_latency_s, 0, origin));
  ZO2_TRY(Read(json, "call_overhead_s", &m.call_overhead_s, 0, origin));
  ZO2_TRY(Read(json, "disk_read_bytes_per_s", &m.disk_read_bytes_per_s, kPositive, origin));
  ZO2_TRY(Read(json, "disk_write_bytes_per_s", &m.disk_write_bytes_per_s, kPositive, origin));
  ZO2_TRY(Read(json, "spread", &m.spread, 0, origin));
  m.link_duplex = std::min(m.link_duplex, 1.0);
  if (json.contains("gemm_table") && json["gemm_table"].is_array()) {
    for (const Json& row : json["gemm_table"]) {
      GemmPoint p;
      if (!row.is_object()) return Invalid(origin, ": \"gemm_table\" must be an array of objects");
      auto dtype = ParseDType(row.value("dtype", std::string("f32")));
      if (!dtype) return Invalid(origin, ": \"gemm_table\" has an unknown dtype");
      p.dtype = *dtype;
      ZO2_TRY(Read(row, "m", &p.m, 1, origin));
      ZO2_TRY(Read(row, "n", &p.n, 1, origin));
      ZO2_TRY(Read(row, "k", &p.k, 1, origin));
      ZO2_TRY(Read(row, "flops", &p.flops, 1, origin));
      if (p.m <= 0 || p.n <= 0 || p.k <= 0 || p.flops <= 0)
        return Invalid(origin, ": each row of \"gemm_table\" needs m, n, k and flops");
      m.gemm_table.push_back(p);
    }
  }
  if (json.contains("calls") && json["calls"].is_object()) {
    for (const auto& [key, value] : json["calls"].items()) {
      if (!value.is_number() || !(value.get<double>() >= 0))
        return Invalid(origin, ": \"calls\" maps signatures to seconds; \"", key, "\" has none");
      m.calls[key] = value.get<double>();
    }
  }
  return m;
}

Result<Machine> LoadMachine(const std::string& name) {
  if (name.empty()) return BuiltinMachines()[0];
  for (const Machine& m : BuiltinMachines())
    if (m.name == name) return m;
  if (!FileExists(name)) {
    std::string known;
    for (const Machine& m : BuiltinMachines()) known += (known.empty() ? "" : ", ") + m.name;
    return Invalid("machine '", name, "' is neither a file nor a built-in (", known, ")");
  }
  ZO2_ASSIGN(std::string text, ReadFile(name));
  return MachineFromJson(text, name);
}

std::string MachineToJson(const Machine& m) {
  Json json = {{"name", m.name},
               {"kind", m.cuda ? "cuda" : "cpu"},
               {"source", m.source},
               {"compute_threads", m.compute_threads},
               {"device_bytes", m.device_bytes},
               {"host_bytes", m.host_bytes},
               {"disk_bytes", m.disk_bytes},
               {"attention_flops", m.attention_flops},
               {"elementwise_ops", m.elementwise_ops},
               {"memory_bytes_per_s", m.memory_bytes_per_s},
               {"noise_normals_per_s", m.noise_normals_per_s},
               {"link_up_bytes_per_s", m.link_up_bytes_per_s},
               {"link_down_bytes_per_s", m.link_down_bytes_per_s},
               {"link_duplex", m.link_duplex},
               {"copy_latency_s", m.copy_latency_s},
               {"call_overhead_s", m.call_overhead_s},
               {"disk_read_bytes_per_s", m.disk_read_bytes_per_s},
               {"disk_write_bytes_per_s", m.disk_write_bytes_per_s},
               {"spread", m.spread},
               {"calls", m.calls}};
  for (const auto& [dtype, rate] : m.gemm_flops) json["gemm_flops"][std::string(Name(dtype))] = rate;
  for (const auto& [dtype, rate] : m.prepare_params_per_s)
    json["prepare_params_per_s"][std::string(Name(dtype))] = rate;
  json["gemm_table"] = Json::array();
  for (const GemmPoint& p : m.gemm_table) {
    json["gemm_table"].push_back(
        {{"dtype", std::string(Name(p.dtype))}, {"m", p.m}, {"n", p.n}, {"k", p.k}, {"flops", p.flops}});
  }
  return json.dump(1);
}

std::string MachinesText() {
  std::ostringstream out;
  char line[256];
  for (const Machine& m : BuiltinMachines()) {
    auto rate = [&](DType t) { return m.gemm_flops.count(t) ? m.gemm_flops.at(t) / 1e12 : 0.0; };
    std::snprintf(line, sizeof line,
                  "%-12s %s  device %s  host %s\n"
                  "             GEMM f32 %.3g, bf16 %.3g TFLOP/s   memory %.4g GB/s   noise %.3g G normals/s\n"
                  "             link up %.3g, down %.3g GB/s, duplex %.2g   prepare %.3g G weights/s\n",
                  m.name.c_str(), m.cuda ? "cuda" : "cpu ", FormatSize(static_cast<double>(m.device_bytes)).c_str(),
                  FormatSize(static_cast<double>(m.host_bytes)).c_str(), rate(DType::kF32), rate(DType::kBF16),
                  m.memory_bytes_per_s / 1e9, m.noise_normals_per_s / 1e9, m.link_up_bytes_per_s / 1e9,
                  m.link_down_bytes_per_s / 1e9, m.link_duplex, m.prepare_params_per_s.at(DType::kF32) / 1e9);
    out << line;
    for (const auto& [what, where] : m.source) out << "             " << what << ": " << where << "\n";
  }
  return out.str();
}

}  // namespace zo2
