// What zo2-plan's commands do. command_flags.cc says what the user may type, command_inputs.cc understands it,
// command_plan.cc has the commands that make plans, command_show.cc those that look at what exists. Only these files of
// the planner see the frontend; they are no part of its library.
#ifndef ZO2_PLANNER_COMMANDS_H_
#define ZO2_PLANNER_COMMANDS_H_

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "frontend/pipeline.h"
#include "ir/graph/graph.h"
#include "ir/support/status.h"
#include "planner/machine.h"
#include "planner/options.h"

namespace CLI {
class App;
}

namespace zo2 {

// What the user typed, before it is understood.
struct Flags {
  std::string model, bind, machine = "cpu-2core", output, report, format = "text", weight, other, weights;
  std::string budget, host_budget, tile, resident, link_up, link_down, range;
  std::string rounding = "stochastic", numerics = "pinned", storage = "as-is", compute = "fp32";
  std::string wire = "f32", wire_update = "auto", max_wire_error, weight_errors;
  std::vector<std::string> storage_for, compute_for, wire_for;
  std::vector<std::string> what_if;
  bool quiet = false, rademacher = false;
  int points = 9;
  double gap = 1;  // percent
  LoadOptions load;
  PlanOptions plan;
  std::chrono::steady_clock::time_point started = std::chrono::steady_clock::now();  // about when the process was
};

// Every command and its flags; the one that is typed goes to `run`.
void AddCommands(CLI::App* app, Flags* flags, std::function<Result<void>(Flags&)>* run);

// What the flags name. ReadPlanOptions fills flags->plan; Load binds dimensions and divides the batch.
Result<void> ReadPlanOptions(Flags& flags);
Result<Graph> Load(Flags& flags);
Result<Machine> MachineOf(const Flags& flags);

// Writes what a command made to --output, or prints it. `hint`: what to do with the file.
Result<void> Deliver(const Flags& flags, const std::string& text, const char* hint = "");

Result<void> Compile(Flags& flags);
Result<void> RunSweep(Flags& flags);

Result<void> Check(Flags& flags);
Result<void> Inspect(Flags& flags);
Result<void> VerifyPlan(Flags& flags);
Result<void> Compare(Flags& flags);
Result<void> Machines(Flags& flags);
Result<void> Export(Flags& flags);

}  // namespace zo2

#endif  // ZO2_PLANNER_COMMANDS_H_
