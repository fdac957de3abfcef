// Tensors of safetensors files that go before a plan's places, by name.
//
// A tensor belongs to a weight whose canonical name, alias or place name it has; a weight that no tensor is named like
// also takes one that lacks the first one or two components of its name ("model.decoder.x" takes "decoder.x"), as long
// as what is left is still a path. A tensor may hold the transpose: its shape says so; of a square matrix the name of a
// transposed place does.
#ifndef ZO2_RUNTIME_WEIGHT_OVERRIDE_H_
#define ZO2_RUNTIME_WEIGHT_OVERRIDE_H_

#include <optional>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"

namespace zo2 {

struct WeightOverrides {
  std::vector<std::optional<Place>> places;  // per weight; files as they were opened
  std::vector<std::string> notes;
};

// `path` as ListSafetensors takes it. Errors: a tensor whose shape or dtype does not fit, two names of one weight whose
// tensors differ, no tensor named like any weight.
Result<WeightOverrides> FindOverrides(const std::vector<PlanWeight>& weights, const std::string& path);

}  // namespace zo2

#endif  // ZO2_RUNTIME_WEIGHT_OVERRIDE_H_
