// A table of bad schedules: each is a valid tiny schedule with one edit, and the verifier must say what it
// demands.
#ifndef ZO2_TESTS_UNIT_SCHEDULE_REJECT_H_
#define ZO2_TESTS_UNIT_SCHEDULE_REJECT_H_

#include <gtest/gtest.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/schedule/verify.h"
#include "tests/tools/tiny_schedules.h"

namespace zo2 {

inline size_t U(int64_t i) { return static_cast<size_t>(i); }

struct Bad {
  std::string rule;
  std::function<void(Schedule&)> edit;
  std::vector<std::string_view> says;  // parts of the message
};

inline Schedule Valid(const tiny::Options& options) {
  Schedule s = tiny::MakeSchedule(options);
  auto verified = Verify(s);
  EXPECT_TRUE(verified.ok()) << verified.status().message();
  return s;
}

inline void ExpectRejected(const Schedule& valid, const std::vector<Bad>& table) {
  for (const Bad& bad : table) {
    Schedule s = valid;
    bad.edit(s);
    auto verified = Verify(s);
    if (verified.ok()) {
      ADD_FAILURE() << bad.rule << ": not rejected";
      continue;
    }
    const std::string& message = verified.status().message();
    EXPECT_EQ(verified.status().code(), Code::kRejected) << bad.rule;
    EXPECT_EQ(message.rfind("schedule: ", 0), 0u) << bad.rule << ": " << message;
    for (const std::string_view part : bad.says)
      EXPECT_NE(message.find(part), std::string::npos)
          << bad.rule << ": \"" << part << "\" is not in: " << message;
  }
}

inline Program& Of(Schedule& s, Purpose purpose) {
  for (Program& p : s.programs)
    if (p.purpose == purpose) return p;
  ADD_FAILURE() << "no such program";
  return s.programs[0];
}
inline Program& Train(Schedule& s) { return Of(s, Purpose::kTrain); }
inline Program& Evaluate(Schedule& s) { return Of(s, Purpose::kEvaluate); }
inline Program& Flush(Schedule& s) { return Of(s, Purpose::kFlush); }

// The nth instruction of a kind that satisfies `which`.
template <typename Which>
Instruction& Nth(Program& p, InstrKind kind, int n, Which which) {
  for (Lane& lane : p.lanes)
    for (Instruction& i : lane.instructions)
      if (i.kind == kind && which(i) && n-- == 0) return i;
  ADD_FAILURE() << "no such instruction";
  return p.lanes[0].instructions[0];
}
inline Instruction& Nth(Program& p, InstrKind kind, int n = 0) {
  return Nth(p, kind, n, [](const Instruction&) { return true; });
}
inline Instruction& CallOf(Schedule& s, Program& p, std::string_view node, int n = 0) {
  return Nth(p, InstrKind::kCall, n, [&](const Instruction& i) { return s.nodes[U(i.node)].name == node; });
}
// An upload, or a write-back, of a tile.
inline Instruction& TileCopy(Program& p, bool up, TileId tile = 0) {
  Lane& lane = p.lanes[up ? 1 : 2];
  for (Instruction& i : lane.instructions)
    if (i.kind == InstrKind::kCopy && i.tile == tile) return i;
  ADD_FAILURE() << "no such copy";
  return lane.instructions[0];
}
inline BufferId Named(const Schedule& s, std::string_view name, int n = 0) {
  for (size_t b = 0; b < s.buffers.size(); ++b)
    if (s.buffers[b].name == name && n-- == 0) return static_cast<BufferId>(b);
  ADD_FAILURE() << "no buffer " << name;
  return 0;
}
inline Buffer& BufferNamed(Schedule& s, std::string_view name, int n = 0) {
  return s.buffers[U(Named(s, name, n))];
}

// Takes an instruction out, with its edges.
inline void Drop(Program& p, const Instruction& instruction) {
  for (size_t l = 0; l < p.lanes.size(); ++l) {
    auto& list = p.lanes[l].instructions;
    for (size_t k = 0; k < list.size(); ++k) {
      if (&list[k] != &instruction) continue;
      list.erase(list.begin() + static_cast<std::ptrdiff_t>(k));
      const auto lane = static_cast<LaneId>(l);
      const auto index = static_cast<int32_t>(k);
      std::erase_if(p.edges, [&](const Edge& e) {
        return (e.from_lane == lane && e.from == index) || (e.to_lane == lane && e.to == index);
      });
      for (Edge& e : p.edges) {
        if (e.from_lane == lane && e.from > index) --e.from;
        if (e.to_lane == lane && e.to > index) --e.to;
      }
      return;
    }
  }
  ADD_FAILURE() << "not of this program";
}

}  // namespace zo2

#endif  // ZO2_TESTS_UNIT_SCHEDULE_REJECT_H_
