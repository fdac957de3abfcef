// zo2-plan: parse flags, call one function of a stage, print.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <iostream>

#include "frontend/check.h"
#include "frontend/export.h"
#include "frontend/pipeline.h"
#include "ir/schedule/schedule_io.h"
#include "ir/schedule/verify.h"
#include "ir/support/file.h"
#include "planner/compare.h"
#include "planner/machine.h"
#include "planner/plan.h"
#include "planner/report.h"
#include "planner/sweep.h"
#include "planner/timeline.h"

namespace zo2 {
namespace {

// What the user typed, before it is understood.
struct Flags {
  std::string model, bind, machine = "cpu-2core", output, report, format = "text", weight, other, weights;
  std::string budget, host_budget, tile, resident, link_up, link_down, range;
  std::string rounding = "stochastic", numerics = "pinned";
  bool quiet = false, rademacher = false, json = false;
  int points = 9;
  LoadOptions load;
  PlanOptions plan;
};

Result<uint64_t> Size(const std::string& text, uint64_t fallback) {
  if (text.empty()) return fallback;
  return ParseSize(text);
}

// "batch=4,seq=128"
Result<void> ParseBind(const std::string& text, std::map<std::string, int64_t>* bind) {
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find(',', begin), text.size()), equal = text.find('=', begin);
    char* rest = nullptr;
    int64_t size = equal < end ? std::strtoll(text.c_str() + equal + 1, &rest, 10) : 0;
    if (equal >= end || equal == begin || size <= 0 || rest != text.c_str() + end)
      return Invalid("--bind '", text, "' is not NAME=SIZE,... with sizes above 0, like batch=4,seq=128");
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

Result<Graph> Load(Flags& f) {
  ZO2_TRY(ParseBind(f.bind, &f.load.import.bind));
  ZO2_TRY(DivideBatch(f.plan.micro_batches, &f.load.import.bind));
  f.load.import.weights = f.weights;
  return LoadModel(f.model, f.load);
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
  std::error_code ignored;  // a plan may be run from anywhere
  auto folder = std::filesystem::absolute(DirName(f.model), ignored).lexically_normal();
  f.plan.model_dir = ignored ? DirName(f.model) : folder.string();
  return {};
}

Result<void> Compile(Flags& f) {
  ZO2_TRY(ReadPlanOptions(f));
  ZO2_ASSIGN(Machine machine, MachineOf(f));
  ZO2_ASSIGN(Graph graph, Load(f));
  ZO2_ASSIGN(Plan plan, CompilePlan(graph, machine, f.plan));
  if (!f.output.empty()) ZO2_TRY(WriteSchedule(plan.schedule, f.output));
  if (!f.report.empty()) ZO2_TRY(WriteFile(f.report, plan.schedule.report + "\n"));
  if (f.quiet) return {};
  ZO2_ASSIGN(std::string text, ReportText(plan.schedule.report));
  std::cout << text;
  if (!f.output.empty()) std::cout << "\nplan written to " << f.output << "\n";
  return {};
}

Result<void> Check(Flags& f) {
  ZO2_ASSIGN(Graph graph, Load(f));
  std::cout << CheckReport(graph);
  return {};
}

Result<void> Inspect(Flags& f) {
  ZO2_ASSIGN(Schedule schedule, ReadSchedule(f.model));
  std::string text;
  if (!f.weight.empty()) {
    ZO2_ASSIGN(text, WeightText(schedule, f.weight));
  } else if (f.format == "json") {
    text = ScheduleToJson(schedule);
  } else if (f.format == "html") {
    text = TimelineHtml(schedule);
  } else if (f.format == "perfetto") {
    text = PerfettoJson(schedule);
  } else {
    ZO2_ASSIGN(text, ReportText(schedule.report));
  }
  if (!f.output.empty()) {
    if (Status status = WriteFile(f.output, text); !status.ok()) return status;
    return {};
  }
  std::cout << text;
  return {};
}

Result<void> VerifyPlan(Flags& f) {
  ZO2_ASSIGN(Schedule schedule, ReadSchedule(f.model));
  ZO2_ASSIGN(VerifyStats stats, Verify(schedule));
  std::cout << "safe: " << stats.instructions << " instructions and " << stats.edges << " edges (unrolled)";
  for (size_t a = 0; a < stats.peak.size(); ++a)
    std::cout << ", peak " << FormatSize(static_cast<double>(stats.peak[a])) << " on the " << Name(schedule.arenas[a].tier);
  std::cout << "\n";
  return {};
}

Result<void> Compare(Flags& f) {
  ZO2_ASSIGN(Schedule a, ReadSchedule(f.model));
  ZO2_ASSIGN(Schedule b, ReadSchedule(f.other));
  ZO2_ASSIGN(std::string text, CompareText(a, b));
  std::cout << text;
  return {};
}

Result<void> RunSweep(Flags& f) {
  ZO2_TRY(ReadPlanOptions(f));
  ZO2_ASSIGN(auto range, ParseSizeRange(f.range));
  ZO2_ASSIGN(Machine machine, MachineOf(f));
  ZO2_ASSIGN(Graph graph, Load(f));
  ZO2_ASSIGN(std::string text, Sweep(graph, machine, f.plan, range.first, range.second, f.points, f.json));
  std::cout << text;
  return {};
}

Result<void> Machines(Flags& f) {
  if (f.other.empty()) {
    std::cout << MachinesText();
    return {};
  }
  ZO2_ASSIGN(Machine machine, LoadMachine(f.other));
  std::cout << MachineToJson(machine) << "\n";
  return {};
}

Result<void> Export(Flags& f) {
  ZO2_ASSIGN(ExportReport report, ExportOnnx(f.model, f.weights, f.output));
  std::cout << report.replaced << " weights replaced, written to " << f.output << "\n";
  for (const std::string& note : report.notes) std::cout << "  " << note << "\n";
  return {};
}

void AddModelFlags(CLI::App* app, Flags* f) {
  app->add_option("MODEL", f->model, "ONNX file")->required();
  app->add_option("--bind", f->bind, "sizes of symbolic dimensions, NAME=SIZE,...");
  app->add_option("--weights", f->weights, "safetensors file or folder that overrides the model's weights");
  app->add_option("--loss", f->load.loss, "auto, causal-lm, classify, mse or output:NAME")->capture_default_str();
  app->add_option("--train", f->load.train, "all, or a regular expression over weight names")->capture_default_str();
  app->add_option("--keep-output", f->load.keep_outputs, "model outputs that evaluations return");
  app->add_option("--print-after", f->load.print_after, "print the graph after this pass (or all)");
  app->add_option("--micro", f->plan.micro_batches, "micro-batches; divides the bound batch")->capture_default_str();
}

void AddPlanFlags(CLI::App* app, Flags* f) {
  AddModelFlags(app, f);
  app->add_option("--host-budget", f->host_budget, "host memory, like 8GiB [what the machine has]");
  app->add_option("--machine", f->machine, "built-in name or JSON file")->capture_default_str();
  app->add_option("--link-up", f->link_up, "rate host to device instead of the machine's, like 2GB/s");
  app->add_option("--link-down", f->link_down, "rate device to host instead of the machine's");
  app->add_option("--q", f->plan.samples, "directions per step (n-SPSA)")->capture_default_str();
  app->add_option("--tile", f->tile, "tile size; decides bits [from the model]");
  app->add_option("--rounding", f->rounding, "of 16-bit masters")->check(CLI::IsMember({"stochastic", "nearest"}))->capture_default_str();
  app->add_flag("--rademacher", f->rademacher, "directions of +1 and -1 instead of normals");
  app->add_option("--numerics", f->numerics, "pinned: nothing that changes bits is chosen by the planner")
      ->check(CLI::IsMember({"pinned"}))->capture_default_str();
  app->add_option("--strategy", f->plan.strategy, "auto, greedy, zo2, stream or resident")->capture_default_str();
  app->add_option("--slots", f->plan.slots, "slots for streamed tiles [decided]");
  app->add_option("--writeback-every", f->plan.writeback_every, "steps between write-backs [decided]");
  app->add_option("--resident", f->resident, "all, none or bytes of weights kept on the device [decided]");
  app->add_option("--steps", f->plan.steps, "for the total in the report")->capture_default_str();
}

int Main(int argc, char** argv) {
  Flags f;
  std::function<Result<void>(Flags&)> run;
  CLI::App app("Plans zeroth-order fine-tuning of an ONNX model within a memory budget.", "zo2-plan");
  app.require_subcommand(1);
  auto command = [&](const char* name, const char* help, Result<void> (*function)(Flags&)) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->callback([&run, function] { run = function; });
    return sub;
  };
  CLI::App* compile = command("compile", "make a plan and print its report", Compile);
  AddPlanFlags(compile, &f);
  compile->add_option("--budget", f.budget, "device memory, like 64MiB [what the machine has]");
  compile->add_option("-o,--output", f.output, "plan file (.json: as JSON)");
  compile->add_option("--report", f.report, "report file, JSON");
  compile->add_flag("--quiet", f.quiet, "print nothing");
  AddModelFlags(command("check", "say what the frontend makes of a model", Check), &f);
  CLI::App* inspect = command("inspect", "show a plan", Inspect);
  inspect->add_option("PLAN", f.model, "plan file")->required();
  inspect->add_option("--format", f.format, "what to show")->check(CLI::IsMember({"text", "json", "html", "perfetto"}))->capture_default_str();
  inspect->add_option("--weight", f.weight, "one weight by name");
  inspect->add_option("-o,--output", f.output, "file instead of standard output");
  command("verify", "prove a plan safe", VerifyPlan)->add_option("PLAN", f.model, "plan file")->required();
  CLI::App* compare = command("compare", "say what differs between two plans", Compare);
  compare->add_option("A", f.model, "plan file")->required();
  compare->add_option("B", f.other, "plan file")->required();
  CLI::App* sweep = command("sweep", "plan for many budgets", RunSweep);
  AddPlanFlags(sweep, &f);
  sweep->add_option("--budget", f.range, "from..to, like 1GiB..24GiB")->required();
  sweep->add_option("--points", f.points, "budgets to try")->capture_default_str();
  sweep->add_flag("--json", f.json, "rows as JSON");
  command("machines", "list built-in machines, or print one as JSON", Machines)->add_option("NAME", f.other, "machine to print");
  CLI::App* exporting = command("export", "write an ONNX file with tuned weights", Export);
  exporting->add_option("MODEL", f.model, "ONNX file")->required();
  exporting->add_option("--weights", f.weights, "tuned safetensors")->required();
  exporting->add_option("-o,--output", f.output, "ONNX file to write")->required();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    return app.exit(e) == 0 ? 0 : static_cast<int>(Code::kInvalid);
  }
  Result<void> result = run(f);
  if (result.ok()) return 0;
  std::cerr << "zo2-plan: " << result.status().message() << "\n";
  return static_cast<int>(result.status().code());
}

}  // namespace
}  // namespace zo2

int main(int argc, char** argv) { return zo2::Main(argc, argv); }
