// Predicts the period of a program by running its instruction list - the same list the runtime gets - in
// time.
//
// Max-plus recurrence: an instruction starts when its lane has finished the one before and every edge into it
// is passed, and takes its predicted seconds. Iterations follow one another as far as lanes and edges let
// them; after a few the distance between them settles at the period. Over c periods of K iterations every
// instruction moves on by some seconds; the true period lies between the least and the most of these (Collatz
// and Wielandt's bounds for max-plus), so it is known how well it has settled.
#ifndef ZO2_PLANNER_SIMULATE_H_
#define ZO2_PLANNER_SIMULATE_H_

#include <cstdint>
#include <vector>

#include "ir/schedule/schedule.h"
#include "planner/machine.h"

namespace zo2 {

// One run of an instruction.
struct Span {
  LaneId lane = 0;
  int32_t index = 0;
  int64_t iteration = 0;
  double start = 0, finish = 0;  // seconds
};

struct Simulation {
  double period = 0;         // seconds per iteration in the steady state, an average over residues
  bool settled = true;       // the period is within 1e-4 of the true one
  double latency = 0;        // of the first iteration alone
  double copies_cost = 0;    // of the compute lanes' busy seconds: lost to copies beside them (Predict)
  std::vector<double> busy;  // per lane, seconds per iteration
  // Why the compute lanes stood still, seconds per iteration: waiting for an instruction of lane l.
  std::vector<double> waits;
  std::vector<Span> spans;  // of the iterations asked for
};

// Simulates until the period settles, or for so long that it is said not to (lanes that no edge ties together
// need not ever keep step; the period is then the slowest one's). Spans of iterations [record_begin,
// record_end) are kept.
Simulation Simulate(const Program& program, int64_t record_begin = 0, int64_t record_end = 0);

// Simulate, with compute instructions slowed down by the copies that run beside them: of a period P in which
// B bytes are copied, B · tax (Machine::UploadTax, DownloadTax; HostTax for host updates) seconds of the
// compute lanes' time are lost if they are busy all through it, and the same share of the time that they are
// busy otherwise. Their instructions' seconds are set to seconds / (1 - B · tax / P), so whoever simulates
// the program again finds the same period. Programs as emitted only: what has been slowed down once is slowed
// down again.
Simulation Predict(Program* program, const Machine& machine);

}  // namespace zo2

#endif  // ZO2_PLANNER_SIMULATE_H_
