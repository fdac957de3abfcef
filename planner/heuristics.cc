#include "planner/heuristics.h"

#include <algorithm>

namespace zo2 {
namespace {

constexpr Heuristic kHeuristics[] = {
    {"lanes", "residents by the time they save on all lanes, per byte"},
    {"uploads", "residents by the upload time they save, per byte"},
    {"downloads", "residents by the download time they save, per byte"},
    {"even", "residents so that uploads take the same share of compute time all through the step"},
    {"bytes", "residents by size, where the host's memory is short"},
    {"equal", "residents that save about as much per byte count as equal"},
    {"spread", "equal residents are spread evenly over the order of use"},
    {"sizes", "several sizes of slots, all larger tiles resident"},
    {"slots", "the best of each number of slots is simulated first"},
    {"ways", "the best of each way to choose residents is simulated next"},
    {"simulate", "several decisions are simulated, not only the best by closed form"},
    {"refine", "local search by simulation around the best decision"},
    {"trivial", "a trivial plan wins where it is better (auto)"},
};

}  // namespace

std::span<const Heuristic> Heuristics() { return kHeuristics; }

bool Uses(const PlanOptions& o, const char* name) {
  return std::find(o.without.begin(), o.without.end(), name) == o.without.end();
}

Result<void> CheckWithout(const PlanOptions& o) {
  for (const std::string& name : o.without) {
    if (std::any_of(std::begin(kHeuristics), std::end(kHeuristics), [&](const Heuristic& h) { return name == h.name; }))
      continue;
    std::string known;
    for (const Heuristic& h : kHeuristics) known += std::string(known.empty() ? "" : ", ") + h.name;
    return Invalid("--without ", name, ": there is no such heuristic; there are ", known);
  }
  return {};
}

}  // namespace zo2
