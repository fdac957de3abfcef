#include "planner/allocate.h"

#include <algorithm>
#include <bit>
#include <limits>
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

// Items that have been placed, to be found by their lifetimes: a binary tree over the order of beginnings, each node with
// the latest end below it. What lives with an item is found in the time it takes to list it, but for a factor log n.
class Placed {
 public:
  explicit Placed(std::span<const ArenaItem> items) : items_(items), order_(items.size()), rank_(items.size()) {
    std::iota(order_.begin(), order_.end(), size_t{0});
    std::stable_sort(order_.begin(), order_.end(),
                     [&](size_t a, size_t b) { return items[a].begin < items[b].begin; });
    for (size_t r = 0; r < order_.size(); ++r) rank_[order_[r]] = r;
    leaves_ = std::bit_ceil(std::max<size_t>(1, items.size()));
    Clear();
  }
  void Clear() { latest_.assign(2 * leaves_, kNone); }
  void Add(size_t item) {
    for (size_t n = leaves_ + rank_[item]; n > 0 && latest_[n] < items_[item].end; n /= 2) latest_[n] = items_[item].end;
  }
  // Calls visit(i) for each placed item i that lives at some time of [begin, end).
  template <typename Visit>
  void ForEachWith(int64_t begin, int64_t end, const Visit& visit) const {
    Descend(1, 0, leaves_, begin, end, visit);
  }

 private:
  static constexpr int64_t kNone = std::numeric_limits<int64_t>::min();

  template <typename Visit>
  void Descend(size_t node, size_t first, size_t count, int64_t begin, int64_t end, const Visit& visit) const {
    if (latest_[node] <= begin || first >= order_.size() || items_[order_[first]].begin >= end) return;
    if (count == 1) {
      visit(order_[first]);
      return;
    }
    Descend(2 * node, first, count / 2, begin, end, visit);
    Descend(2 * node + 1, first + count / 2, count / 2, begin, end, visit);
  }

  std::span<const ArenaItem> items_;
  std::vector<size_t> order_, rank_;  // by beginning
  size_t leaves_ = 1;
  std::vector<int64_t> latest_;  // per node: of the placed items below it; kNone: there is none
};

// Places items in this order, each into the tightest gap between those placed before that live with it.
ArenaPacking Place(std::span<const ArenaItem> items, const std::vector<size_t>& order, Placed* placed) {
  ArenaPacking out;
  out.offsets.assign(items.size(), 0);
  placed->Clear();
  std::vector<std::pair<uint64_t, size_t>> around;  // offset, item
  for (size_t index : order) {
    const ArenaItem& item = items[index];
    around.clear();
    placed->ForEachWith(item.begin, item.end, [&](size_t other) { around.emplace_back(out.offsets[other], other); });
    std::sort(around.begin(), around.end());
    uint64_t best = UINT64_MAX, best_gap = UINT64_MAX, top = 0;
    for (const auto& [offset, other] : around) {
      uint64_t at = AlignUp(top, item.align);
      if (offset >= at + item.size && offset - top < best_gap) {
        best_gap = offset - top;
        best = at;
      }
      top = std::max(top, offset + items[other].size);
    }
    if (best == UINT64_MAX) best = AlignUp(top, item.align);
    out.offsets[index] = best;
    out.height = std::max(out.height, best + item.size);
    placed->Add(index);
  }
  return out;
}

// Branch and bound for the lower bound itself; then for heights halfway between it and the best known, as far as a little
// work for each brings it. Where a greater height is `enough`, only that is looked for. How hard a height is, is largely
// luck: what was too hard is tried again below, with more work.
void Search(std::span<const ArenaItem> items, uint64_t enough, double effort, ArenaPacking* best) {
  double work = effort * kWork;
  uint64_t least = best->lower_bound;  // nothing lower is possible
  // Whether `target` was reached, with at most `share` of the work.
  auto reach = [&](uint64_t target, double share) {
    const double given = std::min(share, work);
    double left = given;
    std::vector<uint64_t> offsets;
    const PackAnswer answer = PackWithin(items, target, &left, &offsets);
    work -= given - left + effort * kWork / 1024;
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
  if (reach(least, effort * kBoundWork)) return;
  for (double share = effort * kProbeWork; work > 0 && least < best->height; share *= 2) {
    uint64_t low = least;  // not reached in this round
    while (work > 0 && low < best->height && best->height - low > best->height / kFine) {
      const uint64_t target = low + (best->height - low) / 2;
      if (!reach(target, share)) low = target + 1;
    }
    if (best->height - least <= best->height / kFine && !reach(least, work)) return;
  }
}

}  // namespace

ArenaPacking AllocateArena(std::span<const ArenaItem> items, uint64_t enough, double effort) {
  uint64_t bound = LowerBound(items);
  ArenaPacking best;
  best.height = UINT64_MAX;
  auto length = [&](size_t i) { return static_cast<double>(items[i].end - items[i].begin); };
  auto size = [&](size_t i) { return static_cast<double>(items[i].size); };
  Placed placed(items);
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
    ArenaPacking packing = Place(items, order, &placed);
    if (packing.height < best.height) best = std::move(packing);
  }
  best.lower_bound = bound;
  if (best.height > std::max(bound, enough)) Search(items, enough, effort, &best);
  return best;
}

}  // namespace zo2
