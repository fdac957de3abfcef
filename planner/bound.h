// No schedule of these kernels within these budgets is faster.
//
// Roofline: a step takes at least what its compute lane takes, and at least what the link takes to bring up the bytes
// that cannot be resident. Resident bytes are chosen as a continuous knapsack, for each lane the one that is best for
// it, in what the budget leaves after temporaries and one slot of the smallest tile. Write-backs every K steps trade
// downloads for updates applied again; the best K, or mixture of two neighbouring ones, is taken (unless the user
// forces one), the same for all tiles. Tiles may be split at will. A lower bound within the cost model. class_bound.h has
// a higher one: for all lanes at once, and one K.
#ifndef ZO2_PLANNER_BOUND_H_
#define ZO2_PLANNER_BOUND_H_

#include <string>

#include "planner/emit.h"

namespace zo2 {

class Z3Solver;

struct Bound {
  double seconds = 0;  // the larger of the two
  // lp: over class counts (class_bound.h); 0: not solved, as there is no Z3 or no time, or nothing fits
  double roofline = 0, lp = 0;
  bool capped = false;          // lp is not solved to the end, and may be less than it could
  double compute = 0, up = 0, down = 0, host = 0;  // seconds each resource needs at least
  double slots = 0;        // ... and the turnaround of slots, where the budget leaves room for one or two
  std::string binding;     // "compute", "h2d", "d2h", "host" or "slots"
  double resident_bytes = 0;  // of the relaxed choice
};

// What one iteration asks of each tile and lane, whatever is decided: of train, or of evaluate where there is no loss.
struct Demand {
  double compute = 0;        // compute lane, seconds, every update applied every step
  double calls = 0;          // of that, calls and the gradient
  std::vector<int> uploads;  // per tile: uploads in one iteration when it is streamed
  std::vector<bool> used;    // per tile: some call reads it
  std::vector<int> copied;   // per tile: of its uploads, those that no call reads in their slot
  std::vector<double> prepares;  // per tile: seconds of its prepares in `compute`
  int64_t instructions = 0;  // calls and prepares of one iteration, at least
  // The uses of tiles in one pass, in order, each with the compute lane's seconds until the next.
  struct Use {
    TileId tile = -1;
    double seconds = 0;
  };
  std::vector<Use> uses;
};
Demand MeasureDemand(const PlanInput& input);
Bound Roofline(const PlanInput& input, const Demand& demand, uint64_t budget);
// The roofline, raised by the bound over class counts if that is solved before input.deadline.
// `solver`: what has been used before is quicker; null: one of its own.
Bound LowerBound(const PlanInput& input, const Demand& demand, uint64_t budget, Z3Solver* solver = nullptr);

}  // namespace zo2

#endif  // ZO2_PLANNER_BOUND_H_
