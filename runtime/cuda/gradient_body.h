// The body of the gradient kernel. Included by gradient.cu for the GPU and by gradient_launch.cc for the host.
//
// One block. Losses are added in the order of examples, as the host adds them: the block copies a stretch of up to
// kLists lists into shared memory, then one thread per list adds it. The last of it, a few divisions, is one thread's.
#ifndef ZO2_RUNTIME_CUDA_GRADIENT_BODY_H_
#define ZO2_RUNTIME_CUDA_GRADIENT_BODY_H_

#include <cstdint>

#include "runtime/cuda/gradient_launch.h"
#include "runtime/cuda/team.h"
#include "runtime/kernels/step_core.h"

namespace zo2::cuda {

constexpr int kLists = 16;     // at a time
constexpr int kStretch = 128;  // numbers of each

struct GradientShared {
  double stretch[kLists][kStretch + 1];  // the odd length keeps lists in different banks
  double totals[2 * kMaxLosses];         // of list 2 l the sum of losses[l], of list 2 l + 1 its count
};

struct GradientState {
  double sum;
};

struct GradientBody {
  using State = GradientState;

  static ZO2_HD const double* ListOf(const GradientLaunch& launch, int list, int64_t* length) {
    const BranchLosses& losses = launch.losses[list / 2];
    *length = list % 2 == 0 ? losses.sums : losses.counts;
    return list % 2 == 0 ? losses.sum : losses.count;
  }

  // Numbers [from, from + kStretch) of lists first, first + 1, ...
  static ZO2_HD void Stage(const GradientLaunch& launch, int first, int64_t from, int thread, GradientShared* shared) {
    for (int i = thread; i < kLists * kStretch; i += kGradientThreads) {
      const int list = first + i / kStretch;
      if (list >= 2 * launch.loss_count) return;
      int64_t length;
      const double* numbers = ListOf(launch, list, &length);
      const int64_t at = from + i % kStretch;
      if (at < length) shared->stretch[i / kStretch][i % kStretch] = numbers[at];
    }
  }

  static ZO2_HD void AddStretch(const GradientLaunch& launch, int first, int64_t from, int thread,
                                GradientShared* shared, State& s) {
    const int list = first + thread;
    if (thread >= kLists || list >= 2 * launch.loss_count) return;
    if (from == 0) s.sum = 0;
    int64_t length;
    ListOf(launch, list, &length);
    const int64_t left = length - from;
    if (left > 0) s.sum = kernels::AddInOrder(s.sum, shared->stretch[thread], left < kStretch ? left : kStretch);
    shared->totals[list] = s.sum;
  }

  static ZO2_HD void Record(const GradientLaunch& launch, int thread, const GradientShared& shared) {
    if (thread != 0) return;
    const bool rings = launch.control_ring > 1 || launch.record_ring > 1;
    const uint64_t step = rings ? static_cast<uint64_t>(launch.scalars->step) : 0;
    const StepControl& control =
        *reinterpret_cast<const StepControl*>(launch.control + launch.control_stride * (step % launch.control_ring));
    StepRecord& record =
        *reinterpret_cast<StepRecord*>(launch.record + launch.record_stride * (step % launch.record_ring));
    const int q = launch.samples;
    double* plus = reinterpret_cast<double*>(&record + 1);
    double *minus = plus + q, *g = minus + q;
    for (int i = 0; i < q; ++i) plus[i] = minus[i] = kernels::QuietNan64();
    for (int l = 0; l < launch.loss_count; ++l) {
      const BranchLosses& losses = launch.losses[l];
      (losses.plus ? plus : minus)[losses.sample] = kernels::Div64(shared.totals[2 * l], shared.totals[2 * l + 1]);
    }
    record.step = control.step;
    record.lr = control.lr;
    record.q = static_cast<uint32_t>(q);
    record.skipped = kernels::ProjectedGradients(plus, minus, q, launch.eps, launch.clip, g) ? 0 : 1;
  }

  template <class Team>
  static ZO2_HD void Run(const GradientLaunch* launch, GradientShared* shared, Team& team) {
    for (int first = 0; first < 2 * launch->loss_count; first += kLists) {
      int64_t longest = 1;  // once at least, so that empty lists have a total
      for (int list = first; list < first + kLists && list < 2 * launch->loss_count; ++list) {
        int64_t length;
        ListOf(*launch, list, &length);
        if (length > longest) longest = length;
      }
      for (int64_t from = 0; from < longest; from += kStretch) {
        team.Sync();
        team.Each([=](int thread, State&) { Stage(*launch, first, from, thread, shared); });
        team.Sync();
        team.Each([=](int thread, State& s) { AddStretch(*launch, first, from, thread, shared, s); });
      }
    }
    team.Sync();
    team.Each([=](int thread, State&) { Record(*launch, thread, *shared); });
    team.Sync();
  }
};

}  // namespace zo2::cuda

#endif  // ZO2_RUNTIME_CUDA_GRADIENT_BODY_H_
