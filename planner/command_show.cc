// The commands that look at models, plans and machines, and the one that writes a tuned model.
#include <iostream>

#include "frontend/check.h"
#include "frontend/export.h"
#include "ir/schedule/schedule_io.h"
#include "ir/schedule/verify.h"
#include "ir/support/file.h"
#include "planner/commands.h"
#include "planner/compare.h"
#include "planner/report.h"
#include "planner/timeline.h"

namespace zo2 {

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

}  // namespace zo2
