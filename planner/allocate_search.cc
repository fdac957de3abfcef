#include "planner/allocate_search.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>
#include <random>
#include <tuple>
#include <utility>

#include "planner/arith.h"

namespace zo2 {
namespace {

constexpr int64_t kNever = std::numeric_limits<int64_t>::max() / 4;
constexpr int kPushRounds = 2;   // of items pushing one another up
constexpr size_t kSections = 4;  // looked at closely in each node
constexpr int64_t kNodes = 500;  // before the search starts anew
constexpr int kRules = 6;        // orders of preference
constexpr double kNoise = 0.5;   // in preferences
constexpr double kLook = 0.25;   // of a unit of work: a look at an item that may be in the way

// Sizes and offsets in units of the alignment.
class Packer {
 public:
  Packer(std::span<const ArenaItem> items, uint64_t unit, int64_t capacity, double* work)
      : capacity_(capacity), work_(work) {
    std::map<int64_t, std::pair<bool, bool>> events;  // time -> something begins, ends
    for (const ArenaItem& i : items) {
      events[i.begin].first = true;
      events[i.end].second = true;
    }
    // A section lasts from a beginning to the next end.
    std::vector<int64_t> begins;
    int64_t begun = 0;
    bool open = false;
    for (const auto& [time, what] : events) {
      if (what.second && open) begins.push_back(begun), open = false;
      if (what.first) begun = time, open = true;
    }
    rest_at_start_.assign(begins.size(), 0);
    for (const ArenaItem& i : items) {
      // The sections whose last beginning it lives at.
      auto first = std::lower_bound(begins.begin(), begins.end(), i.begin),
           last = std::lower_bound(begins.begin(), begins.end(), i.end);
      items_.push_back({static_cast<int>(first - begins.begin()), static_cast<int>(last - begins.begin()),
                        static_cast<int64_t>(AlignUp(i.size, unit) / unit), static_cast<double>(i.end - i.begin)});
      for (int s = items_.back().first; s < items_.back().last; ++s) rest_at_start_[Ix(s)] += items_.back().size;
    }
    std::map<std::tuple<int, int, int64_t>, int> kinds;
    for (const Item& i : items_)
      kind_.push_back(kinds.try_emplace({i.first, i.last, i.size}, static_cast<int>(kinds.size())).first->second);
    seen_.assign(kinds.size(), 0);
    weight_.assign(begins.size(), 1);
    offset_.assign(items.size(), 0);
    least_.assign(items.size(), 0);
  }

  PackAnswer Run(std::vector<uint64_t>* offsets, uint64_t unit) {
    std::vector<int> all(items_.size());
    std::iota(all.begin(), all.end(), 0);
    std::stable_sort(all.begin(), all.end(), [&](int a, int b) { return items_[Ix(a)].first < items_[Ix(b)].first; });
    for (int64_t attempt = 0;; ++attempt) {
      SetPreferences(static_cast<int>(attempt % kRules));
      floor_.assign(rest_at_start_.size(), 0);
      rest_ = rest_at_start_;
      std::fill(least_.begin(), least_.end(), 0);
      // Each node places one item: at least as many as there are.
      const auto least = std::max(kNodes, static_cast<int64_t>(items_.size()));
      nodes_left_ = least * (1 + attempt / (2 * kRules));
      stopped_ = false;
      if (PlaceParts(all)) break;
      if (!stopped_) return PackAnswer::kImpossible;
      if (*work_ <= 0) return PackAnswer::kGaveUp;
    }
    offsets->clear();
    for (int64_t o : offset_) offsets->push_back(static_cast<uint64_t>(o) * unit);
    return PackAnswer::kPacked;
  }

 private:
  struct Item {
    int first, last;  // sections, half open
    int64_t size;
    double length;  // of time
    bool Overlaps(int begin, int end) const { return first < end && begin < last; }
  };
  // A node's view of an unplaced item.
  struct View {
    int item;
    int64_t rest;   // where it would rest on the floors now
    int64_t least;  // no packing from here has it lower
    bool twin;      // an unplaced item before it is equal: that one is the lower of the two
    bool chosen;    // a member of R
  };
  struct Choice {
    std::vector<size_t> set;     // R: indices of views
    std::vector<size_t> branch;  // members of R that may be its lowest
  };

  int64_t highest(int section) const { return capacity_ - rest_[Ix(section)]; }  // U
  bool Fail(int section) {
    weight_[Ix(section)] += 1;
    return false;
  }

  void SetPreferences(int rule) {
    preference_.clear();
    for (const Item& i : items_) {
      const double sections = i.last - i.first, size = static_cast<double>(i.size);
      double most = 0;
      for (int s = i.first; s < i.last; ++s) most = std::max(most, static_cast<double>(rest_at_start_[Ix(s)]));
      const double rules[kRules] = {sections, sections * size, i.length, size, i.length * size, most * most * sections};
      preference_.push_back(rules[rule]);
    }
  }

  // Items in the order of their first section: packs each run that hangs together on its own, small ones first.
  bool PlaceParts(const std::vector<int>& items) {
    std::vector<std::vector<int>> parts;
    int reach = -1;
    for (int i : items) {
      if (items_[Ix(i)].first >= reach) parts.emplace_back();
      parts.back().push_back(i);
      reach = std::max(reach, items_[Ix(i)].last);
    }
    std::stable_sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) { return a.size() < b.size(); });
    if (parts.size() == 1) return Place(parts[0]);
    // A part that fails undoes those before it, which were placed in vain.
    int begin = kMaxSection, end = 0;
    std::vector<int64_t> least;
    for (int i : items) {
      begin = std::min(begin, items_[Ix(i)].first), end = std::max(end, items_[Ix(i)].last);
      least.push_back(least_[Ix(i)]);
    }
    const std::vector<int64_t> floor(floor_.begin() + begin, floor_.begin() + end),
        rest(rest_.begin() + begin, rest_.begin() + end);
    for (const auto& part : parts) {
      if (Place(part)) continue;
      std::copy(floor.begin(), floor.end(), floor_.begin() + begin);
      std::copy(rest.begin(), rest.end(), rest_.begin() + begin);
      for (size_t k = 0; k < items.size(); ++k) least_[Ix(items[k])] = least[k];
      return false;
    }
    return true;
  }

  bool Place(const std::vector<int>& items) {
    if (--nodes_left_ < 0 || *work_ <= 0) {
      stopped_ = true;
      return false;
    }
    std::vector<View> views = Look(items);
    int begin = kMaxSection, end = 0;
    for (int i : items) begin = std::min(begin, items_[Ix(i)].first), end = std::max(end, items_[Ix(i)].last);
    std::vector<int> next(Ix(end - begin));  // per section: items that may be next on its floor
    if (!PushUp(begin, end, &views, &next)) return false;
    Choice choice;
    if (!Choose(begin, end, next, &views, &choice)) return false;
    SortBranches(views, &choice.branch);

    std::vector<int64_t> least;
    for (size_t v : choice.set) least.push_back(least_[Ix(views[v].item)]);
    std::vector<int> others(items.size() - 1);
    for (size_t b = 0; b < choice.branch.size(); ++b) {
      const View& lowest = views[choice.branch[b]];
      const Item& item = items_[Ix(lowest.item)];
      const std::vector<int64_t> floors(floor_.begin() + item.first, floor_.begin() + item.last);
      for (int s = item.first; s < item.last; ++s) {
        floor_[Ix(s)] = lowest.rest + item.size;
        rest_[Ix(s)] -= item.size;
      }
      offset_[Ix(lowest.item)] = lowest.rest;
      // The lowest of R: no other is lower, and none that had its own branch is as low.
      for (size_t v : choice.set) Raise(views[v].item, lowest.rest);
      for (size_t earlier = 0; earlier < b; ++earlier) Raise(views[choice.branch[earlier]].item, lowest.rest + 1);
      std::copy_if(items.begin(), items.end(), others.begin(), [&](int i) { return i != lowest.item; });
      if (others.empty() || PlaceParts(others)) return true;
      for (int s = item.first; s < item.last; ++s) {
        floor_[Ix(s)] = floors[Ix(s - item.first)];
        rest_[Ix(s)] += item.size;
      }
      for (size_t k = 0; k < choice.set.size(); ++k) least_[Ix(views[choice.set[k]].item)] = least[k];
      if (stopped_) return false;
    }
    return false;
  }
  void Raise(int item, int64_t least) { least_[Ix(item)] = std::max(least_[Ix(item)], least); }

  std::vector<View> Look(const std::vector<int>& items) {
    std::vector<View> views;
    views.reserve(items.size());
    ++look_;
    for (int i : items) {
      const Item& item = items_[Ix(i)];
      const int64_t rest = *std::max_element(floor_.begin() + item.first, floor_.begin() + item.last);
      const bool twin = std::exchange(seen_[Ix(kind_[Ix(i)])], look_) == look_;
      views.push_back({i, rest, std::max(rest, least_[Ix(i)]), twin, false});
      *work_ -= item.last - item.first;
    }
    return views;
  }

  // What cannot be next on the floor of a section is above something that is. False: a section has nothing that could
  // be next, or an item no place.
  bool PushUp(int begin, int end, std::vector<View>* views, std::vector<int>* next) {
    std::vector<int64_t> top(next->size());  // least top of what may be next
    for (int round = 0; round < kPushRounds; ++round) {
      std::fill(next->begin(), next->end(), 0);
      std::fill(top.begin(), top.end(), kNever);
      for (const View& v : *views) {
        const Item& item = items_[Ix(v.item)];
        if (v.least + item.size > capacity_) return Fail(HighestFloor(item));
        for (int s = item.first; s < item.last; ++s) {
          if (v.least > highest(s)) continue;
          ++(*next)[Ix(s - begin)];
          top[Ix(s - begin)] = std::min(top[Ix(s - begin)], v.least + item.size);
        }
      }
      for (int s = begin; s < end; ++s)
        if (rest_[Ix(s)] > 0 && (*next)[Ix(s - begin)] == 0) return Fail(s);
      bool moved = false;
      for (View& v : *views) {
        const Item& item = items_[Ix(v.item)];
        int64_t least = v.least;
        for (int s = item.first; s < item.last; ++s)
          if (v.least > highest(s)) least = std::max(least, top[Ix(s - begin)]);
        moved = moved || least > v.least;
        v.least = least;
      }
      if (!moved) break;
    }
    return true;
  }
  int HighestFloor(const Item& item) const {
    return static_cast<int>(std::max_element(floor_.begin() + item.first, floor_.begin() + item.last) - floor_.begin());
  }

  // The section to branch on, of those with few items that may be next, by weight. False: one has no branch at all.
  bool Choose(int begin, int end, const std::vector<int>& next, std::vector<View>* views, Choice* best) {
    std::vector<std::pair<double, int>> order;
    for (int s = begin; s < end; ++s) {
      const int n = next[Ix(s - begin)];
      if (rest_[Ix(s)] > 0) order.push_back({n == 1 ? 0 : n / weight_[Ix(s)], s});
    }
    const size_t looked = std::min(kSections, order.size());
    std::partial_sort(order.begin(), order.begin() + static_cast<ptrdiff_t>(looked), order.end());
    double least = std::numeric_limits<double>::infinity();
    for (size_t k = 0; k < looked && least > 0; ++k) {
      const int s = order[k].second;
      Choice c = BranchesOn(s, views);
      if (c.branch.empty()) return Fail(s);
      const double score = c.branch.size() == 1 ? 0 : static_cast<double>(c.branch.size()) / weight_[Ix(s)];
      if (score < least) {
        least = score;
        *best = std::move(c);
      }
    }
    return true;
  }

  Choice BranchesOn(int section, std::vector<View>* views) {
    Choice c;
    const int64_t limit = highest(section);
    int begin = section, end = section + 1;  // the time of R, without gaps
    auto take = [&](size_t v) {
      const Item& item = items_[Ix((*views)[v].item)];
      (*views)[v].chosen = true;
      c.set.push_back(v);
      begin = std::min(begin, item.first);
      end = std::max(end, item.last);
    };
    for (size_t v = 0; v < views->size(); ++v) {
      (*views)[v].chosen = false;
      if (items_[Ix((*views)[v].item)].Overlaps(section, section + 1) && (*views)[v].least <= limit) take(v);
    }
    for (size_t before = 0; before != c.set.size();) {
      before = c.set.size();
      for (size_t v = 0; v < views->size(); ++v) {
        const Item& item = items_[Ix((*views)[v].item)];
        if (item.first >= end) break;  // they are in the order of beginnings
        if (!(*views)[v].chosen && (*views)[v].least + item.size <= limit && item.Overlaps(begin, end)) take(v);
      }
    }
    int64_t looked = 0;
    // A member that could be moved down below the lowest one would have to be there: nothing in the way of it.
    int64_t below = kNever;
    for (size_t v : c.set) {
      const View& view = (*views)[v];
      const Item& item = items_[Ix(view.item)];
      const int64_t top = view.rest + item.size;
      if (top >= below) continue;
      const bool free = std::all_of(views->begin(), views->end(), [&](const View& o) {
        ++looked;
        return o.chosen || o.least >= top || !items_[Ix(o.item)].Overlaps(item.first, item.last);
      });
      if (free) below = top;
    }
    *work_ -= kLook * static_cast<double>(looked);
    for (size_t v : c.set) {
      const View& view = (*views)[v];
      const Item& item = items_[Ix(view.item)];
      if (view.least > view.rest || view.rest >= below || view.rest > limit) continue;
      bool fits = !view.twin;
      for (int s = item.first; s < item.last && fits; ++s) fits = view.rest <= highest(s);
      if (fits) c.branch.push_back(v);
    }
    return c;
  }

  // By least offset; then best fit: between walls, flush with what is beside it; then by preference.
  void SortBranches(const std::vector<View>& views, std::vector<size_t>* branch) {
    std::vector<std::pair<std::pair<double, double>, size_t>> keys;
    for (size_t v : *branch) {
      const Item& item = items_[Ix(views[v].item)];
      const int64_t top = views[v].rest + item.size;
      auto wall = [&](int s) {
        return s < 0 || s >= static_cast<int>(rest_.size()) || rest_[Ix(s)] == 0 ? capacity_ : floor_[Ix(s)];
      };
      int fit = 0;
      for (int64_t height : {wall(item.first - 1), wall(item.last)})
        fit += (height > views[v].rest) + 2 * (height == top);
      const double noise = 1 + kNoise * static_cast<double>(random_() % 1024) / 1024;
      keys.push_back({{static_cast<double>(16 * views[v].rest - fit), -preference_[Ix(views[v].item)] * noise}, v});
    }
    std::sort(keys.begin(), keys.end());
    for (size_t k = 0; k < keys.size(); ++k) (*branch)[k] = keys[k].second;
  }

  static constexpr int kMaxSection = std::numeric_limits<int>::max();
  const int64_t capacity_;
  double* work_;
  std::vector<Item> items_;
  std::vector<int> kind_;      // per item: equal ones have the same
  std::vector<int64_t> seen_;  // per kind: the latest look at unplaced items that came by one
  int64_t look_ = 0;
  std::vector<int64_t> rest_at_start_;
  std::vector<int64_t> floor_, rest_;  // per section: top of what is placed; bytes of what is not
  std::vector<double> weight_;         // per section: failures
  std::vector<int64_t> offset_;        // per item, once placed
  std::vector<int64_t> least_;         // per item: no packing in this branch has it lower
  std::vector<double> preference_;
  std::mt19937 random_{1};
  int64_t nodes_left_ = 0;
  bool stopped_ = false;
};

}  // namespace

PackAnswer PackWithin(std::span<const ArenaItem> items, uint64_t capacity, double* work,
                      std::vector<uint64_t>* offsets) {
  uint64_t unit = 1, common = 0;
  for (const ArenaItem& i : items) unit = std::max(unit, i.align);
  // Sizes in common units: as large as they can be.
  for (const ArenaItem& i : items) common = std::gcd(common, AlignUp(i.size, unit));
  unit = std::max(unit, common / unit * unit);
  // What lives at no time may be anywhere.
  std::vector<ArenaItem> alive;
  for (const ArenaItem& i : items)
    if (i.begin < i.end && i.size > 0) alive.push_back(i);
  std::vector<uint64_t> found;
  if (!alive.empty()) {
    const PackAnswer answer = Packer(alive, unit, static_cast<int64_t>(capacity / unit), work).Run(&found, unit);
    if (answer != PackAnswer::kPacked) return answer;
  }
  offsets->assign(items.size(), 0);
  size_t next = 0;
  for (size_t i = 0; i < items.size(); ++i)
    if (items[i].begin < items[i].end && items[i].size > 0) (*offsets)[i] = found[next++];
  return PackAnswer::kPacked;
}

}  // namespace zo2
