// What verify.h promises of calls: branches, parts, inputs, weights, outputs, scratch. One bad schedule per
// rule.
#include "tests/unit/schedule/reject.h"

namespace zo2 {
namespace {

// Edits a call of train.
auto Edit(std::string_view node, std::function<void(Schedule&, Instruction&)> edit) {
  return [node, edit](Schedule& s) { edit(s, CallOf(s, Train(s), node)); };
}
using I = Instruction;

TEST(VerifyCall, BranchesAndOperands) {
  tiny::Options options;
  options.samples = 2;
  const Schedule valid = Valid(options);
  ExpectRejected(
      valid,
      {
          {"node beyond",
           Edit("a0", [](Schedule&, I& i) { i.node = 99; }),
           {"call)", "node that there is not"}},
          {"node below",
           Edit("a0", [](Schedule&, I& i) { i.node = -1; }),
           {"call)", "node that there is not"}},
          {"one call for all",
           Edit("a0",
                [](Schedule&, I& i) {
                  i.branches.clear();
                  i.operands.resize(4);
                }),
           {"node a0", "trained weights reach"}},
          {"branch beyond", Edit("a0", [](Schedule&, I& i) { i.branches[0] = 4; }), {"node a0", "branch 4"}},
          {"branch below", Edit("a0", [](Schedule&, I& i) { i.branches[0] = -1; }), {"node a0", "branch -1"}},
          {"branch of another pass",
           Edit("a0", [](Schedule&, I& i) { i.branches[0] = 2; }),
           {"node a0", "branch 2 in pass 0", "another sample"}},
          {"65 branches",
           Edit("a0", [](Schedule&, I& i) { i.branches.assign(65, 0); }),
           {"node a0", "more than 64 branches"}},
          {"operands",
           Edit("a0", [](Schedule&, I& i) { i.operands.pop_back(); }),
           {"node a0", "7 operands but 2 branches of 4"}},
          {"absent input",
           Edit("h0", [](Schedule&, I& i) { i.operands[0].buffer = -1; }),
           {"node h0", "operand 0 (x) is absent"}},
          {"input written",
           Edit("h0", [](Schedule&, I& i) { i.operands[0].access = AccessMode::kWrite; }),
           {"node h0", "operand 0 is an input but not read"}},
          {"input's shape",
           Edit("h0",
                [](Schedule&, I& i) {
                  i.operands[0].type.shape = {1, 8};
                }),
           {"operand 0 (x)", "shape and dtype"}},
          {"input's dtype",
           Edit("h0", [](Schedule&, I& i) { i.operands[0].type.dtype = DType::kI32; }),
           {"operand 0 (x)", "shape and dtype"}},
          {"input's strides",
           Edit("h0",
                [](Schedule&, I& i) {
                  i.operands[0].strides = {4, 0};
                }),
           {"operand 0 (x)", "other strides"}},
          {"absent output",
           Edit("h0", [](Schedule&, I& i) { i.operands[2].buffer = -1; }),
           {"operand 2 (h0) is absent"}},
          {"output read",
           Edit("h0", [](Schedule&, I& i) { i.operands[2].access = AccessMode::kRead; }),
           {"operand 2 (h0)", "not written"}},
          {"output carried over",
           Edit("h0", [](Schedule&, I& i) { i.operands[2].access = AccessMode::kReadWrite; }),
           {"operand 2 (h0)", "not written"}},
          {"output's kind",
           Edit("h0", [](Schedule& s, I& i) { i.operands[2].buffer = Named(s, "branch 0"); }),
           {"writes h0 to a buffer of kind branch"}},
          {"output's shape",
           Edit("h0",
                [](Schedule&, I& i) {
                  i.operands[2].type.shape = {4, 2};
                }),
           {"operand 2 (h0)", "shape, dtype and strides"}},
          {"output's strides",
           Edit("h0",
                [](Schedule&, I& i) {
                  i.operands[2].strides = {1, 2};
                }),
           {"operand 2 (h0)", "strides"}},
          {"in place where the op cannot",
           Edit("logits", [](Schedule&, I& i) { i.operands[2].buffer = i.operands[0].buffer; }),
           {"node logits", "operands 2 and 0"}},
          {"in place but displaced",
           Edit("a0",
                [](Schedule& s, I& i) {
                  s.buffers[U(i.operands[1].buffer)].bytes += 4;
                  i.operands[1].offset = 4;
                }),
           {"node a0", "operands 1 and 0"}},
          {"two branches write one place",
           Edit("h0", [](Schedule&, I& i) { i.operands[7].buffer = i.operands[2].buffer; }),
           {"node h0", "writes bytes that another"}},
          {"workspace missing",
           Edit("loss", [](Schedule&, I& i) { i.operands[5] = Operand(); }),
           {"node loss", "lacks its workspace of 64 bytes"}},
          {"workspace too small",
           Edit("loss", [](Schedule&, I& i) { i.operands[5].type.shape = {63}; }),
           {"node loss", "workspace has 63 bytes but must have 64"}},
          {"workspace's kind",
           Edit("loss", [](Schedule& s, I& i) { i.operands[5].buffer = Named(s, "branch 0"); }),
           {"operand 5 is no buffer of kind workspace"}},
          {"workspace read",
           Edit("loss", [](Schedule&, I& i) { i.operands[5].access = AccessMode::kRead; }),
           {"operand 5 (workspace) is not written"}},
          {"not on the device",
           Edit("h0", [](Schedule& s, I& i) { i.operands[0].buffer = Named(s, "staging"); }),
           {"node h0", "operand 0 is not on device 0"}},
          {"off the compute lane",
           [](Schedule& s) { Train(s).lanes[0].kind = LaneKind::kHost; },
           {"host lane 0", "compute lane"}},
      });
}

TEST(VerifyCall, AbsentOperandsStayAbsent) {
  tiny::Options options;
  Schedule valid = Valid(options);
  for (PlanNode& n : valid.nodes)
    if (n.op == Op::kLinear) n.inputs.push_back(-1);  // no bias, said so
  for (Program& p : valid.programs)
    for (Lane& lane : p.lanes)
      for (Instruction& i : lane.instructions)
        if (i.kind == InstrKind::kCall && valid.nodes[U(i.node)].op == Op::kLinear)
          for (size_t g = i.branches.size(); g-- > 0;)
            i.operands.insert(i.operands.begin() + static_cast<std::ptrdiff_t>(5 * g + 2), Operand());
  ASSERT_TRUE(Verify(valid).ok()) << Verify(valid).status().message();
  ExpectRejected(valid, {{"a bias from nowhere",
                          Edit("h0", [](Schedule&, I& i) { i.operands[2] = i.operands[1]; }),
                          {"node h0", "operand 2 is present but"}}});
}

TEST(VerifyCall, Weights) {
  tiny::Options options;
  options.bias = options.cut = true;
  const Schedule valid = Valid(options);
  ExpectRejected(
      valid,
      {
          {"no tile named",
           Edit("h0", [](Schedule&, I& i) { i.operands[1].tile = -1; }),
           {"node h0", "which tile holds weight W0"}},
          {"another weight's segment",
           Edit("h0", [](Schedule&, I& i) { i.operands[1].segment = 1; }),
           {"node h0", "another weight than W0"}},
          {"another part's tile",
           Edit("h0", [](Schedule&, I& i) { i.operands[1].tile = 1; }),
           {"node h0", "rows [0, 2)", "tile W0:2 does not hold"}},
          {"weight's strides",
           Edit("h0",
                [](Schedule&, I& i) {
                  i.operands[1].strides = {1, 2};
                }),
           {"operand 1 (W0)", "other strides"}},
          {"from the slot",
           Edit("h0", [](Schedule& s, I& i) { i.operands[1].buffer = Named(s, "slot 0"); }),
           {"reads the trained weight W0 without a prepare"}},
          {"from an activation",
           Edit("h0", [](Schedule& s, I& i) { i.operands[1].buffer = Named(s, "workspace"); }),
           {"weight W0 from a buffer of kind workspace"}},
          {"the other branch's weight",
           Edit("h0", [](Schedule&, I& i) { std::swap(i.operands[1], i.operands[7]); }),
           {"node h0", "needs tile W0:0 of branch 0", "holds tile W0:0 of branch 1"}},
          {"part below",
           Edit("h0", [](Schedule&, I& i) { i.part_begin = -1; }),
           {"node h0", "part [-1, 2) is not within [0, 4)"}},
          {"part beyond", Edit("h0", [](Schedule&, I& i) { i.part_end = 5; }), {"node h0", "part [0, 5)"}},
          {"part of a galaxy",
           Edit("h0", [](Schedule&, I& i) { i.part_begin = INT64_MIN, i.part_end = INT64_MAX; }),
           {"node h0", "is not within [0, 4)"}},
          {"empty part", Edit("h0", [](Schedule&, I& i) { i.part_begin = 2; }), {"node h0", "part [2, 2)"}},
          {"another part",
           Edit("h0", [](Schedule&, I& i) { i.part_begin = 1, i.part_end = 3; }),
           {"node h0", "rows [1, 3)", "does not hold"}},
          {"part of an op without",
           Edit("a0", [](Schedule&, I& i) { i.part_begin = 0, i.part_end = 1; }),
           {"node a0", "part by part, which its op cannot"}},
          {"slice elsewhere", Edit("h0", [](Schedule&, I& i) { i.operands[3].offset += 8; }), {"h0"}},
          {"slice too wide for its buffer",
           Edit("h0", [](Schedule& s, I& i) { s.buffers[U(i.operands[3].buffer)].bytes = 24; }),
           {"h0"}},
          {"stored otherwise than computed",
           [](Schedule& s) {
             s.weights[0].trainable = s.weights[0].components[0].trainable = false;
             s.weights[0].components[0].compute = DType::kBF16;
           },
           {"schedule: "}},
      });
}

TEST(VerifyCall, PartsInOrder) {
  tiny::Options options;
  options.lm_head = options.cut = true;
  const Schedule valid = Valid(options);
  const auto second = [](std::function<void(Schedule&, I&)> edit) {
    return [edit](Schedule& s) { edit(s, CallOf(s, Train(s), "loss", 1)); };
  };
  ExpectRejected(
      valid, {
                 {"first twice",
                  second([](Schedule&, I& i) { i.first_part = true; }),
                  {"node loss", "first and last marks"}},
                 {"never the last",
                  second([](Schedule&, I& i) { i.last_part = false; }),
                  {"node loss", "first and last marks"}},
                 {"state missing",
                  second([](Schedule&, I& i) { i.operands[5] = Operand(); }),
                  {"node loss", "lacks its state"}},
                 {"state too small",
                  second([](Schedule&, I& i) { i.operands[5].type.shape[0] -= 1; }),
                  {"node loss", "state has"}},
                 {"another state",
                  second([](Schedule&, I& i) { std::swap(i.operands[5], i.operands[12]); }),
                  {"node loss", "continues value loss of branch 0 and micro batch 0 at 3", "nothing of it"}},
                 {"first part missing",
                  [](Schedule& s) { Drop(Train(s), CallOf(s, Train(s), "loss", 0)); },
                  {"node loss", "continues value loss of branch 0 and micro batch 0 at 3"}},
                 {"last part missing",
                  [](Schedule& s) { Drop(Train(s), CallOf(s, Train(s), "loss", 1)); },
                  {"gradient", "needs value loss of branch 0", "only parts of"}},
                 {"output not carried",
                  [](Schedule& s) {
                    CallOf(s, Train(s), "loss", 1).operands[3].buffer =
                        CallOf(s, Train(s), "loss", 1).operands[10].buffer;
                  },
                  {"node loss"}},
             });
}

TEST(VerifyCall, FrozenWeightsAndReshapes) {
  tiny::Options options;
  options.freeze_first = options.reshape = true;
  const Schedule valid = Valid(options);
  ExpectRejected(valid, {
                            {"storage is not what kernels see",
                             [](Schedule& s) { s.weights[0].components[0].storage = DType::kI32; },
                             {"node h0", "weight W0 in its storage dtype"}},
                            {"calls a reshape",
                             [](Schedule& s) {
                               int32_t reshape = 0;
                               while (s.nodes[U(reshape)].op != Op::kReshape) ++reshape;
                               CallOf(s, Train(s), "a0").node = reshape;
                             },
                             {"calls a reshape"}},
                            {"a reshaped weight with strides",
                             Edit("moved",
                                  [](Schedule&, I& i) {
                                    i.operands[1].strides = {4, 0};
                                  }),
                             {"node moved", "must be dense"}},
                            {"a slot that holds something else",
                             Edit("h0",
                                  [](Schedule& s, I& i) {
                                    i.operands[1].buffer = i.operands[1].buffer == Named(s, "slot 0")
                                                               ? Named(s, "slot 1")
                                                               : Named(s, "slot 0");
                                  }),
                             {"node h0", "needs tile W0:0"}},
                        });
}

}  // namespace
}  // namespace zo2
