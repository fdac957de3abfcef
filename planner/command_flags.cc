// The flags of zo2-plan's commands: every one shows what it defaults to.
#include <CLI/CLI.hpp>

#include "planner/commands.h"
#include "planner/heuristics.h"

namespace zo2 {
namespace {

constexpr const char *kModel = "Model", *kBits = "Choices that decide bits", *kBudgets = "Machine and budgets",
                     *kDecisions = "Decisions, forced by hand", *kOutput = "Output";

template <typename T>
CLI::Option* Add(CLI::App* app, const char* group, const char* name, T* value, const char* type, const char* help) {
  return app->add_option(name, *value, help)->group(group)->type_name(type)->capture_default_str();
}
// One whose absence means something: `absent` says what.
CLI::Option* AddText(CLI::App* app, const char* group, const char* name, std::string* value, const char* type,
                     const char* help, const char* absent = "") {
  return app->add_option(name, *value, help)->group(group)->type_name(type)->default_str(absent);
}

// --format, and the file that the result goes to.
void AddFormat(CLI::App* app, Flags* f, const char* help, std::vector<std::string> formats) {
  Add(app, kOutput, "--format", &f->format, "HOW", help)->check(CLI::IsMember(std::move(formats)).description(""));
  AddText(app, kOutput, "-o,--output", &f->output, "FILE", "file to write", "standard output");
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
  Add(app, kBits, "--wire", &f->wire, "FORMAT",
      "how weights with two and more axes cross the link, where that is narrower than they are stored: f32 (as stored), "
      "bf16, f16, e4m3, int8, int4, or auto (by --max-wire-error)");
  app->add_option("--wire-for", f->wire_for,
                  "another format for the weights whose name contains a match; may be given several times")
      ->group(kBits)
      ->type_name("REGEX=FORMAT")
      ->allow_extra_args(false)
      ->default_str("none");
  AddText(app, kBits, "--max-wire-error", &f->max_wire_error, "E",
          "with --wire auto: each weight in the narrowest format whose relative RMS error, measured on whole "
          "rows, is at most this", "none");
  AddText(app, kBits, "--weight-errors", &f->weight_errors, "FILE",
          "with --wire auto: errors measured by zo2-run profile --weights", "none");
  Add(app, kBits, "--wire-update", &f->wire_update, "HOW",
      "who keeps the exact masters of trained weights that go narrower: host (updates them every step), refresh (they "
      "go up and down every K steps), or auto (the faster one)")
      ->check(CLI::IsMember({"auto", "host", "refresh"}).description(""));
  Add(app, kBits, "--refresh-every", &f->plan.refresh_every, "K", "steps between refreshes; 0: decided");
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
      "auto (the best of all), greedy, z3 (exact class counts, and a longer search), exhaustive (tiny models), stream "
      "(everything), resident (everything) or zo2 (the published schedule: whole numbered blocks, one ahead, each "
      "written back in every step)");
  Add(app, kDecisions, "--slots", &f->plan.slots, "N", "slots that streamed tiles pass through; 0: decided");
  Add(app, kDecisions, "--writeback-every", &f->plan.writeback_every, "K",
      "steps between write-backs of a streamed tile; 0: decided");
  AddText(app, kDecisions, "--resident", &f->resident, "SIZE", "weights kept on the device: all, none or this much",
          "decided");
  std::string heuristics;
  for (const Heuristic& h : Heuristics()) heuristics += std::string("\n  ") + h.name + ": " + h.what;
  app->add_option("--without", f->plan.without, "heuristics to plan without, to see what each is worth:" + heuristics)
      ->group(kDecisions)
      ->type_name("NAME,...")
      ->delimiter(',')
      ->allow_extra_args(false)
      ->default_str("none");
  Add(app, kDecisions, "--gap", &f->gap, "PERCENT", "a search ends when the step is this close to the bound");
  Add(app, kDecisions, "--time-limit", &f->plan.time_limit, "SECONDS",
      "the command ends after about this time, all its plans together: the best plan is written, and the exit status is "
      "4 if it is not that close");
  Add(app, kOutput, "--steps", &f->plan.steps, "N", "steps that the report's total is for");
}

}  // namespace

void AddCommands(CLI::App* app, Flags* f, std::function<Result<void>(Flags&)>* run) {
  auto command = [&](const char* name, const char* help, Result<void> (*function)(Flags&)) {
    CLI::App* sub = app->add_subcommand(name, help);
    sub->callback([run, function] { *run = function; });
    sub->footer("");
    return sub;
  };
  CLI::App* check = command(
      "check", "Say what the model is: inputs, loss, ops, weights, ties, what is trained, what is unsupported.", Check);
  AddModelFlags(check, f);
  Add(check, kBits, "--micro", &f->plan.micro_batches, "N", "micro-batches per step; must divide the bound batch");
  CLI::App* compile = command("compile", "Make a plan within the budgets and print its report.", Compile);
  AddPlanFlags(compile, f);
  AddText(compile, kBudgets, "--budget", &f->budget, "SIZE", "device memory, like 64MiB", "what the machine has");
  AddText(compile, kOutput, "-o,--output", &f->output, "FILE", "plan file; a name that ends in .json gives JSON",
          "none is written");
  AddText(compile, kOutput, "--report", &f->report, "FILE",
          "report as JSON (docs/REPORT.md), also where no plan fits the budgets", "none is written");
  compile
      ->add_option("--what-if", f->what_if,
                   "plan again for a changed machine or budget and print what differs: any of link, link-up, link-down, "
                   "budget, host-budget, compute, noise, like link=2x,budget=+4GiB,compute=-10%; may be given several "
                   "times")
      ->group(kOutput)
      ->type_name("KEY=VALUE,...")
      ->allow_extra_args(false)
      ->default_str("none");
  compile->add_flag("--quiet", f->quiet, "print nothing but answers to --what-if")->group(kOutput);
  CLI::App* inspect =
      command("inspect", "Show a plan: its report, all of it as JSON, a timeline, or one weight.", Inspect);
  inspect->add_option("PLAN", f->model, "plan file")->required()->type_name("FILE");
  AddFormat(inspect, f,
            "text (the report), json (the whole schedule), html (a timeline for a browser) or perfetto (a trace for "
            "ui.perfetto.dev); with --weight text or json",
            {"text", "json", "html", "perfetto"});
  AddText(inspect, kOutput, "--weight", &f->weight, "NAME", "this weight's life through a period: where it is, what moves, changes and "
          "uses it when", "all of the plan");
  command("verify", "Prove a plan safe: no hazard, no deadlock, no lost update, nothing outside its arena.", VerifyPlan)
      ->add_option("PLAN", f->model, "plan file")
      ->required()
      ->type_name("FILE");
  CLI::App* compare =
      command("compare", "Say whether two plans give the same bits, which is faster and why.", Compare);
  compare->add_option("A", f->model, "plan file")->required()->type_name("FILE");
  compare->add_option("B", f->other, "plan file")->required()->type_name("FILE");
  AddFormat(compare, f, "text or json", {"text", "json"});
  CLI::App* sweep = command("sweep", "Plan for many budgets: memory against time.", RunSweep);
  AddPlanFlags(sweep, f);
  AddText(sweep, kBudgets, "--budget", &f->range, "FROM..TO", "device memory, like 1GiB..24GiB")->required();
  Add(sweep, kOutput, "--points", &f->points, "N", "budgets to try, evenly spaced in the logarithm");
  AddFormat(sweep, f, "text (a table), json, or html (a page with plot and table)", {"text", "json", "html"});
  command("machines", "List the built-in machines with the sources of their figures, or print one as JSON.", Machines)
      ->add_option("NAME", f->other, "machine to print")
      ->type_name("NAME|FILE");
  CLI::App* exporting = command("export", "Write an ONNX file like the model's, with tuned weights in it.", Export);
  exporting->add_option("MODEL", f->model, "ONNX file that the plan was made from")->required()->type_name("FILE");
  AddText(exporting, kModel, "--weights", &f->weights, "PATH", "tuned weights: safetensors of zo2-run export or train")
      ->required();
  AddText(exporting, kOutput, "-o,--output", &f->output, "FILE", "ONNX file to write")->required();
}

}  // namespace zo2
