// From what the user typed to graph, machine and options.
#include <errno.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "ir/support/file.h"
#include "planner/commands.h"
#include "planner/precision.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

Result<uint64_t> Size(const std::string& text, uint64_t fallback) {
  if (text.empty()) return fallback;
  return ParseSize(text);
}

// "batch=4,seq=128"
Result<void> ParseBind(const std::string& text, std::map<std::string, int64_t>* bind) {
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find(',', begin), text.size()), equal = text.find('=', begin);
    char* rest = nullptr;
    errno = 0;
    int64_t size = equal < end ? std::strtoll(text.c_str() + equal + 1, &rest, 10) : 0;
    if (equal >= end || equal == begin || rest == text.c_str() + equal + 1 || errno != 0 || rest != text.c_str() + end)
      return Invalid("--bind '", text, "' is not NAME=SIZE,..., like batch=4,seq=128");
    (*bind)[text.substr(begin, equal - begin)] = size;
    begin = end + 1;
  }
  return {};
}

// The whole batch is bound; the graph is planned for the rows of one micro-batch.
Result<void> DivideBatch(int micro, std::map<std::string, int64_t>* bind) {
  if (micro <= 1) return {};
  for (auto& [name, size] : *bind) {
    if (name != "batch" && name != "batch_size" && name != "N") continue;
    if (size % micro != 0) return Invalid("--micro ", micro, " does not divide the bound ", name, "=", size);
    size /= micro;
    return {};
  }
  return Invalid("--micro needs the batch bound by name: --bind batch=...");
}

// "runs/opt/model.onnx" -> "opt", "runs/opt-small.onnx" -> "opt-small".
std::string NameOf(const std::string& path) {
  std::error_code ignored;
  const std::filesystem::path file = std::filesystem::absolute(path, ignored).lexically_normal();
  const std::string stem = file.stem().string(), folder = file.parent_path().filename().string();
  return stem == "model" && !folder.empty() ? folder : stem;
}

Result<void> ReadWire(Flags& f) {
  f.plan.wire_for.clear();
  for (const std::string& text : f.wire_for) {
    ZO2_ASSIGN(WireRule rule, ParseWireRule(text));
    f.plan.wire_for.push_back(rule);
  }
  f.plan.wire_update = f.wire_update == "host"      ? WireUpdate::kHost
                       : f.wire_update == "refresh" ? WireUpdate::kRefresh
                                                    : WireUpdate::kAuto;
  if (f.wire != "auto") {
    ZO2_ASSIGN(f.plan.wire, ParseWire("--wire", f.wire));
    if (!f.max_wire_error.empty() || !f.weight_errors.empty())
      return Invalid("--max-wire-error and --weight-errors are for --wire auto");
    return {};
  }
  if (f.max_wire_error.empty() || f.weight_errors.empty())
    return Invalid("--wire auto needs --max-wire-error and --weight-errors (a file of zo2-run profile --weights)");
  char* end = nullptr;
  f.plan.max_wire_error = std::strtod(f.max_wire_error.c_str(), &end);
  if (*end != '\0' || !(*f.plan.max_wire_error >= 0))
    return Invalid("--max-wire-error '", f.max_wire_error, "' is no number from 0 on, like 0.02");
  ZO2_ASSIGN(const std::string text, ReadFile(f.weight_errors));
  ZO2_ASSIGN(f.plan.wire_errors, ParseWireErrors(text, f.weight_errors));
  return {};
}

}  // namespace

Result<Graph> Load(Flags& f) {
  ZO2_TRY(ParseBind(f.bind, &f.load.import.bind));
  ZO2_TRY(DivideBatch(f.plan.micro_batches, &f.load.import.bind));
  f.load.import.weights = f.weights;
  ZO2_ASSIGN(Graph graph, LoadModel(f.model, f.load));
  // Exporters call every graph the same; its file tells more.
  if (graph.name.empty() || graph.name == "main_graph" || graph.name == "torch_jit") graph.name = NameOf(f.model);
  return graph;
}

Result<Machine> MachineOf(const Flags& f) {
  ZO2_ASSIGN(Machine machine, LoadMachine(f.machine));
  if (!f.link_up.empty()) {
    ZO2_ASSIGN(machine.link_up_bytes_per_s, ParseRate(f.link_up));
    machine.source["link up"] = "--link-up";
  }
  if (!f.link_down.empty()) {
    ZO2_ASSIGN(machine.link_down_bytes_per_s, ParseRate(f.link_down));
    machine.source["link down"] = "--link-down";
  }
  return machine;
}

Result<void> ReadPlanOptions(Flags& f) {
  ZO2_ASSIGN(f.plan.budget, Size(f.budget, 0));
  ZO2_ASSIGN(f.plan.host_budget, Size(f.host_budget, 0));
  ZO2_ASSIGN(f.plan.tile, Size(f.tile, 0));
  if (f.resident == "all") {
    f.plan.resident = UINT64_MAX;
  } else if (f.resident == "none") {
    f.plan.resident = 0;
  } else if (!f.resident.empty()) {
    ZO2_ASSIGN(f.plan.resident, ParseSize(f.resident));
  }
  f.plan.rounding = f.rounding == "nearest" ? Rounding::kNearest : Rounding::kStochastic;
  f.plan.rademacher = f.rademacher;
  f.plan.gap = f.gap / 100;
  ZO2_ASSIGN(f.plan.storage, ParseFloat("--storage", f.storage, "as-is"));
  ZO2_ASSIGN(auto compute, ParseFloat("--compute", f.compute, ""));
  f.plan.compute = *compute;
  f.plan.storage_for.clear();
  f.plan.compute_for.clear();
  for (const std::string& text : f.storage_for) {
    ZO2_ASSIGN(TypeRule rule, ParseTypeRule("--storage-for", text, "as-is"));
    f.plan.storage_for.push_back(rule);
  }
  for (const std::string& text : f.compute_for) {
    ZO2_ASSIGN(TypeRule rule, ParseTypeRule("--compute-for", text, ""));
    f.plan.compute_for.push_back(rule);
  }
  ZO2_TRY(ReadWire(f));
  std::error_code ignored;  // a plan may be run from anywhere
  auto folder = std::filesystem::absolute(DirName(f.model), ignored).lexically_normal();
  f.plan.model_dir = ignored ? DirName(f.model) : folder.string();
  return {};
}

}  // namespace zo2
