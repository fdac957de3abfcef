// Budgets in which nothing fits: by how much, which smallest budget works, and what takes most of it.
#ifndef ZO2_PLANNER_SHORTAGE_H_
#define ZO2_PLANNER_SHORTAGE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ir/support/status.h"
#include "planner/emit.h"

namespace zo2 {

// One kind of bytes of a plan, and what makes them fewer.
struct MemoryPart {
  std::string name;    // "activations", "slots", ...
  uint64_t bytes = 0;  // temporary kinds: at their own peaks, which differ in time
  std::string help;    // "fewer rows per micro-batch (--micro)"; "" where nothing does
};

struct Shortage {
  std::string why;                 // the sentence
  std::string limit;               // "device memory" or "host memory"
  uint64_t needs = 0, budget = 0;  // bytes of that memory
  MemoryUse use;                   // of the smallest plan of what was asked for
  uint64_t smallest_budget =
      0;  // of the device, that works for what was asked; 0: unknown, the host is short too
  uint64_t smallest_of_all =
      0;  // ... for other decisions, where decisions were forced and others need less; else 0
  std::vector<MemoryPart> parts;  // of that memory, the largest first
};

// Device memory by kind, the largest first.
std::vector<MemoryPart> DeviceParts(const PlanInput& input, const MemoryUse& use);

// The error, with its one sentence. `use`: of the smallest decision of the strategy that was asked for;
// `with` names what was asked (" with --slots 8"), "" when nothing was. The whole goes to input.shortages
// where it is not null.
Status DoesNotFit(const PlanInput& input, const MemoryUse& use, const std::string& with);

}  // namespace zo2

#endif  // ZO2_PLANNER_SHORTAGE_H_
