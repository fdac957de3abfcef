#include "planner/compare.h"

#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "planner/options.h"

namespace zo2 {
namespace {

using Json = nlohmann::json;

bool EndsWith(const std::string& text, const char* end) {
  const std::string suffix(end);
  return text.size() >= suffix.size() && text.compare(text.size() - suffix.size(), suffix.size(), suffix) == 0;
}

// A leaf of a report in the unit that its place says (docs/REPORT.md).
std::string Pretty(const std::string& path, const Json& value) {
  if (value.is_null()) return "none";
  if (value.is_string()) return value.get<std::string>();
  if (!value.is_number()) return value.dump();
  const auto number = value.get<double>();
  const bool size = path.rfind("memory.", 0) == 0 || EndsWith(path, "bytes") || EndsWith(path, "budget") ||
                    path.find("bytes_per_step") != std::string::npos;
  const bool seconds = (path.rfind("time.", 0) == 0 && path != "time.steps") || EndsWith(path, "seconds") ||
                       path == "bound.compute" || path == "bound.up" || path == "bound.down";
  char text[64];
  if (path == "bound.gap") {
    std::snprintf(text, sizeof text, "%.1f %%", 100 * number);
    return text;
  }
  if (size) return FormatSize(number);
  if (seconds) return FormatSeconds(number);
  if (value.is_number_integer()) return value.dump();
  std::snprintf(text, sizeof text, "%.5g", number);
  return text;
}

// "path: a -> b" for every leaf that differs.
void Differences(const Json& a, const Json& b, const std::string& path, std::ostringstream* out) {
  if (a == b) return;
  if (a.is_object() && b.is_object()) {
    for (const auto& [key, value] : a.items())
      Differences(value, b.contains(key) ? b[key] : Json(), path.empty() ? key : path + "." + key, out);
    for (const auto& [key, value] : b.items())
      if (!a.contains(key)) Differences(Json(), value, path.empty() ? key : path + "." + key, out);
    return;
  }
  if (a.is_array() && b.is_array() && a.size() == b.size()) {
    for (size_t i = 0; i < a.size(); ++i) Differences(a[i], b[i], path + "[" + std::to_string(i) + "]", out);
    return;
  }
  const std::string from = Pretty(path, a), to = Pretty(path, b);
  if (from == to && a.is_number() && b.is_number()) return;  // the same to the digits shown
  if (from.size() + to.size() > 80) {
    *out << "  " << path << ":\n    " << from << "\n -> " << to << "\n";
  } else {
    *out << "  " << path << ": " << from << " -> " << to << "\n";
  }
}

Result<Json> Report(const Schedule& s) {
  Json json = Json::parse(s.report, nullptr, false);
  if (json.is_discarded()) return Invalid("a plan of ", s.model_name, " holds no report");
  return json;
}

}  // namespace

Result<std::string> CompareText(const Schedule& a, const Schedule& b) {
  std::ostringstream out;
  if (a.fingerprint == b.fingerprint) {
    out << "numerics  equal (fingerprint " << a.fingerprint.substr(0, 16)
        << "): the same losses, g and weights to the bit\n";
  } else {
    out << "numerics  differ (" << a.fingerprint.substr(0, 16) << " and " << b.fingerprint.substr(0, 16) << "):\n";
    Json na = Json::parse(a.numerics, nullptr, false), nb = Json::parse(b.numerics, nullptr, false);
    if (na.is_discarded() || nb.is_discarded()) return Invalid("a plan's numerics are no JSON");
    Differences(na, nb, "", &out);
  }
  ZO2_ASSIGN(Json ra, Report(a));
  ZO2_ASSIGN(Json rb, Report(b));
  const auto period = [](const Json& report) { return report.value(Json::json_pointer("/time/period"), 0.0); };
  const double pa = period(ra), pb = period(rb);
  out << "step      " << FormatSeconds(pa) << " and " << FormatSeconds(pb) << " predicted";
  if (pa > 0 && pb > 0 && FormatSeconds(pa) != FormatSeconds(pb)) {
    char ratio[64];
    std::snprintf(ratio, sizeof ratio, ": the %s is %.2f times as fast", pa < pb ? "first" : "second",
                  std::max(pa, pb) / std::min(pa, pb));
    out << ratio;
  }
  out << "\n";
  for (const char* key : {"planner_seconds", "rivals", "fingerprint"}) {
    ra.erase(key);
    rb.erase(key);
  }
  std::ostringstream rest;
  Differences(ra, rb, "", &rest);
  out << (rest.str().empty() ? "reports   equal\n" : "reports\n" + rest.str());
  return out.str();
}

Result<std::string> WeightText(const Schedule& s, const std::string& name) {
  size_t index = s.weights.size();
  for (size_t w = 0; w < s.weights.size(); ++w) {
    const PlanWeight& x = s.weights[w];
    if (x.name == name || std::find(x.aliases.begin(), x.aliases.end(), name) != x.aliases.end()) index = w;
  }
  if (index == s.weights.size()) return Invalid("the plan has no weight ", name, "; the report of `check` lists names");
  const PlanWeight& w = s.weights[index];
  const Component& c = w.components[0];
  std::ostringstream out;
  out << w.name << "  [";
  for (size_t i = 0; i < w.shape.size(); ++i) out << (i > 0 ? ", " : "") << w.shape[i];
  out << "]  " << Name(w.role) << (w.trainable ? ", trained" : ", frozen") << (w.decay ? ", decays" : "") << "\n";
  for (const std::string& alias : w.aliases) out << "  also called " << alias << "\n";
  out << "  stored " << Name(c.storage) << ", sent " << Name(c.wire) << ", computed " << Name(c.compute)
      << "; noise id " << c.tensor_id << "\n";
  for (const Place& p : w.places)
    out << "  in " << p.range.file << " at " << p.range.offset << ", " << p.range.bytes << " bytes as " << p.name
        << (p.transposed ? ", transposed" : "") << (p.present ? "" : ", absent") << "\n";
  const Program* train = s.Find(Purpose::kTrain);
  for (size_t t = 0; t < s.tiles.size(); ++t) {
    const Tile& tile = s.tiles[t];
    for (const Segment& g : tile.segments) {
      if (static_cast<size_t>(g.weight) != index) continue;
      const Buffer& master = s.buffers[static_cast<size_t>(tile.master)];
      const bool resident = s.arenas[static_cast<size_t>(master.arena)].tier == Tier::kDevice;
      out << "  rows [" << g.row_begin << ", " << g.row_end << ") columns [" << g.col_begin << ", " << g.col_end
          << "): tile " << t << " (" << FormatSize(static_cast<double>(tile.bytes)) << "), "
          << (resident ? "resident" : "streamed") << ", master at " << master.offset << " of arena " << master.arena;
      if (train != nullptr) {
        int up = 0, prepare = 0, down = 0;
        for (const Lane& lane : train->lanes) {
          for (const Instruction& i : lane.instructions) {
            if (i.tile != static_cast<TileId>(t)) continue;
            if (i.kind == InstrKind::kPrepare) ++prepare;
            if (i.kind == InstrKind::kCopy) ++(lane.kind == LaneKind::kH2D ? up : down);
          }
        }
        out << "; in train " << up << " uploads, " << prepare << " prepares, " << down << " downloads";
      }
      out << "\n";
    }
  }
  return out.str();
}

}  // namespace zo2
