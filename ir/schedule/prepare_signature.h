// The text by which measured prepares are looked up: zo2-run profile writes it, the planner reads it.
#ifndef ZO2_IR_SCHEDULE_PREPARE_SIGNATURE_H_
#define ZO2_IR_SCHEDULE_PREPARE_SIGNATURE_H_

#include <string>
#include <vector>

#include "ir/schedule/schedule.h"

namespace zo2 {

// "prepare(f32>bf16[64,256])": the rectangles of a tile, from storage to compute dtype. `weights` are the schedule's.
std::string PrepareSignature(const Tile& tile, const std::vector<PlanWeight>& weights);

}  // namespace zo2

#endif  // ZO2_IR_SCHEDULE_PREPARE_SIGNATURE_H_
