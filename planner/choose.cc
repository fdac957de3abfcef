#include "planner/choose.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <random>

#include "planner/arith.h"

namespace zo2 {
namespace {

// Small programs are quick to simulate: the more of them are. Instructions emitted and simulated, and programs.
constexpr int64_t kInstructions = 150000, kLeast = 4, kMost = 32;
constexpr int64_t kRefineInstructions = 150000, kRefineLeast = 10, kRefineMost = 100;
constexpr double kNearBound = 1.01;  // times the bound: nothing better is looked for
constexpr int kNear = 6;             // places in the order of use that count as near

// The period of a decision, from the instruction list itself.
Result<Chosen> Score(const PlanInput& in, Candidate candidate) {
  Chosen s;
  ZO2_ASSIGN(s.schedule, Emit(in, candidate.decision));
  for (Program& p : s.schedule.programs) {
    Simulation simulation = Simulate(p);
    p.predicted_period = simulation.period;
    if (p.purpose == Purpose::kTrain || in.train == nullptr) s.simulation = std::move(simulation);
  }
  s.candidate = std::move(candidate);
  return s;
}

Rival RowOf(const std::string& name, const Chosen& s) {
  Rival r;
  const Decision& d = s.candidate.decision;
  r.name = name;
  if (d.slots > 0 && !d.block_granular)
    r.name += " S=" + std::to_string(d.slots) + " K=" + std::to_string(d.writeback_every);
  r.feasible = true;
  r.period = s.simulation.period;
  r.device_bytes = s.schedule.arenas[0].bytes;
  return r;
}

// Another decision near this one: a tile in, one near it out; now and then S or K one up or down.
Decision Neighbour(const PlanInput& in, const Decision& from, std::mt19937& random) {
  Decision d = from;
  const auto n = static_cast<int>(d.resident.size());
  auto step = [&] { return random() % 2 == 0 ? 1 : -1; };
  switch (random() % 6) {
    case 0:
      if (in.options->slots == 0) d.slots = std::max(1, d.slots + step());
      break;
    case 1:
      if (in.options->writeback_every == 0) d.writeback_every = std::clamp(d.writeback_every + step(), 1, 16);
      break;
    default: {
      const auto t = static_cast<int>(random() % static_cast<unsigned>(n));
      const bool was = d.resident[Ix(t)];
      d.resident[Ix(t)] = !was;
      for (int i = 0; i < 3 * kNear; ++i) {
        const int other = t + static_cast<int>(random() % (2 * kNear + 1)) - kNear;
        if (other < 0 || other >= n || other == t || d.resident[Ix(other)] == was) continue;
        d.resident[Ix(other)] = was;
        break;
      }
    }
  }
  return d;
}

// Local search by simulation, a fixed sequence of random numbers and a fixed amount of work.
void Refine(const PlanInput& in, const Demand& demand, double enough, std::vector<Rival>* rivals, Chosen* best) {
  const int64_t rounds = std::min(kRefineMost, kRefineInstructions / std::max<int64_t>(1, demand.instructions));
  if (rounds < kRefineLeast) return;
  const double before = best->simulation.period;
  const uint64_t limit = in.options->resident.value_or(UINT64_MAX);
  std::mt19937 random(1);
  for (int64_t i = 0; i < rounds && best->simulation.period > enough; ++i) {
    Candidate c = best->candidate;
    c.decision = Neighbour(in, c.decision, random);
    if (std::find(c.decision.resident.begin(), c.decision.resident.end(), false) == c.decision.resident.end()) continue;
    const MemoryUse use = MeasureMemory(in, c.decision);
    if (!Fits(in, use) || use.resident > limit) continue;
    auto scored = Score(in, std::move(c));
    if (scored.ok() && scored->simulation.period < best->simulation.period * (1 - 1e-9)) *best = std::move(*scored);
  }
  if (best->simulation.period >= before) return;
  char text[80];
  std::snprintf(text, sizeof text, "refined: a local search by simulation made the step %.1f %% shorter",
                100 * (1 - best->simulation.period / before));
  best->candidate.causes = ExplainGreedy(in, best->candidate.decision);
  best->candidate.causes.push_back(text);
  rivals->push_back(RowOf("greedy, refined", *best));
}

}  // namespace

Result<Chosen> Choose(const PlanInput& in, const Demand& demand, std::vector<Rival>* rivals) {
  const auto most =
      static_cast<int>(std::clamp(kInstructions / std::max<int64_t>(1, demand.instructions), kLeast, kMost));
  const bool automatic = in.options->strategy == "auto";
  std::vector<std::string> names = {automatic ? "greedy" : in.options->strategy};
  for (const char* trivial : {"resident", "stream", "zo2"})
    if (names[0] != trivial) names.push_back(trivial);
  // Decisions forced by hand leave nothing to the trivial plans.
  const bool forced = in.options->slots > 0 || in.options->writeback_every > 0 || in.options->resident.has_value();
  const double enough = kNearBound * LowerBound(in, demand, in.options->budget).seconds;
  std::optional<Chosen> best;
  Status why;
  for (size_t i = 0; i < names.size(); ++i) {
    auto candidates = MakeStrategy(names[i])->Decide(in, demand, most);
    if (!candidates.ok()) {
      rivals->push_back({names[i], false, 0, 0, candidates.status().message()});
      if (i == 0) why = candidates.status();
      continue;
    }
    for (Candidate& c : *candidates) {
      // The closed form is about the least that the simulation will say.
      if (i == 0 && best && (c.period >= best->simulation.period || best->simulation.period <= enough)) continue;
      auto scored = Score(in, std::move(c));
      if (!scored.ok()) {
        rivals->push_back({names[i], false, 0, 0, scored.status().message()});
        if (i == 0 && why.ok()) why = scored.status();
        continue;
      }
      rivals->push_back(RowOf(names[i], *scored));
      const bool may_win = i == 0 || (automatic && !forced);
      if (may_win && (!best || scored->simulation.period < best->simulation.period * (1 - 1e-9)))
        best = std::move(*scored);
    }
    if (i == 0 && best && best->candidate.decision.strategy == "greedy" && best->candidate.decision.slots > 0)
      Refine(in, demand, enough, rivals, &*best);
  }
  if (!best) return why.ok() ? Error(Code::kInfeasible, "no strategy fits the budgets") : why;
  return std::move(*best);
}

}  // namespace zo2
