#include "planner/exact.h"

#include <algorithm>
#include <chrono>
#include <limits>

#include "planner/arith.h"
#include "planner/class_search.h"
#include "planner/text.h"
#include "planner/z3_solver.h"

namespace zo2 {
namespace {

constexpr int kSlots[] = {4, 6, 3, 8, 2, 1};
constexpr double kWorth = 5e-4;  // a closed form that is less than this shorter is not worth a search
constexpr int kHalvings = 12;
// Where Z3 was not asked for, it ends after so many programs, or so many questions that it could not answer.
constexpr int kAutoPrograms = 24, kAutoGivenUp = 2;

using Clock = std::chrono::steady_clock;

std::vector<int64_t> CountStreamed(const ClassModels& models, size_t classes, const Decision& d) {
  std::vector<int64_t> streamed(classes, 0);
  for (size_t t = 0; t < d.resident.size(); ++t)
    if (!d.resident[t]) ++streamed[models.ClassOf(static_cast<TileId>(t))];
  return streamed;
}

// So many tiles of each class streamed, spread evenly; classes out of step, so that what is resident of
// several does not come in bursts.
std::vector<bool> Spread(const ClassModel& m, const std::vector<int64_t>& streamed, size_t tiles) {
  std::vector<bool> resident(tiles, true);
  double phase = 0;
  for (size_t c = 0; c < m.classes.size(); ++c) {
    const auto n = static_cast<int64_t>(m.classes[c].tiles.size());
    const auto shift = static_cast<int64_t>(phase * static_cast<double>(n));
    for (int64_t i = 0; i < n; ++i)
      if ((i * streamed[c] + shift) / n != ((i + 1) * streamed[c] + shift) / n)
        resident[Ix(m.classes[c].tiles[Ix(i)])] = false;
    phase += 0.6180339887;  // golden: no two in step
    phase -= static_cast<double>(static_cast<int>(phase));
  }
  return resident;
}

class Search {
 public:
  Search(const PlanInput& in, const Demand& demand, uint32_t effort, ExactSearch* out)
      : in_(in), effort_(effort), out_(*out), models_(in, demand), every_(EveryChoices(in)) {}

  std::vector<Candidate> Run(const std::vector<Candidate>& seeds, int most) {
    const auto start = Clock::now();
    out_.ran = true;
    std::vector<int> slots(std::begin(kSlots), std::end(kSlots));
    if (in_.options->slots > 0) slots = {in_.options->slots};
    double known = std::numeric_limits<double>::infinity();
    for (const Candidate& seed : seeds) known = std::min(known, ClosedForm(seed.decision));
    std::vector<Candidate> found;
    out_.closed_form = known;
    out_.proved = std::numeric_limits<double>::infinity();
    for (int s : slots) {
      double best = std::numeric_limits<double>::infinity();
      for (const Candidate& seed : seeds)
        if (seed.decision.slots == s) best = std::min(best, ClosedForm(seed.decision));
      // Numbers of slots that greedy has no plan for are of use only if they beat those it has.
      if (best == std::numeric_limits<double>::infinity()) best = known;
      if (auto c = Best(s, best)) found.push_back(std::move(*c));
    }
    std::stable_sort(found.begin(), found.end(),
                     [](const Candidate& a, const Candidate& b) { return a.period < b.period; });
    if (static_cast<int>(found.size()) > most) found.resize(Ix(most));
    if (!found.empty()) out_.closed_form = std::min(known, found.front().period);
    out_.proved = std::min(out_.proved, out_.closed_form);
    out_.seconds += std::chrono::duration<double>(Clock::now() - start).count();
    return found;
  }

 private:
  double ClosedForm(const Decision& d) {
    const ClassModel& m = models_.Every(d.writeback_every);
    return Period(m, CountStreamed(models_, m.classes.size(), d), d.slots);
  }

  // The best decision with so many slots; nullopt when none is shorter than `best` by closed form.
  std::optional<Candidate> Best(int slots, double best) {
    std::vector<int64_t> counts;
    int every = 0;
    const double before = best;
    low_ = std::numeric_limits<double>::infinity();
    open_ = 0;
    const double passed_over =
        SearchSettings(&models_, every_, {slots}, true, best * (1 - kWorth),
                       [&](const ClassModel& m, const Setting& setting, const ClassProgram& p) {
                         if (Ended()) {
                           Leave(p.Least());
                           return 0.0;
                         }
                         if (setting.any_tile) {  // sizes of slots that are not told apart
                           Leave(p.Least());
                           return best * (1 - kWorth);
                         }
                         std::vector<int64_t> x;
                         const double seconds = Shorter(p, best * (1 - kWorth), &x);
                         if (!x.empty()) {
                           best = std::min(seconds, Period(m, x, setting.slots));
                           counts = x;
                           every = m.every;
                         }
                         return best * (1 - kWorth);
                       });
    low_ = std::min(low_, passed_over);
    out_.proved = std::min(out_.proved, low_);
    if (counts.empty()) return std::nullopt;
    const ClassModel& m = models_.Every(every);
    Candidate c;
    c.decision.strategy = "z3";
    c.decision.slots = std::any_of(counts.begin(), counts.end(), [](int64_t x) { return x > 0; }) ? slots : 0;
    c.decision.writeback_every = every;
    c.decision.resident = Spread(m, counts, in_.partition->tiles.size());
    c.period = best;
    if (!Fits(in_, MeasureMemory(in_, c.decision))) return std::nullopt;
    c.causes = ExplainGreedy(in_, c.decision);
    const std::string with = " class counts with " + std::to_string(slots) + " slots";
    const bool proved = low_ >= best * (1 - kWorth) * (1 - 1e-9);
    c.causes.push_back(
        (proved ? "z3: of all" + with + " none has a closed form shorter by " + Line("%.2g %%", 100 * kWorth)
                : "z3: the best" + with + " that were found; " + std::to_string(std::max(1, open_)) +
                      " questions left open") +
        (before < 1e300 ? "; greedy's is " + Line("%.2g %%", 100 * (before / best - 1)) + " longer" : ""));
    return c;
  }

  // Integers whose T is below `best`, the least to 1 / 4096 of what could be won; x is empty when there are
  // none. T.
  double Shorter(const ClassProgram& p, double best, std::vector<int64_t>* x) {
    double low = 0;
    std::vector<double> ignored;
    ++out_.programs;
    const Answer least = solver_.Minimise(p, in_.deadline, &low, &ignored);
    if (!Sure(least)) {
      Leave(p.Least());
      return best;
    }
    if (least == Answer::kNo || low >= best) return best;
    double high = best, proved = low;
    for (int i = 0; i < kHalvings && high > low * (1 + kWorth) && !Ended(); ++i) {
      // The bound itself, or nearly, is often reached.
      const double at = i == 0 ? std::min(high, low * (1 + kWorth)) : 0.5 * (low + high);
      std::vector<int64_t> counts;
      ++out_.decisions;
      const Answer answer = solver_.Decide(p, at, effort_, in_.deadline, &counts);
      Sure(answer);
      if (answer == Answer::kYes) {
        *x = counts;
        high = at;
      } else {
        low = at;  // undecided: what is longer may be easier to find
        if (answer == Answer::kNo) proved = at;
      }
    }
    low_ = std::min(low_, proved);
    open_ += high > proved * (1 + kWorth);
    return high;
  }

  bool Ended() const {
    const bool tired = effort_ > 0 && (out_.programs >= kAutoPrograms || out_.undecided >= kAutoGivenUp);
    return tired || out_.out_of_time;
  }

  // Counts what was given up.
  bool Sure(Answer answer) {
    if (answer == Answer::kYes || answer == Answer::kNo) return true;
    ++out_.undecided;
    out_.out_of_time = out_.out_of_time || Clock::now() >= in_.deadline;
    return false;
  }
  // A setting is left open: all that is known is that T is no less.
  void Leave(double least) {
    low_ = std::min(low_, least);
    ++open_;
  }

  const PlanInput& in_;
  const uint32_t effort_;
  ExactSearch& out_;
  ClassModels models_;
  const std::vector<int> every_;
  Z3Solver solver_;
  // Of the slots at hand: no class counts have a T below this; settings that are not searched to the end.
  double low_ = 0;
  int open_ = 0;
};

class Exact : public Strategy {
 public:
  std::string name() const override { return "z3"; }
  Result<std::vector<Candidate>> Decide(const PlanInput& in, const Demand& demand, int most) const override {
    ZO2_ASSIGN(std::vector<Candidate> seeds, MakeGreedy()->Decide(in, demand, std::max(most, 32)));
    ExactSearch search;
    std::vector<Candidate> found = DecideExactly(in, demand, seeds, most, 0, &search);
    for (Candidate& seed : seeds)
      if (static_cast<int>(found.size()) < most) found.push_back(std::move(seed));
    return found;
  }
};

}  // namespace

std::vector<Candidate> DecideExactly(const PlanInput& in, const Demand& demand,
                                     const std::vector<Candidate>& seeds, int most, uint32_t effort,
                                     ExactSearch* search) {
  if (!Z3Solver::IsBuilt() || in.partition->tiles.empty()) return {};
  return Search(in, demand, effort, search).Run(seeds, most);
}

std::unique_ptr<Strategy> MakeExact() { return Z3Solver::IsBuilt() ? std::make_unique<Exact>() : nullptr; }

}  // namespace zo2
