// Closed form of the period of a decision: what strategies rank thousands of decisions by before a few are simulated.
//
// The largest of what each lane takes, and of the slots' turnaround: a streamed tile holds a slot while it is uploaded,
// prepared and written back, so S slots pass a step's tiles in no less than the sum of those times / S. A compute lane
// that is never idle also loses what all copies beside it cost it (simulate.h, Predict).
#ifndef ZO2_PLANNER_ESTIMATE_H_
#define ZO2_PLANNER_ESTIMATE_H_

#include <map>
#include <vector>

#include "planner/bound.h"
#include "planner/emit.h"

namespace zo2 {

// Seconds per step that one streamed tile takes of each lane when masters are written back every K steps.
struct StreamedCost {
  double up = 0, down = 0;            // copies
  double up_wire = 0, down_wire = 0;  // of those, without the latency
  double prepares = 0;                // compute lane
  double hold = 0;                    // of a slot, copies apart
  double extra = 0;                   // compute lane, on top of Demand::compute
  double tax = 0;                     // of that lane's time, lost to the copies
  double host = 0;                    // host updates
};
// Of a trained tile in wire form, as emit_tiles.cc emits it.
StreamedCost CostOfCoded(const PlanInput& input, const Demand& demand, TileId tile, double every);

class Estimator {
 public:
  Estimator(const PlanInput& input, const Demand& demand);

  double Period(const Decision& decision);  // seconds

  using Cost = StreamedCost;
  // Tiles of one class here have one cost.
  int ClassOf(TileId tile) const { return class_of_[static_cast<size_t>(tile)]; }
  const std::vector<Cost>& Costs(int every);  // per class

 private:
  const PlanInput& in_;
  const Demand& demand_;
  std::vector<int> class_of_;
  std::vector<TileId> first_;  // of each class
  std::map<int, std::vector<Cost>> costs_;
};

}  // namespace zo2

#endif  // ZO2_PLANNER_ESTIMATE_H_
