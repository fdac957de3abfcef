// A second opinion on time: discrete events instead of the planner's recurrence, written from schedule.h alone.
//
// Lanes are workers with a queue; a clock jumps from event to event. At every instant each idle lane looks at its next
// instruction: it passes over it when its residues say so, starts it when every edge into it is passed, and waits
// otherwise. An instruction is passed when it is finished.
#ifndef ZO2_TESTS_PROPERTY_PLANNER_EVENT_SIMULATOR_H_
#define ZO2_TESTS_PROPERTY_PLANNER_EVENT_SIMULATOR_H_

#include <cstdint>
#include <vector>

#include "ir/schedule/schedule.h"

namespace zo2 {

struct EventRun {
  // [iteration][lane][instruction]: when it started and finished; -1 where it was passed over.
  std::vector<std::vector<std::vector<double>>> start, finish;
  std::vector<double> end;  // per iteration: when its last instruction was finished or passed over
  bool stuck = false;       // no lane can go on
};
EventRun RunEvents(const Program& program, int64_t iterations);

}  // namespace zo2

#endif  // ZO2_TESTS_PROPERTY_PLANNER_EVENT_SIMULATOR_H_
