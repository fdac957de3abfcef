// When a run has gone wrong for good. Two rules, both over steps in a row, both a function of the steps since the very
// beginning, so a run that goes on from its journal stops where an undisturbed one would:
//
//   max_skips steps without a finite loss, or
//   high_steps steps whose loss was above loss_ratio times the largest of the run's first three.
//
// The second asks for every step, not for a mean: one monstrous batch stops nothing. It compares with the very first
// steps, because a learning rate that is far too large has done its work within ten. Three easy batches at the start
// are no danger: that 100 others, drawn like them, are all harder than these happens six times in a million. Steps
// without a finite loss are left out of it.
#ifndef ZO2_RUNTIME_DIVERGENCE_H_
#define ZO2_RUNTIME_DIVERGENCE_H_

#include <cstdint>

#include "ir/support/status.h"

namespace zo2 {

struct DivergenceLimits {
  int64_t max_skips = 10;  // >= 1
  double loss_ratio = 10;  // 0 = losses may rise without end
  int64_t high_steps = 100;
  // First losses below this count as this: a model that fits its data already may well lose tenfold of nearly nothing.
  double least_loss = 0;
};

class Divergence {
 public:
  explicit Divergence(const DivergenceLimits& limits) : limits_(limits) {}

  // The next step; loss: mean of its branches and samples.
  void Add(int64_t step, double loss, bool skipped);
  // How many more steps may be taken before a rule can be met; 0: one is met. So a caller with no more than this many
  // steps under way stops exactly where the rule says.
  int64_t Room() const;
  // kInvalid with what happened and what to do, when a rule is met.
  Status Check() const;

 private:
  const DivergenceLimits limits_;
  int64_t skips_in_row_ = 0, high_in_row_ = 0;
  int64_t first_steps_ = 0;  // finite ones among the first, so far
  double first_loss_ = 0;    // the largest of them
  int64_t last_step_ = -1;
  double last_loss_ = 0;  // the last finite one
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_DIVERGENCE_H_
