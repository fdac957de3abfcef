// What verify.h promises of arenas, buffers, weights, tiles, values and nodes: one bad schedule per rule.
#include <cmath>
#include <limits>

#include "tests/unit/schedule/reject.h"

namespace zo2 {
namespace {

constexpr int64_t kHuge = int64_t{1} << 62;

TEST(VerifyTables, ArenasAndBuffers) {
  const Schedule valid = Valid({});
  ExpectRejected(
      valid,
      {
          {"version", [](Schedule& s) { s.version = 3; }, {"version 3"}},
          {"tier", [](Schedule& s) { s.arenas[0].tier = static_cast<Tier>(7); }, {"arena 0"}},
          {"device below 0", [](Schedule& s) { s.arenas[0].device = -1; }, {"arena 0"}},
          {"host of a device", [](Schedule& s) { s.arenas[1].device = 1; }, {"arena 1"}},
          {"arena too large",
           [](Schedule& s) { s.arenas[0].bytes = s.arenas[0].budget = ~0ull; },
           {"arena 0", "no memory has"}},
          {"over budget",
           [](Schedule& s) { s.arenas[0].budget = s.arenas[0].bytes - 1; },
           {"arena 0 (device)", "budget is 1407"}},
          {"arena of a buffer",
           [](Schedule& s) { s.buffers[2].arena = 2; },
           {"buffer 2 (record)", "arena 2"}},
          {"arena below 0", [](Schedule& s) { s.buffers[2].arena = -1; }, {"buffer 2 (record)", "arena -1"}},
          {"kind",
           [](Schedule& s) { s.buffers[2].kind = static_cast<BufferKind>(14); },
           {"buffer 2 (record)", "no kind"}},
          {"ring of none",
           [](Schedule& s) { BufferNamed(s, "input").ring = 0; },
           {"(input)", "ring of no copies"}},
          {"copies overlap",
           [](Schedule& s) { s.buffers[2].bytes = 65; },
           {"buffer 2 (record)", "64 bytes apart"}},
          {"stride not aligned",
           [](Schedule& s) { s.buffers[2].stride = 72; },
           {"buffer 2 (record)", "72 bytes apart"}},
          {"not aligned",
           [](Schedule& s) { BufferNamed(s, "slot 0").offset += 32; },
           {"(slot 0)", "not a multiple of 64"}},
          {"leaves its arena",
           [](Schedule& s) { BufferNamed(s, "slot 0").bytes = 4096; },
           {"(slot 0)", "leaves arena 0"}},
          {"arena shrunk",
           [](Schedule& s) { s.arenas[0].bytes -= 64; },
           {"(workspace)", "leaves arena 0 of 1344"}},
          {"ring leaves its arena",
           [](Schedule& s) { s.buffers[2].ring = 1000; },
           {"buffer 2 (record)", "leaves arena 0"}},
          {"offset overflows",
           [](Schedule& s) { BufferNamed(s, "slot 0").offset = ~0ull - 63; },
           {"(slot 0)", "leaves arena 0"}},
          {"bytes overflow",
           [](Schedule& s) { BufferNamed(s, "slot 0").bytes = ~0ull; },
           {"(slot 0)", "leaves arena 0"}},
          {"ring overflows",
           [](Schedule& s) { s.buffers[2].ring = ~0u, s.buffers[2].stride = ~0ull - 63; },
           {"(record)", "leaves arena 0"}},
          {"slot on the host",
           [](Schedule& s) { BufferNamed(s, "slot 0").arena = 1; },
           {"(slot 0)", "slot", "tier host"}},
          {"staging on the device",
           [](Schedule& s) { BufferNamed(s, "staging").arena = 0; },
           {"(staging)", "tier device"}},
          // This build has nothing on disk, so no master can be written there before its record is durable.
          {"master on disk",
           [](Schedule& s) { s.arenas[1].tier = Tier::kDisk; },
           {"(master W0:0)", "tier disk"}},
      });
}

TEST(VerifyTables, Weights) {
  const Schedule valid = Valid({});
  const auto shape = [](Shape to) { return [to](Schedule& s) { s.weights[0].shape = to; }; };
  ExpectRejected(valid,
                 {
                     {"empty", shape({0, 4}), {"weight W0", "empty or too large"}},
                     {"negative", shape({-4, 4}), {"weight W0", "empty or too large"}},
                     {"too large", shape({kHuge, kHuge}), {"weight W0", "empty or too large"}},
                     {"too many axes", shape(Shape(17, 1)), {"weight W0", "empty or too large"}},
                     {"no component",
                      [](Schedule& s) { s.weights[0].components.clear(); },
                      {"weight W0", "0 components"}},
                     {"two components",
                      [](Schedule& s) { s.weights[0].components.resize(2); },
                      {"weight W0", "2 components"}},
                     {"state", [](Schedule& s) { s.weights[0].state = {0}; }, {"weight W0", "state tensors"}},
                     {"dtype",
                      [](Schedule& s) { s.weights[0].components[0].wire = static_cast<WireFormat>(6); },
                      {"weight W0", "dtypes"}},
                     {"component's shape",
                      [](Schedule& s) {
                        s.weights[0].components[0].shape = {4, 5};
                      },
                      {"weight W0", "another shape"}},
                     {"trained in part",
                      [](Schedule& s) { s.weights[0].components[0].trainable = false; },
                      {"weight W0", "differ in being trained"}},
                     {"integers trained",
                      [](Schedule& s) { s.weights[0].components[0].storage = DType::kI32; },
                      {"weight W0", "stored as i32"}},
                     {"eps multiplier",
                      [](Schedule& s) { s.weights[1].eps_mul = std::nan(""); },
                      {"weight W1", "multipliers nan"}},
                     {"lr multiplier",
                      [](Schedule& s) { s.weights[1].lr_mul = std::numeric_limits<double>::infinity(); },
                      {"weight W1", "inf of lr"}},
                 });
}

TEST(VerifyTables, Tiles) {
  tiny::Options options;
  options.cut = options.bias = true;
  const Schedule valid = Valid(options);  // tiles W0:0 W0:2 W1:0 W1:1 W1:2
  const auto tile = [](auto edit) { return [edit](Schedule& s) { edit(s.tiles[0]); }; };
  const auto segment = [](auto edit) { return [edit](Schedule& s) { edit(s.tiles[0].segments[0]); }; };
  ExpectRejected(
      valid,
      {
          {"no master", tile([](Tile& t) { t.master = -1; }), {"tile W0:0", "no master buffer"}},
          {"master beyond", tile([](Tile& t) { t.master = 10000; }), {"tile W0:0", "no master buffer"}},
          {"master of another kind",
           [](Schedule& s) { s.tiles[0].master = Named(s, "slot 0"); },
           {"tile W0:0", "no master buffer"}},
          {"master too small",
           [](Schedule& s) { s.buffers[U(s.tiles[0].master)].bytes = 64; },
           {"tile W0:0", "no master buffer of its 128"}},
          {"master a ring",
           [](Schedule& s) {
             Buffer& b = s.buffers[U(s.tiles[4].master)];
             b.ring = 2, b.stride = 128;
           },
           {"W1:2", "no master"}},
          {"shared master",
           [](Schedule& s) { s.tiles[1].master = s.tiles[0].master; },
           {"tile W0:2", "shares its master"}},
          {"empty", tile([](Tile& t) { t.bytes = 0; }), {"tile W0:0", "empty or too large"}},
          {"too large", tile([](Tile& t) { t.branch_bytes = ~0ull; }), {"tile W0:0", "empty or too large"}},
          {"weight below 0",
           segment([](Segment& g) { g.weight = -1; }),
           {"tile W0:0", "segment of no weight"}},
          {"weight beyond", segment([](Segment& g) { g.weight = 4; }), {"tile W0:0", "segment of no weight"}},
          {"component beyond",
           segment([](Segment& g) { g.component = 1; }),
           {"tile W0:0", "segment of no weight"}},
          {"rows below 0", segment([](Segment& g) { g.row_begin = -1; }), {"tile W0:0", "leaves weight W0"}},
          {"rows beyond", segment([](Segment& g) { g.row_end = kHuge; }), {"tile W0:0", "leaves weight W0"}},
          {"no rows", segment([](Segment& g) { g.row_begin = 2; }), {"tile W0:0", "leaves weight W0"}},
          {"columns below 0",
           segment([](Segment& g) { g.col_begin = -kHuge; }),
           {"tile W0:0", "leaves weight W0"}},
          {"columns beyond", segment([](Segment& g) { g.col_end = 5; }), {"tile W0:0", "leaves weight W0"}},
          {"offset not aligned",
           segment([](Segment& g) { g.offset = 4; }),
           {"tile W0:0", "W0 at 4", "not aligned"}},
          {"leaves the tile",
           segment([](Segment& g) { g.wire_offset = 128; }),
           {"tile W0:0", "at 128", "leaves the tile's 128"}},
          {"another size on the wire",
           tile([](Tile& t) { t.wire_bytes += 64; }),
           {"tile W0:0", "not coded but has 192 bytes on the wire instead of its master's 128"}},
          {"another order on the wire",
           [](Schedule& s) {
             std::swap(s.tiles[0].segments[0].wire_offset, s.tiles[0].segments[1].wire_offset);
           },
           {"tile W0:0", "W0 is at 64 on the wire and at 0 in its master"}},
          {"offset overflows",
           segment([](Segment& g) { g.branch_offset = ~0ull - 63; }),
           {"tile W0:0", "leaves the tile"}},
          {"segments overlap",
           [](Schedule& s) { s.tiles[0].segments[1].branch_offset = 0; },
           {"tile W0:0", "two of its segments overlap"}},
          {"frozen by mistake",
           tile([](Tile& t) { t.trainable = false; }),
           {"tile W0:0", "marked frozen but holds trained"}},
          {"trained by mistake",
           [](Schedule& s) {
             for (size_t w : {0, 1}) s.weights[w].trainable = s.weights[w].components[0].trainable = false;
           },
           {"tile W0:0", "marked trained but holds no trained"}},
          {"a gap",
           [](Schedule& s) { s.tiles[1].segments[0].row_begin = 3; },
           {"weight W0", "row 2", "exactly one tile"}},
          {"twice",
           [](Schedule& s) { s.tiles[1].segments[0].row_begin = 1; },
           {"weight W0", "row 1", "exactly one tile"}},
          {"the end missing",
           [](Schedule& s) { s.tiles[1].segments[0].row_end = 3; },
           {"weight W0", "no tile holds its rows from 3"}},
          {"a bias' columns",
           [](Schedule& s) { s.tiles[1].segments[1].col_begin = 3; },
           {"weight b0", "column 2"}},
          {"cut both ways",
           [](Schedule& s) { s.tiles[0].segments[0].col_end = 3; },
           {"weight W0", "not cut along one axis"}},
      });
}

TEST(VerifyTables, ValuesAndNodes) {
  tiny::Options options;
  options.constant = options.reshape = true;
  const Schedule valid = Valid(options);
  const auto value = [](std::string_view name, auto edit) {
    return [name, edit](Schedule& s) {
      for (PlanValue& v : s.values)
        if (v.name == name) edit(v);
    };
  };
  const auto node = [](std::string_view name, auto edit) {
    return [name, edit](Schedule& s) {
      for (PlanNode& n : s.nodes)
        if (n.name == name) edit(n);
    };
  };
  ExpectRejected(
      valid,
      {
          {"dtype", value("x", [](PlanValue& v) { v.type.dtype = static_cast<DType>(200); }), {"value x"}},
          {"kind", value("x", [](PlanValue& v) { v.kind = static_cast<ValueKind>(4); }), {"value x"}},
          {"negative axis", value("x", [](PlanValue& v) { v.type.shape[0] = -2; }), {"value x", "no shape"}},
          {"too large",
           value("x",
                 [](PlanValue& v) {
                   v.type.shape = {kHuge, kHuge};
                 }),
           {"value x", "no shape"}},
          // Strides of such a shape would overflow though it has no elements.
          {"too large and empty",
           value("x",
                 [](PlanValue& v) {
                   v.type.shape = {0, kHuge, kHuge};
                 }),
           {"value x", "no shape"}},
          {"more bytes than memory",
           value("x", [](PlanValue& v) { v.type.shape = {int64_t{1} << 50}; }),
           {"value x", "no memory has"}},
          {"weight below 0", value("W0", [](PlanValue& v) { v.weight = -1; }), {"value W0", "no weight"}},
          {"weight beyond", value("W0", [](PlanValue& v) { v.weight = 99; }), {"value W0", "no weight"}},
          {"weight's shape",
           value("W0", [](PlanValue& v) { v.weight = 1; }),
           {"value W0", "another shape than weight W1"}},
          {"a weight that is none",
           value("a0", [](PlanValue& v) { v.weight = 0; }),
           {"value a0", "should not have"}},
          {"an activation with a constant's buffer",
           value("a0", [](PlanValue& v) { v.constant = 1 << 30; }),
           {"value a0", "should not have"}},
          {"an input with data",
           value("x", [](PlanValue& v) { v.data = "x"; }),
           {"value x", "should not have"}},
          {"constant's bytes",
           value("c", [](PlanValue& v) { v.data += "x"; }),
           {"constant c", "17 bytes of data for 16"}},
          {"constant's buffer",
           value("c", [](PlanValue& v) { v.constant = 0; }),
           {"constant c", "no constant buffer"}},
          {"constant's buffer beyond",
           value("c", [](PlanValue& v) { v.constant = 1 << 20; }),
           {"constant c", "no constant buffer"}},
          {"op", node("a0", [](PlanNode& n) { n.op = static_cast<Op>(kNumOps); }), {"node a0", "no op"}},
          {"input beyond",
           node("a0", [](PlanNode& n) { n.inputs[0] = 500; }),
           {"node a0", "no earlier node makes"}},
          {"input below",
           node("a0", [](PlanNode& n) { n.inputs[0] = -2; }),
           {"node a0", "no earlier node makes"}},
          {"input made later",
           node("a0", [](PlanNode& n) { n.inputs[0] = n.outputs[0]; }),
           {"node a0", "no earlier node makes"}},
          {"input absent",
           node("a0", [](PlanNode& n) { n.inputs[0] = -1; }),
           {"node a0", "relu", "absent but required"}},
          {"reshape of nothing",
           node("h as batch", [](PlanNode& n) { n.inputs[0] = -1; }),
           {"node h as batch", "absent"}},
          {"no inputs", node("a0", [](PlanNode& n) { n.inputs.clear(); }), {"node a0", "relu takes 1"}},
          {"no outputs", node("a0", [](PlanNode& n) { n.outputs.clear(); }), {"node a0", "1 outputs"}},
          {"made twice", [](Schedule& s) { s.nodes[2].outputs = s.nodes[1].outputs; }, {"exists already"}},
          {"output beyond",
           node("a0", [](PlanNode& n) { n.outputs[0] = -1; }),
           {"node a0", "does not exist"}},
          {"writes an input",
           node("a0", [](PlanNode& n) { n.outputs[0] = 0; }),
           {"node a0", "exists already"}},
          {"shapes",
           value("a0",
                 [](PlanValue& v) {
                   v.type.shape = {4, 2};
                 }),
           {"node a0", "must be"}},
          {"attribute",
           node("a0", [](PlanNode& n) { n.attrs["axis"] = int64_t{0}; }),
           {"node a0", "no attribute axis"}},
          {"reshape's attribute",
           node("h as batch",
                [](PlanNode& n) {
                  n.attrs["shape"] = std::vector<int64_t>{kHuge, kHuge};
                }),
           {"node h as batch"}},
          {"loss beyond", [](Schedule& s) { s.loss.node = 100; }, {"loss is node 100"}},
          {"loss is none", [](Schedule& s) { s.loss.node = 0; }, {"loss is node 0", "no loss"}},
      });
}

TEST(VerifyTables, TooManyInstructions) {
  const Schedule valid = Valid({});
  ExpectRejected(valid, {{"too long",
                          [](Schedule& s) { Train(s).lanes[0].instructions.resize(U(kMaxInstructions) + 1); },
                          {"instructions, more than 500000", "larger tiles"}}});
}

}  // namespace
}  // namespace zo2
