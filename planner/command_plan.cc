// The commands that make plans.
#include <iostream>

#include "ir/schedule/schedule_io.h"
#include "ir/support/file.h"
#include "planner/commands.h"
#include "planner/plan.h"
#include "planner/report.h"
#include "planner/sweep.h"

namespace zo2 {

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

Result<void> RunSweep(Flags& f) {
  ZO2_TRY(ReadPlanOptions(f));
  ZO2_ASSIGN(auto range, ParseSizeRange(f.range));
  ZO2_ASSIGN(Machine machine, MachineOf(f));
  ZO2_ASSIGN(Graph graph, Load(f));
  ZO2_ASSIGN(std::string text, Sweep(graph, machine, f.plan, range.first, range.second, f.points, f.json));
  std::cout << text;
  return {};
}

}  // namespace zo2
