#include "planner/report.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "planner/emit_tiles.h"
#include "planner/text.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

using Json = nlohmann::ordered_json;

uint64_t Peak(const Plan& plan, BufferKind kind) {
  auto it = plan.temporaries.find(kind);
  return it == plan.temporaries.end() ? 0 : it->second;
}

double LaneBusy(const Plan& plan, LaneId lane) {
  return static_cast<size_t>(lane) < plan.simulation.busy.size() ? plan.simulation.busy[static_cast<size_t>(lane)] : 0;
}
double Wait(const Plan& plan, LaneId lane) {
  return static_cast<size_t>(lane) < plan.simulation.waits.size() ? plan.simulation.waits[static_cast<size_t>(lane)] : 0;
}

// Seconds of one kind of instruction per iteration of the main program.
double SecondsOf(const Program& p, InstrKind kind) {
  double total = 0;
  for (const Lane& lane : p.lanes) {
    for (const Instruction& i : lane.instructions) {
      if (i.kind != kind || lane.kind != LaneKind::kCompute) continue;
      int runs = 0;
      for (int r = 0; r < p.period; ++r) runs += RunsAt(p, i, r);
      total += i.seconds * runs / p.period;
    }
  }
  return total;
}

// 22569984 -> "22.57 M": powers of 1000.
std::string CountText(double n) {
  const char* units[] = {"", " K", " M", " G", " T"};
  int i = 0;
  for (; n >= 1000 && i < 4; ++i) n /= 1000;
  return Line("%.4g%s", n, units[i]);
}

// What every report begins with.
Json Head(bool feasible, const std::string& name, const std::string& digest, const std::vector<PlanWeight>& all,
          const LossInfo& loss, const Machine& machine, const PlanOptions& o) {
  double weights = 0, trained = 0, bytes = 0;
  for (const PlanWeight& w : all) {
    auto n = static_cast<double>(NumElements(w.shape));
    weights += n;
    trained += w.trainable ? n : 0;
    bytes += n * static_cast<double>(SizeOf(w.components[0].storage));
  }
  Json json;
  json["schema"] = kReportSchema;
  json["feasible"] = feasible;
  json["model"] = {{"name", name}, {"digest", digest}, {"weights", weights}, {"trained_weights", trained},
                   {"weight_bytes", bytes}, {"loss", loss.kind}, {"loss_cause", loss.cause}};
  json["machine"] = {{"name", machine.name}, {"kind", machine.cuda ? "cuda" : "cpu"}, {"source", machine.source},
                     {"measured_on", machine.measured_on}};
  json["options"] = {{"budget", o.budget}, {"host_budget", o.host_budget}, {"strategy", o.strategy}, {"samples", o.samples},
                     {"micro_batches", o.micro_batches}, {"gap", o.gap}, {"time_limit", o.time_limit}};
  return json;
}

Json RivalsJson(const std::vector<Rival>& rivals) {
  Json rows = Json::array();
  for (const Rival& r : rivals) {
    Json row = {{"name", r.name}, {"feasible", r.feasible}};
    if (r.feasible) {
      row["period"] = r.period;
      row["device_bytes"] = r.device_bytes;
    } else {
      row["why"] = r.why;
    }
    rows.push_back(row);
  }
  return rows;
}

// How far Z3 came; null where it was not asked.
Json Z3Json(const ExactSearch& z3) {
  if (!z3.ran) return nullptr;
  return {{"programs", z3.programs}, {"decisions", z3.decisions}, {"undecided", z3.undecided},
          {"out_of_time", z3.out_of_time}, {"closed_form", z3.closed_form}, {"proved", z3.proved}, {"seconds", z3.seconds}};
}

// What goes up, by format.
Json WireJson(const Plan& plan, const Program& main, const PlanOptions& o) {
  const Schedule& s = plan.schedule;
  std::map<WireFormat, int> weights;
  for (const PlanWeight& w : s.weights) ++weights[w.components[0].wire];
  auto traffic = WireTraffic(s, main);
  bool trained = false;
  for (const Tile& t : s.tiles) trained = trained || (t.trainable && t.codes >= 0);
  const bool refresh = trained && o.wire_update == WireUpdate::kRefresh;
  Json formats = Json::array();
  for (const auto& [format, count] : weights)
    formats.push_back({{"format", Name(format)}, {"weights", count}, {"up_bytes_per_step", traffic[std::string(Name(format))]}});
  return {{"update", !trained ? "none" : refresh ? "refresh" : "host"},
          {"refresh_every", refresh ? main.period : 0},
          {"formats", formats}};
}

std::string Dump(const Json& json) {
  return json.dump(1, ' ', false, Json::error_handler_t::replace);  // names are whatever a file has
}

}  // namespace

std::string ReportJson(const Plan& plan, const Machine& machine, const PlanOptions& o) {
  const Schedule& s = plan.schedule;
  const Program* train = s.Find(Purpose::kTrain);
  const Program* main = train != nullptr ? train : s.Find(Purpose::kEvaluate);
  const double period = plan.simulation.period;
  size_t resident = 0;
  for (bool r : plan.decision.resident) resident += r;
  Json json = Head(true, s.model_name, s.model_digest, s.weights, s.loss, machine, o);
  json["fingerprint"] = s.fingerprint;
  json["tiles"] = {{"count", s.tiles.size()}, {"classes", plan.tile_classes}, {"target_bytes", plan.partition_target},
                   {"resident", resident}, {"streamed", s.tiles.size() - resident}};
  json["decision"] = {{"strategy", plan.decision.strategy}, {"slots", plan.decision.slots},
                      {"writeback_every", plan.decision.writeback_every}, {"causes", plan.causes}, {"z3", Z3Json(plan.exact)}};
  const MemoryUse& m = plan.memory;
  json["memory"]["device"] = {{"bytes", s.arenas[0].bytes},
                              {"budget", s.arenas[0].budget},
                              {"resident_weights", m.resident},
                              {"slots", m.slots},
                              {"constants", m.constants},
                              {"records", m.records},
                              {"temporary", m.temporary},
                              {"temporary_lower_bound_of_kind",
                               {{"branches", Peak(plan, BufferKind::kBranch)},
                                {"activations", Peak(plan, BufferKind::kActivation)},
                                {"workspace", Peak(plan, BufferKind::kWorkspace)},
                                {"rings", Peak(plan, BufferKind::kInput)}}}};
  json["memory"]["host"] = {{"bytes", s.arenas[1].bytes}, {"budget", s.arenas[1].budget}, {"pinned", s.arenas[1].bytes},
                            {"masters", m.host_masters}, {"codes", m.host_codes}, {"staging", m.host_staging}};
  json["time"] = {{"period", period},
                  {"settled", plan.simulation.settled},
                  {"first_step", plan.simulation.latency},
                  {"compute", SecondsOf(*main, InstrKind::kCall)},
                  {"prepare", SecondsOf(*main, InstrKind::kPrepare)},
                  {"upload", LaneBusy(plan, 1)},
                  {"download", LaneBusy(plan, 2)},
                  {"host", LaneBusy(plan, kHostLane)},
                  {"wait_for_upload", Wait(plan, 1)},
                  {"wait_for_download", Wait(plan, 2)},
                  {"steps", o.steps},
                  {"total", plan.simulation.latency + period * static_cast<double>(std::max<int64_t>(0, o.steps - 1))}};
  json["rate"] = {{"tokens_per_second", period > 0 ? plan.tokens_per_step / period : 0},
                  {"tflops", period > 0 ? plan.flops_per_step / period / 1e12 : 0},
                  {"flops_per_step", plan.flops_per_step},
                  {"up_bytes_per_step", plan.up_bytes},
                  {"down_bytes_per_step", plan.down_bytes}};
  json["wire"] = WireJson(plan, *main, o);
  double gap = plan.bound.seconds > 0 ? period / plan.bound.seconds - 1 : 0;
  if (std::abs(gap) < 1e-9) gap = 0;  // rounding
  json["bound"] = {{"seconds", plan.bound.seconds}, {"gap", gap}, {"binding", plan.bound.binding},
                   {"roofline", plan.bound.roofline},
                   {"lp", plan.bound.lp > 0 ? Json(plan.bound.lp) : Json()},
                   {"compute", plan.bound.compute}, {"up", plan.bound.up}, {"down", plan.bound.down},
                   {"host", plan.bound.host}, {"slots", plan.bound.slots},
                   {"resident_bytes", plan.bound.resident_bytes},
                   {"shadow_prices",
                    {{"mib_of_budget", plan.prices.mib_of_budget}, {"gb_per_s_up", plan.prices.gb_per_s_up},
                     {"gb_per_s_down", plan.prices.gb_per_s_down}, {"host_thread", plan.prices.host_thread}}},
                   {"assumes", std::string("this machine's kernel and link rates and these numerics; tiles may be split at will") +
                                   (plan.bound.lp > plan.bound.roofline ? "; one number of steps between write-backs for all" : "")}};
  json["rivals"] = RivalsJson(plan.rivals);
  json["programs"] = Json::array();
  for (const Program& p : s.programs) {
    int64_t n = 0;
    for (const Lane& lane : p.lanes) n += static_cast<int64_t>(lane.instructions.size());
    json["programs"].push_back({{"name", p.name}, {"instructions", n}, {"edges", p.edges.size()}, {"period", p.period},
                                {"predicted_seconds", p.predicted_period}});
  }
  json["planner_seconds"] = Json::object();
  for (const StageTime& t : plan.stages) json["planner_seconds"][t.stage] = t.seconds;
  json["notes"] = s.notes;
  return Dump(json);
}

std::string InfeasibleJson(const std::string& why, const Shortage* shortage, const Graph& graph,
                           const Partition& partition, const std::vector<Rival>& rivals, const Machine& machine,
                           const PlanOptions& o) {
  Json json = Head(false, graph.name, graph.model_digest, partition.weights, graph.loss, machine, o);
  Json& row = json["infeasible"] = {{"why", why}, {"limit", shortage != nullptr ? shortage->limit : "instructions"}};
  if (shortage != nullptr) {
    row["needs"] = shortage->needs;
    row["budget"] = shortage->budget;
    row["short_by"] = shortage->needs - shortage->budget;
    row["smallest_budget"] = shortage->smallest_budget > 0 ? Json(shortage->smallest_budget) : Json();
    row["smallest_budget_of_all"] = shortage->smallest_of_all > 0 ? Json(shortage->smallest_of_all) : row["smallest_budget"];
    row["dominates"] = shortage->parts.empty() ? "" : shortage->parts.front().name;
    row["parts"] = Json::array();
    for (const MemoryPart& p : shortage->parts) row["parts"].push_back({{"name", p.name}, {"bytes", p.bytes}});
  }
  json["rivals"] = RivalsJson(rivals);
  json["notes"] = graph.notes;
  return Dump(json);
}

Result<std::string> ReportText(const std::string& report) {
  nlohmann::json j = nlohmann::json::parse(report, nullptr, false);
  if (j.is_discarded() || !j.is_object() || !j.contains("schema"))
    return Invalid("the plan holds no report; --format json shows the schedule itself");
  std::ostringstream out;
  auto size = [](const nlohmann::json& v) { return FormatSize(v.get<double>()); };
  auto time = [](const nlohmann::json& v) { return FormatSeconds(v.get<double>()); };
  try {
    // Not const: what is missing is null then, and no number.
    auto &model = j["model"], &t = j["time"], &d = j["memory"]["device"], &h = j["memory"]["host"], &b = j["bound"];
    const double period = t["period"];
    auto share = [&](const char* key) { return period > 0 ? 100 * t[key].get<double>() / period : 0; };
    out << Line("%s: %s weights (%s trained), %s; loss %s\n", model["name"].get<std::string>().c_str(),
                CountText(model["weights"]).c_str(), CountText(model["trained_weights"]).c_str(),
                size(model["weight_bytes"]).c_str(), model["loss"].get<std::string>().c_str());
    out << Line("machine %s; numeric fingerprint %.16s\n\n", j["machine"]["name"].get<std::string>().c_str(),
                j["fingerprint"].get<std::string>().c_str());
    const double tokens = j["rate"]["tokens_per_second"], flops = 1e12 * j["rate"]["tflops"].get<double>();
    out << Line("step      %s predicted   (%s tokens/s, %sFLOP/s; %lld steps: %s)\n", time(t["period"]).c_str(),
                Line(tokens < 10 ? "%.2g" : "%.0f", tokens).c_str(), CountText(flops).c_str(),
                static_cast<long long>(t["steps"].get<int64_t>()), time(t["total"]).c_str());
    if (b["seconds"].get<double>() > 0)
      out << Line("bound     %s             gap %.1f %%, binding: %s\n", time(b["seconds"]).c_str(),
                  100 * b["gap"].get<double>(), b["binding"].get<std::string>().c_str());
    auto& worth = b["shadow_prices"];
    std::string prices;
    for (const auto& [key, what] : {std::pair{"mib_of_budget", "1 MiB of budget"}, std::pair{"gb_per_s_up", "1 GB/s up"},
                                    std::pair{"gb_per_s_down", "1 GB/s down"}, std::pair{"host_thread", "1 host thread"}})
      if (worth[key].get<double>() > 0)
        prices += (prices.empty() ? "" : ", ") + std::string(what) + " " + time(worth[key]);
    if (!prices.empty()) out << "          more of it is worth, off the bound: " << prices << "\n";
    out << Line("time      compute %s (%.0f %%), prepare %s (%.0f %%), upload %s (%.0f %%), download %s (%.0f %%)\n",
                time(t["compute"]).c_str(), share("compute"), time(t["prepare"]).c_str(), share("prepare"),
                time(t["upload"]).c_str(), share("upload"), time(t["download"]).c_str(), share("download"));
    out << Line("          compute waits %s for uploads, %s for downloads\n\n", time(t["wait_for_upload"]).c_str(),
                time(t["wait_for_download"]).c_str());
    auto& k = d["temporary_lower_bound_of_kind"];
    out << Line("device    %s of %s: resident weights %s, slots %s, temporaries %s, constants %s\n", size(d["bytes"]).c_str(),
                size(d["budget"]).c_str(), size(d["resident_weights"]).c_str(), size(d["slots"]).c_str(),
                size(d["temporary"]).c_str(), size(d["constants"]).c_str());
    out << Line("          temporaries at their peaks: activations %s, branch weights %s, workspace %s, rings %s\n",
                size(k["activations"]).c_str(), size(k["branches"]).c_str(), size(k["workspace"]).c_str(), size(k["rings"]).c_str());
    out << Line("host      %s pinned: masters %s%s, staging %s\n", size(h["bytes"]).c_str(), size(h["masters"]).c_str(),
                (h["codes"].get<double>() > 0 ? ", codes " + size(h["codes"]) : "").c_str(), size(h["staging"]).c_str());
    out << Line("link      %s up, %s down per step\n\n", size(j["rate"]["up_bytes_per_step"]).c_str(), size(j["rate"]["down_bytes_per_step"]).c_str());
    out << Line("tiles     %d of about %s in %d classes; %d resident, %d streamed\n", j["tiles"]["count"].get<int>(),
                size(j["tiles"]["target_bytes"]).c_str(), j["tiles"]["classes"].get<int>(), j["tiles"]["resident"].get<int>(),
                j["tiles"]["streamed"].get<int>());
    for (const auto& cause : j["decision"]["causes"]) out << "  " << cause.get<std::string>() << "\n";
    out << "\nplans by the same model\n";
    for (auto& r : j["rivals"]) {
      if (r["feasible"].get<bool>()) {
        out << Line("  %-18s %-10s %s\n", r["name"].get<std::string>().c_str(), time(r["period"]).c_str(), size(r["device_bytes"]).c_str());
      } else {
        const std::string why = r["why"];  // the JSON has what would help, too
        out << Line("  %-18s ", r["name"].get<std::string>().c_str()) << "infeasible: " << why.substr(0, why.find("; ")) << "\n";
      }
    }
    const auto& notes = j["notes"];
    if (!notes.empty()) out << "\nnotes\n";
    // Notes begin with what they are about ("tied: ..."); of many about the same, some stand for all.
    constexpr int kShown = 4;
    std::map<std::string, int> seen;
    for (const auto& n : notes) {
      const std::string note = n, about = note.substr(0, note.find(':'));
      if (++seen[about] <= kShown) out << "  " << note << "\n";
    }
    for (const auto& [about, count] : seen)
      if (count > kShown) out << "  " << about << ": " << count - kShown << " more like these; --report has them all\n";
  } catch (const nlohmann::json::exception&) {
    return Invalid("the plan's report is damaged, or of another version: a field of it is missing");
  }
  return out.str();
}

}  // namespace zo2
