#include "runtime/replay.h"

#include <algorithm>
#include <chrono>
#include <span>
#include <utility>

#include "runtime/kernels/prepare.h"

namespace zo2 {
namespace {

constexpr int64_t kPartElements = 1 << 15;  // of a block that stays in a core's cache while updates are applied

}  // namespace

Replay::Replay(const Schedule& schedule, WeightReader start, const StepLog& log, int64_t from, int64_t to,
               const RunParameters& parameters, int threads, int64_t steps_per_pass)
    : schedule_(schedule),
      start_(std::move(start)),
      parameters_(parameters),
      to_(to),
      steps_per_pass_(steps_per_pass),
      workers_(std::max(1, threads)) {
  for (int64_t step = from; step < to; ++step)
    if (log.at(step).skipped == 0) pending_.push_back(Pending(log.at(step)));
}

std::span<const kernels::PendingUpdate> Replay::Before(int64_t version) const {
  const auto end = std::partition_point(pending_.begin(), pending_.end(), [version](const auto& update) {
    return update.step < static_cast<uint64_t>(version);
  });
  return {pending_.begin(), end};
}

Status Replay::ReadAt(int64_t version, int32_t w, int64_t row_begin, int64_t row_end, int64_t col_begin,
                      int64_t col_end, std::byte* out) {
  ZO2_TRY(start_(w, row_begin, row_end, col_begin, col_end, out));
  Apply(Before(version), w, row_begin, row_end, col_begin, col_end, out);
  return Status();
}

void Replay::Advance(int64_t version, int32_t w, int64_t row_begin, int64_t row_end, int64_t col_begin,
                     int64_t col_end, std::byte* values) {
  Apply(std::span(pending_).subspan(Before(version).size()), w, row_begin, row_end, col_begin, col_end, values);
}

void Replay::Apply(std::span<const kernels::PendingUpdate> pending, int32_t w, int64_t row_begin, int64_t row_end,
                   int64_t col_begin, int64_t col_end, std::byte* out) {
  const PlanWeight& weight = schedule_.weights[static_cast<size_t>(w)];
  const Component& component = weight.components[0];
  const int64_t elements = (row_end - row_begin) * (col_end - col_begin);
  if (pending.empty() || !component.trainable || elements <= 0) return;
  kernels::PrepareArgs args = ComponentArgs(schedule_, weight, component, parameters_, {});
  args.row_begin = row_begin;
  args.row_end = row_end;
  args.col_begin = col_begin;
  args.col_end = col_end;
  args.source = args.master_out = out;
  args.source_row_stride = args.master_row_stride = col_end - col_begin;
  const auto begin = std::chrono::steady_clock::now();
  const int parts = static_cast<int>(std::clamp<int64_t>(elements / kPartElements, 1, 1 << 20));
  workers_.Run(parts, [&](int64_t part) {
    kernels::PrepareArgs pass = args;
    std::span<const kernels::PendingUpdate> left = pending;
    while (!left.empty()) {
      pass.pending = left.first(std::min<size_t>(left.size(), static_cast<size_t>(steps_per_pass_)));
      left = left.subspan(pass.pending.size());
      kernels::PreparePart(pass, static_cast<int>(part), parts);
    }
  });
  seconds_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

}  // namespace zo2
