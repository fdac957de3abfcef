#include "planner/allocate.h"

#include <algorithm>
#include <numeric>

#include "planner/allocate_search.h"
#include "planner/arith.h"

namespace zo2 {
namespace {

// Work of the search (allocate_search.h), about 1e8 in a second: in all, for the lower bound, for a height between.
constexpr double kWork = 1e8, kBoundWork = 3e7, kProbeWork = 1e7;
constexpr uint64_t kFine = 256;  // a round ends where heights differ by less than this part

uint64_t LowerBound(std::span<const ArenaItem> items) {
  std::vector<std::pair<int64_t, int64_t>> events;  // time, change; ends sort before begins
  for (const ArenaItem& i : items) {
    if (i.begin >= i.end) continue;
    events.emplace_back(i.begin, static_cast<int64_t>(i.size));
    events.emplace_back(i.end, -static_cast<int64_t>(i.size));
  }
  std::sort(events.begin(), events.end());
  int64_t live = 0, most = 0;
  for (const auto& e : events) most = std::max(most, live += e.second);
  return static_cast<uint64_t>(most);
}

// Places items in this order, each into the tightest gap between those placed before that live with it.
ArenaPacking Place(std::span<const ArenaItem> items, const std::vector<size_t>& order) {
  ArenaPacking out;
  out.offsets.assign(items.size(), 0);
  std::vector<std::pair<uint64_t, size_t>> placed;  // offset, item; sorted by offset
  for (size_t index : order) {
    const ArenaItem& item = items[index];
    uint64_t best = UINT64_MAX, best_gap = UINT64_MAX, top = 0;
    for (const auto& [offset, other] : placed) {
      const ArenaItem& o = items[other];
      if (o.end <= item.begin || item.end <= o.begin) continue;
      uint64_t at = AlignUp(top, item.align);
      if (offset >= at + item.size && offset - top < best_gap) {
        best_gap = offset - top;
        best = at;
      }
      top = std::max(top, offset + o.size);
    }
    if (best == UINT64_MAX) best = AlignUp(top, item.align);
    out.offsets[index] = best;
    out.height = std::max(out.height, best + item.size);
    auto entry = std::make_pair(best, index);
    placed.insert(std::lower_bound(placed.begin(), placed.end(), entry), entry);
  }
  return out;
}

// Branch and bound for the lower bound itself; then for heights halfway between it and the best known, as far as a little
// work for each brings it. Where a greater height is `enough`, only that is looked for. How hard a height is, is largely luck: what was too hard is tried again below, with more work.
void Search(std::span<const ArenaItem> items, uint64_t enough, ArenaPacking* best) {
  double work = kWork;
  uint64_t least = best->lower_bound;  // nothing lower is possible
  // Whether `target` was reached, with at most `share` of the work.
  auto reach = [&](uint64_t target, double share) {
    const double given = std::min(share, work);
    double left = given;
    std::vector<uint64_t> offsets;
    const PackAnswer answer = PackWithin(items, target, &left, &offsets);
    work -= given - left + kWork / 1024;
    if (answer == PackAnswer::kImpossible) least = target + 1;
    if (answer != PackAnswer::kPacked) return false;
    best->offsets = std::move(offsets);
    best->height = 0;
    for (size_t i = 0; i < items.size(); ++i) best->height = std::max(best->height, best->offsets[i] + items[i].size);
    return true;
  };
  if (enough > least) {
    reach(enough, work);
    return;
  }
  if (reach(least, kBoundWork)) return;
  for (double share = kProbeWork; work > 0 && least < best->height; share *= 2) {
    uint64_t low = least;  // not reached in this round
    while (work > 0 && low < best->height && best->height - low > best->height / kFine) {
      const uint64_t target = low + (best->height - low) / 2;
      if (!reach(target, share)) low = target + 1;
    }
    if (best->height - least <= best->height / kFine && !reach(least, work)) return;
  }
}

}  // namespace

ArenaPacking AllocateArena(std::span<const ArenaItem> items, uint64_t enough) {
  uint64_t bound = LowerBound(items);
  ArenaPacking best;
  best.height = UINT64_MAX;
  auto length = [&](size_t i) { return static_cast<double>(items[i].end - items[i].begin); };
  auto size = [&](size_t i) { return static_cast<double>(items[i].size); };
  for (int rule = 0; rule < 4 && best.height > std::max(bound, enough); ++rule) {
    std::vector<size_t> order(items.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      switch (rule) {
        case 0:
          return size(a) != size(b) ? size(a) > size(b) : length(a) > length(b);
        case 1:
          return size(a) * length(a) > size(b) * length(b);
        case 2:
          return length(a) != length(b) ? length(a) > length(b) : size(a) > size(b);
        default:
          return items[a].begin != items[b].begin ? items[a].begin < items[b].begin : size(a) > size(b);
      }
    });
    ArenaPacking packing = Place(items, order);
    if (packing.height < best.height) best = std::move(packing);
  }
  best.lower_bound = bound;
  if (best.height > std::max(bound, enough)) Search(items, enough, &best);
  return best;
}

}  // namespace zo2
