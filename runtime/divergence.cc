#include "runtime/divergence.h"

#include <algorithm>
#include <cmath>

namespace zo2 {
namespace {

constexpr int64_t kFirstSteps = 3;

}  // namespace

void Divergence::Add(int64_t step, double loss, bool skipped) {
  last_step_ = step;
  skips_in_row_ = skipped ? skips_in_row_ + 1 : 0;
  if (skipped || !std::isfinite(loss)) return;
  last_loss_ = loss;
  if (first_steps_ < kFirstSteps) {
    first_loss_ = first_steps_++ == 0 ? loss : std::max(first_loss_, loss);
    return;
  }
  const double most = limits_.loss_ratio * std::max(first_loss_, limits_.least_loss);
  high_in_row_ = most > 0 && loss > most ? high_in_row_ + 1 : 0;
}

int64_t Divergence::Room() const {
  const int64_t until_skips = limits_.max_skips - skips_in_row_;
  const int64_t until_high = limits_.loss_ratio > 0 ? limits_.high_steps - high_in_row_ : until_skips;
  return std::max<int64_t>(0, std::min(until_skips, until_high));
}

Status Divergence::Check() const {
  if (skips_in_row_ >= limits_.max_skips)
    return Invalid("the loss was not finite in ", skips_in_row_, " steps in a row, the last of them step ", last_step_,
                   ": lower --lr or --eps, look at the data, or raise --max-skips");
  if (Room() == 0)
    return Invalid("the training diverged: after a loss of ", first_loss_, " at the start it was more than ",
                   limits_.loss_ratio, " times that in ", high_in_row_, " steps in a row, the last of them step ",
                   last_step_, " with ", last_loss_, ": start again with a lower --lr, or raise --stop-loss-ratio");
  return Status();
}

}  // namespace zo2
