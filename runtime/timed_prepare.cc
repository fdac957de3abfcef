#include "runtime/timed_prepare.h"

namespace zo2 {

TimedPrepare::TimedPrepare(DType dtype, Pool& pool, WorkerPool& workers)
    : workers_(workers),
      data_(pool.data()),
      bytes_(static_cast<uint64_t>(kElements * SizeOf(dtype))),
      masters_(data_ + 2 * bytes_),
      copies_(static_cast<int64_t>(pool.bytes() / bytes_) - 2) {
  StepRecord& r = *reinterpret_cast<StepRecord*>(record_);
  r.q = 1;
  r.lr = 1e-9;
  *r.g() = 1;
  train_.branches = {{{{0, 1.0}}}, {{{0, -1.0}}}};
  PlanWeight weight;
  weight.name = "profile";
  weight.shape = {kRows, kCols};
  weight.role = WeightRole::kMatrix;
  weight.components = {{"profile", 1, dtype, PlainWire(dtype), dtype, weight.shape, true}};
  schedule_.weights = {weight};
  tile_.name = "profile";
  tile_.segments = {{0, 0, 0, kRows, 0, kCols, 0, 0, 0}};
  tile_.bytes = tile_.wire_bytes = tile_.branch_bytes = bytes_;
  Fill({masters_, dtype, {copies_ * kElements}, {1}});
  for (int b = 0; b < 2; ++b) {
    branches_[b] = &train_.branches[static_cast<size_t>(b)];
    outputs_[b] = data_ + static_cast<uint64_t>(b) * bytes_;
  }
  job_.schedule = &schedule_;
  job_.train = &train_;
  job_.tile = &tile_;
  job_.records = {record_, 0, 1};
  job_.parameters = &parameters_;
}

void TimedPrepare::Fused() {
  job_.outputs = outputs_;
  job_.branches = branches_;
  job_.step = 1;
  Run();
}

void TimedPrepare::Update(int updates) {
  job_.outputs = {};
  job_.branches = {};
  job_.step = updates;
  Run();
}

void TimedPrepare::ReadBranches() { Touch(workers_, data_, 2 * bytes_); }

void TimedPrepare::Run() {
  job_.source = job_.master_out = masters_ + next_++ % copies_ * static_cast<int64_t>(bytes_);
  (void)PrepareTile(job_, workers_).ok();
}

}  // namespace zo2
