// What `prepare` and `gradient` do, between the schedule's words and the kernels' (runtime/kernels): which records are
// pending, where a segment's bytes are, which coefficients its branches have. Formulas and bits: zo-noise v1.
#ifndef ZO2_RUNTIME_STEP_KERNELS_H_
#define ZO2_RUNTIME_STEP_KERNELS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/kernels/prepare.h"
#include "runtime/kernels/step_core.h"
#include "runtime/worker_pool.h"

namespace zo2 {

// The numbers of a run that the schedule leaves open; constant while it lasts. lr comes with every step.
struct RunParameters {
  uint64_t seed = 0;
  double eps = 1e-3;
  double weight_decay = 0;
  double clip_g = 0;  // g is clipped to [-clip_g, clip_g] before it is recorded; 0 = never
};

// A ring of StepRecords.
struct RecordRing {
  const std::byte* base = nullptr;
  uint64_t stride = 0;
  uint32_t ring = 1;
  const StepRecord& at(int64_t step) const {
    return *reinterpret_cast<const StepRecord*>(base + stride * (static_cast<uint64_t>(step) % ring));
  }
};

// The update that a record stands for; points into the record.
kernels::PendingUpdate Pending(const StepRecord& record);
// What kernels::Prepare has to know of a component whichever rectangle of it is prepared: its noise, its storage, and
// how the updates `pending` are applied to it. The run, replay and resume all take it from here.
kernels::PrepareArgs ComponentArgs(const Schedule& schedule, const PlanWeight& weight, const Component& component,
                                   const RunParameters& parameters, std::span<const kernels::PendingUpdate> pending);

// One tile: θ(version) + the updates of version .. step-1 -> master_out, and the branches at θ(step).
struct PrepareJob {
  const Schedule* schedule = nullptr;
  const Program* train = nullptr;  // whose records are pending (samples q); may be null when nothing ever is
  const Tile* tile = nullptr;
  const std::byte* source = nullptr;
  bool coded = false;                // the source is the tile's codes: what is pending is applied to the decoded values
  std::byte* master_out = nullptr;   // null: not written; may be the source
  // Gathered rows: the source and outputs hold only these rows of the tile's one segment, in this order.
  bool gathered = false;
  std::span<const int64_t> ids;
  std::span<std::byte* const> outputs;           // one per entry of branches
  std::span<const Branch* const> branches;
  int64_t version = 0, step = 0;                 // version == step: nothing is pending
  RecordRing records;
  const RunParameters* parameters = nullptr;
  uint64_t* saturated = nullptr;  // atomically += master elements cut to the largest finite value of their dtype
};
// Updates of version .. step-1, from the records.
std::vector<kernels::PendingUpdate> PendingUpdates(const PrepareJob& job);
// One segment of a tile as prepare takes it; owns what the arguments point to. May be moved, not copied.
struct SegmentArgs {
  kernels::PrepareArgs args;
  std::vector<kernels::BranchOut> branches;
  std::vector<std::vector<kernels::BranchTerm>> terms;

  SegmentArgs() = default;
  SegmentArgs(SegmentArgs&&) = default;
  SegmentArgs& operator=(SegmentArgs&&) = default;
};
// All segments of the job's tile, in order. `pending` is kept by reference, and left out where a component is frozen.
std::vector<SegmentArgs> LowerTile(const PrepareJob& job, std::span<const kernels::PendingUpdate> pending);
// The work is split over the pool's threads; bits do not depend on the split.
Status PrepareTile(const PrepareJob& job, WorkerPool& workers);

// Per branch: sums and counts per example, added in binary64 in the order of examples, divided once. Per sample i of q:
// loss_plus from the branch whose coefficient of it is positive, loss_minus from the negative one,
// g = (loss_plus - loss_minus) / (2 eps), clipped if asked. A loss or g that is not finite sets `skipped`.
struct LossPairs {
  std::span<const double> sum, count;
};
void Gradient(const StepControl& control, std::span<const Branch> branches, std::span<const LossPairs> losses, int q,
              const RunParameters& parameters, StepRecord* record);
// The division alone; NaN when no example counts.
double MeanLoss(const LossPairs& pairs);
// Only ± one direction has a place in the record.
bool HasPlace(const Branch& branch, int q);

}  // namespace zo2

#endif  // ZO2_RUNTIME_STEP_KERNELS_H_
