#include "planner/class_search.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <string_view>

#include "planner/wire.h"

namespace zo2 {
namespace {

constexpr size_t kSizes = 8;  // of slots that are told apart

struct Entry {
  double least = 0;
  int every = 1;
  Setting setting;
  bool operator<(const Entry& other) const { return least < other.least; }
};

// Sorts, and passes over what cannot beat `best`: the least of that.
template <typename Act>
double BestFirst(std::vector<Entry> nodes, double* best, Act act) {
  std::sort(nodes.begin(), nodes.end());
  for (const Entry& node : nodes) {
    if (!(node.least < *best)) return node.least;
    act(node);
  }
  return std::numeric_limits<double>::infinity();
}

// Whether a direction can have more to copy than the other.
bool Possible(const ClassModel& m, bool more_down) {
  return std::any_of(m.classes.begin(), m.classes.end(), [&](const TileClass& c) {
    return more_down ? c.streamed.down_wire > c.streamed.up_wire : c.streamed.up_wire >= c.streamed.down_wire;
  });
}

}  // namespace

std::vector<int> EveryChoices(const PlanInput& in) {
  const int forced = in.options->writeback_every;
  if (forced > 0) return {forced};
  std::vector<int> all(static_cast<size_t>(kMaxPeriod - LeastEvery(in) + 1));
  std::iota(all.begin(), all.end(), LeastEvery(in));
  return all;
}

double SearchSettings(ClassModels* models, const std::vector<int>& every, const std::vector<int>& slots,
                      bool relaxed, double best, const Visit& visit) {
  double passed_over = std::numeric_limits<double>::infinity();
  const std::vector<uint64_t>& sizes = models->slot_sizes();
  if (sizes.empty()) return passed_over;
  const int fewest = *std::min_element(slots.begin(), slots.end());
  // First by K alone: the least memory for slots, and no turnaround.
  std::vector<Entry> by_every;
  std::vector<std::pair<int, bool>> choices;  // K; whether it is for plans that stream nothing trained
  for (int k : every) choices.push_back({k, false});
  if (std::find(every.begin(), every.end(), 1) == every.end()) choices.push_back({1, true});
  for (auto [k, frozen_only] : choices) {
    const ClassModel& m = models->Every(k);
    if (!m.fits || !m.host_fits) continue;
    double least = MakeProgram(m, Setting()).Least();
    for (bool more_down : {false, true}) {
      if (!Possible(m, more_down)) continue;
      ClassProgram p = MakeProgram(m, {fewest, sizes.back(), more_down, frozen_only, true});
      std::erase_if(p.lanes,
                    [](const ClassProgram::Lane& lane) { return lane.name == std::string_view("slots"); });
      least = std::min(least, p.Least());
    }
    by_every.push_back({least, k, {0, 0, false, frozen_only}});
  }
  const double every_left = BestFirst(std::move(by_every), &best, [&](const Entry& outer) {
    const ClassModel& m = models->Every(outer.every);
    const bool frozen_only = outer.setting.frozen_only;
    std::vector<Entry> nodes = {{MakeProgram(m, Setting()).Least(), outer.every, Setting()}};
    const size_t told = std::min(sizes.size(), kSizes);
    for (int s : slots) {
      for (bool more_down : {false, true}) {
        if (!Possible(m, more_down)) continue;
        for (size_t i = 0; i < told; ++i) {
          const Setting setting{s, sizes[i], more_down, frozen_only};
          nodes.push_back({MakeProgram(m, setting).Least(), outer.every, setting});
        }
        if (!relaxed || told == sizes.size()) continue;
        const Setting rest{s, sizes.back(), more_down, frozen_only, true};
        nodes.push_back({MakeProgram(m, rest).Least(), outer.every, rest});
      }
    }
    const double left = BestFirst(std::move(nodes), &best, [&](const Entry& node) {
      best = visit(m, node.setting, MakeProgram(m, node.setting));
    });
    passed_over = std::min(passed_over, left);
  });
  return std::min(passed_over, every_left);
}

}  // namespace zo2
