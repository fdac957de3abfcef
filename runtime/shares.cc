#include "runtime/shares.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/kernels/prepare.h"
#include "runtime/number.h"
#include "runtime/step_kernels.h"

namespace zo2 {
namespace {

constexpr int64_t kBands = 8;

// Elements of a narrow type as the exact floats they are.
void Widen(const std::byte* from, DType dtype, std::vector<float>* to) {
  Convert(NumberOf(dtype), from, static_cast<int64_t>(to->size()), DType::kF32,
          reinterpret_cast<std::byte*>(to->data()));
}

// Rows [row_begin, row_end) of one weight.
class Band {
 public:
  Band(const Schedule& schedule, int32_t w, const RunParameters& parameters, int64_t row_begin,
       int64_t row_end)
      : schedule_(schedule),
        weight_(schedule.weights[static_cast<size_t>(w)]),
        component_(weight_.components[0]),
        parameters_(parameters),
        begin_(row_begin),
        end_(row_end),
        n_(static_cast<size_t>((row_end - row_begin) * weight_.cols())),
        theta_(n_ * static_cast<size_t>(SizeOf(component_.storage))),
        next_(theta_.size()) {}

  Status Read(const WeightReader& read, int32_t w) {
    return read(w, begin_, end_, 0, weight_.cols(), theta_.data());
  }

  void Update(const StepRecord& record, Share* share) {
    if (record.skipped != 0) return;
    const kernels::PendingUpdate update = Pending(record);
    kernels::PrepareArgs args = Args({&update, 1});
    args.source = theta_.data();
    args.master_out = next_.data();
    kernels::Prepare(args);
    // The same update of nothing, in f32 and without decay, is the sum of c z alone.
    std::vector<float> zero(n_), sum(n_), before(n_), after(n_);
    kernels::PrepareArgs wanted = Args({&update, 1});
    wanted.storage = DType::kF32;
    wanted.weight_decay = 0;
    wanted.source = zero.data();
    wanted.master_out = sum.data();
    kernels::Prepare(wanted);
    Widen(theta_.data(), component_.storage, &before);
    Widen(next_.data(), component_.storage, &after);
    const double decay =
        args.weight_decay != 0 ? double{kernels::DecayFactor(record.lr, args.weight_decay)} - 1 : 0.0;
    for (size_t i = 0; i < n_; ++i)
      share->Add(double{sum[i]} + decay * double{before[i]}, double{after[i]} - double{before[i]});
    theta_.swap(next_);
  }

  void Perturb(uint64_t direction, Share* share) {
    const float c = kernels::BranchCoefficient(1, parameters_.eps, weight_.eps_mul);
    const kernels::BranchTerm plus = {direction, c}, minus = {direction, -c};
    const auto size = static_cast<size_t>(SizeOf(component_.compute));
    std::vector<std::byte> x_plus(n_ * size), x_minus(n_ * size);
    const std::vector<kernels::BranchOut> both = {
        {x_plus.data(), weight_.cols(), component_.compute, {&plus, 1}},
        {x_minus.data(), weight_.cols(), component_.compute, {&minus, 1}}};
    kernels::PrepareArgs args = Args({});
    args.source = theta_.data();
    args.branches = both;
    kernels::Prepare(args);
    std::vector<float> zero(n_), wanted(n_), up(n_), down(n_);
    const kernels::BranchOut alone = {wanted.data(), weight_.cols(), DType::kF32, {&plus, 1}};
    args.storage = DType::kF32;
    args.source = zero.data();
    args.branches = {&alone, 1};
    kernels::Prepare(args);
    Widen(x_plus.data(), component_.compute, &up);
    Widen(x_minus.data(), component_.compute, &down);
    for (size_t i = 0; i < n_; ++i) share->Add(double{wanted[i]}, (double{up[i]} - double{down[i]}) / 2);
  }

 private:
  kernels::PrepareArgs Args(std::span<const kernels::PendingUpdate> pending) const {
    kernels::PrepareArgs args = ComponentArgs(schedule_, weight_, component_, parameters_, pending);
    args.row_begin = begin_;
    args.row_end = end_;
    args.col_end = args.source_row_stride = args.master_row_stride = weight_.cols();
    return args;
  }

  const Schedule& schedule_;
  const PlanWeight& weight_;
  const Component& component_;
  const RunParameters& parameters_;
  const int64_t begin_, end_;
  const size_t n_;
  std::vector<std::byte> theta_, next_;
};

}  // namespace

void Share::Add(double d, double r) {
  dd += d * d;
  rd += r * d;
  rrdd += r * r * d * d;
  rddd += r * d * d * d;
  dddd += d * d * d * d;
  ++elements;
}

void Share::Add(const Share& other) {
  dd += other.dd;
  rd += other.rd;
  rrdd += other.rrdd;
  rddd += other.rddd;
  dddd += other.dddd;
  elements += other.elements;
}

double Share::error() const {
  const double s = value();
  return std::sqrt(std::max(0.0, rrdd - 2 * s * rddd + s * s * dddd)) / dd;
}

Result<WeightShares> MeasureShares(const Schedule& schedule, int32_t w, const WeightReader& read,
                                   const StepLog& log, int64_t from, int64_t to, int q,
                                   const RunParameters& parameters, int64_t elements) {
  const PlanWeight& weight = schedule.weights[static_cast<size_t>(w)];
  const int64_t rows = weight.rows(), cols = std::max<int64_t>(1, weight.cols());
  const int64_t bands = std::min(kBands, rows),
                each = std::max<int64_t>(1, elements / cols / std::max<int64_t>(1, bands));
  WeightShares shares;
  for (int64_t b = 0; b < bands; ++b) {
    const int64_t first = rows * b / bands, end = std::min(rows * (b + 1) / bands, first + each);
    Band band(schedule, w, parameters, first, end);
    ZO2_TRY(band.Read(read, w));
    for (int64_t step = from; step < to; ++step) band.Update(log.at(step), &shares.update);
    band.Perturb(static_cast<uint64_t>(to) * static_cast<uint64_t>(q), &shares.perturbation);
  }
  return shares;
}

}  // namespace zo2
