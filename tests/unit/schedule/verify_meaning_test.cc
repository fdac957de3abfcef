// What verify.h promises of a whole program: memory, meaning, updates and hazards. One bad schedule per rule,
// and the message names the instruction or buffer.
#include <algorithm>

#include "tests/unit/schedule/reject.h"

namespace zo2 {
namespace {

Schedule With(std::function<void(tiny::Options&)> set) {
  tiny::Options o;
  set(o);
  return Valid(o);
}
// All edges that join these instructions.
void Unbind(Program& p, LaneId from_lane, const Instruction& from, LaneId to_lane, const Instruction& to) {
  std::erase_if(p.edges, [&](const Edge& e) {
    return e.from_lane == from_lane && e.to_lane == to_lane &&
           &p.lanes[U(from_lane)].instructions[U(e.from)] == &from &&
           &p.lanes[U(to_lane)].instructions[U(e.to)] == &to;
  });
}

TEST(VerifyMemory, WhatLastsIsAlone) {
  const Schedule valid = Valid({});
  const auto over = [](std::string_view name, std::string_view other, int n = 0) {
    return [=](Schedule& s) {
      Buffer &a = BufferNamed(s, name, n), &b = BufferNamed(s, other);
      a.arena = b.arena, a.offset = b.offset;
    };
  };
  ExpectRejected(
      valid,
      {
          {"two masters",
           over("master W1:0", "master W0:0"),
           {"master W0:0", "master W1:0", "share bytes of arena 1"}},
          {"record under a slot", over("slot 0", "record"), {"record", "slot 0", "share bytes of arena 0"}},
          {"record under an evaluation's",
           over("branch 0", "record", 1),
           {"record", "branch 0", "must keep its own"}},
          {"master under staging", over("staging", "master W1:0"), {"master W1:0", "staging"}},
          {"ring of inputs",
           over("workspace", "input"),
           {"program train: buffers", "workspace", "input", "must keep its own"}},
          {"staging",
           over("staging", "staging", 1),
           {"program train: buffers staging and staging", "must keep its own"}},
          {"control", over("workspace", "control"), {"program train: buffers", "control", "workspace"}},
          {"copies reach into the next buffer",
           [](Schedule& s) { BufferNamed(s, "record").ring = 3; },
           {"record", "share bytes"}},
      });
}

TEST(VerifyMeaning, EveryReadFindsWhatItMeans) {
  const Schedule valid = With([](tiny::Options& o) { o.host_losses = true; });
  ExpectRejected(
      valid,
      {
          {"input not uploaded",
           [](Schedule& s) { Drop(Train(s), Train(s).lanes[1].instructions[0]); },
           {"call of node h0", "needs input x", "(buffer input) holds nothing of this iteration"}},
          {"tile not uploaded",
           [](Schedule& s) { Drop(Train(s), TileCopy(Train(s), true, 1)); },
           {"prepare of tile W1:0", "needs tile W1:0 as the iteration began", "slot 1"}},
          {"tile not prepared",
           [](Schedule& s) { Drop(Train(s), Nth(Train(s), InstrKind::kPrepare, 1)); },
           {"schedule: program train", "tile W1:0"}},
          {"node not called",
           [](Schedule& s) { Drop(Train(s), CallOf(s, Train(s), "a0")); },
           {"call of node logits", "needs value a0 of branch 0", "holds value h0"}},
          {"one branch not called",
           [](Schedule& s) {
             Instruction& i = CallOf(s, Train(s), "logits");
             i.branches.pop_back();
             i.operands.resize(5);
           },
           {"call of node loss", "needs value logits of branch 1"}},
          {"the same branch twice",
           [](Schedule& s) {
             CallOf(s, Train(s), "h0").branches = {0, 0};
           },
           {"call of node h0", "needs tile W0:0 of branch 0", "holds tile W0:0 of branch 1"}},
          {"the other tile's slot",
           [](Schedule& s) { Nth(Train(s), InstrKind::kPrepare, 1).operands[0].buffer = Named(s, "slot 0"); },
           {"prepare of tile W1:0", "holds tile W0:0"}},
          {"displaced",
           [](Schedule& s) {
             Operand& o = CallOf(s, Train(s), "h0").operands[0];
             BufferNamed(s, "input").bytes += 4;
             BufferNamed(s, "staging").bytes += 4;
             o.offset = 4;
           },
           {"call of node h0", "needs input x", "displaced"}},
          {"updated but said to be old",
           [](Schedule& s) { Nth(Train(s), InstrKind::kPrepare).source_after_write = true; },
           {"prepare of tile W0:0", "needs tile W0:0 as of this step"}},
          {"copies what nobody wrote",
           [](Schedule& s) { Drop(Train(s), Nth(Train(s), InstrKind::kGradient)); },
           {"copy", "buffer record", "nothing of this iteration wrote"}},
          {"written back before it is updated",
           [](Schedule& s) { Nth(Train(s), InstrKind::kPrepare).operands[1] = Operand(); },
           {"copy of tile W0:0", "needs tile W0:0 as of this step", "as the iteration began"}},
          {"too early in the serial order",
           [](Schedule& s) {  // the record is copied before it is made
             Program& p = Train(s);
             std::swap(Nth(p, InstrKind::kGradient).seq, p.lanes[2].instructions[2].seq);
             p.edges.clear();
           },
           {"program train"}},
      });
}

TEST(VerifyMeaning, NothingIsOverwrittenBeforeItIsRead) {
  const Schedule valid = With([](tiny::Options& o) { o.separate_branches = true; });
  ExpectRejected(
      valid,
      {
          {"by the other branch",
           [](Schedule& s) { BufferNamed(s, "h0", 1).offset = BufferNamed(s, "h0").offset; },
           {"call of node a0", "needs value h0 of branch 0", "holds value h0 of branch 1"}},
          {"in part, by another value",
           [](Schedule& s) { BufferNamed(s, "logits").offset = BufferNamed(s, "h0", 1).offset; },
           {"call of node logits", "needs value a0 of branch 1",
            "byte 0 of it (buffer h0) holds value logits of branch 0"}},
          {"by workspace",
           [](Schedule& s) { BufferNamed(s, "workspace").offset = BufferNamed(s, "logits", 1).offset; },
           {"call of node loss", "needs value logits of branch 1", "holds nothing of this iteration"}},
          {"by a tile",
           [](Schedule& s) { BufferNamed(s, "h0").offset = BufferNamed(s, "slot 1").offset; },
           {"buffer h0", "holds tile W1:0"}},
      });
}

TEST(VerifyMeaning, WhatTheHostReads) {
  const Schedule valid = Valid({});
  const auto down = [](std::string_view buffer, int n = 0) {
    return [=](Schedule& s) {
      const BufferId from = Named(s, buffer, n);
      for (Program& p : s.programs)
        for (Instruction& i : p.lanes[2].instructions)
          if (i.operands[0].buffer == from) return Drop(p, i);
      ADD_FAILURE() << buffer << " is not copied down";
    };
  };
  ExpectRejected(
      valid, {
                 {"no gradient",
                  [&](Schedule& s) {
                    down("record")(s);
                    Drop(Train(s), Nth(Train(s), InstrKind::kGradient));
                  },
                  {"program train", "computes 0 gradients an iteration"}},
                 {"two gradients",
                  [](Schedule& s) {
                    Instruction twin = Nth(Train(s), InstrKind::kGradient);
                    twin.seq = 1000;
                    Train(s).lanes[0].instructions.push_back(twin);
                  },
                  {"program train", "computes 2 gradients"}},
                 {"record", down("record"), {"program train", "does not copy its record to the host"}},
                 {"losses", down("loss"), {"program train", "does not copy value loss of branch 0"}},
                 {"counts", down("loss", 3), {"program train", "does not copy value loss_count of branch 1"}},
                 {"output", down("output"), {"program evaluate", "does not copy output logits"}},
                 {"a loss of an evaluation",
                  down("loss", 4),
                  {"program evaluate", "does not copy value loss of branch 0"}},
                 {"the other branch's loss",
                  [](Schedule& s) { std::swap(Train(s).loss_sum_host[0], Train(s).loss_sum_host[1]); },
                  {"does not copy value loss of branch 0"}},
             });
}

TEST(VerifyMeaning, Residues) {
  const Schedule valid = With([](tiny::Options& o) { o.period = 3; });
  ExpectRejected(valid, {
                            {"an upload left out",
                             [](Schedule& s) { TileCopy(Train(s), true, 1).residues = 3; },
                             {"tile W1:0", "in iterations 2 mod the period"}},
                            {"a call left out",
                             [](Schedule& s) { CallOf(s, Train(s), "a0").residues = ~2ull; },
                             {"node logits", "in iterations 1 mod the period"}},
                            {"a record left out",
                             [](Schedule& s) { Nth(Train(s), InstrKind::kGradient).residues = ~1ull; },
                             {"copies bytes of buffer record"}},
                            {"written back when nothing is due",
                             [](Schedule& s) { TileCopy(Train(s), false, 1).residues = ~0ull; },
                             {"copy of tile W1:0", "as the iteration began"}},
                            {"due but not written back",
                             [](Schedule& s) { TileCopy(Train(s), false, 1).residues = 0; },
                             {"prepare of tile W1:0", "brings the tile up to date", "in iterations 2 mod 3"}},
                        });
}

TEST(VerifyUpdates, EveryUpdateOnce) {
  const Schedule valid = With([](tiny::Options& o) { o.period = 2; });
  const auto never = [](Program& p, TileId tile) {
    for (Instruction& i : p.lanes[0].instructions)
      if (i.kind == InstrKind::kPrepare && i.tile == tile) i.operands[1] = Operand();
    Drop(p, TileCopy(p, false, tile));
  };
  ExpectRejected(valid, {
                            {"never written",
                             [&](Schedule& s) { never(Train(s), 1); },
                             {"program train", "never writes the master of tile W1:0"}},
                            {"flush leaves one",
                             [&](Schedule& s) { never(Flush(s), 0); },
                             {"program flush", "updates of tile W0:0 pending"}},
                            {"lag accepted",
                             [](Schedule& s) { Evaluate(s).max_lag_in = 1; },
                             {"program evaluate", "accepts masters 1 steps behind", "up to 2"}},
                            {"lag accepted by train",
                             [](Schedule& s) { Train(s).max_lag_in = 0; },
                             {"program train", "accepts masters 0 steps behind"}},
                            {"lag promised",
                             [](Schedule& s) { Train(s).max_lag_out = 1; },
                             {"program train", "promises masters at most 1", "up to 2 behind"}},
                            {"lag promised by an evaluation",
                             [](Schedule& s) { Evaluate(s).max_lag_out = 0; },
                             {"program evaluate", "promises"}},
                            {"lag promised by a flush",
                             [](Schedule& s) { Flush(s).max_lag_out = 1; },
                             {"program flush", "max_lag_out 0"}},
                            {"records gone",
                             [](Schedule& s) { s.buffers[U(Train(s).record)].ring = 1; },
                             {"records of the last 2 steps", "has 1 copies"}},
                            {"frozen tile written",
                             [](Schedule& s) {
                               s.weights[0].trainable = s.weights[0].components[0].trainable =
                                   s.tiles[0].trainable = false;
                             },
                             {"tile W0:0"}},
                        });
}

TEST(VerifyOrder, EveryEdgeThatIsMissed) {
  const Schedule valid = Valid({});
  ExpectRejected(
      valid, {
                 {"prepare before its upload",
                  [](Schedule& s) {
                    Program& p = Train(s);
                    Unbind(p, 1, TileCopy(p, true, 1), 0, Nth(p, InstrKind::kPrepare, 1));
                  },
                  {"program train, compute lane 0, instruction 3 (seq 9, prepare of tile W1:0)",
                   "reads buffer slot 1 without waiting for",
                   "h2d lane 1, instruction 4 (seq 8, copy of tile W1:0)"}},
                 {"write-back before the update",
                  [](Schedule& s) {
                    Program& p = Train(s);
                    Unbind(p, 0, Nth(p, InstrKind::kPrepare, 1), 2, TileCopy(p, false, 1));
                  },
                  {"d2h lane 2", "copy of tile W1:0", "reads buffer slot 1 without waiting for",
                   "prepare of tile W1:0"}},
                 {"upload into a slot in use",
                  [](Schedule& s) {
                    Program& p = Train(s);
                    Unbind(p, 2, TileCopy(p, false, 1), 1, TileCopy(p, true, 1));
                  },
                  {"h2d lane 1", "copy of tile W1:0", "without waiting for", "1 iterations before"}},
                 {"input overwritten",
                  [](Schedule& s) {
                    Program& p = Train(s);
                    std::erase_if(p.edges,
                                  [](const Edge& e) { return e.to_lane == 1 && e.to <= 2 && e.back == 2; });
                  },
                  {"h2d lane 1", "overwrites buffer", "2 iterations before"}},
                 {"record copied before it is there",
                  [](Schedule& s) {
                    Program& p = Train(s);
                    Unbind(p, 0, Nth(p, InstrKind::kGradient), 2, p.lanes[2].instructions[2]);
                  },
                  {"d2h lane 2, instruction 2", "reads buffer record without waiting for", "gradient"}},
                 {"an edge an iteration too long",
                  [](Schedule& s) {
                    Program& p = Train(s);
                    for (Edge& e : p.edges) e.back += e.from_lane == 1 && e.to_lane == 0;
                  },
                  {"without waiting for"}},
                 {"no edges at all",
                  [](Schedule& s) { Evaluate(s).edges.clear(); },
                  {"program evaluate", "without waiting for"}},
                 {"no edges in a flush",
                  [](Schedule& s) { Flush(s).edges.clear(); },
                  {"program flush", "without waiting for"}},
             });
}

// No edge of the schedules is there for nothing but to be sure: most are needed, and a message says what for.
TEST(VerifyOrder, DroppedEdges) {
  int dropped = 0, rejected = 0;
  for (const tiny::Named& named : tiny::WholeCorpus()) {
    const Schedule valid = tiny::MakeSchedule(named.options);
    for (size_t p = 0; p < valid.programs.size(); ++p) {
      for (size_t e = 0; e < valid.programs[p].edges.size(); ++e, ++dropped) {
        Schedule s = valid;
        auto& edges = s.programs[p].edges;
        edges.erase(edges.begin() + static_cast<std::ptrdiff_t>(e));
        auto verified = Verify(s);
        if (verified.ok()) continue;
        ++rejected;
        EXPECT_NE(verified.status().message().find("without waiting for"), std::string::npos)
            << verified.status().message();
      }
    }
  }
  EXPECT_GT(rejected * 10, dropped * 9) << rejected << " of " << dropped;
}

TEST(VerifyOrder, Records) {
  // The idle tile, brought up to date after the gradient, on a lane of its own: after the gradient of the
  // step before, and before the gradient of the next step, which overwrites the record of two steps before.
  Schedule valid = With([](tiny::Options& o) { o.idle = true, o.slots = 0; });
  Program& p = Train(valid);
  auto& compute = p.lanes[0].instructions;
  const auto idle = static_cast<int32_t>(compute.size()) - 1;
  ASSERT_EQ(valid.tiles[U(compute.back().tile)].name, "idle:0");
  ASSERT_EQ(compute[U(idle - 1)].kind, InstrKind::kGradient);
  std::erase_if(p.edges, [&](const Edge& e) {
    return (e.from_lane == 0 && e.from == idle) || (e.to_lane == 0 && e.to == idle);
  });
  const auto lane = static_cast<LaneId>(p.lanes.size());
  p.lanes.push_back({0, LaneKind::kCompute, 1, {compute.back()}});
  p.lanes[0].instructions.pop_back();
  p.edges.push_back({0, idle - 1, lane, 0, 1});
  p.edges.push_back({lane, 0, 0, idle - 1, 1});
  ASSERT_TRUE(Verify(valid).ok()) << Verify(valid).status().message();
  ExpectRejected(
      valid, {
                 {"applied too early",
                  [&](Schedule& s) {
                    std::erase_if(Train(s).edges, [&](const Edge& e) { return e.to_lane == lane; });
                  },
                  {"compute lane 3, instruction 0", "prepare of tile idle:0",
                   "applies the update of the step before without waiting for", "gradient"}},
                 {"overwritten while it is applied",
                  [&](Schedule& s) {
                    std::erase_if(Train(s).edges, [&](const Edge& e) { return e.from_lane == lane; });
                  },
                  {"gradient", "overwrites a record without waiting for", "prepare of tile idle:0"}},
                 {"ring too short",
                  [](Schedule& s) { s.buffers[U(Train(s).record)].ring = 1; },
                  {"prepare of tile idle:0", "applies a record that its step's gradient has overwritten"}},
             });
}

// What would take too long to check is refused with the reason, not tried.
TEST(VerifyOrder, TooMuchToCheck) {
  const Schedule valid = Valid({});
  ExpectRejected(valid,
                 {
                     {"rings that hardly repeat",
                      [](Schedule& s) {
                        Buffer &staging = BufferNamed(s, "staging"), &input = BufferNamed(s, "input");
                        for (Buffer* b : {&staging, &input})
                          b->offset = s.arenas[U(b->arena)].bytes, b->ring = 4099;
                        for (Arena& a : s.arenas) a.bytes += 4099 * 64, a.budget = 0;
                      },
                      {"program train", "repeat only after", "more than 4096"}},
                     {"a long program with long rings",
                      [](Schedule& s) {
                        Buffer &staging = BufferNamed(s, "staging"), &input = BufferNamed(s, "input");
                        for (Buffer* b : {&staging, &input})
                          b->offset = s.arenas[U(b->arena)].bytes, b->ring = 4096;
                        for (Arena& a : s.arenas) a.bytes += 4096 * 64, a.budget = 0;
                        Lane& up = Train(s).lanes[1];
                        const Instruction copy = up.instructions[0];
                        for (Lane& lane : Train(s).lanes)
                          for (Instruction& i : lane.instructions) i.seq += 30000;
                        std::vector<Instruction> many(30000, copy);
                        for (size_t k = 0; k < many.size(); ++k) many[k].seq = static_cast<int64_t>(k);
                        up.instructions.insert(up.instructions.begin(), many.begin(), many.end());
                        for (Edge& e : Train(s).edges) {
                          if (e.from_lane == 1) e.from += 30000;
                          if (e.to_lane == 1) e.to += 30000;
                        }
                      },
                      {"program train", "8192 iterations of", "too many to check"}},
                     {"edges that reach far back from everywhere",
                      [](Schedule& s) {
                        Program& p = Train(s);
                        p.lanes.resize(64);
                        Lane& up = p.lanes[1];
                        const Instruction copy = up.instructions[0];
                        for (Lane& lane : p.lanes)
                          for (Instruction& i : lane.instructions) i.seq += 40000;
                        for (int k = 0; k < 40000; ++k) {
                          Instruction i = copy;
                          i.seq = 50000 + k;
                          up.instructions.push_back(i);
                          p.edges.push_back({1, static_cast<int32_t>(up.instructions.size()) - 1, 1, 0, 64});
                        }
                      },
                      {"program train", "iterations back are too many to check"}},
                 });
}

}  // namespace
}  // namespace zo2
