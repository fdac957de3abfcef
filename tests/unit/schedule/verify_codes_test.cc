// What verify.h promises of coded tiles and of updates on the host: one bad schedule per rule.
#include <algorithm>

#include "tests/unit/schedule/reject.h"

namespace zo2 {
namespace {

Schedule With(std::function<void(tiny::Options&)> set) {
  tiny::Options o;
  o.host_losses = false;
  set(o);
  return Valid(o);
}
Schedule HostUpdates() {
  return With([](tiny::Options& o) { o.second = tiny::Keep::kHostUpdate; });
}
Schedule Refreshes() {
  return With([](tiny::Options& o) { o.second = tiny::Keep::kRefresh, o.period = 2; });
}
Schedule FrozenCodes() {
  return With([](tiny::Options& o) { o.freeze_first = true, o.first = tiny::Keep::kFrozenCodes; });
}
Instruction& HostUpdate(Program& p, int n = 0) { return Nth(p, InstrKind::kHostUpdate, n); }
Instruction& CodesCopy(Program& p) {
  return Nth(p, InstrKind::kCopy, 0, [](const Instruction& i) { return i.coded; });
}
Instruction& CodedPrepare(Program& p) {
  return Nth(p, InstrKind::kPrepare, 0, [](const Instruction& i) { return i.coded; });
}
Operand Bytes(BufferId buffer, uint64_t bytes, AccessMode access) {
  Operand o;
  o.buffer = buffer;
  o.type = {DType::kU8, {static_cast<int64_t>(bytes)}};
  o.access = access;
  return o;
}
// Of the two that `which` finds: the edges from one to the other.
void Unbind(Program& p, const Instruction& from, const Instruction& to) {
  std::erase_if(p.edges, [&](const Edge& e) {
    return &p.lanes[U(e.from_lane)].instructions[U(e.from)] == &from &&
           &p.lanes[U(e.to_lane)].instructions[U(e.to)] == &to;
  });
}
// The instruction comes last (or first) in the serial order.
void MoveTo(Program& p, Instruction& i, bool last) {
  for (Lane& lane : p.lanes)
    for (Instruction& j : lane.instructions) j.seq += 1000;
  i.seq = last ? 100000 : 0;
}

TEST(VerifyCodes, AllAreValid) {
  for (const tiny::Named& named : tiny::CodedCorpus()) {
    const Schedule s = tiny::MakeSchedule(named.options);
    const auto verified = Verify(s);
    EXPECT_TRUE(verified.ok()) << named.name << ": " << verified.status().message();
  }
}

TEST(VerifyCodes, Tables) {
  const auto tile = [](TileId t, auto edit) { return [t, edit](Schedule& s) { edit(s, s.tiles[U(t)]); }; };
  ExpectRejected(
      HostUpdates(),
      {
          {"codes beyond",
           tile(1, [](Schedule&, Tile& t) { t.codes = 1 << 20; }),
           {"tile W1:0", "no codes buffer of its 128 bytes"}},
          {"codes below",
           tile(1, [](Schedule&, Tile& t) { t.codes = -2; }),
           {"tile W1:0", "no codes buffer"}},
          {"codes of another kind",
           tile(1, [](Schedule&, Tile& t) { t.codes = t.master; }),
           {"tile W1:0", "no codes buffer"}},
          {"codes too small",
           tile(1, [](Schedule& s, Tile& t) { s.buffers[U(t.codes)].bytes = 64; }),
           {"tile W1:0", "no codes buffer"}},
          {"codes a ring",
           tile(1,
                [](Schedule& s, Tile& t) {
                  s.buffers[U(t.codes)].ring = 2, s.buffers[U(t.codes)].stride = 128;
                  s.arenas[1].bytes += 4096, s.arenas[1].budget = 0;
                }),
           {"tile W1:0", "no codes buffer"}},
          {"codes shared",
           tile(0, [](Schedule& s, Tile& t) { t.codes = s.tiles[1].codes, t.wire_bytes = 128; }),
           {"tile W1:0 shares its codes buffer"}},
          {"trained without a master",
           tile(1, [](Schedule&, Tile& t) { t.master = -1; }),
           {"tile W1:0", "no master buffer of its 64"}},
          {"codes on the device",
           tile(1,
                [](Schedule& s, Tile& t) {
                  Buffer& b = s.buffers[U(t.codes)];
                  b.arena = 0, b.offset = s.arenas[0].bytes;
                  s.arenas[0].bytes += 128, s.arenas[0].budget = 0;
                }),
           {"tile W1:0", "master and codes must be on the host"}},
          {"master on the device",
           tile(1,
                [](Schedule& s, Tile& t) {
                  Buffer& b = s.buffers[U(t.master)];
                  b.arena = 0, b.offset = s.arenas[0].bytes;
                  s.arenas[0].bytes += 128, s.arenas[0].budget = 0;
                }),
           {"tile W1:0", "master and codes must be on the host"}},
          {"codes on disk",
           tile(1,
                [](Schedule& s, Tile& t) {
                  Buffer& b = s.buffers[U(t.codes)];
                  b.arena = 2, b.offset = 0;
                  s.arenas.push_back({Tier::kDisk, 0, 128, 0});
                }),
           {"codes W1:0", "tier disk"}},
          {"not coded, but another size on the wire",
           tile(1, [](Schedule&, Tile& t) { t.codes = -1; }),
           {"tile W1:0", "not coded", "128 bytes on the wire"}},
          {"scales left out",
           tile(1, [](Schedule&, Tile& t) { t.wire_bytes = 64; }),
           {"tile W1:0", "W1 at 0", "leaves the tile's 64 bytes"}},
          {"nothing on the wire",
           tile(1, [](Schedule&, Tile& t) { t.wire_bytes = 0; }),
           {"tile W1:0", "leaves the tile's 0 bytes"}},
          {"too much on the wire",
           tile(1, [](Schedule&, Tile& t) { t.wire_bytes = ~0ull; }),
           {"tile W1:0", "no codes buffer"}},
          {"not aligned on the wire",
           tile(1, [](Schedule&, Tile& t) { t.segments[0].wire_offset = 4; }),
           {"tile W1:0", "at 4 is not aligned"}},
          {"two in one place on the wire",
           tile(1,
                [](Schedule&, Tile& t) {
                  t.segments.push_back(t.segments[0]);
                  t.segments[1].offset = t.segments[1].branch_offset = 64;
                  t.bytes = t.branch_bytes = 128;
                }),
           {"tile W1:0"}},
          {"wider on the wire than said",
           [](Schedule& s) { s.weights[1].components[0].wire = static_cast<WireFormat>(77); },
           {"weight W1", "dtypes"}},
          {"codes under staging",
           [](Schedule& s) { BufferNamed(s, "staging").offset = BufferNamed(s, "codes W1:0").offset; },
           {"buffers", "codes W1:0", "staging", "must keep its own"}},
      });
  ExpectRejected(FrozenCodes(), {
                                    {"a frozen master",
                                     [](Schedule& s) { s.tiles[0].master = s.tiles[1].master; },
                                     {"tile W0:0", "frozen and coded", "master that nobody reads"}},
                                    {"integers",
                                     [](Schedule& s) { s.weights[0].components[0].storage = DType::kI32; },
                                     {"tile W0:0 is coded", "W0 is stored as i32"}},
                                    {"wide floats",
                                     [](Schedule& s) { s.weights[0].components[0].storage = DType::kF64; },
                                     {"tile W0:0", "W0 is stored as f64"}},
                                });
}

TEST(VerifyCodes, CopiesAndPrepares) {
  const auto upload = [](auto edit) { return [edit](Schedule& s) { edit(s, CodesCopy(Train(s))); }; };
  const auto prepare = [](auto edit) { return [edit](Schedule& s) { edit(s, CodedPrepare(Train(s))); }; };
  const std::string_view copy = "copy of tile W1:0", w1 = "prepare of tile W1:0";
  ExpectRejected(
      HostUpdates(),
      {
          {"a call",
           [](Schedule& s) { CallOf(s, Train(s), "h0").coded = true; },
           {"call of node h0", "marked coded"}},
          {"a tile that is not coded",
           [](Schedule& s) { TileCopy(Train(s), true, 0).coded = true; },
           {"copy of tile W0:0", "marked coded"}},
          {"a host update",
           [](Schedule& s) { HostUpdate(Train(s)).coded = true; },
           {"host update of tile W1:0", "marked coded"}},
          {"half of them",
           upload([](Schedule&, Instruction& i) {
             for (Operand& o : i.operands) o.type.shape = {64};
           }),
           {copy, "all 128 bytes of the tile's codes"}},
          {"master for codes",
           upload([](Schedule& s, Instruction& i) { i.operands[0].buffer = s.tiles[1].master; }),
           {copy, "128 bytes at 0 of buffer master W1:0"}},
          {"codes for a master",
           upload([](Schedule&, Instruction& i) { i.coded = false; }),
           {copy, "all 64 bytes of the tile's master"}},
          {"to a branch",
           upload([](Schedule& s, Instruction& i) {
             BufferNamed(s, "branch 0").bytes = 128, i.operands[1].buffer = Named(s, "branch 0");
           }),
           {copy, "slots only"}},
          {"without a tile",
           upload([](Schedule&, Instruction& i) { i.tile = -1, i.coded = false; }),
           {"without saying which"}},
          {"codes come down",
           [](Schedule& s) {
             Instruction i = CodesCopy(Train(s));
             std::swap(i.operands[0].buffer, i.operands[1].buffer);
             i.seq = 1000;
             Train(s).lanes[2].instructions.push_back(i);
           },
           {copy, "copies codes down"}},
          {"after a write",
           prepare([](Schedule&, Instruction& i) { i.source_after_write = true; }),
           {w1, "as the iteration began"}},
          {"a master of codes",
           prepare([](Schedule&, Instruction& i) {
             i.operands[1] = i.operands[0], i.operands[1].access = AccessMode::kWrite;
             i.operands[1].type.shape = {64};
           }),
           {w1, "writes a master from codes"}},
          {"codes read as a master",
           prepare([](Schedule&, Instruction& i) { i.coded = false, i.operands[0].type.shape = {64}; }),
           {w1, "needs tile W1:0 as the iteration began", "holds codes of tile W1:0 as the iteration began"}},
          {"a master read as codes",
           [](Schedule& s) {
             Instruction& i = CodesCopy(Train(s));
             i.coded = false, i.operands[0].buffer = s.tiles[1].master;
             for (Operand& o : i.operands) o.type.shape = {64};
           },
           {w1, "needs codes of tile W1:0", "holds tile W1:0 as the iteration began"}},
          {"source cut short",
           prepare([](Schedule&, Instruction& i) { i.operands[0].type.shape = {64}; }),
           {w1, "64 bytes, not 128"}},
          {"source is no slot",
           prepare([](Schedule& s, Instruction& i) {
             BufferNamed(s, "branch 0").bytes = 128, i.operands[0].buffer = Named(s, "branch 0");
           }),
           {w1, "neither a slot nor the tile's codes"}},
          {"codes on the host",
           prepare([](Schedule& s, Instruction& i) { i.operands[0].buffer = s.tiles[1].codes; }),
           {w1, "not on device 0"}},
          {"an evaluation of the master",
           [](Schedule& s) {
             Instruction& i = CodedPrepare(Evaluate(s));
             i.coded = false, i.operands[0].type.shape = {64};
           },
           {"program evaluate", w1, "an evaluation reads codes"}},
      });
  ExpectRejected(FrozenCodes(), {
                                    {"a frozen master goes up",
                                     [](Schedule& s) { CodesCopy(Train(s)).coded = false; },
                                     {"copy of tile W0:0", "tile's master"}},
                                    {"read without a prepare",
                                     [](Schedule& s) {
                                       for (size_t k : {1, 6}) {
                                         Operand& o = CallOf(s, Train(s), "h0").operands[k];
                                         if (o.tile == 0) o.buffer = CodesCopy(Train(s)).operands[1].buffer;
                                       }
                                     },
                                     {"call of node h0", "needs tile W0:0", "holds codes of tile W0:0"}},
                                    {"read where the codes are",
                                     [](Schedule& s) {
                                       Buffer& b = s.buffers[U(s.tiles[0].codes)];
                                       b.arena = 0, b.offset = s.arenas[0].bytes;
                                       s.arenas[0].bytes += 128, s.arenas[0].budget = 0;
                                       for (Program& p : s.programs) {
                                         if (p.purpose == Purpose::kFlush) continue;
                                         CodedPrepare(p).operands[0].buffer = s.tiles[0].codes;
                                         Drop(p, CodesCopy(p));
                                       }
                                       CallOf(s, Train(s), "h0").operands[1].buffer = s.tiles[0].codes;
                                     },
                                     {"call of node h0", "from a buffer of kind codes"}},
                                });
}

TEST(VerifyCodes, HostUpdates) {
  const auto update = [](auto edit) { return [edit](Schedule& s) { edit(s, HostUpdate(Train(s))); }; };
  const std::string_view where = "host update of tile W1:0";
  ExpectRejected(
      HostUpdates(),
      {
          {"on a compute lane",
           [](Schedule& s) { Train(s).lanes[3].kind = LaneKind::kCompute; },
           {"compute lane 3", where, "belongs on a host lane"}},
          {"no tile",
           update([](Schedule&, Instruction& i) { i.tile = -1; }),
           {"host update)", "needs a tile"}},
          {"operands",
           update([](Schedule&, Instruction& i) { i.operands.pop_back(); }),
           {where, "master, record and codes"}},
          {"branches", update([](Schedule&, Instruction& i) { i.branches = {0}; }), {where, "has branches"}},
          {"of an evaluation",
           [](Schedule& s) {
             Instruction i = HostUpdate(Train(s));
             i.seq = 1000;
             Evaluate(s).lanes[3].instructions.push_back(i);
           },
           {"program evaluate", where, "writes no master"}},
          {"updates of nobody",
           [](Schedule& s) {
             s.programs.erase(s.programs.begin(), s.programs.begin() + 2);
             s.programs[0].max_lag_in = 0;
           },
           {"program flush", "no train program makes any"}},
          {"no master",
           update([](Schedule&, Instruction& i) { i.operands[0].buffer = -1; }),
           {where, "operand 0 is absent"}},
          {"another tile's master",
           update([](Schedule& s, Instruction& i) { i.operands[0].buffer = s.tiles[0].master; }),
           {where, "operand 0 is not the tile's master"}},
          {"half a master",
           update([](Schedule&, Instruction& i) { i.operands[0].type.shape = {32}; }),
           {where, "32 bytes, not 64"}},
          {"a master that is only read",
           update([](Schedule&, Instruction& i) { i.operands[0].access = AccessMode::kRead; }),
           {where, "operand 0"}},
          {"no record",
           update([](Schedule&, Instruction& i) { i.operands[1].buffer = -1; }),
           {where, "operand 1 is absent"}},
          {"the device's records",
           update([](Schedule& s, Instruction& i) { i.operands[1].buffer = Train(s).record; }),
           {where, "ring of records on the host"}},
          {"half a record",
           update([](Schedule&, Instruction& i) { i.operands[1].type.shape = {24}; }),
           {where, "24 bytes, not 48"}},
          {"a record that is written",
           update([](Schedule&, Instruction& i) { i.operands[1].access = AccessMode::kReadWrite; }),
           {where, "operand 1"}},
          {"half the codes",
           update([](Schedule&, Instruction& i) { i.operands[2].type.shape = {64}; }),
           {where, "64 bytes, not 128"}},
          {"codes that are read",
           update([](Schedule&, Instruction& i) { i.operands[2].access = AccessMode::kRead; }),
           {where, "operand 2"}},
          {"codes elsewhere",
           update([](Schedule& s, Instruction& i) {
             i.operands[2].buffer = Named(s, "staging");
             BufferNamed(s, "staging").bytes = 128, BufferNamed(s, "staging").stride = 128;
             BufferNamed(s, "staging").offset = s.arenas[1].bytes;
             s.arenas[1].bytes += 256, s.arenas[1].budget = 0;
           }),
           {where, "operand 2 is not the tile's codes"}},
          {"codes in a flush",
           [](Schedule& s) { HostUpdate(Flush(s)).operands[2] = HostUpdate(Train(s)).operands[2]; },
           {"program flush", where, "makes codes, which only train does"}},
          {"codes of another tile",
           update([](Schedule& s, Instruction& i) { i.tile = 0, i.operands[0].buffer = s.tiles[0].master; }),
           {"host update of tile W0:0", "not coded"}},
      });
  ExpectRejected(With([](tiny::Options& o) { o.freeze_first = true, o.second = tiny::Keep::kHostMaster; }),
                 {{"a frozen tile",
                   [](Schedule& s) {
                     Instruction& i = HostUpdate(Train(s));
                     i.tile = 0, i.operands[0].buffer = s.tiles[0].master;
                   },
                   {"host update of tile W0:0", "writes a frozen tile"}}});
  Schedule resident = With([](tiny::Options& o) { o.slots = 0; });
  ExpectRejected(resident, {{"a master on the device",
                             [](Schedule& s) {
                               Instruction i;
                               i.kind = InstrKind::kHostUpdate;
                               i.tile = 1, i.seq = 1000;
                               i.operands = {Bytes(s.tiles[1].master, 64, AccessMode::kReadWrite),
                                             Bytes(Train(s).record_host, 48, AccessMode::kRead), Operand()};
                               Train(s).lanes.push_back({0, LaneKind::kHost, 1, {i}});
                             },
                             {"host update of tile W1:0", "not on the host"}}});
}

TEST(VerifyCodes, SerialOrder) {
  ExpectRejected(
      HostUpdates(),
      {
          {"made before they are read",
           [](Schedule& s) {
             MoveTo(Train(s), HostUpdate(Train(s)), false);
             Train(s).edges.clear();
           },
           {"prepare of tile W1:0", "needs codes of tile W1:0 as the iteration began",
            "made in this iteration"}},
          {"of a master that is not current",
           [](Schedule& s) { HostUpdate(Train(s)).source_after_write = true; },
           {"host update of tile W1:0", "needs tile W1:0 as of this step", "as the iteration began"}},
          {"updated twice",
           [](Schedule& s) {
             Instruction twin = HostUpdate(Train(s));
             twin.seq = 1000;
             Train(s).lanes[3].instructions.push_back(twin);
           },
           {"host lane 3, instruction 1", "needs tile W1:0 as the iteration began", "as of this step"}},
      });
  ExpectRejected(Refreshes(), {
                                  {"encoded before it comes down",
                                   [](Schedule& s) {
                                     MoveTo(Train(s), HostUpdate(Train(s)), false);
                                     Train(s).edges.clear();
                                   },
                                   {"host update of tile W1:0", "needs tile W1:0 as of this step"}},
                                  {"updated on both sides",
                                   [](Schedule& s) { HostUpdate(Train(s)).source_after_write = false; },
                                   {"host update of tile W1:0", "needs tile W1:0 as the iteration began",
                                    "holds tile W1:0 as of this step"}},
                                  {"the master of a step without refresh",
                                   [](Schedule& s) { CodedPrepare(Train(s)).residues = ~0ull; },
                                   {"prepare of tile W1:0", "needs codes of tile W1:0", "mod the period"}},
                              });
}

TEST(VerifyCodes, BitsOfAStepAreKnown) {
  ExpectRejected(HostUpdates(), {
                                    {"never",
                                     [](Schedule& s) { HostUpdate(Train(s)).operands[2] = Operand(); },
                                     {"program train", "never makes codes of tile W1:0"}},
                                    {"no update",
                                     [](Schedule& s) { Drop(Train(s), HostUpdate(Train(s))); },
                                     {"program train", "never writes the master of tile W1:0"}},
                                    {"no update in a flush",
                                     [](Schedule& s) { Drop(Flush(s), HostUpdate(Flush(s))); },
                                     {"program flush", "updates of tile W1:0 pending"}},
                                    {"lag of the master",
                                     [](Schedule& s) {
                                       for (Program& p : s.programs) p.max_lag_in = 0;
                                     },
                                     {"accepts masters 0 steps behind"}},
                                });
  const Schedule every_second =
      With([](tiny::Options& o) { o.second = tiny::Keep::kHostUpdate, o.period = 2; });
  ExpectRejected(every_second, {{"not in every iteration",
                                 [](Schedule& s) { HostUpdate(Train(s)).residues = 1; },
                                 {"makes codes of tile W1:0 in iterations 0 mod 2", "due in each"}}});
  const auto also = [](bool keep) {  // codes in the steps without refresh, and perhaps only there
    return [keep](Schedule& s) {
      Program& p = Train(s);
      Instruction twin = HostUpdate(p);
      if (!keep) HostUpdate(p).operands[2] = Operand();
      twin.seq = 1000, twin.residues = 2, twin.source_after_write = false;
      p.lanes[3].instructions.push_back(twin);
    };
  };
  ExpectRejected(Refreshes(), {{"refreshed and updated",
                                also(true),
                                {"makes codes of tile W1:0 in iterations 1 mod 2, where it reads them"}},
                               {"codes at the wrong time",
                                also(false),
                                {"makes codes of tile W1:0 in iterations 1 mod 2, where it reads them"}}});
  // Used twice: one use takes codes, the other one the master.
  const Schedule twice = With(
      [](tiny::Options& o) { o.first = tiny::Keep::kRefresh, o.tied = true, o.period = 2, o.slots = 3; });
  const auto other_form = [](Schedule& s, int n, uint64_t residues) {
    const auto streamed = [&](const Instruction& i) {
      return i.tile == 0 && i.coded && i.residues == residues;
    };
    for (const InstrKind kind : {InstrKind::kCopy, InstrKind::kPrepare}) {
      Instruction& i = Nth(Train(s), kind, n, streamed);
      i.coded = false;
      if (kind == InstrKind::kCopy) i.operands[0].buffer = s.tiles[0].master;
      for (size_t k = 0; k < (kind == InstrKind::kCopy ? 2u : 1u); ++k) i.operands[k].type.shape = {64};
    }
  };
  ExpectRejected(twice,
                 {{"two weights in one step",
                   [&](Schedule& s) { other_form(s, 0, 1); },
                   {"prepares tile W0:0 from its codes and from its master in iterations 0 mod 2"}},
                  {"masters in every step, codes in some",
                   [&](Schedule& s) {
                     other_form(s, 1, 1);
                     other_form(s, 0, 1);
                   },
                   {"reads the master of tile W0:0 in iterations 0 mod 2", "without making its codes"}}});
}

TEST(VerifyCodes, Records) {
  ExpectRejected(
      HostUpdates(),
      {
          {"overwritten too early",
           [](Schedule& s) { s.buffers[U(Train(s).record_host)].ring = 1; },
           {"d2h lane 2", "overwrites a record without waiting for", "host update of tile W1:0"}},
          {"not waited for",
           [](Schedule& s) {
             Program& p = Train(s);
             std::erase_if(p.edges, [](const Edge& e) { return e.from_lane == 2 && e.to_lane == 3; });
           },
           {"host update of tile W1:0", "applies the update of the step before without waiting for",
            "d2h lane 2"}},
      });
  const Schedule slow = With([](tiny::Options& o) { o.second = tiny::Keep::kHostMaster, o.period = 2; });
  ExpectRejected(
      slow, {{"too few on the host",
              [](Schedule& s) {
                HostUpdate(Train(s)).residues = 2;
                s.buffers[U(Train(s).record_host)].ring = 1;
              },
              {"records of the last 2 steps on the host", "ring there has 1 copies"}},
             {"not waited for, two steps before",
              [](Schedule& s) {  // records of even steps come on a lane of their own
                HostUpdate(Train(s)).residues = 2;
                Program& p = Train(s);
                Lane lane{0, LaneKind::kD2H, 1, {}};
                for (size_t k = 0; k < p.lanes[2].instructions.size(); ++k) {
                  Instruction& i = p.lanes[2].instructions[k];
                  if (i.operands[1].buffer != p.record_host) continue;
                  lane.instructions = {i};
                  lane.instructions[0].residues = 1, lane.instructions[0].seq = 1000;
                  i.residues = 2;
                  p.edges.push_back({0, static_cast<int32_t>(p.lanes[0].instructions.size()) - 1, 4, 0, 0});
                  p.edges.push_back({4, 0, 0, static_cast<int32_t>(p.lanes[0].instructions.size()) - 1, 3});
                }
                p.lanes.push_back(lane);
              },
              {"host update of tile W1:0", "applies the update of"}}});
  const Schedule between = With([](tiny::Options& o) {
    o.first = o.second = tiny::Keep::kRefresh, o.period = 3, o.host_between = true;
  });
  ExpectRejected(between,
                 {{"masters are near, codes are not",  // an evaluation may find them three steps behind
                   [](Schedule& s) { s.buffers[U(Train(s).record)].ring = 2; },
                   {"records of the last 3 steps", "ring has 2 copies"}}});
  const Schedule flushed =
      With([](tiny::Options& o) { o.second = tiny::Keep::kRefresh, o.period = 3, o.flush_on_host = true; });
  ExpectRejected(flushed, {{"too few for a flush on the host",
                            [](Schedule& s) { s.buffers[U(Train(s).record_host)].ring = 2; },
                            {"records of the last 3 steps on the host", "ring there has 2 copies"}}});
  const Schedule late =
      With([](tiny::Options& o) { o.second = tiny::Keep::kHostUpdate, o.host_late = true; });
  ExpectRejected(late,
                 {{"overwritten in its step",
                   [](Schedule& s) { s.buffers[U(Train(s).record_host)].ring = 1; },
                   {"host update of tile W1:0", "applies a record that its step's copy has overwritten"}}});
}

TEST(VerifyCodes, Order) {
  ExpectRejected(HostUpdates(), {{"codes made while they go up",
                                  [](Schedule& s) {
                                    Program& p = Train(s);
                                    Unbind(p, CodesCopy(p), HostUpdate(p));
                                    std::erase_if(p.edges, [](const Edge& e) { return e.to_lane == 3; });
                                  },
                                  {"host lane 3", "overwrites buffer codes W1:0 without waiting for"}},
                                 {"codes that go up while they are made",
                                  [](Schedule& s) {
                                    Program& p = Train(s);
                                    Unbind(p, HostUpdate(p), CodesCopy(p));
                                  },
                                  {"h2d lane 1", "reads buffer codes W1:0 without waiting for",
                                   "host update of tile W1:0), 1 iterations before"}}});
  ExpectRejected(Refreshes(),
                 {{"encoded while it comes down",
                   [](Schedule& s) {
                     Program& p = Train(s);
                     Unbind(p, TileCopy(p, false, 1), HostUpdate(p));
                   },
                   {"host lane 3", "reads buffer master W1:0 without waiting for", "d2h lane 2"}},
                  {"goes up while it is encoded",
                   [](Schedule& s) {
                     Program& p = Train(s);
                     std::erase_if(p.edges, [](const Edge& e) { return e.from_lane == 3; });
                   },
                   {"without waiting for", "host update of tile W1:0"}}});
}

}  // namespace
}  // namespace zo2
