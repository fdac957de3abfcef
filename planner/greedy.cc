// The greedy strategy: every (S, K) of a short list, resident tiles chosen for each, scored in closed form.
//
// Residents: the tiles with the most uploads per byte first (a tied embedding is used twice), then the rest spread
// evenly over the order of use, so that between two streamed tiles there is always about the same compute to hide the
// next upload behind. And the published ZO2 schedule and other fixed rules, for comparison.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>

#include "planner/strategy.h"

namespace zo2 {
namespace {

// The closed form often cannot tell slot counts apart; the first ones are simulated first.
constexpr int kSlots[] = {4, 6, 3, 8, 2};
constexpr int kEvery[] = {1, 2, 3, 4, 6, 8, 16};

uint64_t AlignUp(uint64_t n, uint64_t a) { return (n + a - 1) / a * a; }

// Fills `room` bytes of residents. Tiles nobody uploads stay out until the end.
std::vector<bool> ChooseResidents(const PlanInput& in, const Demand& demand, uint64_t room) {
  const auto& tiles = in.partition->tiles;
  const uint64_t align = in.machine->alignment();
  std::vector<bool> resident(tiles.size(), false);
  std::map<int, std::vector<size_t>, std::greater<>> by_uploads;  // within: order of use
  for (size_t t = 0; t < tiles.size(); ++t) by_uploads[demand.uploads[t]].push_back(t);
  for (const auto& [uploads, list] : by_uploads) {
    uint64_t total = 0;
    for (size_t t : list) total += AlignUp(tiles[t].bytes, align);
    const double share = total == 0 ? 1 : std::min(1.0, static_cast<double>(room) / static_cast<double>(total));
    double due = 0;  // bytes that should have been chosen by now
    for (size_t t : list) {
      const uint64_t bytes = AlignUp(tiles[t].bytes, align);
      due += share * static_cast<double>(bytes);
      if (bytes > room || (share < 1 && due < 0.5 * static_cast<double>(bytes))) continue;
      resident[t] = true;
      room -= bytes;
      due -= static_cast<double>(bytes);
    }
  }
  for (const auto& [uploads, list] : by_uploads) {  // what is left over
    for (size_t t : list) {
      const uint64_t bytes = AlignUp(tiles[t].bytes, align);
      if (resident[t] || bytes > room) continue;
      resident[t] = true;
      room -= bytes;
    }
  }
  return resident;
}

bool AnyStreamed(const Decision& d) {
  return std::find(d.resident.begin(), d.resident.end(), false) != d.resident.end();
}

std::string Percent(double x) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f %%", 100 * x);
  return text;
}

class Greedy : public Strategy {
 public:
  std::string name() const override { return "greedy"; }

  Result<std::vector<Candidate>> Decide(const PlanInput& in, const Demand& demand, int most) const override {
    const PlanOptions& o = *in.options;
    std::vector<int> slots(std::begin(kSlots), std::end(kSlots)), every(std::begin(kEvery), std::end(kEvery));
    if (o.slots > 0) slots = {o.slots};
    if (o.writeback_every > 0) every = {o.writeback_every};
    std::vector<Candidate> found;
    Status why = Consider(in, demand, slots, every, &found);
    if (found.empty() && o.slots == 0) why = Consider(in, demand, {1}, every, &found);  // the last resort
    if (found.empty()) return why;
    // Ties keep the order above.
    std::stable_sort(found.begin(), found.end(), [](const Candidate& a, const Candidate& b) { return a.period < b.period * (1 - 1e-9); });
    if (static_cast<int>(found.size()) > most) found.resize(static_cast<size_t>(most));
    for (Candidate& c : found) Explain(in, &c);
    return found;
  }

 private:
  static Status Consider(const PlanInput& in, const Demand& demand, const std::vector<int>& slots,
                         const std::vector<int>& every, std::vector<Candidate>* found) {
    Status why = Error(Code::kInfeasible, "no decision fits the budgets");
    for (int k : every) {
      for (int s : slots) {
        Candidate c;
        Status status = Make(in, demand, s, k, &c);
        if (status.ok()) {
          const bool streamed = AnyStreamed(c.decision);
          found->push_back(std::move(c));
          if (!streamed) return Status();  // everything fits: nothing else to choose
        } else {
          why = status;
        }
      }
    }
    return why;
  }

  static Status Make(const PlanInput& in, const Demand& demand, int slots, int every, Candidate* c) {
    const PlanOptions& o = *in.options;
    Decision& d = c->decision;
    d.strategy = "greedy";
    d.slots = slots;
    d.writeback_every = every;
    const size_t n = in.partition->tiles.size();
    d.resident.assign(n, true);
    const uint64_t limit = o.resident.value_or(UINT64_MAX);
    uint64_t all = MeasureMemory(in, d).resident;
    Decision whole = d;
    whole.slots = 0;
    whole.writeback_every = 1;
    if (limit >= all && CheckBudgets(in, whole).ok()) {
      d = whole;
    } else {
      d.resident.assign(n, false);
      MemoryUse bare = MeasureMemory(in, d);
      if (bare.device() > o.budget) return CheckBudgets(in, d);
      d.resident = ChooseResidents(in, demand, std::min(limit, o.budget - bare.device()));
      // Smaller slots (the largest tiles may be resident now) leave room for more.
      MemoryUse use = MeasureMemory(in, d);
      if (use.slots < bare.slots && AnyStreamed(d)) {
        Decision again = d;
        again.resident = ChooseResidents(in, demand, std::min(limit, o.budget - use.device() + use.resident));
        if (CheckBudgets(in, again).ok() && AnyStreamed(again)) d = again;
      }
      if (!AnyStreamed(d)) d.slots = 0, d.writeback_every = 1;
      bool trained = false;
      for (size_t t = 0; t < n; ++t) trained = trained || (!d.resident[t] && in.partition->tiles[t].trainable);
      if (!trained) d.writeback_every = 1;
      ZO2_TRY(CheckBudgets(in, d));
    }
    c->period = EstimatePeriod(in, demand, d);
    return Status();
  }

  static void Explain(const PlanInput& in, Candidate* c) {
    const Decision& d = c->decision;
    uint64_t resident = 0, total = 0;
    for (size_t t = 0; t < d.resident.size(); ++t) {
      total += in.partition->tiles[t].bytes;
      if (d.resident[t]) resident += in.partition->tiles[t].bytes;
    }
    auto size = [](uint64_t b) { return FormatSize(static_cast<double>(b)); };
    if (!AnyStreamed(d)) {
      c->causes.push_back("residency: all " + size(total) + " of weights fit the device budget beside the temporaries");
      return;
    }
    c->causes.push_back("residency: " + size(resident) + " of " + size(total) + " (" +
                        Percent(static_cast<double>(resident) / std::max<double>(1, static_cast<double>(total))) +
                        ") stay on the device, " +
                        (in.options->resident ? "as asked by --resident" : "all that the budget leaves; most used first, then spread evenly over the order of use"));
    c->causes.push_back("slots: " + std::to_string(d.slots) + (in.options->slots > 0 ? ", as asked by --slots" : ", the count with the least predicted period"));
    c->causes.push_back("write-back: every " + (d.writeback_every == 1 ? std::string("step") : std::to_string(d.writeback_every) + " steps") +
                        (in.options->writeback_every > 0 ? ", as asked by --writeback-every"
                         : d.writeback_every == 1 ? ": the download hides behind the rest"
                                                  : ": saved downloads outweigh the updates applied again"));
  }
};

// Rules that look at nothing.
class Fixed : public Strategy {
 public:
  explicit Fixed(std::string name) : name_(std::move(name)) {}
  std::string name() const override { return name_; }
  Result<std::vector<Candidate>> Decide(const PlanInput& in, const Demand& demand, int) const override {
    const PlanOptions& o = *in.options;
    Candidate c;
    Decision& d = c.decision;
    d.strategy = name_;
    const size_t n = in.partition->tiles.size();
    if (name_ == "resident") {
      d.resident.assign(n, true);
      c.causes = {"residency: everything, as asked by --strategy resident"};
    } else if (name_ == "stream") {
      d.resident.assign(n, false);
      d.slots = o.slots > 0 ? o.slots : 2;
      d.writeback_every = o.writeback_every > 0 ? o.writeback_every : 1;
      c.causes = {"residency: nothing, as asked by --strategy stream", "slots: " + std::to_string(d.slots)};
    } else {
      ZO2_TRY(DecideZo2(in, demand, &c));
    }
    ZO2_TRY(CheckBudgets(in, d));
    c.period = EstimatePeriod(in, demand, d);
    return std::vector<Candidate>{std::move(c)};
  }

 private:
  // Embeddings and head on the device, whole numbered blocks through room for three of them, each written back.
  static Status DecideZo2(const PlanInput& in, const Demand& demand, Candidate* c) {
    Decision& d = c->decision;
    const auto& layer = in.partition->layer;
    std::map<std::string, int> tiles_of;  // of each block
    d.resident.assign(layer.size(), false);
    int most = 0;
    for (size_t t = 0; t < layer.size(); ++t) {
      d.resident[t] = layer[t].empty() || demand.uploads[t] == 0;
      if (!d.resident[t]) most = std::max(most, ++tiles_of[layer[t]]);
    }
    if (most == 0)
      return Error(Code::kInfeasible, "the model has no numbered blocks to stream; use --strategy auto");
    d.slots = 3 * most;
    d.writeback_every = 1;
    d.block_granular = true;
    c->causes = {"residency: embeddings and head, as ZO2 does; " + std::to_string(tiles_of.size()) + " blocks are streamed",
                 "slots: room for three blocks of " + std::to_string(most) + " tiles",
                 "write-back: every block, every step; uploads one block ahead; no overlap across steps"};
    return Status();
  }

  std::string name_;
};

}  // namespace

std::unique_ptr<Strategy> MakeStrategy(const std::string& name) {
  if (name == "greedy" || name == "auto") return std::make_unique<Greedy>();
  if (name == "resident" || name == "stream" || name == "zo2") return std::make_unique<Fixed>(name);
  return nullptr;
}

}  // namespace zo2
