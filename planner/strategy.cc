#include "planner/strategy.h"

#include <algorithm>
#include <numeric>

#include "planner/arith.h"
#include "planner/exact.h"
#include "planner/exhaustive.h"
#include "planner/wire.h"

namespace zo2 {

std::unique_ptr<Strategy> MakeStrategy(const std::string& name) {
  if (name == "greedy" || name == "auto") return MakeGreedy();
  if (name == "z3") return MakeExact();
  if (name == "exhaustive") return MakeExhaustive();
  if (name == "resident" || name == "stream" || name == "zo2") return MakeFixed(name);
  return nullptr;
}

Decision Smallest(const PlanInput& in, int slots, int every) {
  const auto& tiles = in.partition->tiles;
  const uint64_t align = in.machine->alignment(), limit = in.options->resident.value_or(UINT64_MAX);
  std::vector<size_t> order(tiles.size());
  std::iota(order.begin(), order.end(), size_t{0});
  auto slot = [&](size_t t) { return SlotBytes(in, static_cast<TileId>(t)); };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return slot(a) > slot(b); });
  // The first n of them resident, the largest of the others in each slot; records for K steps where anything is
  // streamed.
  const uint64_t records =
      in.train == nullptr ? 0 : AlignUp(StepRecordBytes(in.options->samples), align) * static_cast<uint64_t>(every - 1);
  uint64_t resident = 0, least = UINT64_MAX;
  size_t best = 0;
  for (size_t n = 0; n <= order.size() && resident <= limit; ++n) {
    uint64_t bytes = resident;
    if (n < order.size()) bytes += AlignUp(slot(order[n]), align) * static_cast<uint64_t>(slots) + records;
    if (bytes < least) {
      least = bytes;
      best = n;
    }
    if (n < order.size()) resident += AlignUp(ResidentBytes(in, static_cast<TileId>(order[n])), align);
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

}  // namespace zo2
