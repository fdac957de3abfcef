// What verify.h promises of single instructions: operands, access, shapes, what may be where. One bad
// schedule per rule.
#include "tests/unit/schedule/reject.h"

namespace zo2 {
namespace {

constexpr int64_t kHuge = int64_t{1} << 62;

TEST(VerifyInstruction, Operands) {
  const Schedule valid = Valid({});
  const auto call = [](auto edit) { return [edit](Schedule& s) { edit(CallOf(s, Train(s), "h0")); }; };
  const auto operand = [](size_t k, auto edit) {
    return [k, edit](Schedule& s) { edit(CallOf(s, Train(s), "h0").operands[k]); };
  };
  const std::string_view where =
      "program train, compute lane 0, instruction 1 (seq 6, call of node h0): operand 1";
  ExpectRejected(
      valid,
      {
          {"kind",
           call([](Instruction& i) { i.kind = static_cast<InstrKind>(10); }),
           {"instruction 1 (seq 6", "no kind"}},
          {"host call",
           call([](Instruction& i) { i.kind = InstrKind::kHostCall; }),
           {"seq 6, host call", "cannot prove"}},
          {"disk write",
           call([](Instruction& i) { i.kind = InstrKind::kDiskWrite; }),
           {"seq 6, disk write", "cannot prove"}},
          {"pass below", call([](Instruction& i) { i.pass = -1; }), {"seq 6", "pass -1"}},
          {"pass beyond", call([](Instruction& i) { i.pass = 1; }), {"seq 6", "pass 1"}},
          {"tile beyond", call([](Instruction& i) { i.tile = 2; }), {"seq 6", "tile that there is not"}},
          {"a copy of no node",
           [](Schedule& s) { TileCopy(Train(s), true).node = 1 << 30; },
           {"copy of tile W0:0", "node that there is not"}},
          {"a copy of branches",
           [](Schedule& s) { TileCopy(Train(s), true).branches = {0}; },
           {"copy of tile W0:0", "only calls and prepares"}},
          {"tile below", call([](Instruction& i) { i.tile = -2; }), {"seq 6", "tile that there is not"}},
          {"buffer beyond", operand(1, [](Operand& o) { o.buffer = 1 << 30; }), {where, "buffer 1073741824"}},
          {"buffer below", operand(1, [](Operand& o) { o.buffer = -2; }), {where, "buffer -2"}},
          {"dtype",
           operand(1, [](Operand& o) { o.type.dtype = static_cast<DType>(99); }),
           {where, "malformed"}},
          {"access",
           operand(1, [](Operand& o) { o.access = static_cast<AccessMode>(3); }),
           {where, "malformed"}},
          {"negative axis", operand(1, [](Operand& o) { o.type.shape[0] = -4; }), {where, "malformed"}},
          {"huge axes",
           operand(1,
                   [](Operand& o) {
                     o.type.shape = {kHuge, kHuge};
                   }),
           {where, "malformed"}},
          {"huge and empty",
           operand(1,
                   [](Operand& o) {
                     o.type.shape = {kHuge, 0, kHuge};
                   }),
           {where, "malformed"}},
          {"17 axes", operand(1, [](Operand& o) { o.type.shape.assign(17, 1); }), {where, "malformed"}},
          {"strides for other axes", operand(1, [](Operand& o) { o.strides = {1}; }), {where, "malformed"}},
          {"negative stride",
           operand(1,
                   [](Operand& o) {
                     o.strides = {-4, 1};
                   }),
           {where, "malformed"}},
          {"stride overflows",
           operand(1,
                   [](Operand& o) {
                     o.strides = {INT64_MAX, 1};
                   }),
           {where, "malformed"}},
          {"strides add up",
           operand(1,
                   [](Operand& o) {
                     o.strides = {INT64_MAX / 3, INT64_MAX / 3};
                   }),
           {where, "malformed"}},
          {"out of its buffer",
           operand(1, [](Operand& o) { o.offset = 4; }),
           {where, "64 bytes at 4 of buffer branch 0, which has 64"}},
          {"offset overflows",
           operand(1, [](Operand& o) { o.offset = ~0ull; }),
           {where, "of buffer branch 0"}},
          {"stride leaves",
           operand(1,
                   [](Operand& o) {
                     o.strides = {5, 1};
                   }),
           {where, "76 bytes at 0"}},
          {"tile of an operand",
           operand(1, [](Operand& o) { o.tile = 2; }),
           {where, "segment that there is not"}},
          {"tile below 0", operand(1, [](Operand& o) { o.tile = -5; }), {where, "segment that there is not"}},
          {"segment beyond",
           operand(1, [](Operand& o) { o.segment = 1; }),
           {where, "segment that there is not"}},
          {"segment below",
           operand(1, [](Operand& o) { o.segment = -1; }),
           {where, "segment that there is not"}},
      });
}

TEST(VerifyInstruction, Copies) {
  tiny::Options options;
  options.freeze_first = options.prepare_frozen = true;
  const Schedule valid = Valid(options);
  const auto upload = [](auto edit) { return [edit](Schedule& s) { edit(s, TileCopy(Train(s), true, 1)); }; };
  const auto input = [](auto edit) {
    return [edit](Schedule& s) { edit(s, Train(s).lanes[1].instructions[0]); };
  };
  const auto record = [](auto edit) {
    return [edit](Schedule& s) {
      const BufferId target = Train(s).record_host;
      edit(s, Nth(Train(s), InstrKind::kCopy, 0,
                  [&](const Instruction& i) { return i.operands[1].buffer == target; }));
    };
  };
  const std::string_view tile = "copy of tile W1:0";
  ExpectRejected(
      valid, {
                 {"one operand",
                  upload([](Schedule&, Instruction& i) { i.operands.pop_back(); }),
                  {tile, "two operands"}},
                 {"absent",
                  upload([](Schedule&, Instruction& i) { i.operands[1].buffer = -1; }),
                  {tile, "two operands"}},
                 {"on a compute lane",
                  [](Schedule& s) { Train(s).lanes[1].kind = LaneKind::kCompute; },
                  {"compute lane 1", "h2d or d2h"}},
                 {"wrong way",
                  [](Schedule& s) { Train(s).lanes[1].kind = LaneKind::kD2H; },
                  {"d2h lane 1", "from host to device"}},
                 {"other device", [](Schedule& s) { Train(s).lanes[1].device = 1; }, {"of device 1"}},
                 {"nothing",
                  input([](Schedule&, Instruction& i) { i.operands[0].type.shape = {0}; }),
                  {"seq 0, copy", "nothing"}},
                 {"sizes differ",
                  input([](Schedule&, Instruction& i) { i.operands[1].type.shape = {16}; }),
                  {"operand 1", "16 bytes, not 32"}},
                 {"source written",
                  input([](Schedule&, Instruction& i) { i.operands[0].access = AccessMode::kWrite; }),
                  {"operand 0", "read where"}},
                 {"target read",
                  input([](Schedule&, Instruction& i) { i.operands[1].access = AccessMode::kRead; }),
                  {"operand 1", "read where"}},
                 {"scattered",
                  input([](Schedule&, Instruction& i) {
                    i.operands[0].type = {DType::kU8, {2, 8}}, i.operands[0].strides = {16, 1};
                  }),
                  {"operand 0", "bytes, not"}},
                 {"half a tile",
                  upload([](Schedule&, Instruction& i) {
                    for (Operand& o : i.operands) o.type.shape = {32};
                  }),
                  {tile, "all 64 bytes"}},
                 {"another tile's master",
                  upload([](Schedule&, Instruction& i) { i.tile = 0; }),
                  {"copy of tile W0:0", "tile's master"}},
                 {"a tile to no slot",
                  upload([](Schedule& s, Instruction& i) { i.operands[1].buffer = Named(s, "branch 0"); }),
                  {tile, "slots only"}},
                 {"writes a frozen tile",
                  [](Schedule& s) {
                    Instruction& i = TileCopy(Train(s), false, 1);
                    i.tile = 0;
                    i.operands[1].buffer = s.tiles[0].master;
                  },
                  {"copy of tile W0:0", "frozen"}},
                 {"evaluation writes back",
                  [](Schedule& s) {
                    Instruction i = TileCopy(Train(s), false, 1);
                    i.seq = 1000;
                    Evaluate(s).lanes[2].instructions.push_back(i);
                  },
                  {"program evaluate", tile, "no master"}},
                 {"a tile without its name",
                  upload([](Schedule&, Instruction& i) { i.tile = -1; }),
                  {"without saying which"}},
                 {"up to an activation",
                  input([](Schedule& s, Instruction& i) { i.operands[1].buffer = Named(s, "h0"); }),
                  {"kind activation"}},
                 {"down to nobody",
                  record([](Schedule& s, Instruction& i) {
                    i.operands[1].buffer = Named(s, "staging");
                    for (Operand& o : i.operands) o.type.shape = {32};
                  }),
                  {"buffer staging", "nobody reads"}},
             });
}

TEST(VerifyInstruction, Prepares) {
  tiny::Options options;
  options.freeze_first = options.prepare_frozen = true;
  const Schedule valid = Valid(options);  // W0:0 frozen, W1:0 trained
  const auto frozen = [](auto edit) {
    return [edit](Schedule& s) { edit(s, Nth(Train(s), InstrKind::kPrepare, 0)); };
  };
  const auto trained = [](auto edit) {
    return [edit](Schedule& s) { edit(s, Nth(Train(s), InstrKind::kPrepare, 1)); };
  };
  const std::string_view w1 = "prepare of tile W1:0";
  ExpectRejected(
      valid,
      {
          {"no tile", trained([](Schedule&, Instruction& i) { i.tile = -1; }), {"prepare)", "needs a tile"}},
          {"operands",
           trained([](Schedule&, Instruction& i) { i.operands.pop_back(); }),
           {w1, "one per branch"}},
          {"off the compute lane",
           [](Schedule& s) { Train(s).lanes[0].kind = LaneKind::kHost; },
           {"host lane 0", "belongs on a compute lane"}},
          {"on the host",
           trained([](Schedule& s, Instruction& i) { i.operands[0].buffer = s.tiles[1].master; }),
           {w1, "operand 0 is not on device 0"}},
          {"gathers",
           trained([](Schedule&, Instruction& i) { i.operands[2] = i.operands[0]; }),
           {w1, "gathers rows"}},
          {"no source",
           trained([](Schedule&, Instruction& i) { i.operands[0].buffer = -1; }),
           {w1, "lacks its source"}},
          {"frozen written before",
           frozen([](Schedule&, Instruction& i) { i.source_after_write = true; }),
           {"tile W0:0", "frozen tile was written"}},
          {"updates of nobody",
           [](Schedule& s) { s.programs.erase(s.programs.begin()); },
           {"program evaluate", "pending", "no train program"}},
          {"source is no slot",
           trained([](Schedule& s, Instruction& i) { i.operands[0].buffer = Named(s, "branch 0"); }),
           {w1, "neither a slot nor the tile's master"}},
          {"source cut short",
           trained([](Schedule&, Instruction& i) { i.operands[0].type.shape = {60}; }),
           {w1, "operand 0 has 60 bytes, not 64"}},
          {"frozen written",
           frozen([](Schedule&, Instruction& i) {
             i.operands[1] = i.operands[0], i.operands[1].access = AccessMode::kWrite;
           }),
           {"tile W0:0", "writes a frozen tile"}},
          {"evaluation writes",
           [](Schedule& s) {
             Instruction& i = Nth(Evaluate(s), InstrKind::kPrepare, 1);
             i.operands[1] = i.operands[0], i.operands[1].access = AccessMode::kWrite;
           },
           {"program evaluate", w1, "an evaluation writes no master"}},
          {"written elsewhere",
           trained([](Schedule& s, Instruction& i) { i.operands[1].buffer = Named(s, "branch 0"); }),
           {w1, "writes neither to a slot"}},
          {"branch beyond", trained([](Schedule&, Instruction& i) { i.branches[1] = 2; }), {w1, "branch 2"}},
          {"branch below", trained([](Schedule&, Instruction& i) { i.branches[1] = -1; }), {w1, "branch -1"}},
          {"no branch buffer",
           trained([](Schedule& s, Instruction& i) { i.operands[3].buffer = Named(s, "slot 0"); }),
           {w1, "operand 3 is no branch buffer"}},
          {"branch cut short",
           trained([](Schedule&, Instruction& i) { i.operands[4].type.shape = {32}; }),
           {w1, "operand 4 has 32 bytes, not 64"}},
          {"branch read",
           trained([](Schedule&, Instruction& i) { i.operands[4].access = AccessMode::kRead; }),
           {w1, "operand 4 is read"}},
          {"branches on each other",
           trained([](Schedule&, Instruction& i) { i.operands[4].buffer = i.operands[3].buffer; }),
           {w1, "operands 3 and 4"}},
      });
}

TEST(VerifyInstruction, Gradients) {
  const Schedule valid = Valid({});
  const auto gradient = [](auto edit) {
    return [edit](Schedule& s) { edit(s, Nth(Train(s), InstrKind::kGradient)); };
  };
  ExpectRejected(
      valid, {
                 {"of an evaluation",
                  [](Schedule& s) {
                    Instruction i = Nth(Train(s), InstrKind::kGradient);
                    i.seq = 1000;
                    Evaluate(s).lanes[0].instructions.push_back(i);
                  },
                  {"program evaluate", "gradient", "only train"}},
                 {"operands",
                  gradient([](Schedule&, Instruction& i) { i.operands.pop_back(); }),
                  {"gradient", "a sum and a count per branch"}},
                 {"no control",
                  gradient([](Schedule&, Instruction& i) { i.operands[0].buffer = -1; }),
                  {"gradient", "operand 0 is absent"}},
                 {"control cut short",
                  gradient([](Schedule&, Instruction& i) { i.operands[0].type.shape = {8}; }),
                  {"operand 0 has 8 bytes, not 16"}},
                 {"record elsewhere",
                  gradient([](Schedule& s, Instruction& i) { i.operands[1].buffer = Named(s, "workspace"); }),
                  {"does not go to the record ring"}},
                 {"loss cut short",
                  gradient([](Schedule&, Instruction& i) { i.operands[2].type.shape = {1}; }),
                  {"operand 2 has 8 bytes, not 16"}},
                 {"losses swapped",
                  gradient([](Schedule&, Instruction& i) { std::swap(i.operands[2], i.operands[4]); }),
                  {"operand 2 needs value loss of branch 0", "holds value loss of branch 1"}},
                 {"sum for count",
                  gradient([](Schedule&, Instruction& i) { std::swap(i.operands[2], i.operands[3]); }),
                  {"needs value loss of branch 0", "holds value loss_count"}},
             });
}

}  // namespace
}  // namespace zo2
