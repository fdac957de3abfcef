#include "runtime/cuda/gradient_launch.h"

#include <cstring>

#include "runtime/cuda/gradient_body.h"

namespace zo2::cuda {

Result<GradientLaunch> MakeGradientLaunch(DeviceCopies control, std::span<const Branch> branches,
                                          std::span<const LossPairs> losses, int q, const RunParameters& parameters,
                                          DeviceCopies record, const StepScalars* scalars) {
  if (branches.size() != losses.size())
    return Internal("gradient has ", branches.size(), " branches and losses of ", losses.size());
  if (scalars == nullptr && (control.ring > 1 || record.ring > 1))
    return Internal("gradient has a ring of ", control.ring > 1 ? control.ring : record.ring,
                    " copies and nothing to read the step from");
  GradientLaunch launch;
  for (size_t b = 0; b < branches.size(); ++b) {
    if (!HasPlace(branches[b], q)) continue;
    if (launch.loss_count == kMaxLosses)
      return Invalid("a step has the losses of more than ", kMaxLosses,
                     " branches, for which the GPU's gradient has no room; use fewer samples");
    const BranchTerm& term = branches[b].terms[0];
    launch.losses[launch.loss_count++] = {losses[b].sum.data(),
                                          losses[b].count.data(),
                                          static_cast<int64_t>(losses[b].sum.size()),
                                          static_cast<int64_t>(losses[b].count.size()),
                                          term.sample,
                                          term.coefficient > 0};
  }
  launch.scalars = scalars;
  launch.control = control.base;
  launch.control_stride = control.stride;
  launch.control_ring = control.ring;
  launch.record = record.base;
  launch.record_stride = record.stride;
  launch.record_ring = record.ring;
  launch.eps = parameters.eps;
  launch.clip = parameters.clip_g;
  launch.samples = q;
  return launch;
}

void RunOnHost(const GradientLaunch& launch, ThreadOrder order) {
  HostTeam<GradientState> team(kGradientThreads, order == ThreadOrder::kBackward);
  GradientShared shared;
  std::memset(static_cast<void*>(&shared), 0x5A, sizeof(shared));  // a block finds anything there
  GradientBody::Run(&launch, &shared, team);
}

}  // namespace zo2::cuda
