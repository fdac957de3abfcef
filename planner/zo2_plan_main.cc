// zo2-plan: parse flags, call one function of a stage, print.
#include <errno.h>

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
#include "ir/support/last_words.h"
#include "planner/compare.h"
#include "planner/machine.h"
#include "planner/plan.h"
#include "planner/precision.h"
#include "planner/report.h"
#include "planner/sweep.h"
#include "planner/timeline.h"

namespace zo2 {
namespace {

// What the user typed, before it is understood.
struct Flags {
  std::string model, bind, machine = "cpu-2core", output, report, format = "text", weight, other, weights;
  std::string budget, host_budget, tile, resident, link_up, link_down, range;
  std::string rounding = "stochastic", numerics = "pinned", storage = "as-is", compute = "fp32";
  std::vector<std::string> storage_for, compute_for;
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
  // These follow its indices; JSON and text show whatever is there.
  if (!f.weight.empty() || f.format == "html" || f.format == "perfetto") ZO2_TRY(Verify(schedule));
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
    std::cout << "written to " << f.output;
    if (f.format == "html") std::cout << "; open it in a browser, it needs no network";
    if (f.format == "perfetto") std::cout << "; open it at ui.perfetto.dev or chrome://tracing";
    std::cout << "\n";
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
    std::cout << ", peak " << FormatSize(static_cast<double>(stats.peak[a])) << " on the "
              << Name(schedule.arenas[a].tier);
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

// ---- flags: every one shows what it defaults to ----

constexpr const char* kVersion = "zo2-plan 0.1.0";
constexpr const char *kModel = "Model", *kBits = "Choices that decide bits", *kBudgets = "Machine and budgets",
                     *kDecisions = "Decisions, forced by hand", *kOutput = "Output";

// "--name TYPE   what it is [default]"
class HelpFormat : public CLI::Formatter {
 public:
  HelpFormat() { column_width(28); }
  std::string make_option_opts(const CLI::Option* option) const override {
    if (option->get_type_size() == 0) return "";
    return " " + option->get_type_name() + (option->get_positional() || !option->get_required() ? "" : " (required)");
  }
  std::string make_option_desc(const CLI::Option* option) const override {
    const std::string absent = option->get_default_str();
    return option->get_description() + (absent.empty() ? "" : " [" + absent + "]");
  }
};

template <typename T>
CLI::Option* Add(CLI::App* app, const char* group, const char* name, T* value, const char* type, const char* help) {
  return app->add_option(name, *value, help)->group(group)->type_name(type)->capture_default_str();
}
// One whose absence means something: `absent` says what.
CLI::Option* AddText(CLI::App* app, const char* group, const char* name, std::string* value, const char* type,
                     const char* help, const char* absent = "") {
  return app->add_option(name, *value, help)->group(group)->type_name(type)->default_str(absent);
}

void AddModelFlags(CLI::App* app, Flags* f) {
  app->add_option("MODEL", f->model, "ONNX file, with its weights inside or in external files")
      ->required()
      ->type_name("FILE");
  AddText(app, kModel, "--bind", &f->bind, "NAME=SIZE,...",
          "sizes of symbolic dimensions, like batch=4,seq=128; also values of inputs that are one number", "none");
  AddText(app, kModel, "--weights", &f->weights, "PATH",
          "safetensors file or folder whose tensors replace the model's weights of the same names", "the model's own");
  Add(app, kModel, "--loss", &f->load.loss, "LOSS",
      "auto, causal-lm, classify, mse, none, or output:NAME for a loss that the model computes");
  Add(app, kModel, "--train", &f->load.train, "REGEX",
      "which weights are trained: all, or those whose name contains a match");
  app->add_option("--keep-output", f->load.keep_outputs,
                  "a model output that evaluations return; may be given several times")
      ->group(kModel)
      ->type_name("NAME")
      ->allow_extra_args(false)
      ->default_str("all; none for causal-lm");
  AddText(app, kModel, "--print-after", &f->load.print_after, "PASS",
          "print the graph after this pass of the frontend, or after all", "none");
}

void AddTypes(CLI::App* app, const char* name, std::vector<std::string>* value, const char* help) {
  app->add_option(name, *value, help)->group(kBits)->type_name("REGEX=TYPE")->allow_extra_args(false)->default_str("none");
}

void AddBitFlags(CLI::App* app, Flags* f) {
  Add(app, kBits, "--micro", &f->plan.micro_batches, "N", "micro-batches per step; must divide the bound batch");
  Add(app, kBits, "--q", &f->plan.samples, "N", "directions per step (n-SPSA)");
  AddText(app, kBits, "--tile", &f->tile, "SIZE", "size of a tile", "from the model");
  Add(app, kBits, "--storage", &f->storage, "TYPE",
      "how weights are stored: as-is (as their files have them), fp32, bf16 or fp16; those with one axis always in fp32");
  AddTypes(app, "--storage-for", &f->storage_for,
           "store the weights whose name contains a match in this type, or as-is; may be given several times");
  Add(app, kBits, "--compute", &f->compute, "TYPE",
      "what matrix products take: fp32, or bf16 operands with fp32 sums");
  AddTypes(app, "--compute-for", &f->compute_for,
           "fp32 or bf16 for the matrices whose name contains a match; may be given several times");
  Add(app, kBits, "--rounding", &f->rounding, "HOW", "how 16-bit masters are rounded: stochastic or nearest")
      ->check(CLI::IsMember({"stochastic", "nearest"}).description(""));
  app->add_flag("--rademacher", f->rademacher, "directions of +1 and -1 instead of normal ones")->group(kBits);
  Add(app, kBits, "--numerics", &f->numerics, "HOW", "pinned: the planner chooses nothing that changes bits")
      ->check(CLI::IsMember({"pinned"}).description(""));
}

void AddPlanFlags(CLI::App* app, Flags* f) {
  AddModelFlags(app, f);
  AddText(app, kBudgets, "--host-budget", &f->host_budget, "SIZE", "host memory, like 8GiB", "what the machine has");
  Add(app, kBudgets, "--machine", &f->machine, "NAME|FILE",
      "built-in machine (zo2-plan machines lists them) or a file of zo2-run profile");
  AddText(app, kBudgets, "--link-up", &f->link_up, "RATE", "rate from host to device, like 2GB/s", "the machine's");
  AddText(app, kBudgets, "--link-down", &f->link_down, "RATE", "rate from device to host", "the machine's");
  AddBitFlags(app, f);
  Add(app, kDecisions, "--strategy", &f->plan.strategy, "NAME",
      "auto (the best of all), greedy, stream (everything), resident (everything) or zo2 (the published schedule)");
  Add(app, kDecisions, "--slots", &f->plan.slots, "N", "slots that streamed tiles pass through; 0: decided");
  Add(app, kDecisions, "--writeback-every", &f->plan.writeback_every, "K",
      "steps between write-backs of a streamed tile; 0: decided");
  AddText(app, kDecisions, "--resident", &f->resident, "SIZE", "weights kept on the device: all, none or this much",
          "decided");
  Add(app, kOutput, "--steps", &f->plan.steps, "N", "steps that the report's total is for");
}

constexpr const char* kFooter = R"(
Examples
  zo2-plan check model.onnx --bind batch=8,seq=128
  zo2-plan compile model.onnx --bind batch=8,seq=128 --budget 64MiB -o run.plan
  zo2-plan inspect run.plan --format html -o timeline.html
  zo2-plan sweep model.onnx --bind batch=8,seq=128 --budget 32MiB..1GiB
  zo2-plan export model.onnx --weights tuned.safetensors -o tuned.onnx
zo2-plan COMMAND --help lists a command's flags. Sizes take units: KiB MiB GiB (powers of 1024), kB MB GB (powers of 1000).
Exit status: 0 done, 2 bad input or usage, 3 no plan fits the budgets, 5 the schedule was rejected, 70 a bug of ours.)";

int Main(int argc, char** argv) {
  Flags f;
  std::function<Result<void>(Flags&)> run;
  CLI::App app(
      "Plans zeroth-order fine-tuning: from an ONNX model, a machine and memory budgets to a static schedule that "
      "zo2-run\n"
      "executes. A plan says what lives where, which bytes move when, which kernel runs at which address, and why.",
      "zo2-plan");
  app.formatter(std::make_shared<HelpFormat>());
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string(kVersion) + " (plan format " + std::to_string(kScheduleVersion) + ")",
                       "print the version");
  app.footer(kFooter);
  auto command = [&](const char* name, const char* help, Result<void> (*function)(Flags&)) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->callback([&run, function] { run = function; });
    sub->footer("");
    return sub;
  };
  CLI::App* check = command(
      "check", "Say what the model is: inputs, loss, ops, weights, ties, what is trained, what is unsupported.", Check);
  AddModelFlags(check, &f);
  Add(check, kBits, "--micro", &f.plan.micro_batches, "N", "micro-batches per step; must divide the bound batch");
  CLI::App* compile = command("compile", "Make a plan within the budgets and print its report.", Compile);
  AddPlanFlags(compile, &f);
  AddText(compile, kBudgets, "--budget", &f.budget, "SIZE", "device memory, like 64MiB", "what the machine has");
  AddText(compile, kOutput, "-o,--output", &f.output, "FILE", "plan file; a name that ends in .json gives JSON",
          "none is written");
  AddText(compile, kOutput, "--report", &f.report, "FILE", "report as JSON (docs/REPORT.md)", "none is written");
  compile->add_flag("--quiet", f.quiet, "print nothing")->group(kOutput);
  CLI::App* inspect =
      command("inspect", "Show a plan: its report, all of it as JSON, a timeline, or one weight.", Inspect);
  inspect->add_option("PLAN", f.model, "plan file")->required()->type_name("FILE");
  Add(inspect, kOutput, "--format", &f.format, "HOW",
      "text (the report), json (the whole schedule), html (a timeline for a browser) or perfetto (a trace for "
      "ui.perfetto.dev)")
      ->check(CLI::IsMember({"text", "json", "html", "perfetto"}).description(""));
  AddText(inspect, kOutput, "--weight", &f.weight, "NAME", "where this weight is stored, lives and moves",
          "all of the plan");
  AddText(inspect, kOutput, "-o,--output", &f.output, "FILE", "file to write", "standard output");
  command("verify", "Prove a plan safe: no hazard, no deadlock, no lost update, nothing outside its arena.", VerifyPlan)
      ->add_option("PLAN", f.model, "plan file")
      ->required()
      ->type_name("FILE");
  CLI::App* compare =
      command("compare", "Say whether two plans give the same bits, and what differs between them.", Compare);
  compare->add_option("A", f.model, "plan file")->required()->type_name("FILE");
  compare->add_option("B", f.other, "plan file")->required()->type_name("FILE");
  CLI::App* sweep = command("sweep", "Plan for many budgets: memory against time.", RunSweep);
  AddPlanFlags(sweep, &f);
  AddText(sweep, kBudgets, "--budget", &f.range, "FROM..TO", "device memory, like 1GiB..24GiB")->required();
  Add(sweep, kOutput, "--points", &f.points, "N", "budgets to try, evenly spaced in the logarithm");
  sweep->add_flag("--json", f.json, "rows as JSON")->group(kOutput);
  command("machines", "List the built-in machines with the sources of their figures, or print one as JSON.", Machines)
      ->add_option("NAME", f.other, "machine to print")
      ->type_name("NAME|FILE");
  CLI::App* exporting = command("export", "Write an ONNX file like the model's, with tuned weights in it.", Export);
  exporting->add_option("MODEL", f.model, "ONNX file that the plan was made from")->required()->type_name("FILE");
  AddText(exporting, kModel, "--weights", &f.weights, "PATH", "tuned weights: safetensors of zo2-run export or train")
      ->required();
  AddText(exporting, kOutput, "-o,--output", &f.output, "FILE", "ONNX file to write")->required();
  if (argc == 1) {
    std::cerr << app.help();
    return static_cast<int>(Code::kInvalid);
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    const bool unknown = argc > 1 && argv[1][0] != '-' && app.get_subcommands().empty();
    std::cerr << "zo2-plan: " << (unknown ? std::string("there is no command ") + argv[1] : e.what()) << " (--help shows how)\n";
    return static_cast<int>(Code::kInvalid);
  }
  Result<void> result = run(f);
  if (result.ok()) return 0;
  std::cerr << "zo2-plan: " << result.status().message() << "\n";
  return static_cast<int>(result.status().code());
}

}  // namespace
}  // namespace zo2

int main(int argc, char** argv) {
  zo2::InstallLastWords("zo2-plan");
  return zo2::Main(argc, argv);
}
