#include "runtime/step_kernels.h"

#include <algorithm>
#include <vector>

namespace zo2 {
namespace {

void Describe(const PrepareJob& job, const Segment& segment, std::span<const kernels::PendingUpdate> pending,
              SegmentArgs* out) {
  const PlanWeight& weight = job.schedule->weights[static_cast<size_t>(segment.weight)];
  const Component& component = weight.components[static_cast<size_t>(segment.component)];
  const int64_t width = segment.col_end - segment.col_begin;
  kernels::PrepareArgs& args = out->args;
  args = ComponentArgs(*job.schedule, weight, component, *job.parameters, pending);
  args.row_begin = segment.row_begin;
  args.row_end = segment.row_end;
  if (job.gathered) {
    args.row_begin = 0;
    args.row_end = static_cast<int64_t>(job.ids.size());
    args.row_ids = job.ids.data();
  }
  args.col_begin = segment.col_begin;
  args.col_end = segment.col_end;
  args.source = job.source + (job.coded ? segment.wire_offset : segment.offset);
  args.source_row_stride = args.master_row_stride = width;
  if (job.coded) {
    args.coded = true;
    args.wire = component.wire;
    args.wire_rows = segment.row_end - segment.row_begin;
    args.wire_cols = width;
  }
  args.master_out = job.master_out == nullptr ? nullptr : job.master_out + segment.offset;
  args.saturated = job.saturated;
  const int64_t q = job.train == nullptr ? 1 : job.train->samples;
  out->terms.resize(job.branches.size());
  for (size_t b = 0; b < job.branches.size(); ++b) {
    if (component.trainable)
      for (const BranchTerm& term : job.branches[b]->terms)
        out->terms[b].push_back({static_cast<uint64_t>(job.step * q + term.sample),
                                 kernels::BranchCoefficient(term.coefficient, job.parameters->eps, weight.eps_mul)});
    out->branches.push_back({job.outputs[b] + segment.branch_offset, width, component.compute, out->terms[b]});
  }
  args.branches = out->branches;
}

// Into how many parts `threads` threads share a segment.
int PartsOf(const kernels::PrepareArgs& args, int threads) {
  // Small enough that threads finish together, large enough that starting a part costs nothing.
  constexpr int64_t kPartElements = 1 << 15;
  const int64_t elements = (args.row_end - args.row_begin) * (args.col_end - args.col_begin);
  const int64_t parts = std::clamp<int64_t>(elements / kPartElements, 1, 4 * threads);
  // As many for each thread, where each has some.
  return static_cast<int>(threads == 1 ? 1 : parts < threads ? parts : (parts + threads - 1) / threads * threads);
}

}  // namespace

kernels::PendingUpdate Pending(const StepRecord& record) {
  return {record.step, record.lr, record.skipped != 0, static_cast<int>(record.q), record.g()};
}

kernels::PrepareArgs ComponentArgs(const Schedule& schedule, const PlanWeight& weight, const Component& component,
                                   const RunParameters& parameters, std::span<const kernels::PendingUpdate> pending) {
  kernels::PrepareArgs args;
  args.seed = parameters.seed;
  args.tensor_id = component.tensor_id;
  args.cols_logical = weight.cols();
  args.storage = component.storage;
  if (component.trainable) args.pending = pending;
  args.lr_mul = weight.lr_mul;
  args.weight_decay = weight.decay ? parameters.weight_decay : 0;
  args.rounding =
      schedule.rounding == Rounding::kNearest ? kernels::Rounding::kNearest : kernels::Rounding::kStochastic;
  args.rademacher = schedule.rademacher;
  return args;
}

std::vector<kernels::PendingUpdate> PendingUpdates(const PrepareJob& job) {
  std::vector<kernels::PendingUpdate> pending;
  for (int64_t s = job.version; s < job.step; ++s) pending.push_back(Pending(job.records.at(s)));
  return pending;
}

std::vector<SegmentArgs> LowerTile(const PrepareJob& job, std::span<const kernels::PendingUpdate> pending) {
  std::vector<SegmentArgs> segments(job.tile->segments.size());
  for (size_t i = 0; i < segments.size(); ++i) Describe(job, job.tile->segments[i], pending, &segments[i]);
  return segments;
}

Status PrepareTile(const PrepareJob& job, WorkerPool& workers) {
  const std::vector<kernels::PendingUpdate> pending = PendingUpdates(job);
  const std::vector<SegmentArgs> segments = LowerTile(job, pending);
  std::vector<int> parts;
  int64_t total = 0;
  for (const SegmentArgs& segment : segments) {
    parts.push_back(PartsOf(segment.args, workers.threads()));
    total += parts.back();
  }
  workers.Run(total, [&](int64_t part) {
    size_t i = 0;
    for (; part >= parts[i]; ++i) part -= parts[i];
    kernels::PreparePart(segments[i].args, static_cast<int>(part), parts[i]);
  });
  return Status();
}

double MeanLoss(const LossPairs& pairs) {
  const double sum = kernels::AddInOrder(0, pairs.sum.data(), static_cast<int64_t>(pairs.sum.size()));
  const double count = kernels::AddInOrder(0, pairs.count.data(), static_cast<int64_t>(pairs.count.size()));
  return kernels::Div64(sum, count);
}

bool HasPlace(const Branch& branch, int q) {
  return branch.terms.size() == 1 && branch.terms[0].sample >= 0 && branch.terms[0].sample < q;
}

void Gradient(const StepControl& control, std::span<const Branch> branches, std::span<const LossPairs> losses, int q,
              const RunParameters& parameters, StepRecord* record) {
  record->step = control.step;
  record->lr = control.lr;
  record->q = static_cast<uint32_t>(q);
  double *plus = record->loss_plus(), *minus = record->loss_minus();
  for (int i = 0; i < q; ++i) plus[i] = minus[i] = kernels::QuietNan64();
  for (size_t b = 0; b < branches.size(); ++b) {
    if (!HasPlace(branches[b], q)) continue;
    const BranchTerm& term = branches[b].terms[0];
    (term.coefficient > 0 ? plus : minus)[term.sample] = MeanLoss(losses[b]);
  }
  record->skipped =
      kernels::ProjectedGradients(plus, minus, q, parameters.eps, parameters.clip_g, record->g()) ? 0 : 1;
}

}  // namespace zo2
