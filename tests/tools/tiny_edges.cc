// The edges of tiny schedules, from the bytes that instructions touch.
#include <algorithm>
#include <map>
#include <numeric>
#include <tuple>

#include "tests/tools/tiny_schedules.h"

namespace zo2::tiny {
namespace {

size_t At(int32_t index) { return static_cast<size_t>(index); }

// Bytes [begin, end) of an arena.
struct Access {
  ArenaId arena;
  uint64_t begin, end;
  bool write;
};

std::vector<Access> Accesses(const Schedule& s, const Program& p, const Instruction& i, int64_t iteration) {
  std::vector<Access> accesses;
  const auto add = [&](BufferId id, int64_t copy, uint64_t offset, uint64_t bytes, bool write) {
    const Buffer& b = s.buffers[At(id)];
    const uint64_t begin =
        b.offset + offset + (b.ring > 1 ? b.stride * (static_cast<uint64_t>(copy) % b.ring) : 0);
    accesses.push_back({b.arena, begin, begin + bytes, write});
  };
  const bool host = i.kind == InstrKind::kHostUpdate;
  for (const Operand& o : i.operands) {
    if (o.buffer < 0 || (host && &o == &i.operands[1])) continue;
    int64_t last = o.type.elements() - 1;
    if (!o.strides.empty()) {
      last = 0;
      for (size_t d = 0; d < o.strides.size(); ++d) last += (o.type.shape[d] - 1) * o.strides[d];
    }
    add(o.buffer, iteration, o.offset, static_cast<uint64_t>((last + 1) * SizeOf(o.type.dtype)),
        o.access != AccessMode::kRead);
  }
  if ((host || i.kind == InstrKind::kPrepare) && s.tiles[At(i.tile)].trainable && !i.source_after_write &&
      p.record >= 0) {
    const BufferId ring = host ? p.record_host : p.record;
    for (int64_t t = std::max<int64_t>(0, iteration - p.max_lag_in); t < iteration; ++t)
      add(ring, t, 0, s.buffers[At(ring)].bytes, false);
  }
  return accesses;
}

bool Conflict(const std::vector<Access>& a, const std::vector<Access>& b) {
  for (const Access& x : a)
    for (const Access& y : b)
      if ((x.write || y.write) && x.arena == y.arena && x.begin < y.end && y.begin < x.end) return true;
  return false;
}

}  // namespace

void AddEdges(const Schedule& schedule, Program* program) {
  struct Event {
    LaneId lane;
    int32_t index;
    int64_t iteration;
    bool runs;
    std::vector<Access> accesses;
    std::vector<int64_t> clock;  // per lane: instructions passed before this one may start
  };
  const size_t lanes = program->lanes.size();
  std::vector<std::tuple<int64_t, LaneId, int32_t>> order;
  for (size_t l = 0; l < lanes; ++l)
    for (size_t i = 0; i < program->lanes[l].instructions.size(); ++i)
      order.emplace_back(program->lanes[l].instructions[i].seq, static_cast<LaneId>(l),
                         static_cast<int32_t>(i));
  std::sort(order.begin(), order.end());
  int64_t ring = program->period;
  for (const Buffer& b : schedule.buffers)
    if (b.ring > 1) ring = std::max(ring, std::lcm<int64_t>(program->period, b.ring));
  std::vector<Event> events;
  for (int64_t t = 0; t < 2 * ring + 2; ++t) {
    for (const auto& [seq, lane, index] : order) {
      const Instruction& i = program->lanes[At(lane)].instructions[At(index)];
      events.push_back({lane, index, t, RunsAt(*program, i, t), Accesses(schedule, *program, i, t), {}});
    }
  }
  const auto position = [&](const Event& e) {
    return e.iteration * static_cast<int64_t>(program->lanes[At(e.lane)].instructions.size()) + e.index;
  };
  std::map<std::tuple<LaneId, int32_t, int64_t>, size_t> where;
  for (size_t e = 0; e < events.size(); ++e)
    where[{events[e].lane, events[e].index, events[e].iteration}] = e;
  const auto join = [&](std::vector<int64_t>* clock, const Event& from) {
    for (size_t l = 0; l < lanes; ++l) (*clock)[l] = std::max((*clock)[l], from.clock[l]);
    (*clock)[At(from.lane)] = std::max((*clock)[At(from.lane)], position(from) + 1);
  };
  for (bool again = true; again;) {
    again = false;
    std::vector<size_t> last(lanes, events.size());
    for (size_t e = 0; e < events.size(); ++e) {
      Event& event = events[e];
      event.clock.assign(lanes, 0);
      if (last[At(event.lane)] < e) join(&event.clock, events[last[At(event.lane)]]);
      last[At(event.lane)] = e;
      if (!event.runs) continue;
      for (const Edge& edge : program->edges) {
        if (edge.to_lane != event.lane || edge.to != event.index || edge.back > event.iteration) continue;
        join(&event.clock, events[where.at({edge.from_lane, edge.from, event.iteration - edge.back})]);
      }
      for (size_t d = e; d-- > 0;) {
        const Event& earlier = events[d];
        if (!earlier.runs || earlier.lane == event.lane) continue;
        if (event.clock[At(earlier.lane)] > position(earlier) || !Conflict(earlier.accesses, event.accesses))
          continue;
        program->edges.push_back({earlier.lane, earlier.index, event.lane, event.index,
                                  static_cast<int32_t>(event.iteration - earlier.iteration)});
        join(&event.clock, earlier);
        again = true;
      }
    }
  }
}

}  // namespace zo2::tiny
