#include "planner/class_search.h"

#include <algorithm>
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

// Sorts, and passes over what cannot beat `best`.
template <typename Act>
void BestFirst(std::vector<Entry> nodes, double* best, Act act) {
  std::sort(nodes.begin(), nodes.end());
  for (const Entry& node : nodes) {
    if (!(node.least < *best)) return;
    act(node);
  }
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

void SearchSettings(ClassModels* models, const std::vector<int>& every, const std::vector<int>& slots,
                    bool relaxed, double best, const Visit& visit) {
  const std::vector<uint64_t>& sizes = models->slot_sizes();
  if (sizes.empty()) return;
  const int fewest = *std::min_element(slots.begin(), slots.end());
  // A program in which slots take as little as the smallest tile and hold any tile.
  auto any_tile = [](const ClassModel& m, const Setting& setting) {
    ClassProgram p = MakeProgram(m, setting);
    for (size_t c = 0; c < m.classes.size(); ++c)
      if (!(m.classes[c].trained && setting.frozen_only))
        p.most[c] = static_cast<int64_t>(m.classes[c].tiles.size());
    return p;
  };
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
      ClassProgram p = any_tile(m, {fewest, sizes.back(), more_down, frozen_only});
      std::erase_if(p.lanes,
                    [](const ClassProgram::Lane& lane) { return lane.name == std::string_view("slots"); });
      least = std::min(least, p.Least());
    }
    by_every.push_back({least, k, {0, 0, false, frozen_only}});
  }
  BestFirst(std::move(by_every), &best, [&](const Entry& outer) {
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
        const Setting rest{s, sizes.back(), more_down, frozen_only};
        nodes.push_back({any_tile(m, rest).Least(), outer.every, rest});
      }
    }
    BestFirst(std::move(nodes), &best, [&](const Entry& node) {
      const bool rest = relaxed && told < sizes.size() && node.setting.slot_bytes == sizes.back();
      best = visit(m, node.setting, rest ? any_tile(m, node.setting) : MakeProgram(m, node.setting));
    });
  });
}

}  // namespace zo2
