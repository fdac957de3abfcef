#include "planner/sweep.h"

#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "planner/plan.h"

namespace zo2 {

Result<std::pair<uint64_t, uint64_t>> ParseSizeRange(const std::string& text) {
  size_t dots = text.find("..");
  if (dots == std::string::npos) return Invalid("'", text, "' is no range of sizes; write it like 1GiB..24GiB");
  ZO2_ASSIGN(uint64_t low, ParseSize(text.substr(0, dots)));
  ZO2_ASSIGN(uint64_t high, ParseSize(text.substr(dots + 2)));
  if (low == 0 || high < low) return Invalid("'", text, "' must go from a size above 0 to one no smaller");
  return std::make_pair(low, high);
}

Result<std::string> Sweep(const Graph& graph, const Machine& machine, const PlanOptions& options, uint64_t low,
                          uint64_t high, int points, bool json) {
  if (points < 2 || points > 1000) return Invalid("--points must be 2 to 1000, not ", points);
  nlohmann::json rows = nlohmann::json::array();
  std::string text = "budget       peak         resident  S   K   period      bound       gap     binding\n";
  for (int i = 0; i < points; ++i) {
    PlanOptions o = options;
    double ratio = static_cast<double>(high) / static_cast<double>(low);
    o.budget = static_cast<uint64_t>(static_cast<double>(low) * std::pow(ratio, static_cast<double>(i) / (points - 1)));
    auto plan = CompilePlan(graph, machine, o);
    char line[256];
    if (!plan.ok()) {
      if (plan.status().code() != Code::kInfeasible) return plan.status();
      std::snprintf(line, sizeof line, "%-12s infeasible\n", FormatSize(static_cast<double>(o.budget)).c_str());
      text += line;
      rows.push_back({{"budget", o.budget}, {"feasible", false}, {"why", plan.status().message()}});
      continue;
    }
    size_t resident = 0;
    double bytes = 0, kept = 0;
    for (size_t t = 0; t < plan->schedule.tiles.size(); ++t) {
      resident += plan->decision.resident[t];
      bytes += static_cast<double>(plan->schedule.tiles[t].bytes);
      if (plan->decision.resident[t]) kept += static_cast<double>(plan->schedule.tiles[t].bytes);
    }
    const double period = plan->simulation.period, gap = plan->bound.seconds > 0 ? period / plan->bound.seconds - 1 : 0;
    std::snprintf(line, sizeof line, "%-12s %-12s %6.1f %%  %-3d %-3d %-11s %-11s %5.1f %%  %s\n",
                  FormatSize(static_cast<double>(o.budget)).c_str(),
                  FormatSize(static_cast<double>(plan->schedule.arenas[0].bytes)).c_str(), bytes > 0 ? 100 * kept / bytes : 100,
                  plan->decision.slots, plan->decision.writeback_every, FormatSeconds(period).c_str(),
                  FormatSeconds(plan->bound.seconds).c_str(), 100 * gap, plan->bound.binding.c_str());
    text += line;
    rows.push_back({{"budget", o.budget}, {"feasible", true}, {"device_bytes", plan->schedule.arenas[0].bytes},
                    {"resident_tiles", resident}, {"slots", plan->decision.slots},
                    {"writeback_every", plan->decision.writeback_every}, {"period", period},
                    {"bound", plan->bound.seconds}, {"gap", gap}, {"binding", plan->bound.binding}});
  }
  return json ? rows.dump(1) + "\n" : text;
}

}  // namespace zo2
