#include "runtime/cuda/prepare_launch.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <utility>

#include "runtime/cuda/prepare_body.h"
#include "runtime/kernels/codec_lower.h"

namespace zo2::cuda {
namespace {

bool IsKnown(DType dtype) { return dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16; }

// What all launches of the job have in common.
Result<PrepareLaunch> Common(const PrepareJob& job, const RecordRing& ring, const StepScalars* scalars) {
  if (job.branches.size() != job.outputs.size())
    return Internal("prepare of ", job.tile->name, " has ", job.branches.size(), " branches and ", job.outputs.size(),
                    " outputs");
  if (scalars == nullptr) return Internal("prepare of ", job.tile->name, " has nothing to read the step from");
  if (job.branches.size() > kMaxOutputs)
    return Invalid("a prepare of ", job.tile->name, " emits ", job.branches.size(),
                   " branches; the GPU's kernel has room for ", kMaxOutputs);
  size_t terms = 0;
  for (const Branch* branch : job.branches) terms += branch->terms.size();
  if (terms > kMaxTerms)
    return Invalid("the branches of a prepare of ", job.tile->name, " have ", terms,
                   " terms; the GPU's kernel has room for ", kMaxTerms);
  PrepareLaunch launch;
  // Branches that begin with the same sample come one after another, so that its noise is drawn once.
  std::vector<size_t> order(job.branches.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto first = [&](size_t b) { return job.branches[b]->terms.empty() ? -1 : job.branches[b]->terms[0].sample; };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return first(a) < first(b); });
  for (const size_t b : order) {
    PrepareOutput& output = launch.outputs[launch.output_count++];
    output.data = job.outputs[b];
    output.term_begin = launch.term_count;
    for (const BranchTerm& term : job.branches[b]->terms)
      launch.terms[launch.term_count++] = {term.coefficient, term.sample};
    output.term_end = launch.term_count;
  }
  launch.scalars = scalars;
  launch.ids = job.gathered ? job.ids.data() : nullptr;
  launch.saturated = job.saturated;
  launch.records = {ring.base, ring.stride, ring.ring};
  launch.seed = job.parameters->seed;
  launch.eps = job.parameters->eps;
  launch.samples = job.train == nullptr ? 1 : job.train->samples;
  launch.rademacher = job.schedule->rademacher;
  launch.stochastic = job.schedule->rounding == zo2::Rounding::kStochastic;
  return launch;
}

Wire SourceOf(const kernels::PrepareArgs& args) {
  return static_cast<Wire>(args.coded ? args.wire : PlainWire(args.storage));
}

// The most runs that cover a row: where its first element lies in its run may differ from row to row.
int64_t UnitsOfRow(const kernels::PrepareArgs& args, int64_t rows, int64_t width, int64_t run) {
  int64_t before = run - 1;  // elements of the first run that are not in the rectangle
  if (args.cols_logical % run == 0) {
    before = args.col_begin % run;
  } else if (rows == 1 && args.row_ids == nullptr) {
    before = (args.row_begin % run * (args.cols_logical % run) + args.col_begin % run) % run;
  }
  return (before + width + run - 1) / run;
}

Result<PrepareRect> MakeRect(const PrepareJob& job, const Segment& segment, const kernels::PrepareArgs& args) {
  const PlanWeight& weight = job.schedule->weights[static_cast<size_t>(segment.weight)];
  const Component& component = weight.components[static_cast<size_t>(segment.component)];
  if (!IsKnown(component.storage) || !IsKnown(component.compute))
    return Invalid(component.name, " is stored as ", Name(component.storage), " and computed with as ",
                   Name(component.compute), ", which the GPU's prepare does not know");
  PrepareRect rect;
  rect.rows = args.row_end - args.row_begin;
  rect.width = args.col_end - args.col_begin;
  rect.cols_logical = args.cols_logical;
  rect.row_begin = args.row_begin;
  rect.col_begin = args.col_begin;
  rect.id_begin = segment.row_begin;
  rect.id_end = segment.row_end;
  bool dense = args.row_ids == nullptr && rect.width == rect.cols_logical;
  if (args.coded) {
    const kernels::CodedRows codes =
        kernels::Rows(args.wire, args.wire_rows, args.wire_cols, const_cast<void*>(args.source));
    rect.source = reinterpret_cast<const std::byte*>(codes.codes);
    rect.source_stride = codes.row_bytes;
    rect.scales = codes.scales;
    rect.scales_stride = codes.row_groups;
    dense = dense && (!IsCoded(args.wire) || args.wire_cols % kWireGroup == 0);
  } else {
    rect.source = static_cast<const std::byte*>(args.source);
    rect.source_stride = args.source_row_stride * SizeOf(args.storage);
  }
  rect.master = static_cast<std::byte*>(args.master_out);
  rect.master_stride = args.master_row_stride * SizeOf(args.storage);
  rect.branch_offset = segment.branch_offset;
  rect.branch_stride = rect.width * SizeOf(component.compute);
  rect.eps_mul = weight.eps_mul;
  rect.lr_mul = args.lr_mul;
  rect.weight_decay = args.weight_decay;
  rect.tensor_id = args.tensor_id;
  rect.compute = kernels::StorageOf(component.compute);
  rect.trainable = component.trainable;
  if (dense) {
    rect.width *= rect.rows;
    rect.rows = 1;
  }
  rect.units = UnitsOfRow(args, rect.rows, rect.width, RunOf(SourceOf(args)));
  if (rect.rows > 1 && rect.units > INT64_C(0xFFFFFFFF) / rect.rows)
    return Invalid("tile ", job.tile->name, " has ", args.row_end - args.row_begin, " x ", rect.width, " elements of ",
                   component.name, ", more than one launch on a GPU takes; use smaller tiles");
  return rect;
}

// Blocks for each rectangle by its share of the work.
void Distribute(int blocks, PrepareLaunch* launch) {
  int64_t total = 0;
  for (int r = 0; r < launch->rect_count; ++r) total += launch->rects[r].rows * launch->rects[r].units;
  launch->blocks = 0;
  for (int r = 0; r < launch->rect_count; ++r) {
    PrepareRect& rect = launch->rects[r];
    const int64_t units = rect.rows * rect.units;
    const double share = static_cast<double>(units) / static_cast<double>(total) * blocks;
    const int64_t needed = (units + kPrepareThreads - 1) / kPrepareThreads;
    rect.block_begin = launch->blocks;
    launch->blocks += static_cast<int32_t>(std::clamp<int64_t>(static_cast<int64_t>(share), 1, needed));
    rect.block_end = launch->blocks;
  }
}

}  // namespace

Result<std::vector<PrepareLaunch>> MakePrepareLaunches(const PrepareJob& job, const RecordRing& device_ring,
                                                       const StepScalars* scalars, int blocks) {
  ZO2_ASSIGN(PrepareLaunch common, Common(job, device_ring, scalars));
  std::vector<PrepareLaunch> launches;
  const std::vector<SegmentArgs> segments = LowerTile(job, {});
  for (size_t i = 0; i < segments.size(); ++i) {
    const kernels::PrepareArgs& args = segments[i].args;
    if (args.row_end <= args.row_begin || args.col_end <= args.col_begin) continue;
    ZO2_ASSIGN(PrepareRect rect, MakeRect(job, job.tile->segments[i], args));
    const Wire source = SourceOf(args);
    const bool rounds = !args.coded && source != Wire::kF32;
    if (launches.empty() || launches.back().rect_count == kMaxRects || launches.back().source != source ||
        launches.back().rounds != rounds) {
      launches.push_back(common);
      launches.back().source = source;
      launches.back().rounds = rounds;
    }
    launches.back().rects[launches.back().rect_count++] = rect;
  }
  for (PrepareLaunch& launch : launches) Distribute(std::max(blocks, 1), &launch);
  return launches;
}

void RunOnHost(const PrepareLaunch& launch, ThreadOrder order) {
  WithPrepareBody(launch, [&](auto body) {
    using Body = decltype(body);
    HostTeam<typename Body::State> team(kPrepareThreads, order == ThreadOrder::kBackward);
    PrepareShared shared;
    std::memset(static_cast<void*>(&shared), 0x5A, sizeof(shared));  // a block finds anything there
    for (int block = 0; block < launch.blocks; ++block) Body::Run(&launch, block, &shared, team);
  });
}

}  // namespace zo2::cuda
