// Predicts the period of a program by running its instruction list - the same list the runtime gets - in time.
//
// Max-plus recurrence: an instruction starts when its lane has finished the one before and every edge into it is passed,
// and takes its predicted seconds. Iterations follow one another as far as lanes and edges let them; after a few the
// distance between them settles at the period.
#ifndef ZO2_PLANNER_SIMULATE_H_
#define ZO2_PLANNER_SIMULATE_H_

#include <cstdint>
#include <vector>

#include "ir/schedule/schedule.h"

namespace zo2 {

// One run of an instruction.
struct Span {
  LaneId lane = 0;
  int32_t index = 0;
  int64_t iteration = 0;
  double start = 0, finish = 0;  // seconds
};

struct Simulation {
  double period = 0;               // seconds per iteration in the steady state, an average over residues
  double latency = 0;              // of the first iteration alone
  std::vector<double> busy;        // per lane, seconds per iteration
  // Why the compute lanes stood still, seconds per iteration: waiting for an instruction of lane l.
  std::vector<double> waits;
  std::vector<Span> spans;         // of the iterations asked for
};

// Simulates until the period settles. Spans of iterations [record_begin, record_end) are kept.
Simulation Simulate(const Program& program, int64_t record_begin = 0, int64_t record_end = 0);

}  // namespace zo2

#endif  // ZO2_PLANNER_SIMULATE_H_
