#include "planner/timeline.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>
#include <unordered_map>
#include <vector>

#include "planner/options.h"
#include "planner/page.h"
#include "planner/report.h"
#include "planner/simulate.h"
#include "planner/timeline_page.h"
#include "planner/timeline_view.h"

namespace zo2 {
namespace {

using namespace internal;  // NOLINT: the timeline's parts
using Json = nlohmann::json;

constexpr int kMostMemoryPoints = 6000;     // of the page; where there are more, the fullest of each stretch
constexpr size_t kSpansAtFirstSight = 160;  // of the compute lane

// ---- the lanes ----

// Which run of an instruction: key of a map.
uint64_t RunKey(const Program& p, LaneId lane, int32_t index, int64_t iteration) {
  return (static_cast<uint64_t>(iteration) * p.lanes.size() + static_cast<uint64_t>(lane)) << 24 |
         static_cast<uint32_t>(index);
}

// Per span, the span that it waited for last (-1: none, its lane was busy), and how long its lane stood still.
struct Wait {
  int64_t cause = -1;
  double seconds = 0;
};
std::vector<Wait> MakeWaits(const View& v) {
  const Program& p = *v.program;
  const std::vector<Span>& spans = v.simulation.spans;
  std::vector<std::vector<std::vector<const Edge*>>> into(p.lanes.size());
  for (size_t l = 0; l < p.lanes.size(); ++l) into[l].resize(p.lanes[l].instructions.size());
  for (const Edge& e : p.edges) into[static_cast<size_t>(e.to_lane)][static_cast<size_t>(e.to)].push_back(&e);
  std::unordered_map<uint64_t, size_t> runs;
  for (size_t x = 0; x < spans.size(); ++x) runs[RunKey(p, spans[x].lane, spans[x].index, spans[x].iteration)] = x;
  std::vector<Wait> waits(spans.size());
  std::vector<double> lane_time(p.lanes.size(), -1);
  for (size_t x = 0; x < spans.size(); ++x) {
    const Span& span = spans[x];
    double& before = lane_time[static_cast<size_t>(span.lane)];
    if (before >= 0 && span.start - before > 1e-9) {
      waits[x].seconds = span.start - before;
      double latest = before;
      for (const Edge* e : into[static_cast<size_t>(span.lane)][static_cast<size_t>(span.index)]) {
        auto it = runs.find(RunKey(p, e->from_lane, e->from, span.iteration - e->back));
        if (it == runs.end() || spans[it->second].finish <= latest) continue;
        latest = spans[it->second].finish;
        waits[x].cause = static_cast<int64_t>(it->second);
      }
    }
    before = span.finish;
  }
  return waits;
}

// The resource that the bound is, as the report says; "" where it does not.
std::string Binding(const Schedule& s) {
  const Json report = Json::parse(s.report, nullptr, false);
  const Json::json_pointer place("/bound/binding");
  return report.is_object() && report.contains(place) && report[place].is_string() ? report[place].get<std::string>() : "";
}

int64_t Nanoseconds(double seconds) { return std::llround(seconds * 1e9); }

// A rectangle of the page: one span, or neighbours in one lane and step.
struct Box {
  size_t first;  // span
  double finish;
  size_t count;
  std::array<double, kTimelineKinds.size()> seconds;  // by kind; the page shows the one with most
};

// Per lane, in the order of time. Neighbours that together are shorter than `least` become one.
std::vector<std::vector<Box>> MakeBoxes(const Schedule& s, const View& v, double least) {
  const Program& p = *v.program;
  std::vector<std::vector<Box>> lanes(p.lanes.size());
  const auto& spans = v.simulation.spans;
  for (size_t x = 0; x < spans.size(); ++x) {
    const Span& span = spans[x];
    if (span.finish <= v.begin || span.start >= v.end) continue;
    const Lane& lane = p.lanes[static_cast<size_t>(span.lane)];
    auto& boxes = lanes[static_cast<size_t>(span.lane)];
    if (boxes.empty() || span.finish - spans[boxes.back().first].start >= least ||
        spans[boxes.back().first].iteration != span.iteration)
      boxes.push_back({x, span.finish, 0, {}});
    boxes.back().finish = span.finish;
    ++boxes.back().count;
    boxes.back().seconds[KindOf(s, lane.kind, lane.instructions[static_cast<size_t>(span.index)])] +=
        span.finish - span.start;
  }
  return lanes;
}

const char* LaneText(LaneKind kind) {
  switch (kind) {
    case LaneKind::kCompute: return "kernels";
    case LaneKind::kH2D: return "host to device";
    case LaneKind::kD2H: return "device to host";
    case LaneKind::kHost: return "updates on the host";
    case LaneKind::kDisk: return "host to disk";
    default: return "";
  }
}

// Fills `lanes` (per lane its spans: kind, label, step, start, length, waited, lane and place of what it waited for)
// and `labels`. Times are nanoseconds from the view's begin.
void FillLanes(const Schedule& s, const View& v, Json* json) {
  const Program& p = *v.program;
  const auto& spans = v.simulation.spans;
  double least = 0;
  std::vector<std::vector<Box>> lanes = MakeBoxes(s, v, least);
  const auto count = [&] {
    size_t n = 0;
    for (const auto& boxes : lanes) n += boxes.size();
    return n;
  };
  for (least = (v.end - v.begin) / 1e5; count() > kMostSpans && least < v.end - v.begin; least *= 2)
    lanes = MakeBoxes(s, v, least);
  // Where each span went.
  std::vector<std::pair<int64_t, int64_t>> place(spans.size(), {-1, -1});
  for (size_t l = 0; l < lanes.size(); ++l) {
    for (size_t b = 0; b < lanes[l].size(); ++b) {
      size_t left = lanes[l][b].count;
      for (size_t x = lanes[l][b].first; left > 0; ++x) {
        if (static_cast<size_t>(spans[x].lane) != l) continue;
        place[x] = {static_cast<int64_t>(l), static_cast<int64_t>(b)};
        --left;
      }
    }
  }
  const std::vector<Wait> waits = MakeWaits(v);
  std::map<std::pair<std::string, std::string>, size_t> numbers;
  Json& labels = (*json)["labels"] = Json::array();
  const auto label = [&](const TimelineLabel& text) {
    auto [it, fresh] = numbers.emplace(std::make_pair(text.title, text.more), numbers.size());
    if (fresh) labels.push_back({text.title, text.more});
    return it->second;
  };
  const std::string binding = Binding(s);
  (*json)["lanes"] = Json::array();
  size_t compute = 0;
  for (size_t l = 0; l < lanes.size(); ++l) {
    const Lane& lane = p.lanes[l];
    std::string what = LaneText(lane.kind);
    if (lane.kind == LaneKind::kCompute) {
      what += ", " + std::to_string(lane.threads) + (lane.threads == 1 ? " thread" : " threads");
      compute = std::max(compute, lanes[l].size());
    }
    const double busy = v.simulation.period > 0 ? v.simulation.busy[l] / v.simulation.period : 0;
    Json rows = Json::array();
    for (const Box& box : lanes[l]) {
      const Span& span = spans[box.first];
      const Instruction& i = lane.instructions[static_cast<size_t>(span.index)];
      TimelineLabel text = MakeLabel(s, p, lane, i);
      if (box.count > 1) text = {std::to_string(box.count) + " instructions from " + text.title, ""};
      const double start = std::max(span.start, v.begin), finish = std::min(box.finish, v.end);
      const Wait& wait = waits[box.first];
      const auto cause = wait.cause < 0 ? std::pair<int64_t, int64_t>(-1, -1) : place[static_cast<size_t>(wait.cause)];
      const auto kind = std::max_element(box.seconds.begin(), box.seconds.end()) - box.seconds.begin();
      rows.push_back({kind, label(text), span.iteration, Nanoseconds(start - v.begin), Nanoseconds(finish - start),
                      Nanoseconds(wait.seconds), cause.first, cause.second});
    }
    (*json)["lanes"].push_back({{"name", Name(lane.kind)},
                                {"what", what},
                                {"busy", busy},
                                {"binding", binding == Name(lane.kind)},
                                {"spans", rows}});
  }
  (*json)["edge"] =
      Nanoseconds((v.end - v.begin) * std::min(1.0, static_cast<double>(kSpansAtFirstSight) /
                                                        static_cast<double>(std::max<size_t>(1, compute))));
}

// ---- device memory over time ----

enum Band { kResidentBand, kFixedBand, kSlotBand, kBranchBand, kActivationBand, kWorkspaceBand, kBands };
constexpr const char* kBandRows[kBands][2] = {{"resident weights", "#4a6a8a"}, {"constants, records", "#9a9a94"},
                                              {"slots in use", "#3b78b0"},     {"branch weights", "#e0912f"},
                                              {"activations", "#2f8f5b"},      {"workspace", "#b9d3be"}};

Band BandOf(BufferKind kind) {
  switch (kind) {
    case BufferKind::kMaster:
    case BufferKind::kCodes: return kResidentBand;
    case BufferKind::kConstant:
    case BufferKind::kRecord: return kFixedBand;
    case BufferKind::kSlot: return kSlotBand;
    case BufferKind::kBranch: return kBranchBand;
    case BufferKind::kState:
    case BufferKind::kWorkspace: return kWorkspaceBand;
    default: return kActivationBand;
  }
}

// A temporary buffer is in use from the first to the last instruction of a pass that touches it (inputs and losses: of
// an iteration); a slot from each upload into it to the last instruction before the next one.
void FillMemory(const Schedule& s, const View& v, Json* json) {
  const Program& p = *v.program;
  using Bytes = std::array<int64_t, kBands>;
  Bytes always{};
  uint64_t arena_bytes = 0, budget = 0;
  ArenaId device = -1;
  for (size_t a = 0; a < s.arenas.size(); ++a) {
    if (s.arenas[a].tier != Tier::kDevice || device >= 0) continue;
    device = static_cast<ArenaId>(a);
    arena_bytes = s.arenas[a].bytes;
    budget = s.arenas[a].budget;
  }
  for (const Buffer& b : s.buffers) {
    const Band band = BandOf(b.kind);
    if (b.arena == device && band <= kFixedBand)
      always[band] += static_cast<int64_t>(b.ring > 1 ? b.stride * b.ring : b.bytes);
  }
  std::map<double, Bytes> changes;  // what begins (or, below 0, ends) when
  const auto in_use = [&](BufferId id, double begin, double end) {
    const Buffer& b = s.buffers[static_cast<size_t>(id)];
    begin = std::max(begin, v.begin), end = std::min(end, v.end);
    if (begin >= end) return;
    changes[begin][BandOf(b.kind)] += static_cast<int64_t>(b.bytes);
    changes[end][BandOf(b.kind)] -= static_cast<int64_t>(b.bytes);
  };
  struct Use {
    double begin, end;
  };
  std::map<std::pair<BufferId, int64_t>, Use> open;  // by buffer and pass, counted through all iterations; slots: -1
  for (const Span& span : v.simulation.spans) {
    const Instruction& i = p.lanes[static_cast<size_t>(span.lane)].instructions[static_cast<size_t>(span.index)];
    for (const Operand& o : i.operands) {
      if (o.buffer < 0) continue;
      const Buffer& b = s.buffers[static_cast<size_t>(o.buffer)];
      if (b.arena != device || BandOf(b.kind) <= kFixedBand) continue;
      const bool slot = b.kind == BufferKind::kSlot;
      const bool whole = b.kind == BufferKind::kInput || b.kind == BufferKind::kLoss || b.kind == BufferKind::kControl;
      const int64_t pass = span.iteration * p.samples * p.micro_batches + (whole ? 0 : i.pass);
      auto [it, fresh] = open.emplace(std::make_pair(o.buffer, slot ? -1 : pass), Use{span.start, span.finish});
      if (slot && i.kind == InstrKind::kCopy && o.access == AccessMode::kWrite && !fresh) {
        in_use(o.buffer, it->second.begin, it->second.end);
        it->second = {span.start, span.finish};
      }
      it->second.begin = std::min(it->second.begin, span.start);
      it->second.end = std::max(it->second.end, span.finish);
    }
  }
  for (const auto& [key, use] : open) in_use(key.first, use.begin, use.end);
  // Points; where there are too many, the fullest of each stretch of time stands for it.
  Json points = Json::array();
  Bytes now = always;
  int64_t stretch = -1, most = -1;
  const auto total = [](const Bytes& b) {
    int64_t sum = 0;
    for (int64_t x : b) sum += x;
    return sum;
  };
  for (const auto& [time, change] : changes) {
    for (int k = 0; k < kBands; ++k) now[static_cast<size_t>(k)] += change[static_cast<size_t>(k)];
    const auto at = static_cast<int64_t>((time - v.begin) / (v.end - v.begin) * kMostMemoryPoints);
    const bool same = changes.size() > kMostMemoryPoints && at == stretch;
    if (same && total(now) <= most) continue;
    if (!same) points.push_back(nullptr);
    Json row = {Nanoseconds(time - v.begin)};
    for (int64_t x : now) row.push_back(x);
    points.back() = row;
    stretch = at;
    most = total(now);
  }
  (*json)["memory"] = {{"bytes", arena_bytes},
                       {"budget", budget},
                       {"kinds", kBandRows},
                       {"points", points},
                       {"binding", Binding(s) == "slots"}};
}

// ---- figures ----

void FillFigures(const Schedule& s, const View& v, Json* json) {
  Json& figures = (*json)["figures"] = Json::array();
  const auto add = [&](const std::string& value, const std::string& name, bool mark = false) {
    figures.push_back({value, name, mark});
  };
  add(FormatSeconds(v.simulation.period), "a step, predicted");
  const Json report = Json::parse(s.report, nullptr, false);
  if (!report.is_object()) return;
  const auto number = [&](const char* path) {
    const Json::json_pointer place(path);
    return report.contains(place) && report[place].is_number() ? report[place].get<double>() : 0.0;
  };
  const auto size = [&](const char* path) { return FormatSize(number(path)); };
  if (number("/bound/seconds") > 0) {
    char gap[32];
    std::snprintf(gap, sizeof gap, "%.1f %%", 100 * number("/bound/gap"));
    add(FormatSeconds(number("/bound/seconds")), "bound");
    add(gap, "gap");
    add(Binding(s), "binding resource", true);
  }
  add(size("/memory/device/bytes"), "device memory of " + size("/memory/device/budget"));
  add(size("/rate/up_bytes_per_step") + " / " + size("/rate/down_bytes_per_step"), "up / down the link per step");
  add(std::to_string(static_cast<int64_t>(number("/tiles/resident"))) + " of " +
          std::to_string(static_cast<int64_t>(number("/tiles/count"))),
      "tiles resident");
  add(std::to_string(static_cast<int64_t>(number("/decision/slots"))), "slots");
  const auto every = static_cast<int64_t>(number("/decision/writeback_every"));
  add(every == 1 ? "every step" : "every " + std::to_string(every) + " steps", "write-back");
}

}  // namespace

std::string PerfettoJson(const Schedule& s) {
  Json events = Json::array();
  if (const Program* p = MainProgram(s); p != nullptr) {
    const View v = MakeView(*p);
    for (size_t l = 0; l < p->lanes.size(); ++l)
      events.push_back(
          {{"ph", "M"}, {"name", "thread_name"}, {"pid", 0}, {"tid", l}, {"args", {{"name", Name(p->lanes[l].kind)}}}});
    for (const Span& span : v.simulation.spans) {
      if (span.finish <= v.begin || span.start >= v.end) continue;
      const Lane& lane = p->lanes[static_cast<size_t>(span.lane)];
      const Instruction& i = lane.instructions[static_cast<size_t>(span.index)];
      const TimelineLabel label = MakeLabel(s, *p, lane, i);
      events.push_back({{"ph", "X"},
                        {"name", label.title},
                        {"cat", kTimelineKinds[static_cast<size_t>(KindOf(s, lane.kind, i))].name},
                        {"pid", 0},
                        {"tid", span.lane},
                        {"ts", (span.start - v.begin) * 1e6},
                        {"dur", (span.finish - span.start) * 1e6},
                        {"args", {{"step", span.iteration}, {"seq", i.seq}, {"pass", i.pass}, {"what", label.more}}}});
    }
  }
  return Json({{"traceEvents", events}, {"displayTimeUnit", "ms"}})
      .dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string TimelineHtml(const Schedule& s) {
  static const Program kNone;
  const Program* p = MainProgram(s);
  const View v = MakeView(p != nullptr ? *p : kNone);
  Json json;
  json["title"] = s.model_name;
  json["subtitle"] = "machine " + s.machine + ", numeric fingerprint " + s.fingerprint.substr(0, 16) +
                     ". Shown: " + std::to_string(v.steps) + " steps of program " + v.program->name +
                     " in the steady state, as the planner predicts them.";
  json["total"] = std::max<int64_t>(1, Nanoseconds(v.end - v.begin));
  json["kinds"] = Json::array();
  for (const TimelineKindRow& k : kTimelineKinds) json["kinds"].push_back({k.name, k.color, k.dark_text});
  json["steps"] = Json::array();
  for (size_t i = 0; i < v.starts.size(); ++i)
    json["steps"].push_back({v.first + static_cast<int64_t>(i), Nanoseconds(v.starts[i] - v.begin)});
  FillLanes(s, v, &json);
  FillMemory(s, v, &json);
  FillFigures(s, v, &json);
  auto text = ReportText(s.report);
  json["report"] = text.ok() ? *text : text.status().message();
  return FillPage(kTimelinePage, json.dump(-1, ' ', false, Json::error_handler_t::replace));
}

}  // namespace zo2
