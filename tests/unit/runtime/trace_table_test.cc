#include "runtime/trace_table.h"

#include <gtest/gtest.h>

#include "ir/graph/op.h"

namespace zo2 {
namespace {

// One lane: a prepare of 2 ms (predicted 1) and two products of 3 ms (predicted 3), then 2 ms of nothing.
Schedule MakeSchedule() {
  Schedule s;
  PlanNode node;
  node.op = Op::kLinear;
  s.nodes = {node};
  Program train;
  train.name = "train";
  train.purpose = Purpose::kTrain;
  train.predicted_period = 7e-3;
  Lane compute;
  compute.instructions.resize(3);
  compute.instructions[0].kind = InstrKind::kPrepare;
  compute.instructions[0].seconds = 1e-3;
  for (const size_t i : {1, 2}) {
    compute.instructions[i].kind = InstrKind::kCall;
    compute.instructions[i].node = 0;
    compute.instructions[i].seconds = 3e-3;
  }
  train.lanes = {compute};
  s.programs = {train};
  return s;
}

// Iteration i of the lane begins at `at` ns; waits 1 ms before its prepare. `slow` times everything.
void AddIteration(int64_t i, int64_t at, int64_t slow, std::vector<LaneEvent>* lane) {
  const int64_t ms = 1000000 * slow;
  lane->push_back({i, 0, at, at + ms, at + 3 * ms});
  lane->push_back({i, 1, at + 3 * ms, at + 3 * ms, at + 6 * ms});
  lane->push_back({i, 2, at + 6 * ms, at + 6 * ms, at + 9 * ms});
}

TEST(TraceTable, LeavesTheFirstIterationOut) {
  std::vector<LaneEvent> lane;
  AddIteration(0, 0, 5, &lane);
  AddIteration(1, 46000000, 1, &lane);  // 1 ms after the end of the one before
  AddIteration(2, 56000000, 1, &lane);
  const std::string text = TraceTable(MakeSchedule(), {{Purpose::kTrain, {lane}}});
  EXPECT_EQ(text,
            "train, mean of 2 iterations, seconds per iteration:\n"
            "                               calls   measured  predicted  ratio   share\n"
            "  compute 0\n"
            "    call linear                    2   0.006000   0.006000   1.00   60.0%\n"
            "    prepare                        1   0.002000   0.001000   2.00   20.0%\n"
            "    all                            3   0.008000   0.007000   1.14   80.0%\n"
            "    waiting                            0.001000                     10.0%\n"
            "    rest                               0.001000                     10.0%\n"
            "    iteration                          0.010000   0.007000   1.43  100.0%\n");
}

TEST(TraceTable, AddsStartsAndTakesASingleIterationAsItIs) {
  std::vector<LaneEvent> lane;
  AddIteration(0, 0, 1, &lane);
  const TracedRun run{Purpose::kTrain, {lane}};
  const std::string one = TraceTable(MakeSchedule(), {run});
  EXPECT_NE(one.find("mean of 1 iteration,"), std::string::npos) << one;
  EXPECT_NE(one.find("call linear                    2   0.006000"), std::string::npos) << one;
  const std::string two = TraceTable(MakeSchedule(), {run, run});
  EXPECT_NE(two.find("mean of 2 iterations,"), std::string::npos) << two;
  EXPECT_NE(two.find("call linear                    2   0.006000"), std::string::npos) << two;
  EXPECT_EQ(TraceTable(MakeSchedule(), {}), "");
  EXPECT_EQ(TraceTable(MakeSchedule(), {{Purpose::kTrain, {{}}}}), "");
}

}  // namespace
}  // namespace zo2
