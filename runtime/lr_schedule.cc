#include "runtime/lr_schedule.h"

#include <algorithm>
#include <cmath>

namespace zo2 {

Result<LrShape> ParseLrShape(const std::string& name) {
  if (name == "constant") return LrShape::kConstant;
  if (name == "linear") return LrShape::kLinear;
  if (name == "cosine") return LrShape::kCosine;
  return Invalid("there is no learning-rate schedule '", name, "': use constant, linear or cosine");
}

double LrSchedule::At(int64_t step) const {
  if (step < warmup) return lr * static_cast<double>(step + 1) / static_cast<double>(warmup);
  if (shape == LrShape::kConstant || total <= warmup) return lr;
  const double done = std::min(1.0, static_cast<double>(step - warmup) / static_cast<double>(total - warmup));
  if (shape == LrShape::kLinear) return lr * (1 - done);
  return lr * 0.5 * (1 + std::cos(3.14159265358979323846 * done));
}

}  // namespace zo2
