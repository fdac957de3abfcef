#include "tests/property/planner/report_schema.h"

#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <vector>

namespace zo2 {
namespace {

using Json = nlohmann::json;

// n: number of at least 0; m: n or null; p: o or null; s: string; b: bool; a: array of strings; l: array; o: object; r: any number.
const std::map<std::string, std::vector<std::pair<std::string, char>>>& Fields() {
  static const auto& fields = *new std::map<std::string, std::vector<std::pair<std::string, char>>>{
      {"model",
       {{"name", 's'},
        {"digest", 's'},
        {"weights", 'n'},
        {"trained_weights", 'n'},
        {"weight_bytes", 'n'},
        {"loss", 's'},
        {"loss_cause", 's'}}},
      {"machine", {{"name", 's'}, {"kind", 's'}, {"source", 'o'}, {"measured_on", 'o'}}},
      {"options", {{"budget", 'n'}, {"host_budget", 'n'}, {"strategy", 's'}, {"samples", 'n'}, {"micro_batches", 'n'}, {"gap", 'n'}, {"time_limit", 'n'}}},
      {"tiles", {{"count", 'n'}, {"classes", 'n'}, {"target_bytes", 'n'}, {"resident", 'n'}, {"streamed", 'n'}}},
      {"decision", {{"strategy", 's'}, {"slots", 'n'}, {"writeback_every", 'n'}, {"causes", 'a'}, {"z3", 'p'}}},
      {"memory", {{"device", 'o'}, {"host", 'o'}}},
      {"time",
       {{"period", 'n'},
        {"settled", 'b'},
        {"first_step", 'n'},
        {"compute", 'n'},
        {"prepare", 'n'},
        {"upload", 'n'},
        {"download", 'n'},
        {"host", 'n'},
        {"wait_for_upload", 'n'},
        {"wait_for_download", 'n'},
        {"steps", 'n'},
        {"total", 'n'}}},
      {"rate",
       {{"tokens_per_second", 'n'},
        {"tflops", 'n'},
        {"flops_per_step", 'n'},
        {"up_bytes_per_step", 'n'},
        {"down_bytes_per_step", 'n'}}},
      {"wire", {{"update", 's'}, {"refresh_every", 'n'}, {"formats", 'l'}}},
      {"bound",
       {{"seconds", 'n'},
        {"gap", 'r'},
        {"binding", 's'},
        {"roofline", 'n'},
        {"lp", 'm'},
        {"compute", 'n'},
        {"up", 'n'},
        {"down", 'n'},
        {"host", 'n'},
        {"slots", 'n'},
        {"resident_bytes", 'n'},
        {"shadow_prices", 'o'},
        {"assumes", 's'}}},
  };
  return fields;
}

bool Is(const Json& value, char type) {
  switch (type) {
    case 'n':
      return value.is_number() && std::isfinite(value.get<double>()) && value.get<double>() >= 0;
    case 'p':
      return value.is_null() || value.is_object();
    case 'm':
      return value.is_null() || Is(value, 'n');
    case 'r':
      return value.is_number() && std::isfinite(value.get<double>());
    case 's':
      return value.is_string();
    case 'b':
      return value.is_boolean();
    case 'o':
      return value.is_object();
    case 'l':
      return value.is_array();
    default:
      if (!value.is_array()) return false;
      for (const Json& x : value)
        if (!x.is_string()) return false;
      return true;
  }
}

// First column -> second column of the first table in docs/REPORT.md.
const std::map<std::string, std::string>& Documented() {
  static const auto& rows = *new std::map<std::string, std::string>([] {
    std::map<std::string, std::string> found;
    std::ifstream in(std::string(ZO2_SOURCE_DIR) + "/docs/REPORT.md");
    for (std::string line; std::getline(in, line);) {
      if (line.empty() && !found.empty()) break;  // other tables are about other things
      if (line.rfind("| `", 0) != 0) continue;
      const size_t end = line.find('`', 3);
      found[line.substr(3, end - 3)] = line.substr(end + 1);
    }
    return found;
  }());
  return rows;
}

class Judge {
 public:
  explicit Judge(const Schedule& s) : s_(s), j_(Json::parse(s.report, nullptr, false)) {}

  std::string Run() {
    if (!j_.is_object()) return "no JSON object";
    CheckFields();
    CheckDocumented();
    if (!fault_.empty()) return fault_;
    CheckMemory();
    CheckTime();
    CheckLists();
    return fault_;
  }

 private:
  void Fault(const std::string& text) {
    if (fault_.empty()) fault_ = text;
  }
  void Equal(double a, double b, const std::string& what, double tolerance = 1e-9) {
    if (std::fabs(a - b) <= tolerance * std::max(std::fabs(a), std::fabs(b))) return;
    std::ostringstream text;
    text << what << ": " << a << " is not " << b;
    Fault(text.str());
  }
  double At(const char* path) const { return j_.at(Json::json_pointer(path)).get<double>(); }

  void CheckFields() {
    if (j_.value("schema", Json()) != 2) Fault("schema is not 2");
    if (j_.value("feasible", Json()) != true) Fault("feasible is not true");
    if (!j_.contains("fingerprint") || !j_["fingerprint"].is_string()) Fault("no fingerprint");
    for (const char* list : {"rivals", "programs", "notes"})
      if (!j_.contains(list) || !j_[list].is_array()) Fault(std::string("no array ") + list);
    if (!j_.contains("planner_seconds") || !j_["planner_seconds"].is_object()) Fault("no planner_seconds");
    for (const auto& [name, fields] : Fields()) {
      if (!j_.contains(name) || !j_[name].is_object()) return Fault("no object " + name);
      for (const auto& [field, type] : fields) {
        if (!j_[name].contains(field) || !Is(j_[name][field], type)) {
          return Fault(name + "." + field +
                       " is missing or of the wrong type: " + j_[name].value(field, Json()).dump());
        }
      }
      if (j_[name].size() != fields.size()) Fault(name + " has other fields than it should");
    }
    for (const char* key : {"bytes", "budget", "resident_weights", "slots", "constants", "records", "temporary"})
      if (!Is(j_["memory"]["device"].value(key, Json()), 'n')) Fault(std::string("memory.device.") + key);
    for (const char* key : {"bytes", "budget", "masters", "codes", "staging"})
      if (!Is(j_["memory"]["host"].value(key, Json()), 'n')) Fault(std::string("memory.host.") + key);
  }

  // Every name in the report is in its row of the table.
  void CheckDocumented() {
    if (Documented().size() < 10) return Fault("docs/REPORT.md has no table");
    for (const auto& [key, value] : j_.items()) {
      if (key == "memory") {
        for (const auto& [tier, fields] : value.items()) CheckRow("memory." + tier, fields);
      } else {
        CheckRow(key, value);
      }
    }
    for (const auto& [row, text] : Documented()) {
      if (row == "what_if") continue;  // only where it was asked for, never in a plan
      const std::string top = row.substr(0, row.find('.'));
      if (!j_.contains(top)) Fault("documented but absent: " + row);
    }
  }
  void CheckRow(const std::string& row, const Json& value) {
    auto it = Documented().find(row);
    if (it == Documented().end()) return Fault(row + " is not documented");
    const bool open = row == "planner_seconds";  // its keys are data
    if (value.is_object() && !open) CheckNames(row, it->second, value);
    if (value.is_array())
      for (const Json& x : value)
        if (x.is_object()) CheckNames(row, it->second, x);
  }
  void CheckNames(const std::string& row, const std::string& text, const Json& object) {
    for (const auto& [key, value] : object.items()) {
      if (text.find("`" + key + "`") == std::string::npos) Fault(row + "." + key + " is not documented");
      if (value.is_object() && key != "source") CheckNames(row, text, value);
    }
  }

  void CheckMemory() {
    Equal(At("/memory/device/bytes"),
          At("/memory/device/resident_weights") + At("/memory/device/slots") + At("/memory/device/constants") +
              At("/memory/device/records") + At("/memory/device/temporary"),
          "memory.device.bytes and its parts", 0);
    Equal(At("/memory/host/bytes"), At("/memory/host/masters") + At("/memory/host/codes") + At("/memory/host/staging"),
          "memory.host.bytes and its parts", 0);
    Equal(At("/memory/device/bytes"), static_cast<double>(s_.arenas[0].bytes), "memory.device.bytes and the arena", 0);
    Equal(At("/memory/host/bytes"), static_cast<double>(s_.arenas[1].bytes), "memory.host.bytes and the arena", 0);
    Equal(At("/options/budget"), At("/memory/device/budget"), "budgets", 0);
    for (const auto& [kind, bytes] : j_["memory"]["device"]["temporary_lower_bound_of_kind"].items())
      if (bytes.get<double>() > At("/memory/device/temporary"))
        Fault("temporaries of kind " + kind + " exceed all temporaries");
    Equal(At("/tiles/count"), At("/tiles/resident") + At("/tiles/streamed"), "tiles.count and its parts", 0);
    Equal(At("/tiles/count"), static_cast<double>(s_.tiles.size()), "tiles.count and the schedule", 0);
    double masters = 0, codes = 0, weights = 0;
    size_t resident = 0;
    for (const Tile& t : s_.tiles) {
      const bool coded = t.codes >= 0;
      const Buffer& b = s_.buffers[static_cast<size_t>(t.master >= 0 ? t.master : t.codes)];
      resident += b.arena == 0;
      if (b.arena == 1 && t.master >= 0) masters += static_cast<double>(b.stride);
      if (b.arena == 1 && coded) codes += static_cast<double>(s_.buffers[static_cast<size_t>(t.codes)].stride);
    }
    for (const PlanWeight& w : s_.weights) weights += static_cast<double>(NumElements(w.shape));
    Equal(At("/tiles/resident"), static_cast<double>(resident), "tiles.resident and the buffers", 0);
    Equal(At("/memory/host/masters"), masters, "memory.host.masters and the buffers", 0);
    Equal(At("/memory/host/codes"), codes, "memory.host.codes and the buffers", 0);
    Equal(At("/model/weights"), weights, "model.weights and the schedule", 0);
  }

  void CheckTime() {
    const Program* train = s_.Find(Purpose::kTrain);
    const Program& main = train != nullptr ? *train : *s_.Find(Purpose::kEvaluate);
    const double period = At("/time/period");
    Equal(period, main.predicted_period, "time.period and the program");
    Equal(At("/time/total"), At("/time/first_step") + period * (At("/time/steps") - 1), "time.total and its parts");
    if (period > 0) Equal(At("/rate/tflops"), At("/rate/flops_per_step") / period / 1e12, "rate.tflops");
    // What the compute lane does and waits for is the period; the gradient is in neither share.
    double gradient = 0, calls = 0, prepares = 0, up = 0, down = 0, up_bytes = 0, down_bytes = 0;
    for (const Lane& lane : main.lanes) {
      for (const Instruction& i : lane.instructions) {
        double share = 0;
        for (int r = 0; r < main.period; ++r) share += RunsAt(main, i, r);
        share /= main.period;
        const double seconds = share * i.seconds;
        if (i.kind == InstrKind::kGradient) gradient += seconds;
        if (i.kind == InstrKind::kCall) calls += seconds;
        if (i.kind == InstrKind::kPrepare) prepares += seconds;
        if (i.kind != InstrKind::kCopy) continue;
        (lane.kind == LaneKind::kH2D ? up : down) += seconds;
        if (i.tile >= 0)
          (lane.kind == LaneKind::kH2D ? up_bytes : down_bytes) +=
              share * static_cast<double>(i.operands[0].type.bytes());
      }
    }
    Equal(At("/time/compute"), calls, "time.compute and the calls", 1e-6);
    Equal(At("/time/prepare"), prepares, "time.prepare and the prepares", 1e-6);
    Equal(At("/time/upload"), up, "time.upload and the copies", 1e-6);
    Equal(At("/time/download"), down, "time.download and the copies", 1e-6);
    if (train != nullptr && std::fabs(At("/rate/up_bytes_per_step") - up_bytes) > 1) Fault("rate.up_bytes_per_step");
    if (train != nullptr && std::fabs(At("/rate/down_bytes_per_step") - down_bytes) > 1)
      Fault("rate.down_bytes_per_step");
    if (!main.lanes[0].instructions.empty())
      Equal(calls + prepares + gradient + At("/time/wait_for_upload") + At("/time/wait_for_download"), period,
            "the compute lane's shares and time.period", 1e-3);
    if (At("/bound/seconds") > 0) Equal(1 + At("/bound/gap"), period / At("/bound/seconds"), "bound.gap", 1e-9);
    Equal(At("/bound/seconds"),
          std::max({At("/bound/compute"), At("/bound/up"), At("/bound/down"), At("/bound/host"), At("/bound/slots")}),
          "bound and its parts");
    const Json& lp = j_["bound"]["lp"];
    Equal(At("/bound/seconds"), std::max(At("/bound/roofline"), lp.is_null() ? 0 : lp.get<double>()),
          "bound, the roofline and the LP");
  }

  void CheckLists() {
    std::set<std::string> rivals;
    for (const Json& r : j_["rivals"]) {
      if (!Is(r.value("name", Json()), 's') || !Is(r.value("feasible", Json()), 'b'))
        return Fault("a rival lacks name or feasible");
      rivals.insert(r["name"].get<std::string>().substr(0, r["name"].get<std::string>().find(' ')));
      if (r["feasible"].get<bool>()) {
        if (!Is(r.value("period", Json()), 'n') || !Is(r.value("device_bytes", Json()), 'n'))
          Fault("a rival lacks period or device_bytes");
        if (r["device_bytes"].get<double>() > At("/options/budget"))
          Fault("a rival called feasible exceeds the budget");
      } else if (!Is(r.value("why", Json()), 's') || r["why"].get<std::string>().empty()) {
        Fault("an infeasible rival does not say why");
      }
    }
    for (const char* trivial : {"resident", "stream", "zo2"})
      if (!rivals.count(trivial)) Fault(std::string("rivals lack ") + trivial);
    if (j_["programs"].size() != s_.programs.size()) return Fault("programs");
    for (size_t p = 0; p < s_.programs.size(); ++p) {
      size_t n = 0;
      for (const Lane& lane : s_.programs[p].lanes) n += lane.instructions.size();
      const Json& row = j_["programs"][p];
      if (row["name"] != s_.programs[p].name || row["instructions"] != n ||
          row["edges"] != s_.programs[p].edges.size() || row["period"] != s_.programs[p].period)
        Fault("programs[" + std::to_string(p) + "]");
    }
  }

  const Schedule& s_;
  const Json j_;
  std::string fault_;
};

}  // namespace

std::string ReportFault(const Schedule& schedule) { return Judge(schedule).Run(); }

}  // namespace zo2
