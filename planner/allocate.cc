#include "planner/allocate.h"

#include <algorithm>
#include <numeric>
#include <random>

#include "planner/arith.h"

namespace zo2 {
namespace {

constexpr double kWork = 1e7;  // pairs of items looked at by the local search

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

// Local search over orders: an item at the top of the packing moves to an earlier place. A fixed sequence of random
// numbers, a fixed amount of work.
void Improve(std::span<const ArenaItem> items, uint64_t bound, std::vector<size_t> order, ArenaPacking* best) {
  if (items.size() < 2 || best->height <= bound) return;
  const auto n = static_cast<double>(items.size());
  const int rounds = static_cast<int>(std::clamp(kWork / (n * n), 0.0, 4000.0));
  std::mt19937 random(1);
  uint64_t current = best->height;
  std::vector<uint64_t> offsets = best->offsets;
  for (int round = 0; round < rounds && best->height > bound; ++round) {
    std::vector<size_t> top;  // places in the order of items that reach near the top
    for (size_t p = 1; p < order.size(); ++p)
      if (offsets[order[p]] + items[order[p]].size >= current - current / 64) top.push_back(p);
    if (top.empty()) return;
    size_t from = top[random() % top.size()], to = random() % from;
    std::vector<size_t> next = order;
    std::rotate(next.begin() + static_cast<ptrdiff_t>(to), next.begin() + static_cast<ptrdiff_t>(from),
                next.begin() + static_cast<ptrdiff_t>(from) + 1);
    ArenaPacking packing = Place(items, next);
    if (packing.height > current + current / 256) continue;  // sideways and a little uphill is allowed
    current = packing.height;
    order = std::move(next);
    offsets = packing.offsets;
    if (packing.height < best->height) {
      best->height = packing.height;
      best->offsets = std::move(packing.offsets);
    }
  }
}

}  // namespace

ArenaPacking AllocateArena(std::span<const ArenaItem> items) {
  uint64_t bound = LowerBound(items);
  ArenaPacking best;
  best.height = UINT64_MAX;
  std::vector<size_t> best_order;
  auto length = [&](size_t i) { return static_cast<double>(items[i].end - items[i].begin); };
  auto size = [&](size_t i) { return static_cast<double>(items[i].size); };
  for (int rule = 0; rule < 4 && best.height > bound; ++rule) {
    std::vector<size_t> order(items.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      switch (rule) {
        case 0: return size(a) != size(b) ? size(a) > size(b) : length(a) > length(b);
        case 1: return size(a) * length(a) > size(b) * length(b);
        case 2: return length(a) != length(b) ? length(a) > length(b) : size(a) > size(b);
        default: return items[a].begin != items[b].begin ? items[a].begin < items[b].begin : size(a) > size(b);
      }
    });
    ArenaPacking packing = Place(items, order);
    if (packing.height < best.height) {
      best = std::move(packing);
      best_order = std::move(order);
    }
  }
  best.lower_bound = bound;
  Improve(items, bound, std::move(best_order), &best);
  return best;
}

}  // namespace zo2
