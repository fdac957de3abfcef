#include "planner/weight_life.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "planner/options.h"
#include "planner/simulate.h"
#include "planner/timeline_view.h"

namespace zo2 {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kMostRuns = 2'000'000;  // of instructions that are recorded; past it one step stands for K

const char* const kSeconds[] = {"upload", "prepare", "call", "download", "host_update"};

// An instruction that has to do with a tile of the weight.
struct Event {
  LaneId lane;
  int32_t index;
  TileId tile;
  double start = 0;  // seconds from the first kernel of its step
  bool timed = false;
};

const Instruction& Of(const Program& p, const Event& e) {
  return p.lanes[static_cast<size_t>(e.lane)].instructions[static_cast<size_t>(e.index)];
}

std::string KindOfEvent(const Lane& lane, const Instruction& i) {
  switch (i.kind) {
    case InstrKind::kCopy:
      return lane.kind == LaneKind::kH2D ? "upload" : "download";
    case InstrKind::kPrepare:
      return "prepare";
    case InstrKind::kCall:
      return "call";
    case InstrKind::kHostUpdate:
      return "host_update";
    default:
      return std::string(Name(i.kind));
  }
}

// Events of each tile in the serial order.
std::map<TileId, std::vector<Event>> FindEvents(const Schedule& s, const Program& p, size_t weight,
                                                const std::vector<bool>& mine) {
  std::map<TileId, std::vector<Event>> found;
  for (size_t l = 0; l < p.lanes.size(); ++l) {
    const auto& list = p.lanes[l].instructions;
    for (size_t x = 0; x < list.size(); ++x) {
      TileId tile = list[x].tile;
      if (list[x].kind == InstrKind::kCall) {
        tile = -1;
        for (const Operand& o : list[x].operands) {
          if (o.tile < 0 || !mine[static_cast<size_t>(o.tile)] || o.segment < 0) continue;
          const Segment& g = s.tiles[static_cast<size_t>(o.tile)].segments[static_cast<size_t>(o.segment)];
          if (static_cast<size_t>(g.weight) == weight) tile = o.tile;
        }
      }
      if (tile >= 0 && mine[static_cast<size_t>(tile)])
        found[tile].push_back({static_cast<LaneId>(l), static_cast<int32_t>(x), tile});
    }
  }
  for (auto& [tile, events] : found)
    std::sort(events.begin(), events.end(),
              [&](const Event& a, const Event& b) { return Of(p, a).seq < Of(p, b).seq; });
  return found;
}

// When each runs in the steady state.
Simulation Time(const Program& p, std::map<TileId, std::vector<Event>>* events) {
  size_t instructions = 0;
  for (const Lane& lane : p.lanes) instructions += lane.instructions.size();
  const int64_t first = (std::max<int64_t>(p.period, 8) + p.period - 1) / p.period * p.period;
  const int64_t steps = instructions * static_cast<size_t>(p.period) <= kMostRuns ? p.period : 1;
  Simulation simulation = Simulate(p, first, first + steps);
  std::map<int64_t, double> begins;  // of the steps
  for (const Span& span : simulation.spans)
    if (p.lanes[static_cast<size_t>(span.lane)].kind == LaneKind::kCompute)
      begins.emplace(span.iteration, span.start);
  std::map<std::pair<LaneId, int32_t>, Event*> which;
  for (auto& [tile, list] : *events)
    for (Event& e : list) which[{e.lane, e.index}] = &e;
  for (const Span& span : simulation.spans) {
    auto it = which.find({span.lane, span.index});
    if (it == which.end() || it->second->timed) continue;
    it->second->start = span.start - begins[span.iteration];
    it->second->timed = true;
  }
  return simulation;
}

int Runs(const Program& p, const Instruction& i) {
  int n = 0;
  for (int r = 0; r < p.period; ++r) n += RunsAt(p, i, r);
  return n;
}

// What an event does, apart from its kind.
std::string EventText(const Schedule& s, const Program& p, const Lane& lane, const Instruction& i) {
  const auto arena = [&](const Operand& o) -> const Buffer& {
    return s.buffers[static_cast<size_t>(o.buffer)];
  };
  const std::string form = i.coded ? "as codes" : "";
  switch (i.kind) {
    case InstrKind::kCopy: {
      const Operand& device = i.operands[lane.kind == LaneKind::kH2D ? 1 : 0];
      return (lane.kind == LaneKind::kH2D ? "into " : "from ") + arena(device).name +
             (form.empty() ? "" : ", " + form);
    }
    case InstrKind::kPrepare: {
      std::string text = i.coded ? "decodes, " : "";
      text += s.tiles[static_cast<size_t>(i.tile)].trainable ? "applies what is pending" : "frozen";
      if (i.operands.size() > 1 && i.operands[1].buffer >= 0) text += ", leaves the master up to date";
      return text + (i.branches.empty() ? "" : ", emits " + std::to_string(i.branches.size()) + " branches");
    }
    case InstrKind::kHostUpdate:
      return std::string("applies what is pending to the master") +
             (i.operands.size() > 2 && i.operands[2].buffer >= 0 ? ", encodes it" : "");
    default: {
      const internal::TimelineLabel label = internal::MakeLabel(s, p, lane, i);
      return label.title;
    }
  }
}

Json PlaceJson(const Schedule& s, BufferId id) {
  if (id < 0) return nullptr;
  const Buffer& b = s.buffers[static_cast<size_t>(id)];
  return {
      {"tier", Name(s.arenas[static_cast<size_t>(b.arena)].tier)}, {"offset", b.offset}, {"bytes", b.bytes}};
}

Json EventJson(const Schedule& s, const Program& p, const Event& e) {
  const Lane& lane = p.lanes[static_cast<size_t>(e.lane)];
  const Instruction& i = Of(p, e);
  Json residues = Json::array();
  for (int r = 0; r < p.period; ++r)
    if (RunsAt(p, i, r)) residues.push_back(r);
  Json row = {
      {"what", KindOfEvent(lane, i)}, {"lane", Name(lane.kind)}, {"pass", i.pass}, {"residues", residues}};
  if (i.kind == InstrKind::kCopy) row["bytes"] = i.operands[0].type.bytes();
  row["seconds"] = i.seconds;
  row["start"] = e.timed ? Json(e.start) : Json();
  row["text"] = EventText(s, p, lane, i);
  return row;
}

// Averages over the K steps.
Json PerStep(const Program& p, const std::vector<Event>& events) {
  double up = 0, down = 0;
  std::map<std::string, double> seconds;
  for (const Event& e : events) {
    const Lane& lane = p.lanes[static_cast<size_t>(e.lane)];
    const Instruction& i = Of(p, e);
    const double share = static_cast<double>(Runs(p, i)) / p.period;
    seconds[KindOfEvent(lane, i)] += share * i.seconds;
    if (i.kind == InstrKind::kCopy)
      (lane.kind == LaneKind::kH2D ? up : down) += share * static_cast<double>(i.operands[0].type.bytes());
  }
  Json row = {{"up_bytes", up}, {"down_bytes", down}};
  for (const char* kind : kSeconds) row["seconds"][kind] = seconds[kind];
  return row;
}

Result<Json> Life(const Schedule& s, const std::string& name) {
  size_t index = s.weights.size();
  for (size_t w = 0; w < s.weights.size(); ++w) {
    const PlanWeight& x = s.weights[w];
    if (x.name == name || std::find(x.aliases.begin(), x.aliases.end(), name) != x.aliases.end()) index = w;
  }
  if (index == s.weights.size())
    return Invalid("the plan has no weight ", name, "; the report of `check` lists names");
  const PlanWeight& w = s.weights[index];
  const Component& c = w.components[0];
  Json json;
  json["schema"] = 1;
  json["weight"] = {{"name", w.name},
                    {"aliases", w.aliases},
                    {"shape", w.shape},
                    {"role", Name(w.role)},
                    {"trained", w.trainable},
                    {"decays", w.decay},
                    {"storage", Name(c.storage)},
                    {"wire", Name(c.wire)},
                    {"compute", Name(c.compute)},
                    {"noise_id", c.tensor_id}};
  Json& places = json["weight"]["places"] = Json::array();
  for (const Place& p : w.places)
    places.push_back({{"file", p.range.file},
                      {"offset", p.range.offset},
                      {"bytes", p.range.bytes},
                      {"name", p.name},
                      {"transposed", p.transposed},
                      {"present", p.present}});
  std::vector<bool> mine(s.tiles.size(), false);
  for (size_t t = 0; t < s.tiles.size(); ++t)
    for (const Segment& g : s.tiles[t].segments) mine[t] = mine[t] || static_cast<size_t>(g.weight) == index;
  static const Program kNone;
  const Program* found = internal::MainProgram(s);
  const Program& p = found != nullptr ? *found : kNone;
  auto events = FindEvents(s, p, index, mine);
  json["program"] = p.name;
  json["period"] = p.period;
  json["step_seconds"] = Time(p, &events).period;
  std::vector<Event> all;
  for (const auto& [tile, list] : events) all.insert(all.end(), list.begin(), list.end());
  json["per_step"] = PerStep(p, all);
  json["tiles"] = Json::array();
  for (size_t t = 0; t < s.tiles.size(); ++t) {
    if (!mine[t]) continue;
    const Tile& tile = s.tiles[t];
    const BufferId home = tile.master >= 0 ? tile.master : tile.codes;
    const Buffer& b = s.buffers[static_cast<size_t>(home)];
    Json row = {{"tile", t}, {"name", tile.name}, {"bytes", tile.bytes}, {"wire_bytes", tile.wire_bytes}};
    row["segments"] = Json::array();
    std::map<int32_t, bool> others;
    for (const Segment& g : tile.segments) {
      if (static_cast<size_t>(g.weight) != index) {
        others[g.weight] = true;
        continue;
      }
      row["segments"].push_back({{"rows", {g.row_begin, g.row_end}}, {"columns", {g.col_begin, g.col_end}}});
    }
    row["other_weights"] = others.size();
    row["lives"] = s.arenas[static_cast<size_t>(b.arena)].tier == Tier::kDevice ? "resident" : "streamed";
    row["master"] = PlaceJson(s, tile.master);
    row["codes"] = PlaceJson(s, tile.codes);
    const std::vector<Event>& list = events[static_cast<TileId>(t)];
    row["per_step"] = PerStep(p, list);
    row["events"] = Json::array();
    for (const Event& e : list) row["events"].push_back(EventJson(s, p, e));
    json["tiles"].push_back(std::move(row));
  }
  return json;
}

// ---- the page ----

std::string Size(const Json& bytes) { return FormatSize(bytes.get<double>()); }
std::string Seconds(const Json& seconds) { return FormatSeconds(seconds.get<double>()); }

// "  when step mod 3 is 1 or 2"; "" for every step.
std::string When(const Json& residues, int period) {
  if (static_cast<int>(residues.size()) == period) return "";
  std::string text = "  when step mod " + std::to_string(period) + " is";
  for (size_t i = 0; i < residues.size(); ++i)
    text += (i == 0 ? " " : i + 1 == residues.size() ? " or " : ", ") + residues[i].dump();
  return text;
}

// "  +12.3 ms  upload     56.40 us  577.50 KiB into slot 2"
std::string EventLine(const Json& e, int period, int passes) {
  std::string start = "?";
  if (!e["start"].is_null()) {
    const double at = e["start"];
    start = (at < 0 ? "-" : "+") + FormatSeconds(std::max(at, -at));
  }
  std::string what = e["what"], text = e["text"];
  std::replace(what.begin(), what.end(), '_', ' ');
  char line[80];
  std::snprintf(line, sizeof line, "    %12s  %-11s %10s  ", start.c_str(), what.c_str(),
                Seconds(e["seconds"]).c_str());
  return line + (e.contains("bytes") ? Size(e["bytes"]) + " " : "") + text +
         (passes > 1 ? ", pass " + e["pass"].dump() : "") + When(e["residues"], period) + "\n";
}

// Equal for tiles whose events differ in nothing but times, slots and names.
std::string Pattern(const Json& tile) {
  std::string text = tile["lives"];
  for (const Json& e : tile["events"])
    text += e["what"].get<std::string>() + e["pass"].dump() + e["residues"].dump() + ";";
  return text;
}

std::string TileText(const Json& t) {
  std::string text = "  tile " + t["tile"].dump();
  for (const Json& g : t["segments"])
    text += "  rows [" + g["rows"][0].dump() + ", " + g["rows"][1].dump() + ") columns [" +
            g["columns"][0].dump() + ", " + g["columns"][1].dump() + ")";
  text += ": " + Size(t["bytes"]);
  if (t["other_weights"] > 0)
    text +=
        " with " + t["other_weights"].dump() + (t["other_weights"] > 1 ? " other weights" : " other weight");
  text += ", " + t["lives"].get<std::string>();
  for (const char* what : {"master", "codes"})
    if (!t[what].is_null())
      text += std::string(", ") + what + " at " + t[what]["offset"].dump() + " of the " +
              t[what]["tier"].get<std::string>();
  return text + "\n";
}

}  // namespace

Result<std::string> WeightJson(const Schedule& s, const std::string& name) {
  ZO2_ASSIGN(Json json, Life(s, name));
  return json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
}

Result<std::string> WeightText(const Schedule& s, const std::string& name) {
  ZO2_ASSIGN(Json json, Life(s, name));
  const Json& w = json["weight"];
  std::string out = w["name"].get<std::string>() + "  [";
  for (size_t i = 0; i < w["shape"].size(); ++i) out += (i > 0 ? ", " : "") + w["shape"][i].dump();
  out += "]  " + w["role"].get<std::string>() + (w["trained"].get<bool>() ? ", trained" : ", frozen") +
         (w["decays"].get<bool>() ? ", decays" : "") + "\n";
  for (const Json& alias : w["aliases"]) out += "  also called " + alias.get<std::string>() + "\n";
  out += "  stored " + w["storage"].get<std::string>() + ", sent " + w["wire"].get<std::string>() +
         ", computed " + w["compute"].get<std::string>() + "; noise id " + w["noise_id"].dump() + "\n";
  for (const Json& p : w["places"])
    out += "  in " + p["file"].get<std::string>() + " at " + p["offset"].dump() + ", " + p["bytes"].dump() +
           " bytes as " + p["name"].get<std::string>() + (p["transposed"].get<bool>() ? ", transposed" : "") +
           (p["present"].get<bool>() ? "" : ", absent") + "\n";
  const Program* p = internal::MainProgram(s);
  if (p == nullptr) return out;
  const Json& per = json["per_step"];
  out += "  per step of " + Seconds(json["step_seconds"]) + " (" + p->name +
         (p->period > 1 ? ", an average over " + std::to_string(p->period) : "") +
         "): " + Size(per["up_bytes"]) + " up, " + Size(per["down_bytes"]) + " down";
  for (const char* kind : kSeconds) {
    if (per["seconds"][kind] == 0.0) continue;
    std::string what = kind;
    std::replace(what.begin(), what.end(), '_', ' ');
    out += ", " + what + " " + Seconds(per["seconds"][kind]);
  }
  out +=
      "\n  times are predicted, from the first kernel of the step on; before it: under the tail of the step "
      "before\n\n";
  std::map<std::string, std::string> shown;  // pattern -> tile
  for (const Json& t : json["tiles"]) {
    out += TileText(t);
    auto [it, fresh] = shown.emplace(Pattern(t), t["tile"].dump());
    if (!fresh && json["tiles"].size() > 4 && !t["events"].empty()) {
      out += "    the same as tile " + it->second + ", from " +
             EventLine(t["events"][0], p->period, 1).substr(4);
      continue;
    }
    for (const Json& e : t["events"]) out += EventLine(e, p->period, p->samples * p->micro_batches);
    if (t["events"].empty()) out += "    nothing moves or uses it in " + p->name + "\n";
  }
  return out;
}

}  // namespace zo2
