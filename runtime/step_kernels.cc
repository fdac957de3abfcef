#include "runtime/step_kernels.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

namespace zo2 {
namespace {

// One segment as the kernel wants it; owns what the arguments point to.
struct SegmentJob {
  kernels::PrepareArgs args;
  std::vector<kernels::BranchOut> branches;
  std::vector<std::vector<kernels::BranchTerm>> terms;
  int parts = 1;
};

void Describe(const PrepareJob& job, const Segment& segment, std::span<const kernels::PendingUpdate> pending,
              int threads, SegmentJob* out) {
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
  // Small enough that threads finish together, large enough that starting a part costs nothing.
  constexpr int64_t kPartElements = 1 << 15;
  const int64_t elements = (args.row_end - args.row_begin) * width;
  const int64_t parts = std::clamp<int64_t>(elements / kPartElements, 1, 4 * threads);
  // As many for each thread, where each has some.
  out->parts = static_cast<int>(threads == 1 ? 1 : parts < threads ? parts : (parts + threads - 1) / threads * threads);
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

Status PrepareTile(const PrepareJob& job, WorkerPool& workers) {
  const std::vector<kernels::PendingUpdate> pending = PendingUpdates(job);
  std::vector<SegmentJob> segments(job.tile->segments.size());
  int64_t parts = 0;
  for (size_t i = 0; i < segments.size(); ++i) {
    Describe(job, job.tile->segments[i], pending, workers.threads(), &segments[i]);
    parts += segments[i].parts;
  }
  workers.Run(parts, [&](int64_t part) {
    size_t i = 0;
    for (; part >= segments[i].parts; ++i) part -= segments[i].parts;
    kernels::PreparePart(segments[i].args, static_cast<int>(part), segments[i].parts);
  });
  return Status();
}

double MeanLoss(const LossPairs& pairs) {
  double sum = 0, count = 0;
  for (const double s : pairs.sum) sum += s;
  for (const double c : pairs.count) count += c;
  return sum / count;
}

void Gradient(const StepControl& control, std::span<const Branch> branches, std::span<const LossPairs> losses, int q,
              const RunParameters& parameters, StepRecord* record) {
  record->step = control.step;
  record->lr = control.lr;
  record->q = static_cast<uint32_t>(q);
  record->skipped = 0;
  double *plus = record->loss_plus(), *minus = record->loss_minus(), *g = record->g();
  for (int i = 0; i < q; ++i) plus[i] = minus[i] = std::numeric_limits<double>::quiet_NaN();
  for (size_t b = 0; b < branches.size(); ++b) {
    if (branches[b].terms.size() != 1) continue;  // only ± one direction has a place in the record
    const BranchTerm& term = branches[b].terms[0];
    if (term.sample < 0 || term.sample >= q) continue;
    (term.coefficient > 0 ? plus : minus)[term.sample] = MeanLoss(losses[b]);
  }
  for (int i = 0; i < q; ++i) {
    g[i] = (plus[i] - minus[i]) / (2 * parameters.eps);
    if (!std::isfinite(plus[i]) || !std::isfinite(minus[i]) || !std::isfinite(g[i])) record->skipped = 1;
    const double clip = parameters.clip_g;
    if (clip > 0 && g[i] > clip) g[i] = clip;
    if (clip > 0 && g[i] < -clip) g[i] = -clip;
  }
}

}  // namespace zo2
