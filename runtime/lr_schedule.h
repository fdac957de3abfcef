// The learning rate of each step: a linear warm-up, then constant, linear to 0, or half a cosine to 0.
#ifndef ZO2_RUNTIME_LR_SCHEDULE_H_
#define ZO2_RUNTIME_LR_SCHEDULE_H_

#include <cstdint>
#include <string>

#include "ir/support/status.h"

namespace zo2 {

enum class LrShape : uint8_t { kConstant, kLinear, kCosine };
Result<LrShape> ParseLrShape(const std::string& name);  // "constant", "linear", "cosine"

struct LrSchedule {
  LrShape shape = LrShape::kConstant;
  double lr = 1e-6;        // after the warm-up
  int64_t warmup = 0;      // steps; step s of them has lr · (s + 1) / warmup
  int64_t total = 0;       // steps of the run: the shape reaches 0 there
  double At(int64_t step) const;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_LR_SCHEDULE_H_
