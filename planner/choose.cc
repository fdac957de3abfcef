#include "planner/choose.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>
#include <random>
#include <utility>

#include "planner/arith.h"
#include "planner/heuristics.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

using Clock = std::chrono::steady_clock;

// Small programs are quick to simulate: the more of them are. Instructions emitted and simulated, and
// programs.
constexpr int64_t kInstructions = 150000, kLeast = 4, kMost = 32;
constexpr int64_t kRefineInstructions = 150000, kRefineLeast = 10, kRefineMost = 100;
constexpr int64_t kLonger = 10;  // times as much refinement where Z3 was asked for
constexpr int kNear = 6;         // places in the order of use that count as near
constexpr int kVerify = 8;  // verifying and writing a plan takes as long as scoring so many, at most

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
      if (in.options->writeback_every == 0)
        d.writeback_every = std::clamp(d.writeback_every + step(), LeastEvery(in), kMaxPeriod);
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

// The input with a deadline after this share of the time that is left.
PlanInput Within(double share, const PlanInput& in) {
  PlanInput out = in;
  if (in.deadline == Clock::time_point::max()) return out;
  const auto now = Clock::now();
  out.deadline = now + std::chrono::duration_cast<Clock::duration>(share * (in.deadline - now));
  return out;
}
constexpr double kBoundShare = 0.25, kDecideShare = 0.5;

class Chooser {
 public:
  Chooser(const PlanInput& in, const Demand& demand, std::vector<Rival>* rivals)
      : in_(in),
        demand_(demand),
        rivals_(*rivals),
        asked_(in.options->strategy == "auto" || in.options->strategy == "z3" ? "greedy"
                                                                              : in.options->strategy),
        bound_(LowerBound(Within(kBoundShare, in), demand, in.options->budget)),
        enough_(NearEnough(*in.options, bound_)) {
    const int64_t affordable =
        std::clamp(kInstructions / std::max<int64_t>(1, demand.instructions), kLeast, kMost);
    most_ = static_cast<int>(Uses(*in.options, "simulate") ? affordable : 1);
  }

  Result<Chosen> Run() {
    const bool automatic = in_.options->strategy == "auto", exact = in_.options->strategy == "z3";
    // Decisions forced by hand leave nothing to the trivial plans.
    const bool forced =
        in_.options->slots > 0 || in_.options->writeback_every > 0 || in_.options->resident.has_value();
    ScoreAll(asked_, true);
    TryMoreWays();
    if (best_ && best_->candidate.decision.strategy == "greedy") Refine(exact ? kLonger : 1);
    for (const char* trivial : {"resident", "stream", "zo2"})
      if (asked_ != trivial) ScoreAll(trivial, automatic && !forced && Uses(*in_.options, "trivial"));
    if (exact || (automatic && best_ && best_->simulation.period > enough_)) AskZ3(exact);
    if (!best_) return why_.ok() ? Error(Code::kInfeasible, "no strategy fits the budgets") : why_;
    best_->bound = std::move(bound_);
    best_->bound_of = in_.options->wire_update;
    best_->exact = search_;
    best_->slowest = slowest_;
    best_->out_of_time = (out_of_time_ || search_.out_of_time) && best_->simulation.period > enough_;
    return std::move(*best_);
  }

 private:
  // The period of a decision, from the instruction list itself.
  Result<Chosen> Score(Candidate candidate) {
    const auto start = Clock::now();
    Chosen s;
    ZO2_ASSIGN(s.schedule, Emit(in_, candidate.decision));
    for (Program& p : s.schedule.programs) {
      Simulation simulation = Predict(&p, *in_.machine);
      p.predicted_period = simulation.period;
      if (p.purpose == Purpose::kTrain || in_.train == nullptr) s.simulation = std::move(simulation);
    }
    s.candidate = std::move(candidate);
    slowest_ = std::max(slowest_, Clock::now() - start);
    return s;
  }

  // Whether one more plan would be too many for the deadline.
  bool Late() {
    if (in_.deadline == Clock::time_point::max() || !best_) return false;
    const bool late = Clock::now() + slowest_ >= SearchEnd(in_.deadline, slowest_);
    out_of_time_ = out_of_time_ || late;
    return late;
  }

  bool Improves(const Chosen& s) const {
    return !best_ || s.simulation.period < best_->simulation.period * (1 - 1e-9);
  }

  void ScoreAll(const std::string& name, bool may_win) {
    const bool asked = name == asked_;
    if (!asked && Late()) return;
    auto candidates =
        MakeStrategy(name)->Decide(name == "greedy" ? Within(kDecideShare, in_) : in_, demand_, most_);
    if (!candidates.ok()) {
      rivals_.push_back({name, false, 0, 0, candidates.status().message()});
      if (asked) why_ = candidates.status();
      return;
    }
    if (asked) seeds_ = *candidates;
    for (Candidate& c : *candidates) {
      // The closed form is about the least that the simulation will say.
      if (asked && best_ && (c.period >= best_->simulation.period || best_->simulation.period <= enough_))
        continue;
      if (asked && Late()) break;
      out_of_time_ = out_of_time_ || (asked && c.out_of_time);
      auto scored = Score(std::move(c));
      if (!scored.ok()) {
        rivals_.push_back({name, false, 0, 0, scored.status().message()});
        if (asked && why_.ok()) why_ = scored.status();
        continue;
      }
      rivals_.push_back(RowOf(name, *scored));
      if (may_win && Improves(*scored)) best_ = std::move(*scored);
    }
  }

  // Of large programs few are simulated, of one number of slots hardly more than one: as many again of the best number.
  void TryMoreWays() {
    if (!best_ || best_->candidate.decision.strategy != "greedy" || best_->candidate.decision.slots == 0 ||
        in_.options->slots > 0 || most_ == 1 || most_ >= kMost || !Uses(*in_.options, "ways") ||
        best_->simulation.period <= enough_ || Late())
      return;
    PlanOptions options = *in_.options;
    options.slots = best_->candidate.decision.slots;
    PlanInput in = Within(kDecideShare, in_);
    in.options = &options;
    auto candidates = MakeGreedy()->Decide(in, demand_, most_);
    if (!candidates.ok()) return;
    for (Candidate& c : *candidates) {
      const Decision& known = best_->candidate.decision;
      if (c.decision.resident == known.resident && c.decision.writeback_every == known.writeback_every) continue;
      if (c.period >= best_->simulation.period || best_->simulation.period <= enough_) continue;
      if (Late()) break;
      c.causes = ExplainGreedy(in_, c.decision);
      auto scored = Score(std::move(c));
      if (!scored.ok()) continue;  // too many instructions
      rivals_.push_back(RowOf("greedy", *scored));
      if (Improves(*scored)) best_ = std::move(*scored);
    }
  }

  void AskZ3(bool asked) {
    if (seeds_.empty() || Late()) return;
    bool better = false, first = true;
    PlanInput in = in_;  // time is left to score what is found
    if (in.deadline != Clock::time_point::max()) in.deadline = SearchEnd(in.deadline, slowest_) - (1 + most_) * slowest_;
    for (Candidate& c : DecideExactly(in, demand_, seeds_, most_, asked ? 0 : kAutoEffort, &search_)) {
      if (best_ && (c.period >= best_->simulation.period || best_->simulation.period <= enough_)) continue;
      if (!std::exchange(first, false) && Late()) break;
      auto scored = Score(std::move(c));
      if (!scored.ok()) continue;  // too many instructions
      rivals_.push_back(RowOf("z3", *scored));
      if (!Improves(*scored)) continue;
      best_ = std::move(*scored);
      better = true;
    }
    if (better) Refine(asked ? kLonger : 1);
  }

  // Local search by simulation, a fixed sequence of random numbers and a fixed amount of work.
  void Refine(int64_t longer) {
    const int64_t rounds =
        longer * std::min(kRefineMost, kRefineInstructions / std::max<int64_t>(1, demand_.instructions));
    if (rounds < kRefineLeast || best_->candidate.decision.slots == 0 || !Uses(*in_.options, "refine"))
      return;
    const double before = best_->simulation.period;
    const uint64_t limit = in_.options->resident.value_or(UINT64_MAX);
    std::mt19937 random(1);
    for (int64_t i = 0; i < rounds && best_->simulation.period > enough_ && !Late(); ++i) {
      Candidate c = best_->candidate;
      c.decision = Neighbour(in_, c.decision, random);
      if (std::find(c.decision.resident.begin(), c.decision.resident.end(), false) ==
          c.decision.resident.end())
        continue;
      const MemoryUse use = MeasureMemory(in_, c.decision);
      if (!Fits(in_, use) || use.resident > limit) continue;
      auto scored = Score(std::move(c));
      if (scored.ok() && Improves(*scored)) *best_ = std::move(*scored);
    }
    if (best_->simulation.period >= before) return;
    char text[80];
    std::snprintf(text, sizeof text, "refined: a local search by simulation made the step %.1f %% shorter",
                  100 * (1 - best_->simulation.period / before));
    std::vector<std::string> causes = ExplainGreedy(in_, best_->candidate.decision);
    for (std::string& cause : best_->candidate.causes)
      if (cause.rfind("z3: ", 0) == 0) causes.push_back(std::move(cause));
    best_->candidate.causes = std::move(causes);
    best_->candidate.causes.push_back(text);
    rivals_.push_back(RowOf(best_->candidate.decision.strategy + ", refined", *best_));
  }

  const PlanInput& in_;
  const Demand& demand_;
  std::vector<Rival>& rivals_;
  const std::string asked_;
  Bound bound_;
  const double enough_;
  int most_ = 1;
  std::optional<Chosen> best_;
  Status why_;                    // the strategy that was asked for has no plan
  std::vector<Candidate> seeds_;  // its candidates
  ExactSearch search_;
  Clock::duration slowest_{};  // of the plans scored
  bool out_of_time_ = false;
};

}  // namespace

double NearEnough(const PlanOptions& o, const Bound& bound) { return (1 + o.gap) * bound.seconds * (1 + 1e-9); }

Clock::time_point SearchEnd(Clock::time_point deadline, Clock::duration slowest) {
  return deadline == Clock::time_point::max() ? deadline : deadline - kVerify * slowest;
}

Result<Chosen> Choose(const PlanInput& in, const Demand& demand, std::vector<Rival>* rivals) {
  return Chooser(in, demand, rivals).Run();
}

}  // namespace zo2
