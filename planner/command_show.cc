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
#include "planner/weight_life.h"

namespace zo2 {

Result<void> Check(Flags& f) {
  ZO2_ASSIGN(Graph graph, Load(f));
  std::cout << CheckReport(graph);
  return {};
}

Result<void> Deliver(const Flags& f, const std::string& text, const char* hint) {
  if (f.output.empty()) {
    std::cout << text;
    return {};
  }
  ZO2_TRY(WriteFile(f.output, text));
  std::cout << "written to " << f.output << hint << "\n";
  return {};
}

Result<void> Inspect(Flags& f) {
  ZO2_ASSIGN(Schedule schedule, ReadSchedule(f.model));
  const bool picture = f.format == "html" || f.format == "perfetto";
  if (!f.weight.empty() && picture) return Invalid("--weight is shown as text or json, not as ", f.format);
  // These follow its indices; JSON and text show whatever is there.
  if (!f.weight.empty() || picture) ZO2_TRY(Verify(schedule));
  if (!f.weight.empty()) {
    ZO2_ASSIGN(std::string text, f.format == "json" ? WeightJson(schedule, f.weight) : WeightText(schedule, f.weight));
    return Deliver(f, text);
  }
  if (f.format == "json") return Deliver(f, ScheduleToJson(schedule));
  if (f.format == "html") return Deliver(f, TimelineHtml(schedule), "; open it in a browser, it needs no network");
  if (f.format == "perfetto")
    return Deliver(f, PerfettoJson(schedule), "; open it at ui.perfetto.dev or chrome://tracing");
  ZO2_ASSIGN(std::string text, ReportText(schedule.report));
  return Deliver(f, text);
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
  ZO2_ASSIGN(std::string text, f.format == "json" ? CompareJson(a, b) : CompareText(a, b));
  return Deliver(f, text);
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
