// zo2-run: parse flags, call one function of the runtime, print what went wrong.
#include <errno.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <iostream>
#include <string>

#include "ir/schedule/schedule.h"
#include "ir/support/last_words.h"
#include "runtime/commands.h"
#include "runtime/kernel_table.h"

namespace zo2 {
namespace {

constexpr const char* kVersion = "zo2-run 0.1.0";

std::atomic<bool> g_stop{false};
std::atomic<bool> g_quiet{false};
// The first signal ends the run after the step it is in; a second one, whichever it is, ends the process.
void OnSignal(int) {
  constexpr char kText[] = "\nfinishing what is under way; a second signal ends it at once\n";
  g_stop.store(true);
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  const int error = errno;
  if (!g_quiet.load()) (void)!::write(STDERR_FILENO, kText, sizeof kText - 1);
  errno = error;
}
void CatchSignals(bool quiet) {
  g_quiet.store(quiet);
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  ::sigaction(SIGTERM, &action, nullptr);
}

// Options with a value show their default; a text without one says so.
template <typename T>
CLI::Option* Add(CLI::App* app, const char* group, const std::string& name, T* value, const std::string& help) {
  return app->add_option(name, *value, help)->group(group)->capture_default_str();
}
CLI::Option* Add(CLI::App* app, const char* group, const std::string& name, std::string* value,
                 const std::string& help) {
  CLI::Option* option = app->add_option(name, *value, help)->group(group);
  return value->empty() ? option->default_str("none") : option->capture_default_str();
}

// CLI11 by itself wraps -1 around and cuts what is too large.
std::string IsSeed(const std::string& text) {
  errno = 0;
  char* end = nullptr;
  (void)std::strtoull(text.c_str(), &end, 0);
  const bool whole = !text.empty() && text[0] >= '0' && text[0] <= '9' && *end == '\0' && errno == 0;
  return whole ? "" : text + " is no whole number from 0 to 2^64 - 1";
}

// As it must be typed.
std::string ForShell(const std::string& word) {
  constexpr const char* kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string quoted = "'";
  for (const char c : word) quoted += c == '\'' ? "'\\''" : std::string(1, c);
  return quoted + "'";
}

constexpr const char *kWhat = "What", *kData = "Data", *kMethod = "Method", *kFiles = "Files", *kMachine = "Machine",
                     *kTests = "For tests";

void AddRunFlags(CLI::App* app, RunFlags* f) {
  app->add_option("PLAN", f->plan, "plan file of zo2-plan compile")->required();
  Add(app, kFiles, "--weights", &f->weights, "safetensors file or folder that goes before the plan's weight files");
  Add(app, kFiles, "--trace", &f->trace, "Perfetto trace of what ran when (JSON); the end report then has a table of where the time went");
  Add(app, kFiles, "--trace-steps", &f->trace_steps, "iterations traced after each start of a program");
  Add(app, kMachine, "--device", &f->device, "cpu or cuda");
  Add(app, kMachine, "--emulate-link", &f->emulate_link, "slower link, like up=2GB/s,down=2GB/s,latency=10us");
  Add(app, kMachine, "--disk-folder", &f->disk_folder, "where plans with a disk tier keep their file");
  app->add_flag("--no-graphs", f->no_graphs, "cuda: give every launch anew instead of repeating captured graphs")
      ->group(kMachine);
  Add(app, kTests, "--chaos-seed", &f->chaos_seed, "run lanes in adversarial orders; -1: off");
  Add(app, kTests, "--chaos-mode", &f->chaos_mode, "delay or priority")->check(CLI::IsMember({"delay", "priority"}));
  app->add_flag("--quiet", f->quiet, "no progress, summary or notes, but for damage found");
}

void AddTrain(CLI::App* app, TrainFlags* f) {
  AddRunFlags(app, &f->run);
  Add(app, kData, "--data", &f->data, "training data: .npy, .jsonl, .safetensors or raw ids (.bin, .u16, .u32)")
      ->required()
      ->default_str("");
  Add(app, kData, "--order", &f->order, "of examples")->check(CLI::IsMember({"random", "sequential"}));
  app->add_flag("--truncate", f->truncate, "cut rows that are longer than the plan's shape")->group(kData);
  Add(app, kData, "--eval-data", &f->eval_data, "evaluation data");
  Add(app, kData, "--eval-every", &f->eval_every, "steps between evaluations; 0: at the end");
  Add(app, kData, "--eval-metric", &f->eval_metric, "what makes an evaluation better; the journal keeps the best step")
      ->check(CLI::IsMember({"loss", "accuracy", "f1"}));
  Add(app, kData, "--patience", &f->patience, "evaluations without a better one that end the run; 0: none do");
  Add(app, kMethod, "--steps", &f->steps, "steps of the whole run");
  Add(app, kMethod, "--lr", &f->lr, "learning rate");
  Add(app, kMethod, "--lr-schedule", &f->lr_schedule, "of the learning rate")
      ->check(CLI::IsMember({"constant", "linear", "cosine"}));
  Add(app, kMethod, "--warmup", &f->warmup, "steps in which the learning rate rises to --lr");
  Add(app, kMethod, "--eps", &f->eps, "size of the perturbation");
  Add(app, kMethod, "--seed", &f->seed, "of directions and of the order of examples")->check(IsSeed, "");
  Add(app, kMethod, "--weight-decay", &f->weight_decay, "decoupled; not for biases and norm scales");
  Add(app, kMethod, "--clip-g", &f->clip_g, "largest |g|; 0: not clipped");
  Add(app, kMethod, "--max-skips", &f->max_skips, "steps in a row without a finite loss that end the run");
  Add(app, kMethod, "--stop-loss-ratio", &f->stop_loss_ratio,
      "end the run when 100 steps in a row have a loss above this times the start's; 0: never");
  Add(app, kFiles, "--journal", &f->journal, "record of the run, from which it can go on; snapshots stand beside it");
  app->add_flag("--resume", f->resume, "go on with the journal, or start it if there is none")->group(kFiles);
  Add(app, kFiles, "--fsync", &f->fsync, "the journal is durable after every step, never, or every N steps");
  Add(app, kFiles, "--snapshot-every", &f->snapshot_every, "steps between snapshots; 0: every three minutes");
  Add(app, kFiles, "--metrics", &f->metrics, "one JSON object per step");
  Add(app, kFiles, "-o,--output", &f->output, "weights of the last step, safetensors");
}

void AddEval(CLI::App* app, EvalFlags* f) {
  AddRunFlags(app, &f->run);
  Add(app, kData, "--data", &f->data, "evaluation data")->required()->default_str("");
  app->add_flag("--truncate", f->truncate, "cut rows that are longer than the plan's shape")->group(kData);
  Add(app, kWhat, "--journal", &f->journal, "evaluate the weights of this run instead of the base weights");
  Add(app, kWhat, "--at", &f->at, "step of the journal, best (by its evaluations) or end");
  Add(app, kFiles, "--metrics", &f->metrics, "loss, accuracy, F1, examples and step as one JSON object");
  Add(app, kFiles, "--outputs", &f->outputs, "the model's outputs for every example, safetensors");
}

template <typename F>
void AddJournalFlags(CLI::App* app, F* f) {
  app->add_option("PLAN", f->plan, "plan file of zo2-plan compile")->required();
  Add(app, kWhat, "--journal", &f->journal, "journal of the run")->required()->default_str("");
  Add(app, kWhat, "--at", &f->at, "step of the journal, best (by its evaluations) or end");
  Add(app, kFiles, "--weights", &f->weights, "safetensors file or folder that goes before the plan's weight files");
  Add(app, kMachine, "--threads", &f->threads, "0: one per core");
}

void AddProfile(CLI::App* app, ProfileFlags* f) {
  Add(app, kWhat, "--plan", &f->plan, "measure the calls of this plan; none: typical shapes");
  Add(app, kWhat, "--name", &f->name, "of the machine");
  Add(app, kWhat, "--seconds", &f->seconds_each, "about how long each figure is measured");
  Add(app, kMachine, "--device", &f->device, "cpu or cuda");
  Add(app, kMachine, "--threads", &f->threads, "of the compute lane; 0: the plan's, or one per core");
  Add(app, kMachine, "--emulate-link", &f->emulate_link, "slower link, like up=2GB/s,down=2GB/s,latency=10us");
  Add(app, kMachine, "--disk-folder", &f->disk_folder, "where disk rates are measured");
  Add(app, kFiles, "-o,--output", &f->output, "machine file, JSON; with --weights its default is weights.json");
  app->add_flag("--quiet", f->quiet, "do not say what is being measured");
}
constexpr const char* kWeights = "With --weights";
void AddProfileWeights(CLI::App* app, WeightsFlags* f, bool* weights) {
  app->add_flag("--weights", *weights,
                "measure what --plan's weights lose in each wire format, for zo2-plan compile --wire auto, not the machine")
      ->group(kWhat);
  Add(app, kWeights, "--from", &f->run.weights, "safetensors file or folder that goes before the plan's weight files");
  Add(app, kWeights, "--data", &f->data, "sample data: measure the effect on the loss as well");
  app->add_flag("--truncate", f->truncate, "cut rows that are longer than the plan's shape")->group(kWeights);
  Add(app, kWeights, "--batches", &f->batches, "of --data that are evaluated, at most");
  app->add_flag("--each-weight", f->each_weight, "the effect of each weight alone too: evaluations for each of them")
      ->group(kWeights);
  Add(app, kWeights, "--elements", &f->elements, "of each weight that are looked at, about: whole rows");
}
// What both have.
Status RunProfileOf(const CLI::App& app, const ProfileFlags& machine, WeightsFlags* weights, bool of_weights) {
  for (const CLI::Option* o : app.get_options())
    if (!of_weights && o->get_group() == kWeights && o->count() > 0)
      return Invalid(o->get_name(), " is for profile --weights");
  if (!of_weights) return RunProfile(machine, AtenKernels());
  weights->run.plan = machine.plan;
  weights->run.device = machine.device;
  weights->run.disk_folder = machine.disk_folder;
  weights->run.quiet = machine.quiet;
  if (app.get_option("--output")->count() > 0) weights->output = machine.output;
  return RunProfileWeights(*weights, AtenKernels());
}

int Main(int argc, char** argv) {
  TrainFlags train;
  EvalFlags eval;
  ReplayFlags replay;
  ExportFlags exporting;
  SharesFlags shares;
  ProfileFlags profile;
  WeightsFlags weights;
  bool of_weights = false;
  std::function<Status()> run;
  CLI::App app("Runs plans of zo2-plan: zeroth-order fine-tuning within the plan's memory.", "zo2-run");
  app.require_subcommand(1);
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.set_version_flag("--version", std::string(kVersion) + " (plan format " + std::to_string(kScheduleVersion) + ")");
  const auto command = [&](const char* name, const char* help, std::function<Status()> function) {
    CLI::App* sub = app.add_subcommand(name, help);
    sub->callback([&run, function] { run = function; });
    return sub;
  };
  CLI::App* sub = command("train", "fine-tune", [&] {
    CatchSignals(train.run.quiet);
    for (int i = 0; i < argc; ++i) train.again += (i == 0 ? "" : " ") + ForShell(argv[i]);
    if (!train.resume) train.again += " --resume";
    return RunTrain(train, AtenKernels(), g_stop);
  });
  AddTrain(sub, &train);
  AddEval(command("eval", "loss, accuracy and outputs on a data set", [&] { return RunEval(eval, AtenKernels()); }),
          &eval);
  AddJournalFlags(command("replay", "apply a journal to the base weights and check its snapshots",
                          [&] { return RunReplay(replay); }),
                  &replay);
  sub = command("export", "write the weights at a step of a journal", [&] { return RunExport(exporting); });
  AddJournalFlags(sub, &exporting);
  Add(sub, kFiles, "-o,--output", &exporting.output, "tuned weights, safetensors")->required()->default_str("");
  sub = command("shares", "how much of perturbations and updates is realised in the dtypes of each weight",
                [&] { return RunShares(shares); });
  AddJournalFlags(sub, &shares);
  Add(sub, kWhat, "--last", &shares.last, "steps before --at whose updates are looked at");
  Add(sub, kWhat, "--elements", &shares.elements, "of each weight that are looked at, about: whole rows");
  Add(sub, kFiles, "--json", &shares.json, "the table as one JSON object");
  CLI::App* measure = nullptr;
  measure = command("profile", "measure this machine, or a plan's weights, for zo2-plan",
                    [&] { return RunProfileOf(*measure, profile, &weights, of_weights); });
  AddProfile(measure, &profile);
  AddProfileWeights(measure, &weights, &of_weights);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& e) {
    if (e.get_exit_code() == 0) return app.exit(e);  // --help, --version
    const bool unknown = argc > 1 && argv[1][0] != '-' && app.get_subcommands().empty();
    std::cerr << "zo2-run: " << (unknown ? std::string("there is no command ") + argv[1] : e.what()) << " (--help shows how)\n";
    return static_cast<int>(Code::kInvalid);
  }
  const Status status = run();
  std::fflush(stdout);
  if (!status.ok()) std::cerr << "zo2-run: " << status.message() << "\n";
  return static_cast<int>(status.code());
}

}  // namespace
}  // namespace zo2

int main(int argc, char** argv) {
  zo2::InstallLastWords("zo2-run");
  return zo2::Main(argc, argv);
}
