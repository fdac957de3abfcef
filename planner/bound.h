// No schedule of these kernels within these budgets is faster.
//
// Roofline: a step takes at least what its compute lane takes, and at least what the link takes to bring up the bytes
// that cannot be resident. Resident bytes are chosen as a continuous knapsack, for each lane the one that is best for
// it, in what the budget leaves after temporaries and one slot of the smallest tile. Write-backs every K steps trade
// downloads for updates applied again; the best K, or mixture of two neighbouring ones, is taken (unless the user
// forces one), the same for all tiles. Tiles may be split at will. A lower bound within the cost model.
#ifndef ZO2_PLANNER_BOUND_H_
#define ZO2_PLANNER_BOUND_H_

#include <string>

#include "planner/emit.h"

namespace zo2 {

struct Bound {
  double seconds = 0;
  double compute = 0, up = 0, down = 0;  // seconds each resource needs at least
  std::string binding;                   // "compute", "h2d" or "d2h"
  double resident_bytes = 0;             // of the relaxed choice
};

// What one iteration asks of each tile and lane, whatever is decided: of train, or of evaluate where there is no loss.
struct Demand {
  double compute = 0;        // compute lane, seconds, every update applied every step
  std::vector<int> uploads;  // per tile: uploads in one iteration when it is streamed
  int64_t instructions = 0;  // calls and prepares of one iteration, at least
  // The uses of tiles in one pass, in order, each with the compute lane's seconds until the next.
  struct Use {
    TileId tile = -1;
    double seconds = 0;
  };
  std::vector<Use> uses;
};
Demand MeasureDemand(const PlanInput& input);
Bound LowerBound(const PlanInput& input, const Demand& demand, uint64_t budget);

}  // namespace zo2

#endif  // ZO2_PLANNER_BOUND_H_
