#include "planner/exhaustive.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "planner/simulate.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

struct Range {
  int first = 1, last = 1;
  double size() const { return last - first + 1; }
};
Range Slots(const PlanInput& in, const DecisionSpace& space) {
  const int forced = in.options->slots;
  return forced > 0 ? Range{forced, forced} : Range{1, space.most_slots};
}
Range Every(const PlanInput& in, const DecisionSpace& space) {
  const int forced = in.options->writeback_every;
  return forced > 0 ? Range{forced, forced} : Range{LeastEvery(in), space.most_every};
}

// The program that the period is of.
double Period(const PlanInput& in, Schedule* schedule) {
  const Purpose purpose = in.train != nullptr ? Purpose::kTrain : Purpose::kEvaluate;
  for (Program& p : schedule->programs)
    if (p.purpose == purpose) return Predict(&p, *in.machine).period;
  return 0;
}

// Visits every decision of the space, until `visit` says that it is enough.
template <typename Visit>
void ForEach(const PlanInput& in, const DecisionSpace& space, Visit visit) {
  const auto& tiles = in.partition->tiles;
  const Range slots = Slots(in, space), every = Every(in, space);
  for (uint64_t set = 0; set < uint64_t{1} << tiles.size(); ++set) {
    Decision d;
    d.strategy = "exhaustive";
    bool streamed = false, trained = false;
    for (size_t t = 0; t < tiles.size(); ++t) {
      d.resident.push_back((set >> t) & 1);
      streamed = streamed || !d.resident[t];
      trained = trained || (!d.resident[t] && tiles[t].trainable);
    }
    for (d.slots = streamed ? slots.first : 0; d.slots <= (streamed ? slots.last : 0); ++d.slots)
      for (d.writeback_every = trained ? every.first : 1; d.writeback_every <= (trained ? every.last : 1);
           ++d.writeback_every)
        if (!visit(d)) return;
  }
}

class Exhaustive : public Strategy {
 public:
  std::string name() const override { return "exhaustive"; }

  Result<std::vector<Candidate>> Decide(const PlanInput& in, const Demand& demand, int) const override {
    const DecisionSpace space;
    const double count = CountDecisions(in, space),
                 instructions = static_cast<double>(std::max<int64_t>(1, demand.instructions));
    auto number = [](double x) {
      char text[40];
      std::snprintf(text, sizeof text, x < 1e9 ? "%.0f" : "%.1e", x);
      return std::string(text);
    };
    if (count * instructions > kMostExhaustive)
      return Invalid("--strategy exhaustive would simulate ", number(count), " decisions of ", number(instructions),
                     " instructions each, more than ", number(kMostExhaustive),
                     " in all: it is for tiny models; force --slots and --writeback-every, use larger tiles (--tile), "
                     "or --strategy auto");
    Best best = BestDecision(in, space);
    if (best.period <= 0) {
      std::string with;
      if (in.options->slots > 0) with += " --slots " + std::to_string(in.options->slots);
      if (in.options->writeback_every > 0) with += " --writeback-every " + std::to_string(in.options->writeback_every);
      return DoesNotFit(in, best.least, with.empty() ? "" : " with" + with);
    }
    Candidate c;
    c.period = best.period;
    c.out_of_time = best.out_of_time;
    const std::string all = best.out_of_time ? ", of the best of the " + std::to_string(best.decisions) +
                                                   " decisions that fit and were simulated before the time limit"
                                             : ", of the best of all " + std::to_string(best.decisions) +
                                                   " decisions that fit";
    const auto resident = std::count(best.decision.resident.begin(), best.decision.resident.end(), true);
    c.causes = {"residency: " + std::to_string(resident) + " of " + std::to_string(best.decision.resident.size()) +
                    " tiles stay on the device" + all,
                "slots: " + std::to_string(best.decision.slots) + all,
                "write-back: every " + std::to_string(best.decision.writeback_every) + " steps" + all};
    c.decision = std::move(best.decision);
    return std::vector<Candidate>{std::move(c)};
  }
};

}  // namespace

double CountDecisions(const PlanInput& in, const DecisionSpace& space) {
  return std::ldexp(Slots(in, space).size() * Every(in, space).size(),
                    static_cast<int>(std::min<size_t>(1000, in.partition->tiles.size())));
}

Best BestDecision(const PlanInput& in, const DecisionSpace& space) {
  Best best;
  const uint64_t limit = in.options->resident.value_or(UINT64_MAX), budget = in.options->budget;
  bool any = false;
  // Closer to the budgets: less above the device's; where neither is, less host memory.
  auto closer = [&](const MemoryUse& a, const MemoryUse& b) {
    const uint64_t x = std::max(a.device(), budget), y = std::max(b.device(), budget);
    return x != y ? x < y : a.host() < b.host();
  };
  ForEach(in, space, [&](const Decision& d) {
    const MemoryUse use = MeasureMemory(in, d);
    best.out_of_time = best.decisions > 0 && std::chrono::steady_clock::now() >= in.deadline;
    if (best.out_of_time) return false;
    if (use.resident > limit) return true;
    if (!any || closer(use, best.least)) best.least = use;
    any = true;
    if (use.device() > budget || use.host() > in.options->host_budget) return true;
    auto schedule = Emit(in, d);
    if (!schedule.ok()) return true;  // too many instructions
    const double period = Period(in, &*schedule);
    ++best.decisions;
    if (best.decisions > 1 && period >= best.period) return true;
    best.period = period;
    best.decision = d;
    return true;
  });
  return best;
}

std::unique_ptr<Strategy> MakeExhaustive() { return std::make_unique<Exhaustive>(); }

}  // namespace zo2
