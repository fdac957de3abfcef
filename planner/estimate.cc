#include "planner/estimate.h"

#include <algorithm>

#include "planner/arith.h"

namespace zo2 {

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
    Cost c;
    if (uploads > 0) {
      c.up = uploads * in_.cost->Upload(tile.wire_bytes);
      c.up_wire = c.up - uploads * in_.cost->Upload(0);
    }
    if (uploads > 0 && tile.trainable) {
      c.down = in_.cost->Download(tile.bytes) / k;
      c.down_wire = c.down - in_.cost->Download(0) / k;
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
    all.extra += n * costs[c].extra;
  }
  // While the other direction runs, each keeps only part of its rate.
  const double both = std::min(all.up_wire, all.down_wire) * (1 / in_.machine->link_duplex - 1);
  const double compute = demand_.compute + all.extra, up = all.up + both, down = all.down + both;
  const double slots = d.slots > 0 ? (all.hold + up + down) / d.slots : 0;
  return std::max({compute, up, down, slots});
}

}  // namespace zo2
