#include "planner/allocate.h"

#include <algorithm>
#include <numeric>

#include "planner/allocate_search.h"
#include "planner/arith.h"

namespace zo2 {
namespace {

constexpr double kWork = 1e8;  // of the search, see allocate_search.h: about a second

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

// Branch and bound for the lower bound itself; where that is too much, for heights halfway to the best known.
void Search(std::span<const ArenaItem> items, ArenaPacking* best) {
  double work = kWork;
  uint64_t low = best->lower_bound, target = low;
  while (work > 0 && low < best->height) {
    double share = work / 2;
    const double before = share;
    std::vector<uint64_t> offsets;
    if (PackWithin(items, target, &share, &offsets) == PackAnswer::kPacked) {
      best->offsets = std::move(offsets);
      best->height = 0;
      for (size_t i = 0; i < items.size(); ++i) best->height = std::max(best->height, best->offsets[i] + items[i].size);
    } else {
      low = target + 1;  // impossible, or too hard
    }
    work -= before - share + kWork / 64;
    target = low + (best->height - low) / 2;
  }
}

}  // namespace

ArenaPacking AllocateArena(std::span<const ArenaItem> items) {
  uint64_t bound = LowerBound(items);
  ArenaPacking best;
  best.height = UINT64_MAX;
  auto length = [&](size_t i) { return static_cast<double>(items[i].end - items[i].begin); };
  auto size = [&](size_t i) { return static_cast<double>(items[i].size); };
  for (int rule = 0; rule < 4 && best.height > bound; ++rule) {
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
  if (best.height > bound) Search(items, &best);
  return best;
}

}  // namespace zo2
