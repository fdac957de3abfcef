#include "runtime/timed_prepare.h"

namespace zo2 {

PrepareCase::PrepareCase(DType dtype, int64_t rows, int64_t cols)
    : bytes(static_cast<uint64_t>(rows * cols * SizeOf(dtype))) {
  StepRecord& r = *reinterpret_cast<StepRecord*>(record);
  r.q = 1;
  r.lr = 1e-9;
  *r.g() = 1;
  train.branches = {{{{0, 1.0}}}, {{{0, -1.0}}}};
  PlanWeight weight;
  weight.name = "profile";
  weight.shape = {rows, cols};
  weight.role = WeightRole::kMatrix;
  weight.components = {{"profile", 1, dtype, PlainWire(dtype), dtype, weight.shape, true}};
  schedule.weights = {weight};
  tile.name = "profile";
  tile.segments = {{0, 0, 0, rows, 0, cols, 0, 0, 0}};
  tile.bytes = tile.wire_bytes = tile.branch_bytes = bytes;
  for (int b = 0; b < 2; ++b) branches[b] = &train.branches[static_cast<size_t>(b)];
  job.schedule = &schedule;
  job.train = &train;
  job.tile = &tile;
  job.parameters = &parameters;
  job.branches = branches;
  job.step = 1;
}

TimedPrepare::TimedPrepare(DType dtype, Pool& pool, WorkerPool& workers)
    : workers_(workers),
      case_(dtype, kRows, kCols),
      data_(pool.data()),
      masters_(data_ + 2 * case_.bytes),
      copies_(static_cast<int64_t>(pool.bytes() / case_.bytes) - 2) {
  Fill({masters_, dtype, {copies_ * kElements}, {1}});
  for (int b = 0; b < 2; ++b) outputs_[b] = data_ + static_cast<uint64_t>(b) * case_.bytes;
  case_.job.records = {case_.record, 0, 1};
}

void TimedPrepare::Fused() {
  case_.job.outputs = outputs_;
  case_.job.branches = case_.branches;
  case_.job.step = 1;
  Run();
}

void TimedPrepare::Update(int updates) {
  case_.job.outputs = {};
  case_.job.branches = {};
  case_.job.step = updates;
  Run();
}

void TimedPrepare::ReadBranches() { Touch(workers_, data_, 2 * case_.bytes); }

void TimedPrepare::Run() {
  case_.job.source = case_.job.master_out = masters_ + next_++ % copies_ * static_cast<int64_t>(case_.bytes);
  (void)PrepareTile(case_.job, workers_).ok();
}

}  // namespace zo2
