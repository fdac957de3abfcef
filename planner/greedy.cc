// The greedy strategy: every (S, K) of a short list, resident tiles chosen for each in a few ways, scored in closed
// form.
//
// A slot is as large as the largest tile that passes through it, so each distinct tile size is tried as the largest one
// streamed: all larger tiles are resident. The room left is filled with the tiles whose residency saves most time per
// byte, by each of three prices - of all lanes, of the upload lane, of the download lane - and
// among equals spread evenly over the order of use; or, a fourth way, so that all through the step uploads take
// the same share of the time that the compute lane takes: slots even out only what is near.
#include <algorithm>
#include <chrono>
#include <functional>
#include <iterator>
#include <map>
#include <numeric>
#include <set>

#include "planner/arith.h"
#include "planner/estimate.h"
#include "planner/heuristics.h"
#include "planner/strategy.h"
#include "planner/text.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

constexpr int kSlots[] = {4, 6, 3, 8, 2, 1};
constexpr int kEvery[] = {1, 2, 3, 4, 6, 8, 12, 16};
constexpr size_t kSizes = 8;     // largest streamed sizes tried
constexpr double kClose = 1.05;  // the closed form cannot tell slot counts apart whose periods differ by less
constexpr double kEqual = 0.9;   // see Search::equal_

enum Rule { kAllLanes, kUploads, kDownloads, kEven, kBytes };
constexpr const char* kRuleNames[] = {"lanes", "uploads", "downloads", "even", "bytes"};

bool AnyStreamed(const Decision& d) {
  return std::find(d.resident.begin(), d.resident.end(), false) != d.resident.end();
}

class Search {
 public:
  Search(const PlanInput& in, const Demand& demand)
      : in_(in),
        tiles_(in.partition->tiles),
        demand_(demand),
        limit_(in.options->resident.value_or(UINT64_MAX)),
        estimator_(in, demand),
        all_sizes_(Uses(*in.options, "sizes")),
        equal_(Uses(*in.options, "equal") ? kEqual : 1),
        spread_(Uses(*in.options, "spread")) {
    const uint64_t align = in.machine->alignment();
    for (size_t t = 0; t < tiles_.size(); ++t) {
      bytes_.push_back(AlignUp(ResidentBytes(in, static_cast<TileId>(t)), align));
      wire_.push_back(AlignUp(SlotBytes(in, static_cast<TileId>(t)), align));
    }
    sizes_ = wire_;
    std::sort(sizes_.begin(), sizes_.end(), std::greater<>());
    sizes_.erase(std::unique(sizes_.begin(), sizes_.end()), sizes_.end());
    if (sizes_.size() > kSizes) sizes_.resize(kSizes);
  }

  // Whether everything may be, and fits, on the device.
  bool AllResident(Candidate* c) {
    c->decision.resident.assign(tiles_.size(), true);
    if (std::accumulate(bytes_.begin(), bytes_.end(), uint64_t{0}) > limit_ ||
        !Fits(in_, MeasureMemory(in_, c->decision)))
      return false;
    c->period = estimator_.Period(c->decision);
    return true;
  }

  void Consider(int slots, int every, const std::vector<Rule>& rules, std::vector<Candidate>* found) {
    Decision nothing;
    nothing.resident.assign(tiles_.size(), true);
    nothing.writeback_every = every;
    const MemoryUse use = MeasureMemory(in_, nothing);
    const uint64_t fixed = use.device() - use.resident, budget = in_.options->budget;
    for (uint64_t size : sizes_) {
      const uint64_t taken = fixed + size * static_cast<uint64_t>(slots);
      if (taken > budget) continue;
      bool any = false;
      for (Rule rule : rules) {
        Candidate c;
        Decision& d = c.decision;
        d.strategy = "greedy";
        d.slots = slots;
        d.writeback_every = every;
        const uint64_t room = std::min(limit_, budget - taken);
        if (rule == kEven ? !Balance(slots, size, room, &d.resident)
                          : !Fill(Order(rule, every), size, room, &d.resident))
          break;
        any = true;
        if (!AnyStreamed(d)) d.slots = 0;
        bool trained = false;
        for (size_t t = 0; t < tiles_.size(); ++t) trained = trained || (!d.resident[t] && tiles_[t].trainable);
        if (!trained && in_.options->writeback_every == 0) d.writeback_every = 1;
        const size_t digest = std::hash<std::vector<bool>>()(d.resident) * 31 + Ix(d.slots * 64 + d.writeback_every);
        if (!known_.insert(digest).second) continue;
        c.period = estimator_.Period(d);
        c.way = rule;
        found->push_back(std::move(c));
      }
      if (any && !all_sizes_) break;
    }
  }

 private:
  // Tiles by what residency saves, best first; runs of equal ones in the order of use, each ending where `ends` says.
  struct Ranking {
    std::vector<size_t> tiles;
    std::vector<size_t> ends;
  };
  const Ranking& Order(Rule rule, int every) {
    auto [it, fresh] = rankings_.try_emplace({rule, every});
    Ranking& r = it->second;
    if (!fresh) return r;
    const auto& costs = estimator_.Costs(every);
    std::vector<double> value(tiles_.size());
    for (size_t t = 0; t < tiles_.size(); ++t) {
      const Estimator::Cost& c = costs[Ix(estimator_.ClassOf(static_cast<TileId>(t)))];
      const double saved = rule == kUploads ? c.up : rule == kDownloads ? c.down : c.up + c.down + c.extra + c.host;
      value[t] = rule == kBytes ? static_cast<double>(bytes_[t])
                                : saved / static_cast<double>(std::max<uint64_t>(1, bytes_[t]));
    }
    r.tiles.resize(tiles_.size());
    std::iota(r.tiles.begin(), r.tiles.end(), size_t{0});
    std::stable_sort(r.tiles.begin(), r.tiles.end(), [&](size_t a, size_t b) { return value[a] > value[b]; });
    for (size_t begin = 0; begin < r.tiles.size(); begin = r.ends.back()) {
      size_t end = begin + 1;
      while (end < r.tiles.size() && value[r.tiles[end]] >= equal_ * value[r.tiles[begin]] && rule != kBytes) ++end;
      std::sort(r.tiles.begin() + static_cast<ptrdiff_t>(begin), r.tiles.begin() + static_cast<ptrdiff_t>(end));
      r.ends.push_back(end);
    }
    return r;
  }

  // Makes all tiles of more than `size` resident and takes them off `room`. False when they do not fit.
  bool TakeLarge(uint64_t size, uint64_t* room, std::vector<bool>* resident) const {
    resident->assign(tiles_.size(), false);
    for (size_t t = 0; t < tiles_.size(); ++t) {
      if (wire_[t] <= size) continue;
      if (bytes_[t] > *room) return false;
      Take(t, room, resident);
    }
    return true;
  }
  bool Take(size_t t, uint64_t* room, std::vector<bool>* resident) const {
    if ((*resident)[t] || bytes_[t] > *room) return false;
    (*resident)[t] = true;
    *room -= bytes_[t];
    return true;
  }

  // What fits of the ranking into `room` bytes, equal tiles spread evenly.
  bool Fill(const Ranking& ranking, uint64_t size, uint64_t room, std::vector<bool>* resident) const {
    if (!TakeLarge(size, &room, resident)) return false;
    size_t begin = 0;
    for (size_t end : ranking.ends) {
      double total = 0;
      for (size_t i = begin; i < end; ++i)
        total += (*resident)[ranking.tiles[i]] ? 0 : static_cast<double>(bytes_[ranking.tiles[i]]);
      const double share = total > 0 && spread_ ? std::min(1.0, static_cast<double>(room) / total) : 1;
      double due = 0;  // bytes that should have been chosen by now
      for (; begin < end; ++begin) {
        const size_t t = ranking.tiles[begin];
        if ((*resident)[t]) continue;
        const auto bytes = static_cast<double>(bytes_[t]);
        due += share * bytes;
        if (share < 1 && due < 0.5 * bytes) continue;
        if (Take(t, &room, resident)) due -= bytes;
      }
    }
    for (size_t t : ranking.tiles) Take(t, &room, resident);  // what is left over
    return true;
  }

  // Walks through the uses of a step: uploads are behind by `due`, which compute pays off `pace` seconds per second, up
  // to what S slots hold in advance; a tile that cannot be paid for stays on the device. The least pace that the room
  // allows is found by bisection.
  bool Balance(int slots, uint64_t size, uint64_t room, std::vector<bool>* resident) {
    if (!TakeLarge(size, &room, resident)) return false;
    const auto& costs = estimator_.Costs(1);
    auto upload = [&](TileId t) { return costs[Ix(estimator_.ClassOf(t))].up / std::max(1, demand_.uploads[Ix(t)]); };
    double total = 0, all = 0;
    for (const Demand::Use& use : demand_.uses) {
      total += upload(use.tile);
      all += use.seconds;
    }
    if (total <= 0 || all <= 0) return true;
    const double ahead = slots * total / static_cast<double>(demand_.uses.size());
    std::vector<bool> chosen, best = *resident;
    uint64_t best_room = room;
    double low = 0, high = 64;  // in units of total / all
    for (int i = 0; i < 24; ++i) {
      const double pace = (i == 0 ? high : 0.5 * (low + high)) * total / all;
      chosen = *resident;
      uint64_t left = room;
      double due = 0;
      bool fits = true;
      for (const Demand::Use& use : demand_.uses) {
        const auto t = Ix(use.tile);
        if (!chosen[t]) {
          const double seconds = upload(use.tile);
          if (due + seconds > 0.5 * seconds) fits = fits && Take(t, &left, &chosen);
          if (!chosen[t]) due += seconds;
        }
        due = std::max(-ahead, due - pace * use.seconds);
      }
      (fits ? high : low) = pace * all / total;
      if (fits) best = chosen, best_room = left;
    }
    *resident = best;
    for (size_t t : Order(kAllLanes, 1).tiles) Take(t, &best_room, resident);
    return true;
  }

  const PlanInput& in_;
  const std::vector<Tile>& tiles_;
  const Demand& demand_;
  const uint64_t limit_;
  Estimator estimator_;
  const bool all_sizes_;
  const double equal_;  // savings per byte that count as equal: down to this share
  const bool spread_;
  std::vector<uint64_t> bytes_, wire_, sizes_;  // per tile, aligned: resident, in a slot; the latter's distinct sizes
  std::map<std::pair<Rule, int>, Ranking> rankings_;
  std::set<size_t> known_;  // digests of decisions
};

class Greedy : public Strategy {
 public:
  std::string name() const override { return "greedy"; }

  Result<std::vector<Candidate>> Decide(const PlanInput& in, const Demand& demand, int most) const override {
    const PlanOptions& o = *in.options;
    std::vector<int> slots(std::begin(kSlots), std::end(kSlots)), every(std::begin(kEvery), std::end(kEvery));
    std::erase_if(every, [&](int k) { return k < LeastEvery(in); });
    if (o.slots > 0) slots = {o.slots};
    if (o.writeback_every > 0) every = {o.writeback_every};
    Search search(in, demand);
    Candidate whole;
    whole.decision.strategy = "greedy";
    std::vector<Candidate> found;
    if (search.AllResident(&whole)) {
      found.push_back(std::move(whole));  // nothing else to choose
    } else {
      ZO2_ASSIGN(found, Streamed(in, slots, every, &search));
    }
    SortBest(o, &found);
    if (static_cast<int>(found.size()) > most) found.resize(static_cast<size_t>(most));
    for (Candidate& c : found) c.causes = ExplainGreedy(in, c.decision);
    return found;
  }

 private:
  static Result<std::vector<Candidate>> Streamed(const PlanInput& in, const std::vector<int>& slots,
                                                 const std::vector<int>& every, Search* search) {
    std::vector<Candidate> found;
    MemoryUse least;  // of host memory, among those within the device budget
    bool any = false;
    // By bytes only where nothing else leaves few enough weights to the host.
    std::vector<Rule> prices, size;
    for (Rule rule : {kAllLanes, kUploads, kDownloads, kEven, kBytes})
      if (Uses(*in.options, kRuleNames[rule])) (rule == kBytes ? size : prices).push_back(rule);
    if (prices.empty() && size.empty()) prices = {kAllLanes};
    for (const std::vector<Rule>& rules : {prices, size}) {
      for (int k : every) {
        for (int s : slots) {
          std::vector<Candidate> more;
          search->Consider(s, k, rules, &more);
          for (Candidate& c : more) {
            const MemoryUse use = MeasureMemory(in, c.decision);
            if (!any || use.host() < least.host()) least = use;
            any = true;
            if (Fits(in, use)) found.push_back(std::move(c));
          }
          if (found.empty() || std::chrono::steady_clock::now() < in.deadline) continue;
          for (Candidate& c : found) c.out_of_time = true;
          return found;
        }
      }
      if (!found.empty()) return found;
    }
    if (any) return DoesNotFit(in, least, "");
    std::string with;
    if (in.options->slots > 0) with += " --slots " + std::to_string(slots[0]);
    if (in.options->writeback_every > 0) with += " --writeback-every " + std::to_string(every[0]);
    const int fewest = *std::min_element(slots.begin(), slots.end());
    return DoesNotFit(in, MeasureMemory(in, Smallest(in, fewest, every[0])), with.empty() ? "" : " with" + with);
  }

  // Best first; but before them, as the closed form is blind to much, the best one of each number of slots that comes
  // close, in the order of kSlots; then the best one of each number of slots and way of choosing residents.
  static void SortBest(const PlanOptions& o, std::vector<Candidate>* found) {
    // To seven digits: ties keep their order.
    std::stable_sort(found->begin(), found->end(), [](const Candidate& a, const Candidate& b) {
      return static_cast<float>(a.period) < static_cast<float>(b.period);
    });
    const double close = Uses(o, "slots") ? kClose * found->front().period : 0;
    const bool ways = Uses(o, "ways");
    std::set<std::pair<int, int>> seen;
    std::vector<Candidate> first, second, others;
    for (int slots : kSlots) {
      auto it =
          std::find_if(found->begin(), found->end(), [&](const Candidate& c) { return c.decision.slots == slots; });
      if (it == found->end() || it->period > close) continue;
      seen.insert({slots, it->way});
      first.push_back(std::move(*it));
      found->erase(it);
    }
    for (Candidate& c : *found)
      (seen.insert({c.decision.slots, c.way}).second && ways ? second : others).push_back(std::move(c));
    *found = std::move(first);
    for (auto* list : {&second, &others}) std::move(list->begin(), list->end(), std::back_inserter(*found));
  }
};

}  // namespace

std::vector<std::string> ExplainGreedy(const PlanInput& in, const Decision& d) {
  uint64_t resident = 0, total = 0;
  for (size_t t = 0; t < d.resident.size(); ++t) {
    total += in.partition->tiles[t].bytes;
    if (d.resident[t]) resident += in.partition->tiles[t].bytes;
  }
  auto size = [](uint64_t b) { return FormatSize(static_cast<double>(b)); };
  if (!AnyStreamed(d))
    return {"residency: all " + size(total) + " of weights fit the device budget beside the temporaries"};
  const PlanOptions& o = *in.options;
  const std::string share = Line("%.1f %%", 100 * static_cast<double>(resident) / std::max<double>(1, static_cast<double>(total)));
  return {"residency: " + size(resident) + " of " + size(total) + " (" + share + ") stay on the device, " +
              (o.resident ? "as asked by --resident"
                          : "all that the budget leaves; of the orders tried the one with the least predicted period"),
          "slots: " + std::to_string(d.slots) +
              (o.slots > 0 ? ", as asked by --slots" : ", the count with the least predicted period"),
          "write-back: every " +
              (d.writeback_every == 1 ? std::string("step") : std::to_string(d.writeback_every) + " steps") +
              (o.writeback_every > 0    ? ", as asked by --writeback-every"
               : d.writeback_every == 1 ? ": the download hides behind the rest"
                                        : ": saved downloads outweigh the updates applied again")};
}

std::unique_ptr<Strategy> MakeGreedy() { return std::make_unique<Greedy>(); }

}  // namespace zo2
