#include "planner/sweep.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>

#include "planner/page.h"
#include "planner/partition.h"
#include "planner/plan.h"
#include "planner/precision.h"
#include "planner/sweep_page.h"

namespace zo2 {
namespace {

using Json = nlohmann::ordered_json;

Json RowOf(const Plan& plan) {
  const Schedule& s = plan.schedule;
  size_t resident = 0;
  double bytes = 0, kept = 0;
  for (size_t t = 0; t < s.tiles.size(); ++t) {
    const auto size = static_cast<double>(s.tiles[t].bytes);
    resident += plan.decision.resident[t];
    bytes += size;
    kept += plan.decision.resident[t] ? size : 0;
  }
  const double period = plan.simulation.period,
               gap = plan.bound.seconds > 0 ? period / plan.bound.seconds - 1 : 0;
  return {{"device_bytes", s.arenas[0].bytes},
          {"host_bytes", s.arenas[1].bytes},
          {"resident_tiles", resident},
          {"tiles", s.tiles.size()},
          {"resident_share", bytes > 0 ? kept / bytes : 1},
          {"strategy", plan.decision.strategy},
          {"slots", plan.decision.slots},
          {"writeback_every", plan.decision.writeback_every},
          {"period", period},
          {"bound", plan.bound.seconds},
          {"gap", std::abs(gap) < 1e-9 ? 0 : gap},
          {"binding", plan.bound.binding},
          {"up_bytes", plan.up_bytes},
          {"down_bytes", plan.down_bytes},
          {"tokens_per_second", period > 0 ? plan.tokens_per_step / period : 0}};
}

double SumBytes(const std::vector<Tile>& tiles) {
  double sum = 0;
  for (const Tile& t : tiles) sum += static_cast<double>(t.bytes);
  return sum;
}

// As every plan has them, also where none fits.
Result<double> WeightBytes(const Graph& original, const Machine& machine, const PlanOptions& o) {
  ZO2_ASSIGN(Graph graph, ApplyPrecision(original, machine, o));
  ZO2_ASSIGN(Partition partition, MakePartition(graph, machine, o));
  return SumBytes(partition.tiles);
}

// No other row is at least as good in both and better in one.
void MarkPareto(Json* rows) {
  for (Json& row : *rows) {
    if (!row["feasible"].get<bool>()) continue;
    const double bytes = row["device_bytes"], period = row["period"];
    bool beaten = false;
    for (const Json& other : *rows) {
      if (!other["feasible"].get<bool>()) continue;
      const double b = other["device_bytes"], p = other["period"];
      const bool faster = p < period * (1 - 1e-9), as_fast = p <= period * (1 + 1e-9);
      beaten = beaten || (b <= bytes && faster) || (b < bytes && as_fast);
    }
    row["pareto"] = !beaten;
  }
}

// What one would do without a planner, with as much device memory as it takes.
Json TrivialPlans(const Graph& graph, const Machine& machine, PlanOptions o) {
  o.budget = uint64_t{1} << 62;
  o.strategy = "resident";
  o.slots = o.writeback_every = 0;
  o.resident.reset();
  o.prices = false;
  Json rows = Json::array();
  auto plan = CompilePlan(graph, machine, o);
  if (!plan.ok()) return rows;
  for (const Rival& r : plan->rivals)
    if (r.feasible)
      rows.push_back({{"name", r.name}, {"device_bytes", r.device_bytes}, {"period", r.period}});
  return rows;
}

void Choose(Json* json) {
  double least = std::numeric_limits<double>::infinity();
  for (const Json& row : (*json)["rows"])
    if (row["feasible"].get<bool>()) least = std::min(least, row["period"].get<double>());
  (*json)["chosen"] = nullptr;
  (*json)["chosen_cause"] = "no budget of these is enough";
  for (size_t i = 0; i < (*json)["rows"].size(); ++i) {
    const Json& row = (*json)["rows"][i];
    if (!row["feasible"].get<bool>() || row["period"].get<double>() > least * (1 + kSweepNear)) continue;
    char text[96];
    std::snprintf(text, sizeof text,
                  "the smallest of these budgets whose step is within %.0f %% of the fastest",
                  100 * kSweepNear);
    (*json)["chosen"] = i;
    (*json)["chosen_cause"] = text;
    return;
  }
}

std::string Size(const Json& bytes) { return FormatSize(bytes.get<double>()); }
std::string Seconds(const Json& seconds) { return FormatSeconds(seconds.get<double>()); }

}  // namespace

Result<std::pair<uint64_t, uint64_t>> ParseSizeRange(const std::string& text) {
  size_t dots = text.find("..");
  if (dots == std::string::npos)
    return Invalid("'", text, "' is no range of sizes; write it like 1GiB..24GiB");
  ZO2_ASSIGN(uint64_t low, ParseSize(text.substr(0, dots)));
  ZO2_ASSIGN(uint64_t high, ParseSize(text.substr(dots + 2)));
  if (low == 0 || high < low) return Invalid("'", text, "' must go from a size above 0 to one no smaller");
  return std::make_pair(low, high);
}

Result<std::string> SweepJson(const Graph& graph, const Machine& machine, const PlanOptions& options,
                              uint64_t low, uint64_t high, int points) {
  if (points < 2 || points > 1000) return Invalid("--points must be 2 to 1000, not ", points);
  Json json = {{"schema", 1}, {"model", graph.name}, {"machine", machine.name}, {"weight_bytes", 0}};
  json["rows"] = Json::array();
  const double ratio = static_cast<double>(high) / static_cast<double>(low);
  // Each plan takes its share of the time that is left, the trivial ones too.
  const auto start = std::chrono::steady_clock::now();
  auto in_time = [&](int plans_left) {
    const double spent =
        options.time_spent + std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    PlanOptions o = options;
    o.time_spent = o.time_limit - std::max(0.0, o.time_limit - spent) / plans_left;
    return o;
  };
  double weight_bytes = 0;
  for (int i = 0; i < points; ++i) {
    PlanOptions o = in_time(points - i + 1);
    o.prices = false;
    const double between = static_cast<double>(low) * std::pow(ratio, static_cast<double>(i) / (points - 1));
    o.budget = i == 0 ? low : i == points - 1 ? high : static_cast<uint64_t>(between);
    Json row = {{"budget", o.budget}};
    std::string infeasible;
    auto plan = CompilePlan(graph, machine, o, &infeasible);
    row["feasible"] = plan.ok();
    if (plan.ok()) {
      row.update(RowOf(*plan));
      row["out_of_time"] = plan->out_of_time;
      weight_bytes = SumBytes(plan->schedule.tiles);
    } else if (plan.status().code() == Code::kInfeasible) {
      row["why"] = plan.status().message();
      const Json report = Json::parse(infeasible, nullptr, false);
      const Json::json_pointer smallest("/infeasible/smallest_budget");
      row["smallest_budget"] = report.contains(smallest) ? report[smallest] : Json();
    } else {
      return plan.status();
    }
    json["rows"].push_back(std::move(row));
  }
  if (weight_bytes == 0) {  // no plan says
    ZO2_ASSIGN(weight_bytes, WeightBytes(graph, machine, options));
  }
  json["weight_bytes"] = weight_bytes;
  MarkPareto(&json["rows"]);
  json["trivial"] = TrivialPlans(graph, machine, in_time(1));
  Choose(&json);
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string SweepText(const std::string& sweep_json) {
  const Json json = Json::parse(sweep_json);
  std::string text = "budget       peak         resident  S   K   period      bound       gap     binding\n";
  char line[256];
  Json smallest, why;
  for (const Json& row : json["rows"]) {
    if (!row["feasible"].get<bool>()) {
      std::snprintf(line, sizeof line, "%-12s infeasible\n", Size(row["budget"]).c_str());
      smallest = row["smallest_budget"];
      why = row["why"];
    } else {
      std::snprintf(line, sizeof line, "%-12s %-12s %6.1f %%  %-3d %-3d %-11s %-11s %5.1f %%  %s\n",
                    Size(row["budget"]).c_str(), Size(row["device_bytes"]).c_str(),
                    100 * row["resident_share"].get<double>(), row["slots"].get<int>(),
                    row["writeback_every"].get<int>(), Seconds(row["period"]).c_str(),
                    Seconds(row["bound"]).c_str(), 100 * row["gap"].get<double>(),
                    row["binding"].get<std::string>().c_str());
    }
    text += line;
  }
  text += "\n";
  // Of the largest budget that is not enough: its sentence has the smallest one that works, where there is one.
  if (!why.is_null()) text += "infeasible: " + why.get<std::string>() + "\n";
  if (!json["chosen"].is_null())
    text += "enough: " + Size(json["rows"][json["chosen"].get<size_t>()]["budget"]) + ", " +
            json["chosen_cause"].get<std::string>() + "\n";
  for (const Json& t : json["trivial"]) {
    std::snprintf(line, sizeof line, "without a planner: %-14s %-12s %s\n",
                  t["name"].get<std::string>().c_str(), Size(t["device_bytes"]).c_str(),
                  Seconds(t["period"]).c_str());
    text += line;
  }
  return text;
}

std::string SweepHtml(const std::string& sweep_json) {
  return internal::FillPage(internal::kSweepPage, Json::parse(sweep_json).dump());
}

}  // namespace zo2
