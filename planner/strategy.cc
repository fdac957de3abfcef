#include "planner/strategy.h"

#include <algorithm>
#include <numeric>

#include "planner/arith.h"

namespace zo2 {

std::unique_ptr<Strategy> MakeStrategy(const std::string& name) {
  if (name == "greedy" || name == "auto") return MakeGreedy();
  if (name == "resident" || name == "stream" || name == "zo2") return MakeFixed(name);
  return nullptr;
}

Decision Smallest(const PlanInput& in, int slots, int every) {
  const auto& tiles = in.partition->tiles;
  const uint64_t align = in.machine->alignment(), limit = in.options->resident.value_or(UINT64_MAX);
  std::vector<size_t> order(tiles.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return tiles[a].wire_bytes > tiles[b].wire_bytes; });
  // The first n of them resident, the largest of the others in each slot; records for K steps where anything is
  // streamed.
  const uint64_t records =
      in.train == nullptr ? 0 : AlignUp(StepRecordBytes(in.options->samples), align) * static_cast<uint64_t>(every - 1);
  uint64_t resident = 0, least = UINT64_MAX;
  size_t best = 0;
  for (size_t n = 0; n <= order.size() && resident <= limit; ++n) {
    uint64_t bytes = resident;
    if (n < order.size()) bytes += AlignUp(tiles[order[n]].wire_bytes, align) * static_cast<uint64_t>(slots) + records;
    if (bytes < least) {
      least = bytes;
      best = n;
    }
    if (n < order.size()) resident += AlignUp(tiles[order[n]].bytes, align);
  }
  Decision d;
  d.resident.assign(tiles.size(), false);
  for (size_t n = 0; n < best; ++n) d.resident[order[n]] = true;
  d.slots = best < order.size() ? slots : 0;
  d.writeback_every = best < order.size() ? every : 1;
  return d;
}

bool Fits(const PlanInput& in, const MemoryUse& use) {
  return use.device() <= in.options->budget && use.host() <= in.options->host_budget;
}

Status DoesNotFit(const PlanInput& in, const MemoryUse& use, const std::string& with) {
  auto size = [](uint64_t bytes) { return FormatSize(static_cast<double>(bytes)); };
  auto exact = [&](uint64_t bytes) { return size(bytes) + " (" + std::to_string(bytes) + " bytes)"; };
  const uint64_t budget = in.options->budget, host = in.options->host_budget;
  if (use.device() <= budget) {
    return Error(Code::kInfeasible, "the plan needs ", size(use.host()), " of host memory, ", size(use.host() - host),
                 " more than the host budget of ", size(host), "; a --host-budget of ", exact(use.host()),
                 " is enough, or raise --budget so that more weights stay on the device");
  }
  // Where the host is short too, no more than a lower limit is known.
  std::string help = use.host() <= host ? "; the smallest budget that works" + with + " is " + exact(use.device())
                                        : "; no budget below " + exact(use.device()) + " works" + with + ", and then " +
                                              size(use.host()) + " of host memory are needed";
  help += ", of which " + size(use.temporary) +
          " are activations and workspace, fewer rows per micro-batch (--micro) make that less";
  if (const uint64_t free = MeasureMemory(in, Smallest(in, 1, 1)).device(); !with.empty() && free < use.device())
    help += "; other decisions fit from " + size(free) + " on (--strategy auto)";
  return Error(Code::kInfeasible, "the plan needs ", size(use.device()), " of device memory, ",
               size(use.device() - budget), " more than the budget of ", size(budget), help);
}

}  // namespace zo2
