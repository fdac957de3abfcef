// Closed form of the period of a decision: what strategies rank thousands of decisions by before a few are simulated.
//
// The largest of what each lane takes, and of the slots' turnaround: a streamed tile holds a slot while it is uploaded,
// prepared and written back, so S slots pass a step's tiles in no less than the sum of those times / S.
#ifndef ZO2_PLANNER_ESTIMATE_H_
#define ZO2_PLANNER_ESTIMATE_H_

#include <map>
#include <vector>

#include "planner/bound.h"
#include "planner/emit.h"

namespace zo2 {

class Estimator {
 public:
  Estimator(const PlanInput& input, const Demand& demand);

  double Period(const Decision& decision);  // seconds

  // Seconds per step that one streamed tile takes of each lane when masters are written back every K steps.
  struct Cost {
    double up = 0, down = 0;            // copies
    double up_wire = 0, down_wire = 0;  // of those, without the latency
    double hold = 0;                    // of a slot, copies apart
    double extra = 0;                   // compute lane, on top of Demand::compute
  };
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
