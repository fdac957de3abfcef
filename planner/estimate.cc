#include "planner/estimate.h"

#include <algorithm>

#include "planner/arith.h"
#include "planner/wire.h"

namespace zo2 {

StreamedCost CostOfCoded(const PlanInput& in, const Demand& demand, TileId id, double k) {
  const Tile& tile = in.partition->tiles[Ix(id)];
  const CostModel& cost = *in.cost;
  const double uploads = demand.uploads[Ix(id)], wire = static_cast<double>(tile.wire_bytes),
               bytes = static_cast<double>(tile.bytes);
  const int branches = demand.used[Ix(id)] ? 2 : 0;
  auto prepare = [&](double pending, bool write, bool coded) {
    return cost.Prepare(tile, in.partition->weights, pending, branches, true, write, coded);
  };
  StreamedCost c;
  if (UpdatedOnHost(in, id)) {
    c.up = uploads * cost.Upload(tile.wire_bytes);
    c.up_wire = c.up - uploads * cost.Upload(0);
    c.tax = uploads * in.machine->UploadTax() * wire;
    c.host = cost.HostUpdate(tile, in.partition->weights, 1, true);
    c.hold = c.prepares = uploads * prepare(1, false, true);
  } else {
    const double due = 1 / k, codes = demand.used[Ix(id)] ? uploads * (1 - due) : 0;  // uploads per step in each form
    c.up = uploads * due * cost.Upload(tile.bytes) + codes * cost.Upload(tile.wire_bytes);
    c.up_wire = c.up - (uploads * due + codes) * cost.Upload(0);
    c.down = due * cost.Download(tile.bytes);
    c.down_wire = c.down - due * cost.Download(0);
    c.tax = in.machine->UploadTax() * (uploads * due * bytes + codes * wire) + in.machine->DownloadTax() * due * bytes;
    c.host = due * cost.HostUpdate(tile, in.partition->weights, 0, true);
    // Codes have 1, 2, ..., K - 1 updates pending, the master K in the first prepare of its step and none in others.
    c.hold = c.prepares = due * prepare(k, true, false) + (uploads - 1) * due * prepare(0, false, false) +
                        codes * prepare(k / 2, false, true);
  }
  c.tax += in.machine->HostTax() * c.host;
  c.extra = c.prepares - demand.prepares[Ix(id)];
  return c;
}

Estimator::Estimator(const PlanInput& in, const Demand& demand) : in_(in), demand_(demand) {
  std::map<std::pair<int32_t, int>, int> classes;
  const auto& tiles = in.partition->tiles;
  for (size_t t = 0; t < tiles.size(); ++t) {
    auto [it, fresh] =
        classes.emplace(std::make_pair(tiles[t].tile_class, demand.uploads[t]), static_cast<int>(classes.size()));
    if (fresh) first_.push_back(static_cast<TileId>(t));
    class_of_.push_back(it->second);
  }
}

const std::vector<Estimator::Cost>& Estimator::Costs(int every) {
  auto [it, fresh] = costs_.try_emplace(every);
  if (!fresh) return it->second;
  const Partition& p = *in_.partition;
  const double k = every;
  for (TileId id : first_) {
    const Tile& tile = p.tiles[Ix(id)];
    const double uploads = demand_.uploads[Ix(id)];
    if (p.coded[Ix(id)] && tile.trainable) {
      it->second.push_back(CostOfCoded(in_, demand_, id, k));
      continue;
    }
    Cost c;
    if (uploads > 0) {
      c.up = uploads * in_.cost->Upload(tile.wire_bytes);
      c.up_wire = c.up - uploads * in_.cost->Upload(0);
      c.tax = uploads * in_.machine->UploadTax() * static_cast<double>(tile.wire_bytes);
    }
    if (uploads > 0 && tile.trainable) {
      c.down = in_.cost->Download(tile.bytes) / k;
      c.down_wire = c.down - in_.cost->Download(0) / k;
      c.tax += in_.machine->DownloadTax() * static_cast<double>(tile.bytes) / k;
      auto prepare = [&](double pending, bool write) {
        return in_.cost->Prepare(tile, p.weights, pending, 2, true, write);
      };
      c.hold = uploads * prepare(1, true);
      // Between write-backs 1, 2, ..., K updates are pending, applied anew by every upload of the iteration.
      if (every > 1)
        c.extra = prepare((k + 1) / 2, true) - prepare(1, true) +
                  (uploads - 1) * (prepare(k / 2, false) - prepare(0, false)) * (k - 1) / k;
    }
    it->second.push_back(c);
  }
  return it->second;
}

double Estimator::Period(const Decision& d) {
  const std::vector<Cost>& costs = Costs(d.writeback_every);
  std::vector<int> streamed(costs.size(), 0);
  for (size_t t = 0; t < d.resident.size(); ++t)
    if (!d.resident[t]) ++streamed[Ix(class_of_[t])];
  Cost all;
  for (size_t c = 0; c < costs.size(); ++c) {
    const double n = streamed[c];
    all.up += n * costs[c].up;
    all.down += n * costs[c].down;
    all.up_wire += n * costs[c].up_wire;
    all.down_wire += n * costs[c].down_wire;
    all.hold += n * costs[c].hold;
    all.extra += n * (costs[c].extra + costs[c].tax);
    all.host += n * costs[c].host;
  }
  // While the other direction runs, each keeps only part of its rate.
  const double both = std::min(all.up_wire, all.down_wire) * (1 / in_.machine->link_duplex - 1);
  const double compute = demand_.compute + all.extra, up = all.up + both, down = all.down + both;
  const double slots = d.slots > 0 ? (all.hold + up + down) / d.slots : 0;
  return std::max({compute, up, down, slots, all.host});
}

}  // namespace zo2
