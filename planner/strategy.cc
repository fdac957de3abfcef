#include "planner/strategy.h"

#include <algorithm>

namespace zo2 {

double EstimatePeriod(const PlanInput& in, const Demand& demand, const Decision& d) {
  const Partition& p = *in.partition;
  double up = 0, down = 0, hold = 0, extra = 0;
  const double k = d.writeback_every;
  for (size_t t = 0; t < p.tiles.size(); ++t) {
    if (d.resident[t] || demand.uploads[t] == 0) continue;
    const Tile& tile = p.tiles[t];
    double x = demand.uploads[t] * in.cost->Upload(tile.wire_bytes);
    up += x;
    hold += x;
    if (!tile.trainable) continue;
    double w = in.cost->Download(tile.bytes) / k;
    down += w;
    double once = in.cost->Prepare(tile, p.weights, 1, 2, true, true);
    hold += w + demand.uploads[t] * once;
    // Between write-backs 1, 2, ..., K updates are pending, applied anew by every upload of the iteration.
    if (k > 1) {
      double more = in.cost->Prepare(tile, p.weights, (k + 1) / 2, 2, true, true) - once;
      double again = in.cost->Prepare(tile, p.weights, k / 2, 2, true, false) -
                     in.cost->Prepare(tile, p.weights, 0, 2, true, false);
      extra += more + (demand.uploads[t] - 1) * again * (k - 1) / k;
    }
  }
  // While the other direction runs, each keeps only part of its rate.
  double slow = 1 / in.machine->link_duplex - 1;
  double both = std::min(up, down);
  double link_up = up + both * slow, link_down = down + both * slow;
  double slots = d.slots > 0 ? (hold + both * slow) / d.slots : 0;
  double period = std::max({demand.compute + extra, link_up, link_down, slots});
  if (d.block_granular) period = std::max(period, demand.compute + extra + (link_up + link_down) * 0.02);
  return period;
}

uint64_t LeastDeviceBytes(const PlanInput& in) {
  Decision all, none;
  all.resident.assign(in.partition->tiles.size(), true);
  none.resident.assign(in.partition->tiles.size(), false);
  none.slots = 1;
  return std::min(MeasureMemory(in, all).device(), MeasureMemory(in, none).device());
}

Status CheckBudgets(const PlanInput& in, const Decision& d) {
  MemoryUse use = MeasureMemory(in, d);
  const uint64_t budget = in.options->budget, host = in.options->host_budget;
  auto size = [](uint64_t bytes) { return FormatSize(static_cast<double>(bytes)); };
  if (use.device() > budget) {
    uint64_t least = LeastDeviceBytes(in);
    std::string help;
    if (least > budget) {
      help = "; the smallest budget that works is " + size(least) + " (" + std::to_string(least) + " bytes), of which " +
             size(use.temporary) + " are activations and workspace, fewer rows per micro-batch (--micro) make that less";
    } else {
      help = "; other decisions fit from " + size(least) + " on (--strategy auto)";
    }
    return Error(Code::kInfeasible, "the plan needs ", size(use.device()), " of device memory, ",
                 size(use.device() - budget), " more than the budget of ", size(budget), help);
  }
  if (use.host() > host) {
    return Error(Code::kInfeasible, "the plan needs ", size(use.host()), " of host memory, ", size(use.host() - host),
                 " more than the host budget of ", size(host), "; raise --host-budget, or --budget so that more weights stay on the device");
  }
  return Status();
}

}  // namespace zo2
