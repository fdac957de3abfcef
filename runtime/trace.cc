#include "runtime/trace.h"

#include <algorithm>
#include <cstdint>
#include <limits>

#include <nlohmann/json.hpp>

#include "ir/support/file.h"

namespace zo2 {
namespace {

using Json = nlohmann::ordered_json;

std::string Label(const Schedule& schedule, const Instruction& instruction) {
  std::string label(Name(instruction.kind));
  if (instruction.node >= 0) label = schedule.nodes[static_cast<size_t>(instruction.node)].name;
  if (instruction.tile >= 0) label += " " + schedule.tiles[static_cast<size_t>(instruction.tile)].name;
  return label;
}

void AddName(Json* events, const char* what, int64_t process, int64_t thread, const std::string& name) {
  events->push_back({{"ph", "M"}, {"name", what}, {"pid", process}, {"tid", thread}, {"args", {{"name", name}}}});
}

// Microseconds, as the format wants.
void AddSlice(Json* events, const Schedule& schedule, const Instruction& instruction, int64_t process, size_t lane,
              int64_t iteration, double start, double seconds) {
  events->push_back({{"ph", "X"},
                     {"name", Label(schedule, instruction)},
                     {"cat", Name(instruction.kind)},
                     {"pid", process},
                     {"tid", lane},
                     {"ts", start * 1e6},
                     {"dur", seconds * 1e6},
                     {"args",
                      {{"iteration", iteration},
                       {"seq", instruction.seq},
                       {"pass", instruction.pass},
                       {"predicted_us", instruction.seconds * 1e6}}}});
}

// The max-plus recurrence over iterations [first, end), lane by lane as far as edges are settled.
void AddPredicted(Json* events, const Schedule& schedule, const Program& program, int64_t process, int64_t first,
                  int64_t end) {
  const size_t n = program.lanes.size();
  std::vector<std::vector<std::vector<const Edge*>>> incoming(n);
  for (size_t l = 0; l < n; ++l) incoming[l].resize(program.lanes[l].instructions.size());
  for (const Edge& edge : program.edges)
    incoming[static_cast<size_t>(edge.to_lane)][static_cast<size_t>(edge.to)].push_back(&edge);
  std::vector<std::vector<double>> passed(n);  // per lane: when each instruction was passed, iteration by iteration
  bool moved = true;
  while (moved) {
    moved = false;
    for (size_t l = 0; l < n; ++l) {
      const size_t length = program.lanes[l].instructions.size();
      while (length > 0 && passed[l].size() < length * static_cast<size_t>(end - first)) {
        const size_t index = passed[l].size() % length;
        const int64_t iteration = first + static_cast<int64_t>(passed[l].size() / length);
        const Instruction& instruction = program.lanes[l].instructions[index];
        double start = passed[l].empty() ? 0 : passed[l].back();
        bool settled = true;
        if (RunsAt(program, instruction, iteration)) {
          for (const Edge* edge : incoming[l][index]) {
            const int64_t i = iteration - edge->back - first;
            if (i < 0) continue;
            const size_t from = static_cast<size_t>(edge->from_lane);
            const size_t at = static_cast<size_t>(i) * program.lanes[from].instructions.size() +
                              static_cast<size_t>(edge->from);
            if (at >= passed[from].size()) {
              settled = false;
              break;
            }
            start = std::max(start, passed[from][at]);
          }
          if (!settled) break;
          AddSlice(events, schedule, instruction, process, l, iteration, start, instruction.seconds);
          start += instruction.seconds;
        }
        passed[l].push_back(start);
        moved = true;
      }
    }
  }
}

}  // namespace

std::string TraceJson(const Schedule& schedule, const std::vector<TracedRun>& runs) {
  Json events = Json::array();
  int64_t process = 0, origin = std::numeric_limits<int64_t>::max();
  for (const TracedRun& run : runs)
    for (const auto& lane : run.lanes)
      if (!lane.empty()) origin = std::min(origin, lane.front().begin);
  for (const TracedRun& run : runs) {
    const Program* program = schedule.Find(run.purpose);
    if (program == nullptr) continue;
    int64_t first = std::numeric_limits<int64_t>::max(), last = -1;
    const int64_t measured = ++process, predicted = ++process;
    AddName(&events, "process_name", measured, 0, program->name + " measured");
    AddName(&events, "process_name", predicted, 0, program->name + " predicted");
    for (size_t l = 0; l < run.lanes.size(); ++l) {
      const Lane& lane = program->lanes[l];
      const std::string name = std::string(Name(lane.kind)) + " " + std::to_string(lane.device);
      AddName(&events, "thread_name", measured, static_cast<int64_t>(l), name);
      AddName(&events, "thread_name", predicted, static_cast<int64_t>(l), name);
      for (const LaneEvent& event : run.lanes[l]) {
        first = std::min(first, event.iteration);
        last = std::max(last, event.iteration);
        AddSlice(&events, schedule, lane.instructions[static_cast<size_t>(event.index)], measured, l, event.iteration,
                 1e-9 * static_cast<double>(event.start - origin), 1e-9 * static_cast<double>(event.end - event.start));
      }
    }
    if (last >= first) AddPredicted(&events, schedule, *program, predicted, first, last + 1);
  }
  const Json trace = {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
  return trace.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Status WriteTrace(const Schedule& schedule, const std::vector<TracedRun>& runs, const std::string& path) {
  return WriteFile(path, TraceJson(schedule, runs));
}

}  // namespace zo2
