#include "planner/class_bound.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "planner/class_search.h"
#include "planner/z3_solver.h"

namespace zo2 {
namespace {

// Programs that Z3 solves for a bound. Small models with a far bound would have hundreds, which differ by little.
constexpr int kMostPrograms = 12;

}  // namespace

std::optional<ClassBound> SolveClassBound(const PlanInput& in, const Demand& demand, Z3Solver* solver) {
  if (!Z3Solver::IsBuilt()) return std::nullopt;
  ClassModels models(in, demand);
  ClassBound best;
  best.seconds = std::numeric_limits<double>::infinity();
  double others = best.seconds;  // the least of what is not solved
  bool sure = true;
  // Three slots stand for all larger numbers (class_model.h).
  SearchSettings(&models, EveryChoices(in), {1, 2, 3}, true, best.seconds,
                 [&](const ClassModel& m, const Setting&, const ClassProgram& p) {
                   if (best.programs == kMostPrograms) {
                     best.capped = true;
                     others = std::min(others, p.Least());
                     return std::min(best.seconds, others);
                   }
                   double seconds = 0;
                   std::vector<double> x;
                   const Answer answer = solver->Minimise(p, in.deadline, &seconds, &x);
                   ++best.programs;
                   sure = sure && (answer == Answer::kYes || answer == Answer::kNo);
                   if (answer != Answer::kYes || seconds >= best.seconds) return best.seconds;
                   best.seconds = seconds;
                   for (const ClassProgram::Lane& lane : p.lanes) {
                     const double taken =
                         std::inner_product(x.begin(), x.end(), lane.per_tile.begin(), lane.base);
                     best.lanes[lane.name] = std::clamp(taken, 0.0, seconds);
                   }
                   best.resident_bytes = 0;
                   for (size_t c = 0; c < x.size(); ++c)
                     best.resident_bytes += (static_cast<double>(m.classes[c].tiles.size()) - x[c]) *
                                            static_cast<double>(m.classes[c].bytes);
                   return seconds;
                 });
  if (!sure || best.lanes.empty()) return std::nullopt;
  best.seconds = std::min(best.seconds, others);
  for (auto& [name, seconds] : best.lanes) seconds = std::min(seconds, best.seconds);
  return best;
}

ShadowPrices PriceResources(const PlanInput& in, const Demand& demand, const Bound& bound) {
  Z3Solver solver;
  auto worth = [&](uint64_t budget, auto&& change) {
    Machine machine = *in.machine;
    change(&machine);
    const CostModel cost(*in.graph, machine, in.options->samples);
    PlanInput changed = in;
    changed.machine = &machine;
    changed.cost = &cost;
    const Bound other = LowerBound(changed, demand, budget, &solver);
    // Two bounds that are not solved to the end cannot be subtracted.
    const bool both = (bound.lp > 0) == (other.lp > 0);
    if (bound.capped || other.capped || !both) return std::max(0.0, bound.roofline - other.roofline);
    return std::max(0.0, bound.seconds - other.seconds);
  };
  const uint64_t budget = in.options->budget;
  ShadowPrices prices;
  prices.mib_of_budget = worth(budget + (uint64_t{1} << 20), [](Machine*) {});
  prices.gb_per_s_up = worth(budget, [](Machine* m) { m->link_up_bytes_per_s += 1e9; });
  prices.gb_per_s_down = worth(budget, [](Machine* m) { m->link_down_bytes_per_s += 1e9; });
  prices.host_thread = worth(budget, [](Machine* m) {
    const double more = 1 + 1.0 / m->host_threads;
    m->host_update_params_per_s *= more;
    m->encode_bytes_per_s *= more;
  });
  return prices;
}

}  // namespace zo2
