#include "planner/compare.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>
#include <vector>

#include "planner/options.h"
#include "planner/text.h"

namespace zo2 {
namespace {

using Json = nlohmann::ordered_json;

// ---- leaves ----

// The figures that a person looks at first, with their units.
struct Figure {
  const char* name;
  const char* path;
  const char* unit;
};
constexpr Figure kFigures[] = {{"step", "/time/period", "seconds"},
                               {"bound", "/bound/seconds", "seconds"},
                               {"gap", "/bound/gap", "share"},
                               {"kernels", "/time/compute", "seconds"},
                               {"prepare", "/time/prepare", "seconds"},
                               {"waits for uploads", "/time/wait_for_upload", "seconds"},
                               {"waits for downloads", "/time/wait_for_download", "seconds"},
                               {"upload lane", "/time/upload", "seconds"},
                               {"download lane", "/time/download", "seconds"},
                               {"host updates", "/time/host", "seconds"},
                               {"up per step", "/rate/up_bytes_per_step", "bytes"},
                               {"down per step", "/rate/down_bytes_per_step", "bytes"},
                               {"device memory", "/memory/device/bytes", "bytes"},
                               {"  resident weights", "/memory/device/resident_weights", "bytes"},
                               {"  slots", "/memory/device/slots", "bytes"},
                               {"  temporaries", "/memory/device/temporary", "bytes"},
                               {"host memory", "/memory/host/bytes", "bytes"},
                               {"tiles resident", "/tiles/resident", "count"},
                               {"tiles streamed", "/tiles/streamed", "count"},
                               {"slots", "/decision/slots", "count"},
                               {"steps per write-back", "/decision/writeback_every", "count"}};

bool EndsWith(const std::string& text, const char* end) {
  const std::string suffix(end);
  return text.size() >= suffix.size() &&
         text.compare(text.size() - suffix.size(), suffix.size(), suffix) == 0;
}

std::string InUnit(double number, const std::string& unit) {
  if (unit == "bytes") return FormatSize(number);
  if (unit == "seconds") return FormatSeconds(number);
  if (unit == "share") return Line("%.1f %%", 100 * number);
  return Line("%.5g", number);
}
// With its sign; "" where nothing of it would be seen.
std::string Change(double a, double b, const std::string& unit) {
  if (InUnit(a, unit) == InUnit(b, unit)) return "";
  return (b > a ? "+" : "-") + InUnit(std::fabs(b - a), unit);
}

// A leaf of a report in the unit that its place says (docs/REPORT.md).
std::string Pretty(const std::string& path, const Json& value) {
  if (value.is_null()) return "none";
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_number()) return value.dump();
  const bool price = path.rfind("bound.shadow_prices.", 0) == 0;
  const bool size = !price && (path.rfind("memory.", 0) == 0 || EndsWith(path, "bytes") ||
                               EndsWith(path, "budget") || path.find("bytes_per_step") != std::string::npos);
  const bool seconds = (path.rfind("time.", 0) == 0 && path != "time.steps") || EndsWith(path, "seconds") ||
                       (path.rfind("bound.", 0) == 0 && !size);
  if (!size && !seconds && value.is_number_integer()) return value.dump();
  return InUnit(value.get<double>(), size ? "bytes" : seconds ? "seconds" : "count");
}

// A row {path, a, b} for every leaf that differs.
void Differences(const Json& a, const Json& b, const std::string& path, Json* rows) {
  if (a == b) return;
  if (a.is_object() && b.is_object()) {
    for (const auto& [key, value] : a.items())
      Differences(value, b.contains(key) ? b[key] : Json(), path.empty() ? key : path + "." + key, rows);
    for (const auto& [key, value] : b.items())
      if (!a.contains(key)) Differences(Json(), value, path.empty() ? key : path + "." + key, rows);
    return;
  }
  if (a.is_array() && b.is_array() && a.size() == b.size()) {
    for (size_t i = 0; i < a.size(); ++i) Differences(a[i], b[i], path + "[" + std::to_string(i) + "]", rows);
    return;
  }
  if (a.is_number() && b.is_number() && Pretty(path, a) == Pretty(path, b))
    return;  // the same to the digits shown
  rows->push_back({{"path", path}, {"a", a}, {"b", b}});
}

std::string DifferencesText(const Json& rows) {
  std::string out;
  for (const Json& row : rows) {
    if (row["a"].is_array() || row["b"].is_array()) {  // line by line
      out += "  " + row["path"].get<std::string>() + ":\n";
      for (const auto& [sign, side] : {std::pair{"  - ", "a"}, std::pair{"  + ", "b"}})
        for (const Json& item : row[side]) out += sign + Pretty("", item) + "\n";
      continue;
    }
    const std::string path = row["path"], from = Pretty(path, row["a"]), to = Pretty(path, row["b"]);
    out += "  " + path +
           (from.size() + to.size() > 80 ? ":\n    " + from + "\n -> " + to : ": " + from + " -> " + to) +
           "\n";
  }
  return out;
}

// ---- sentences ----

double At(const Json& report, const char* path) {
  const Json::json_pointer place(path);
  return report.contains(place) && report[place].is_number() ? report[place].get<double>() : 0;
}
std::string TextAt(const Json& report, const char* path) {
  const Json::json_pointer place(path);
  return report.contains(place) && report[place].is_string() ? report[place].get<std::string>() : "?";
}

// "1 tile", "2 tiles"
std::string Count(double n, const std::string& word) { return Line("%.0f ", n) + word + (n == 1 ? "" : "s"); }
std::string Join(const std::vector<std::string>& parts) {
  std::string text;
  for (size_t i = 0; i < parts.size(); ++i)
    text += (i == 0 ? "" : i + 1 == parts.size() ? " and " : ", ") + parts[i];
  return text;
}

// Writes the sentences about `fast` and `slow`, the first of which is no slower.
class Explanation {
 public:
  Explanation(const Json& fast, const Json& slow, std::string fast_name, std::string slow_name)
      : fast_(fast), slow_(slow), fast_name_(std::move(fast_name)), slow_name_(std::move(slow_name)) {}

  Json Run() {
    const double f = At(fast_, "/time/period"), s = At(slow_, "/time/period");
    if (FormatSeconds(f) == FormatSeconds(s)) {
      Say("Both take " + FormatSeconds(f) + " a step.");
    } else {
      Say(fast_name_ + Line(" is %.2f times as fast: ", s / f) + FormatSeconds(f) + " a step, not " +
          FormatSeconds(s) + ".");
      Shares(s - f);
      Lane("uploads", "/time/upload", "/rate/up_bytes_per_step");
      Lane("downloads", "/time/download", "/rate/down_bytes_per_step");
      Causes();
    }
    Memory();
    Bounds();
    return sentences_;
  }

 private:
  void Say(std::string sentence) {
    sentence[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(sentence[0])));
    sentences_.push_back(sentence);
  }
  // What the compute lane does and waits for adds up to the period (docs/REPORT.md).
  void Shares(double difference) {
    std::vector<std::string> less, more;
    const Figure* shares[] = {&kFigures[3], &kFigures[4], &kFigures[5], &kFigures[6]};
    for (const Figure* share : shares) {
      const double change = At(slow_, share->path) - At(fast_, share->path);
      if (std::fabs(change) < 0.03 * difference) continue;
      const std::string name = share->name,
                        what = name.rfind("waits ", 0) == 0 ? "waiting " + name.substr(6) : name;
      (change > 0 ? less : more)
          .push_back(FormatSeconds(std::fabs(change)) + (change > 0 ? " less " : " more ") + what);
    }
    if (less.empty()) return;
    Say("On the compute lane the difference of " + FormatSeconds(difference) + " is " + Join(less) +
        (more.empty() ? "." : ", against " + Join(more) + "."));
  }
  void Lane(const std::string& name, const char* time, const char* bytes) {
    const double f = At(fast_, time), s = At(slow_, time), fb = At(fast_, bytes), sb = At(slow_, bytes);
    if (std::fabs(f - s) < 0.01 * std::max(f, s)) return;
    std::string text = "Its " + name + " take " + FormatSeconds(f) + " a step instead of " + FormatSeconds(s);
    std::vector<std::string> because;
    if (fb == 0 && sb > 0) {
      because.push_back("no weights cross the link any more");
    } else if (FormatSize(fb) != FormatSize(sb)) {
      because.push_back(FormatSize(fb) + " cross the link, not " + FormatSize(sb));
    }
    if (f > 0 && s > 0 && fb > 0 && sb > 0 && std::fabs(fb / f / (sb / s) - 1) > 0.03)
      because.push_back("at " + FormatSize(fb / f) + "/s, not " + FormatSize(sb / s) + "/s");
    Say(text + (because.empty() ? "." : ": " + Join(because) + "."));
  }
  // Decisions that differ.
  void Causes() {
    const double fr = At(fast_, "/tiles/resident"), sr = At(slow_, "/tiles/resident");
    if (fr != sr)
      Say("It keeps " + Count(fr, "tile") + " resident, " + slow_name_ + Line(" %.0f", sr) +
          (fr > sr ? ": what is resident is neither uploaded nor written back." : "."));
    const double fk = At(fast_, "/decision/writeback_every"), sk = At(slow_, "/decision/writeback_every");
    if (fk != sk && At(fast_, "/tiles/streamed") > 0 && At(slow_, "/tiles/streamed") > 0)
      Say("It writes a streamed tile back every " + Count(fk, "step") + ", " + slow_name_ + " every " +
          Count(sk, "step") +
          (fk > sk ? ": fewer downloads, for updates that are applied again in between."
                   : ": fewer updates applied again."));
    const double fs = At(fast_, "/decision/slots"), ss = At(slow_, "/decision/slots");
    if (fs != ss && fs > 0 && ss > 0)
      Say("It streams through " + Count(fs, "slot") + ", " + slow_name_ + Line(" through %.0f", ss) +
          (fs > ss ? ": uploads run further ahead of the kernels." : "."));
    if (TextAt(fast_, "/machine/name") != TextAt(slow_, "/machine/name"))
      Say("It was planned for another machine: " + TextAt(fast_, "/machine/name") + ", not " +
          TextAt(slow_, "/machine/name") + ".");
  }
  void Memory() {
    const double f = At(fast_, "/memory/device/bytes"), s = At(slow_, "/memory/device/bytes");
    const std::string change = Change(s, f, "bytes");
    if (change.empty()) return;
    std::vector<std::string> parts;
    for (const auto& [name, path] :
         {std::pair{"resident weights", "/memory/device/resident_weights"},
          std::pair{"slots", "/memory/device/slots"}, std::pair{"temporaries", "/memory/device/temporary"},
          std::pair{"constants", "/memory/device/constants"}}) {
      const double d = At(fast_, path) - At(slow_, path);
      if (std::fabs(d) < 0.02 * std::fabs(f - s)) continue;
      parts.push_back(std::string(name) + " " + Change(At(slow_, path), At(fast_, path), "bytes"));
    }
    Say(fast_name_ + " takes " + change.substr(1) + (f > s ? " more" : " less") + " device memory (" +
        FormatSize(f) + ", not " + FormatSize(s) + ")" + (parts.empty() ? "." : ": " + Join(parts) + "."));
  }
  void Bounds() {
    const double f = At(fast_, "/bound/seconds"), s = At(slow_, "/bound/seconds");
    if (f <= 0 || s <= 0) return;
    const std::string fb = TextAt(fast_, "/bound/binding"), sb = TextAt(slow_, "/bound/binding");
    std::string text = fb == sb
                           ? "What binds is " + fb + " in both"
                           : "What binds is " + fb + " in " + fast_name_ + " and " + sb + " in " + slow_name_;
    text += Line("; at most %.1f %% of %s and %.1f %% of %s could still be gained.",
                 100 * (1 - 1 / (1 + At(fast_, "/bound/gap"))), fast_name_.c_str(),
                 100 * (1 - 1 / (1 + At(slow_, "/bound/gap"))), slow_name_.c_str());
    Say(text);
  }

  const Json &fast_, &slow_;
  const std::string fast_name_, slow_name_;
  Json sentences_ = Json::array();
};

Result<Json> Report(const Schedule& s) {
  Json json = Json::parse(s.report, nullptr, false);
  if (!json.is_object()) return Invalid("a plan of ", s.model_name, " holds no report");
  const Json::json_pointer period("/time/period");
  if (!json.contains(period) || !json[period].is_number())
    return Invalid("the report of a plan of ", s.model_name, " is damaged, or of another version: it has no period");
  return json;
}

Result<Json> Compared(const Schedule& a, const Schedule& b, const PlanNames& names) {
  ZO2_ASSIGN(Json ra, Report(a));
  ZO2_ASSIGN(Json rb, Report(b));
  Json json;
  json["schema"] = 1;
  json["names"] = {names.a, names.b};
  json["numerics"] = {{"equal", a.fingerprint == b.fingerprint}, {"a", a.fingerprint}, {"b", b.fingerprint}};
  if (a.fingerprint != b.fingerprint) {
    Json na = Json::parse(a.numerics, nullptr, false), nb = Json::parse(b.numerics, nullptr, false);
    if (na.is_discarded() || nb.is_discarded()) return Invalid("a plan's numerics are no JSON");
    Differences(na, nb, "", &(json["numerics"]["differences"] = Json::array()));
  }
  const bool first = At(ra, "/time/period") < At(rb, "/time/period");
  json["sentences"] = (first ? Explanation(ra, rb, names.plan_a, names.plan_b)
                             : Explanation(rb, ra, names.plan_b, names.plan_a))
                          .Run();
  json["figures"] = Json::array();
  std::set<std::string> shown;
  for (const Figure& f : kFigures) {
    std::string name = f.name, path = f.path + 1;
    name.erase(0, name.find_first_not_of(' '));
    std::replace(path.begin(), path.end(), '/', '.');
    shown.insert(path);
    json["figures"].push_back(
        {{"name", name}, {"path", path}, {"unit", f.unit}, {"a", At(ra, f.path)}, {"b", At(rb, f.path)}});
  }
  for (const char* key : {"planner_seconds", "rivals", "fingerprint", "programs"}) {
    ra.erase(key);
    rb.erase(key);
  }
  Json all = Json::array(), &rest = json["differences"] = Json::array();
  Differences(ra, rb, "", &all);
  for (const Json& row : all)
    if (!shown.count(row["path"])) rest.push_back(row);
  return json;
}

}  // namespace

Result<std::string> CompareJson(const Schedule& a, const Schedule& b, const PlanNames& names) {
  ZO2_ASSIGN(Json json, Compared(a, b, names));
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<std::string> CompareText(const Schedule& a, const Schedule& b, const PlanNames& names) {
  ZO2_ASSIGN(Json json, Compared(a, b, names));
  std::string out;
  if (json["numerics"]["equal"].get<bool>()) {
    out += "numerics  equal (fingerprint " + a.fingerprint.substr(0, 16) +
           "): the same losses, g and weights to the bit\n";
  } else {
    out += "numerics  differ (" + a.fingerprint.substr(0, 16) + " and " + b.fingerprint.substr(0, 16) +
           "):\n" + DifferencesText(json["numerics"]["differences"]);
  }
  out += "\n";
  for (const Json& sentence : json["sentences"]) out += sentence.get<std::string>() + "\n";
  out += Line("\n%-22s %12s %12s %12s\n", "", names.a.c_str(), names.b.c_str(), "change");
  for (size_t i = 0; i < json["figures"].size(); ++i) {
    const Json& row = json["figures"][i];
    const double va = row["a"], vb = row["b"];
    const std::string unit = row["unit"];
    std::string line = Line("%-22s %12s %12s %12s", kFigures[i].name, InUnit(va, unit).c_str(),
                            InUnit(vb, unit).c_str(), Change(va, vb, unit).c_str());
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  if (!json["differences"].empty())
    out += "\nalso different in the reports\n" + DifferencesText(json["differences"]);
  return out;
}

}  // namespace zo2
