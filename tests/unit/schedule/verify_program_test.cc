// What verify.h promises of a program's numbers, host side, lanes and edges: one bad schedule per rule.
#include <cmath>

#include "tests/unit/schedule/reject.h"

namespace zo2 {
namespace {

TEST(VerifyProgram, Numbers) {
  tiny::Options options;
  options.samples = 2;
  const Schedule valid = Valid(options);
  const auto train = [](auto edit) { return [edit](Schedule& s) { edit(Train(s)); }; };
  const auto branch = [](auto edit) { return [edit](Schedule& s) { edit(Train(s).branches[1]); }; };
  ExpectRejected(
      valid, {
                 {"purpose",
                  train([](Program& p) { p.purpose = static_cast<Purpose>(3); }),
                  {"program train", "no purpose"}},
                 {"two of a purpose",
                  [](Schedule& s) { s.programs.push_back(s.programs[1]); },
                  {"two programs evaluate"}},
                 {"period 0", train([](Program& p) { p.period = 0; }), {"program train", "period is 0"}},
                 {"period 65", train([](Program& p) { p.period = 65; }), {"program train", "period is 65"}},
                 {"period of an evaluation",
                  [](Schedule& s) { Evaluate(s).period = 2; },
                  {"program evaluate", "period is 2"}},
                 {"no samples", train([](Program& p) { p.samples = 0; }), {"program train", "0 samples"}},
                 {"no micro batches",
                  train([](Program& p) { p.micro_batches = -1; }),
                  {"program train", "-1 micro batches"}},
                 {"too many passes",
                  train([](Program& p) { p.micro_batches = 1 << 17; }),
                  {"program train", "131072 micro batches"}},
                 {"samples overflow",
                  train([](Program& p) { p.samples = p.micro_batches = 1 << 30; }),
                  {"program train", "micro batches"}},
                 {"passes of an evaluation",
                  [](Schedule& s) { Evaluate(s).samples = 2; },
                  {"program evaluate", "only train has several passes"}},
                 {"lag below 0",
                  train([](Program& p) { p.max_lag_in = -1; }),
                  {"program train", "lags are negative"}},
                 {"evaluation perturbed",
                  [](Schedule& s) {
                    Evaluate(s).branches[0].terms = {{0, 1}};
                  },
                  {"program evaluate", "one branch without terms"}},
                 {"evaluation of two",
                  [](Schedule& s) { Evaluate(s).branches.resize(2); },
                  {"program evaluate", "one branch"}},
                 {"flush with branches",
                  [](Schedule& s) { Flush(s).branches.resize(1); },
                  {"program flush", "no branches"}},
                 {"two terms",
                  branch([](Branch& b) { b.terms.push_back(b.terms[0]); }),
                  {"program train", "one term"}},
                 {"no term", branch([](Branch& b) { b.terms.clear(); }), {"program train", "one term"}},
                 {"sample beyond",
                  branch([](Branch& b) { b.terms[0].sample = 2; }),
                  {"program train", "one of its samples"}},
                 {"sample below",
                  branch([](Branch& b) { b.terms[0].sample = -1; }),
                  {"program train", "one of its samples"}},
                 {"coefficient 2",
                  branch([](Branch& b) { b.terms[0].coefficient = 2; }),
                  {"program train", "+1 or -1"}},
                 {"coefficient 0",
                  branch([](Branch& b) { b.terms[0].coefficient = 0; }),
                  {"program train", "+1 or -1"}},
                 {"coefficient NaN",
                  branch([](Branch& b) { b.terms[0].coefficient = std::nan(""); }),
                  {"program train", "+1 or -1"}},
                 {"two of a sign",
                  branch([](Branch& b) { b.terms[0].coefficient = 1; }),
                  {"program train", "sample 0", "2 and 0"}},
                 {"a sample without",
                  branch([](Branch& b) { b.terms[0].sample = 1; }),
                  {"program train", "sample 0", "each sign"}},
             });
}

TEST(VerifyProgram, HostSide) {
  const Schedule valid = Valid({});
  const auto train = [](auto edit) { return [edit](Schedule& s) { edit(s, Train(s)); }; };
  ExpectRejected(
      valid, {
                 {"input's value",
                  train([](Schedule&, Program& p) { p.inputs[0].value = 77; }),
                  {"program train", "no input of the graph"}},
                 {"input below",
                  train([](Schedule&, Program& p) { p.inputs[0].value = -1; }),
                  {"program train", "no input of the graph"}},
                 {"not an input",
                  train([](Schedule&, Program& p) { p.inputs[0].value = 2; }),
                  {"program train", "no input of the graph"}},
                 {"no staging",
                  train([](Schedule&, Program& p) { p.inputs[0].staging = -1; }),
                  {"program train", "input x", "32 bytes"}},
                 {"staging beyond",
                  train([](Schedule&, Program& p) { p.inputs[0].staging = 1 << 30; }),
                  {"program train", "input x"}},
                 {"staging too small",
                  [](Schedule& s) { BufferNamed(s, "staging").bytes = 31; },
                  {"program train", "input x"}},
                 {"staging shared",
                  train([](Schedule&, Program& p) { p.inputs[1].staging = p.inputs[0].staging; }),
                  {"input labels", "of its own"}},
                 {"device side",
                  train([](Schedule&, Program& p) { p.inputs[0].device = p.inputs[0].staging; }),
                  {"program train", "input x"}},
                 {"output's value",
                  [](Schedule& s) { Evaluate(s).outputs[0].value = -1; },
                  {"program evaluate", "no value"}},
                 {"output's staging",
                  [](Schedule& s) { Evaluate(s).outputs[0].staging = 0; },
                  {"program evaluate", "output logits"}},
                 {"output's device",
                  [](Schedule& s) { Evaluate(s).outputs[0].device = Evaluate(s).outputs[0].staging; },
                  {"output logits", "24 bytes"}},
                 {"losses missing",
                  train([](Schedule&, Program& p) { p.loss_sum.pop_back(); }),
                  {"program train", "one sum and one count per branch"}},
                 {"no losses",
                  train([](Schedule&, Program& p) {
                    p.loss_sum = p.loss_count = p.loss_sum_host = p.loss_count_host = {};
                  }),
                  {"program train", "lacks loss buffers"}},
                 {"model without loss", [](Schedule& s) { s.loss.node = -1; }, {"program train", "no loss"}},
                 {"loss buffer",
                  train([](Schedule&, Program& p) { p.loss_count[1] = -1; }),
                  {"program train", "branch 1", "16 bytes"}},
                 {"loss shared",
                  train([](Schedule&, Program& p) { p.loss_count[1] = p.loss_sum[0]; }),
                  {"branch 1", "of its own"}},
                 {"loss staging",
                  train([](Schedule&, Program& p) { p.loss_sum_host[0] = 1; }),
                  {"branch 0", "loss staging"}},
                 {"control",
                  train([](Schedule&, Program& p) { p.control = -1; }),
                  {"program train", "control buffers of 16"}},
                 {"control staging",
                  train([](Schedule&, Program& p) { p.control_staging = p.inputs[0].staging; }),
                  {"program train", "control buffers"}},
                 {"record",
                  train([](Schedule&, Program& p) { p.record = p.record_host; }),
                  {"program train", "record rings"}},
                 {"record on the host",
                  train([](Schedule&, Program& p) { p.record_host = p.record; }),
                  {"program train", "record rings"}},
                 {"record too small",
                  train([](Schedule& s, Program& p) { s.buffers[U(p.record)].bytes = 40; }),
                  {"record rings", "48 bytes"}},
                 {"control of an evaluation",
                  [](Schedule& s) { Evaluate(s).control_staging = 1 << 30; },
                  {"program evaluate", "only train makes"}},
                 {"records of a flush",
                  [](Schedule& s) { Flush(s).record_host = Train(s).record_host; },
                  {"program flush", "only train makes"}},
                 {"record of nobody",
                  [](Schedule& s) { Evaluate(s).record = Train(s).record_host; },
                  {"program evaluate", "not train's"}},
             });
}

// Counts whose products would wrap if nobody looked: a small buffer is never taken for a large one.
TEST(VerifyProgram, SizesThatOverflow) {
  const Schedule valid = Valid({});
  // An input that no node uses, so that nothing else is wrong with it; in buffers of 32 bytes.
  const auto input = [](int64_t elements, int32_t micro_batches) {
    return [=](Schedule& s) {
      Program& p = Train(s);
      PlanValue big{"big", ValueKind::kInput, {DType::kF32, {elements}}, -1, -1, ""};
      s.values.push_back(big);
      p.inputs.insert(p.inputs.begin(), ProgramInput{static_cast<int32_t>(s.values.size()) - 1,
                                                     p.inputs[0].staging, p.inputs[0].device});
      p.micro_batches = micro_batches;
    };
  };
  ExpectRejected(
      valid, {
                 {"2^60 bytes", input(int64_t{1} << 42, 1 << 16), {"input big", "1152921504606846976 bytes"}},
                 {"2^64 bytes", input(int64_t{1} << 48, 1 << 14), {"value big", "no memory has"}},
                 {"2^66 bytes", input(int64_t{1} << 52, 1 << 12), {"value big", "no memory has"}},
             });
}

TEST(VerifyProgram, Lanes) {
  const Schedule valid = Valid({});
  const auto train = [](auto edit) { return [edit](Schedule& s) { edit(Train(s)); }; };
  const auto edge = [](auto edit) { return [edit](Schedule& s) { edit(Train(s).edges[0]); }; };
  ExpectRejected(
      valid,
      {
          {"lanes", train([](Program& p) { p.lanes.resize(65); }), {"program train", "65 lanes"}},
          {"lane's kind",
           train([](Program& p) { p.lanes[1].kind = static_cast<LaneKind>(6); }),
           {"program train", "lane 1"}},
          {"no threads", train([](Program& p) { p.lanes[0].threads = 0; }), {"program train", "lane 0"}},
          {"threads of a galaxy",
           train([](Program& p) { p.lanes[0].threads = 1 << 30; }),
           {"program train", "lane 0"}},
          {"lane's device", train([](Program& p) { p.lanes[0].device = -1; }), {"program train", "lane 0"}},
          {"seq in a lane",
           train([](Program& p) { p.lanes[0].instructions[1].seq = 4; }),
           {"program train, compute lane 0, instruction 1 (seq 4", "does not follow"}},
          {"seq of two lanes",
           train([](Program& p) { p.lanes[1].instructions[3].seq = 4; }),
           {"seq 4", "same seq"}},
          {"edge's lane", edge([](Edge& e) { e.from_lane = 3; }), {"program train", "not there"}},
          {"edge's lane below", edge([](Edge& e) { e.to_lane = -1; }), {"program train", "not there"}},
          {"edge from beyond", edge([](Edge& e) { e.from = 1 << 30; }), {"program train", "not there"}},
          {"edge to below", edge([](Edge& e) { e.to = -1; }), {"program train", "not there"}},
          {"edge forward", edge([](Edge& e) { e.back = -1; }), {"program train", "-1 iterations back"}},
          {"edge too far", edge([](Edge& e) { e.back = 65; }), {"program train", "65 iterations back"}},
          {"deadlock",
           train([](Program& p) {
             p.edges.push_back({0, 3, 1, 3, 0});
           }),
           {"program train, h2d lane 1, instruction 3 (seq 3, copy of tile W0:0)", "waits for seq 9",
            "deadlock"}},
          {"waits for itself",
           train([](Program& p) {
             p.edges.push_back({0, 0, 0, 0, 0});
           }),
           {"compute lane 0, instruction 0", "deadlock"}},
      });
}

}  // namespace
}  // namespace zo2
