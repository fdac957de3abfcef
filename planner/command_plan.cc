// The commands that make plans.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <nlohmann/json.hpp>

#include "ir/schedule/schedule_io.h"
#include "ir/support/file.h"
#include "planner/commands.h"
#include "planner/plan.h"
#include "planner/report.h"
#include "planner/sweep.h"
#include "planner/what_if.h"

namespace zo2 {

namespace {

// The report's file: the plan's report, with what-ifs where they were asked for.
Result<void> WriteReport(const Flags& f, const std::string& report, const std::vector<WhatIfAnswer>& answers) {
  if (answers.empty()) return WriteFile(f.report, report + "\n");
  auto json = nlohmann::ordered_json::parse(report);
  json["what_if"] = nlohmann::ordered_json::array();
  for (const WhatIfAnswer& answer : answers) json["what_if"].push_back(nlohmann::ordered_json::parse(answer.json));
  return WriteFile(f.report, json.dump(1) + "\n");
}

// kTimeLimit where the search did not come as close to the bound as it was asked to.
Result<void> OutOfTime(const Plan& plan, const PlanOptions& o) {
  if (!plan.out_of_time) return {};
  char text[160];
  std::snprintf(text, sizeof text,
                "the time limit of %g s (--time-limit) ended the search: this plan is the best found, at most %.2g %% slower "
                "than any", o.time_limit, 100 * (plan.simulation.period / plan.bound.seconds - 1));
  return Error(Code::kTimeLimit, text);
}

// The options of the next of so many searches: each takes its share of the time that the process has left.
PlanOptions InTime(const Flags& f, size_t searches_left) {
  PlanOptions o = f.plan;
  const double spent = std::chrono::duration<double>(std::chrono::steady_clock::now() - f.started).count();
  o.time_spent = o.time_limit - std::max(0.0, o.time_limit - spent) / static_cast<double>(searches_left);
  return o;
}

}  // namespace

Result<void> Compile(Flags& f) {
  ZO2_TRY(ReadPlanOptions(f));
  if (!f.output.empty() && f.output == f.report) return Invalid("-o and --report both name ", f.output);
  for (const std::string& spec : f.what_if) ZO2_TRY(ParseWhatIf(spec));
  ZO2_ASSIGN(Machine machine, MachineOf(f));
  ZO2_ASSIGN(Graph graph, Load(f));
  std::string infeasible;
  auto plan = CompilePlan(graph, machine, InTime(f, 1 + f.what_if.size()), &infeasible);
  if (!plan.ok()) {
    if (!infeasible.empty() && !f.report.empty()) ZO2_TRY(WriteFile(f.report, infeasible + "\n"));
    return plan.status();
  }
  std::vector<WhatIfAnswer> answers;
  for (const std::string& spec : f.what_if) {
    ZO2_ASSIGN(WhatIfAnswer answer, WhatIf(graph, machine, InTime(f, f.what_if.size() - answers.size()), *plan, spec));
    answers.push_back(std::move(answer));
  }
  if (!f.report.empty()) ZO2_TRY(WriteReport(f, plan->schedule.report, answers));
  if (!f.output.empty()) ZO2_TRY(WriteSchedule(plan->schedule, f.output));
  ZO2_ASSIGN(std::string text, ReportText(plan->schedule.report));
  if (!f.quiet) std::cout << text;
  for (size_t i = 0; i < answers.size(); ++i) std::cout << (f.quiet && i == 0 ? "" : "\n") << answers[i].text;
  if (!f.quiet && !f.output.empty()) std::cout << "\nplan written to " << f.output << "\n";
  ZO2_TRY(OutOfTime(*plan, f.plan));
  for (const WhatIfAnswer& answer : answers)
    if (answer.out_of_time)
      return Error(Code::kTimeLimit, "the time limit (--time-limit) ended the search of a changed plan: it is the best found");
  return {};
}

Result<void> RunSweep(Flags& f) {
  ZO2_TRY(ReadPlanOptions(f));
  ZO2_ASSIGN(auto range, ParseSizeRange(f.range));
  ZO2_ASSIGN(Machine machine, MachineOf(f));
  ZO2_ASSIGN(Graph graph, Load(f));
  ZO2_ASSIGN(std::string json, SweepJson(graph, machine, InTime(f, 1), range.first, range.second, f.points));
  if (f.format == "html")
    ZO2_TRY(Deliver(f, SweepHtml(json), "; open it in a browser, it needs no network"));
  else
    ZO2_TRY(Deliver(f, f.format == "json" ? json : SweepText(json)));
  int ended = 0;
  for (const auto& row : nlohmann::json::parse(json)["rows"]) ended += row.value("out_of_time", false);
  if (ended == 0) return {};
  return Error(Code::kTimeLimit, "the time limit (--time-limit) ended the search of " + std::to_string(ended) +
                                     " of these budgets: their plans are the best found");
}

}  // namespace zo2
