#include "planner/bound.h"

#include <algorithm>
#include <numeric>
#include <set>

namespace zo2 {
namespace {
size_t Ix(int64_t i) { return static_cast<size_t>(i); }
}  // namespace

Demand MeasureDemand(const PlanInput& in) {
  Demand d;
  const Partition& p = *in.partition;
  d.uploads.assign(p.tiles.size(), 0);
  if (in.train == nullptr) return d;
  const Layout& layout = *in.train;
  const Graph& g = *in.graph;
  std::vector<ValueId> roots = RootValues(g);
  const int passes = in.options->samples * in.options->micro_batches;
  std::set<TileId> groups;
  std::vector<double> calls(p.tiles.size(), 0);
  for (NodeId id : layout.calls) {
    auto operands = WeightOperands(g, roots, id);
    const int parts = NumParts(p, operands);
    const int branches = layout.variant[Ix(g.nodes[Ix(id)].outputs[0])] ? layout.branches : 1;
    for (int k = 0; k < parts; ++k) {
      int64_t begin = 0, end = 0;
      std::set<TileId> now;
      for (const WeightOperand& w : operands) {
        const Part& part = p.parts[Ix(w.weight)][p.cut[Ix(w.weight)] ? Ix(k) : 0];
        if (p.cut[Ix(w.weight)] && parts > 1) begin = part.begin, end = part.end;
        if (!p.grouped[Ix(part.tile)] || groups.insert(part.tile).second) now.insert(part.tile);
      }
      d.compute += passes * branches * in.cost->Call(id, begin, end);
      d.instructions += int64_t{passes} * branches;
      for (TileId t : now) ++d.uploads[Ix(t)];
    }
  }
  for (size_t t = 0; t < p.tiles.size(); ++t) {
    const Tile& tile = p.tiles[t];
    const int per_pass = d.uploads[t];
    d.instructions += int64_t{passes} * per_pass;
    d.uploads[t] *= passes;
    if (per_pass == 0 && tile.trainable) d.uploads[t] = 1;  // its update
    if (!NeedsPrepare(p, static_cast<TileId>(t))) continue;
    // The first prepare of an iteration applies one update; the others find it applied. A branch buffer per sign.
    const bool used = per_pass > 0;
    const int branches = !used ? 0 : tile.trainable ? 2 : 1;
    if (d.uploads[t] > 0)
      d.compute += in.cost->Prepare(tile, p.weights, tile.trainable ? 1 : 0, branches, tile.trainable, false) +
                   (d.uploads[t] - 1) * in.cost->Prepare(tile, p.weights, 0, branches, tile.trainable, false);
  }
  d.compute += in.cost->Gradient();
  return d;
}

Bound LowerBound(const PlanInput& in, const Demand& demand, uint64_t budget) {
  Bound b;
  b.compute = demand.compute;
  const Partition& p = *in.partition;
  Decision nothing;
  nothing.resident.assign(p.tiles.size(), true);
  MemoryUse use = MeasureMemory(in, nothing);
  double fixed = static_cast<double>(use.constants + use.records + use.temporary);
  double all = 0;
  uint64_t smallest = UINT64_MAX;
  std::vector<size_t> order(p.tiles.size());
  std::iota(order.begin(), order.end(), size_t{0});
  for (const Tile& t : p.tiles) {
    all += static_cast<double>(t.bytes);
    smallest = std::min(smallest, t.wire_bytes);
  }
  double room = budget == 0 ? all : static_cast<double>(budget) - fixed;
  if (room < all) room -= static_cast<double>(std::min<uint64_t>(smallest, UINT64_MAX));  // something passes through a slot
  std::stable_sort(order.begin(), order.end(), [&](size_t x, size_t y) {
    if (demand.uploads[x] != demand.uploads[y]) return demand.uploads[x] > demand.uploads[y];
    return p.tiles[x].trainable > p.tiles[y].trainable;
  });
  double streamed_down = 0, normals = 0;  // of one write-back of everything streamed; of one update of it
  for (size_t t : order) {
    const Tile& tile = p.tiles[t];
    double bytes = static_cast<double>(tile.bytes);
    double kept = std::clamp(room, 0.0, bytes);
    room -= kept;
    b.resident_bytes += kept;
    double share = bytes > 0 ? 1 - kept / bytes : 0;
    b.up += share * demand.uploads[t] * in.cost->Upload(tile.wire_bytes);
    if (!tile.trainable) continue;
    streamed_down += share * in.cost->Download(tile.bytes);
    normals += share * (in.cost->Prepare(tile, p.weights, 2, 2, true, false) - in.cost->Prepare(tile, p.weights, 1, 2, true, false));
  }
  // Writing back every K steps saves downloads (and what they take from uploads) and costs (K - 1) / 2 more updates
  // applied on average. Any mixture of two neighbouring K is allowed: with both lines straight in the mixture, the best
  // is at an end or where they cross.
  const double slow = 1 / in.machine->link_duplex - 1;
  struct Point {
    double compute, up, down;
    double most() const { return std::max({compute, up, down}); }
  };
  auto at = [&](int k) {
    double down = streamed_down / k;
    double both = std::min(b.up, down) * slow;
    return Point{demand.compute + normals * (k - 1) / 2, b.up + both, down + both};
  };
  const int forced = in.options->writeback_every;
  Point best = at(forced > 0 ? forced : 1);
  for (int k = 1; forced == 0 && k < kMaxPeriod; ++k) {
    Point x = at(k), y = at(k + 1);
    auto mix = [&](double f) { return Point{x.compute + f * (y.compute - x.compute), x.up + f * (y.up - x.up), x.down + f * (y.down - x.down)}; };
    for (auto link : {&Point::up, &Point::down}) {
      double gap = x.compute - x.*link, change = (y.compute - x.compute) - (y.*link - x.*link);
      double f = change != 0 ? std::clamp(-gap / change, 0.0, 1.0) : 0;
      for (double m : {0.0, f, 1.0})
        if (mix(m).most() < best.most()) best = mix(m);
    }
  }
  b.compute = best.compute;
  b.up = best.up;
  b.down = best.down;
  b.seconds = best.most();
  b.binding = b.seconds == b.compute ? "compute" : b.seconds == b.up ? "h2d" : "d2h";
  return b;
}

}  // namespace zo2
