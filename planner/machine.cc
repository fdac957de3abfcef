#include "planner/machine.h"

#include <cmath>
#include <cstdio>
#include <sstream>

#include "ir/schedule/schedule.h"
#include "ir/support/file.h"
#include "planner/options.h"

namespace zo2 {
namespace {

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
  m.disk_latency_s = 1e-4;
  m.host_threads = 2;
  m.host_update_params_per_s = 2e9;
  m.encode_bytes_per_s = 4e9;
  m.spread = {{"all", 0.1}};
  m.source = {{"all", "two AVX-512 server cores, measured with LibTorch 2.11"},
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
  m.disk_latency_s = 1e-4;
  // A core draws 1.16e9 normals a second with AVX-512; reading and writing masters beside it leaves some 0.8e9 updates.
  m.host_threads = host_gib >= 512 ? 32 : host_gib >= 128 ? 16 : 8;
  m.host_update_params_per_s = 0.8e9 * m.host_threads;
  m.encode_bytes_per_s = 2e9 * m.host_threads;
  m.spread = {{"all", 0.2}};
  m.source = {{"all", sheet},
              {"gemm", "data sheet, dense, times 0.65"},
              {"memory", "data sheet times 0.8"},
              {"noise", "fp32 rate / 4 / 60 operations per normal; not measured"},
              {"host", "one AVX-512 core as measured here, times the cores that such hosts commonly have"},
              {"link", "pinned copies as commonly measured on this PCIe generation"}};
  return m;
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
      Gpu("h200-pcie5", 140, 512, 989e12, 67e12, 4.8e12, 5.0e10, 5.0e10, 0.8,
          "NVIDIA H200 SXM data sheet (2024); its memory as the driver counts it"),
      Gpu("a100-pcie4", 80, 512, 312e12, 19.5e12, 1.9e12, 2.5e10, 2.5e10, 0.5,
          "NVIDIA A100 80GB PCIe data sheet (2021); duplex: 25 GB/s up falls to 11-13 while downloading"),
      Gpu("rtx4090", 24, 128, 165e12, 82e12, 1.0e12, 2.5e10, 2.5e10, 0.7, "NVIDIA Ada architecture paper (2022)"),
      Gpu("laptop-8g", 8, 32, 90e12, 15e12, 0.256e12, 1.2e10, 1.2e10, 0.7,
          "NVIDIA GeForce RTX 4060 Laptop specification (2023), PCIe 4.0 x8"),
  };
  return machines;
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

std::string MachinesText() {
  std::ostringstream out;
  char line[512];
  for (const Machine& m : BuiltinMachines()) {
    auto rate = [&](DType t) { return m.gemm_flops.count(t) ? m.gemm_flops.at(t) / 1e12 : 0.0; };
    std::snprintf(line, sizeof line,
                  "%-12s %s  device %s  host %s\n"
                  "             GEMM f32 %.3g, bf16 %.3g TFLOP/s   memory %.4g GB/s   noise %.3g G normals/s\n"
                  "             link up %.3g, down %.3g GB/s, duplex %.2g   prepare %.3g G weights/s\n"
                  "             host %d threads: update %.3g G weights/s, encode %.3g GB/s   disk read %.3g, "
                  "write %.3g GB/s\n",
                  m.name.c_str(), m.cuda ? "cuda" : "cpu ", FormatSize(static_cast<double>(m.device_bytes)).c_str(),
                  FormatSize(static_cast<double>(m.host_bytes)).c_str(), rate(DType::kF32), rate(DType::kBF16),
                  m.memory_bytes_per_s / 1e9, m.noise_normals_per_s / 1e9, m.link_up_bytes_per_s / 1e9,
                  m.link_down_bytes_per_s / 1e9, m.link_duplex, m.prepare_params_per_s.at(DType::kF32) / 1e9,
                  m.host_threads, m.host_update_params_per_s / 1e9, m.encode_bytes_per_s / 1e9,
                  m.disk_read_bytes_per_s / 1e9, m.disk_write_bytes_per_s / 1e9);
    out << line;
    for (const auto& [what, where] : m.source) out << "             " << what << ": " << where << "\n";
  }
  return out.str();
}

}  // namespace zo2
