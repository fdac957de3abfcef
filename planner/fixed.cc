// What one would do without a planner, for comparison: everything resident, everything streamed, the published ZO2
// schedule. Rules that look at nothing.
#include <algorithm>
#include <map>

#include "planner/arith.h"
#include "planner/estimate.h"
#include "planner/strategy.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

class Fixed : public Strategy {
 public:
  explicit Fixed(std::string name) : name_(std::move(name)) {}
  std::string name() const override { return name_; }

  Result<std::vector<Candidate>> Decide(const PlanInput& in, const Demand& demand, int) const override {
    const PlanOptions& o = *in.options;
    Candidate c;
    Decision& d = c.decision;
    d.strategy = name_;
    d.resident.assign(in.partition->tiles.size(), name_ == "resident");
    if (name_ == "resident") {
      c.causes = {"residency: everything, as asked by --strategy resident"};
    } else if (name_ == "stream") {
      d.slots = o.slots > 0 ? o.slots : 2;
      d.writeback_every = Every(in);
      c.causes = {"residency: nothing, as asked by --strategy stream", "slots: " + std::to_string(d.slots)};
    } else {
      ZO2_TRY(DecideZo2(in, demand, &c));
    }
    if (const MemoryUse use = MeasureMemory(in, d); !Fits(in, use))
      return DoesNotFit(in, use, " with --strategy " + name_);
    c.period = Estimator(in, demand).Period(d);
    return std::vector<Candidate>{std::move(c)};
  }

 private:
  static constexpr int kRefreshEvery = 8;  // where codes go up and nothing says how often masters do
  static int Every(const PlanInput& in) {
    const int asked = in.options->writeback_every;
    return asked > 0 ? asked : LeastEvery(in) > 1 ? kRefreshEvery : 1;
  }

  // Embeddings and head on the device, whole numbered blocks through room for three of them, each written back.
  static Status DecideZo2(const PlanInput& in, const Demand& demand, Candidate* c) {
    if (const int asked = in.options->writeback_every; asked > 1 && LeastEvery(in) == 1)
      return Invalid("--strategy zo2 writes every block back in every step, not every ", asked, ": leave out ",
                     in.options->refresh_every > 0 ? "--refresh-every" : "--writeback-every",
                     ", or use --strategy stream");
    Decision& d = c->decision;
    const auto& layer = in.partition->layer;
    std::map<std::string, int> tiles_of;  // of each block
    int most = 0;
    for (size_t t = 0; t < layer.size(); ++t) {
      d.resident[t] = layer[t].empty() || demand.uploads[t] == 0;
      if (!d.resident[t]) most = std::max(most, ++tiles_of[layer[t]]);
    }
    if (most == 0) return Invalid("--strategy zo2: the model has no numbered blocks to stream; use --strategy auto");
    d.slots = 3 * most;
    d.block_granular = true;
    if (LeastEvery(in) > 1) d.writeback_every = Every(in);
    c->causes = {
        "residency: embeddings and head, as ZO2 does; " + std::to_string(tiles_of.size()) + " blocks are streamed",
        "slots: room for three blocks of " + std::to_string(most) + " tiles",
        "write-back: every block, every step; uploads one block ahead; no overlap across steps"};
    return Status();
  }

  std::string name_;
};

}  // namespace

std::unique_ptr<Strategy> MakeFixed(const std::string& name) { return std::make_unique<Fixed>(name); }

}  // namespace zo2
