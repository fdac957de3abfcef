#include "planner/bound.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "planner/arith.h"
#include "planner/class_bound.h"
#include "planner/wire.h"
#include "planner/z3_solver.h"

namespace zo2 {

Demand MeasureDemand(const PlanInput& in) {
  Demand d;
  const Partition& p = *in.partition;
  d.uploads.assign(p.tiles.size(), 0);
  d.copied.assign(p.tiles.size(), 0);
  const bool train = in.train != nullptr;
  const Layout& layout = train ? *in.train : *in.evaluate;
  const Graph& g = *in.graph;
  std::vector<ValueId> roots = RootValues(g);
  const int passes = train ? in.options->samples * in.options->micro_batches : 1;
  std::set<TileId> groups;
  d.prepares.assign(p.tiles.size(), 0);
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
      for (TileId t : now) {
        ++d.uploads[Ix(t)];
        if (p.grouped[Ix(t)] || !ReadsInSlot(p, operands, t)) d.copied[Ix(t)] += passes;
        d.uses.push_back({t, 0});
      }
      const double seconds = branches * in.cost->Call(id, begin, end);
      d.calls += passes * seconds;
      d.instructions += int64_t{passes} * branches;
      if (!d.uses.empty()) d.uses.back().seconds += seconds;
    }
  }
  for (size_t t = 0; t < p.tiles.size(); ++t) {
    const Tile& tile = p.tiles[t];
    const int per_pass = d.uploads[t];
    d.used.push_back(per_pass > 0);
    d.instructions += int64_t{passes} * per_pass;
    d.uploads[t] *= passes;
    const auto id = static_cast<TileId>(t);
    if (per_pass == 0 && tile.trainable && !UpdatedOnHost(in, id)) d.uploads[t] = 1;  // its update
    if (!NeedsPrepare(p, id)) continue;
    // The first prepare of an iteration applies one update; the others find it applied. A branch buffer per sign.
    const int branches = per_pass == 0 ? 0 : tile.trainable ? 2 : 1;
    if (d.uploads[t] == 0) continue;
    auto prepare = [&](double pending) {
      auto from = [&](bool coded) {
        return in.cost->Prepare(tile, p.weights, pending, branches, tile.trainable, false, coded);
      };
      if (!p.coded[t]) return from(false);
      return tile.trainable ? std::min(from(false), from(true)) : from(true);  // trained: as it is resident or streamed
    };
    d.prepares[t] = prepare(tile.trainable ? 1 : 0) + (d.uploads[t] - 1) * prepare(0);
    // Nothing reads it between refreshes, which apply K updates in one pass: of each at least its normals.
    if (per_pass == 0 && Refreshed(in, id)) d.prepares[t] = prepare(2) - prepare(1);
    d.compute += d.prepares[t];
  }
  for (Demand::Use& use : d.uses) use.seconds += d.prepares[Ix(use.tile)] / std::max(1, d.uploads[Ix(use.tile)]);
  if (train) d.calls += in.cost->Gradient();
  d.compute += d.calls;
  return d;
}

namespace {

// What a tile takes when it is streamed, K = 1; the `_every` parts are divided by K.
struct Load {
  double bytes = 0;
  double up = 0, up_every = 0, down = 0;            // seconds of copies
  double up_wire = 0, down_wire = 0;                // of those, without the latency
  double normals = 0;                               // of one update more
  double host = 0, host_every = 0;                  // host updates
};

// The least sum of one of the loads when `room` bytes are resident, tiles split at will: a continuous knapsack.
double LeastSum(std::vector<Load> loads, double room, double Load::*load) {
  std::sort(loads.begin(), loads.end(),
            [&](const Load& a, const Load& b) { return a.*load * b.bytes > b.*load * a.bytes; });
  double sum = 0;
  for (const Load& l : loads) {
    const double kept = std::clamp(room, 0.0, l.bytes);
    room -= kept;
    if (l.bytes > 0) sum += (1 - kept / l.bytes) * l.*load;
  }
  return sum;
}

}  // namespace

Bound Roofline(const PlanInput& in, const Demand& demand, uint64_t budget) {
  const Partition& p = *in.partition;
  Decision nothing;
  nothing.resident.assign(p.tiles.size(), true);
  const MemoryUse use = MeasureMemory(in, nothing);
  std::vector<Load> loads;
  double all = 0, smallest = 0;
  for (size_t t = 0; t < p.tiles.size(); ++t) {
    const Tile& tile = p.tiles[t];
    const auto id = static_cast<TileId>(t);
    const double uploads = demand.uploads[t];
    const bool codes = p.coded[t] && tile.trainable;
    Load l;
    l.bytes = static_cast<double>(ResidentBytes(in, id));
    l.up = uploads * in.cost->Upload(tile.wire_bytes);
    l.up_wire = l.up - uploads * in.cost->Upload(0);
    if (codes) {
      if (!demand.used[t]) l.up = l.up_wire = 0;
      if (Refreshed(in, id)) {
        // Every K-th step the master goes up instead; each counts as the smaller of the two (codes of a tiny matrix may
        // be the larger), and what the master takes beyond that is divided by K.
        const double least = std::min(l.up, uploads * in.cost->Upload(tile.bytes));
        if (demand.used[t]) l.up_wire = least - uploads * in.cost->Upload(0);
        l.up = least;
        l.up_every = std::max(0.0, uploads * in.cost->Upload(tile.bytes) - l.up);
        l.host_every = in.cost->HostUpdate(tile, p.weights, 0, true);
      } else {
        l.host = in.cost->HostUpdate(tile, p.weights, 1, true);
      }
    }
    if (tile.trainable && !UpdatedOnHost(in, id)) {
      l.down = in.cost->Download(tile.bytes);
      l.down_wire = l.down - in.cost->Download(0);
      auto normals = [&](bool coded) {
        auto prepare = [&](double pending) {
          return in.cost->Prepare(tile, p.weights, pending, 2, true, false, coded);
        };
        return prepare(2) - prepare(1);
      };
      l.normals = codes ? std::min(normals(false), normals(true)) : normals(false);
      if (codes && !demand.used[t]) l.normals = 0;  // no update is applied twice
    }
    loads.push_back(l);
    all += l.bytes;
    const auto slot = static_cast<double>(SlotBytes(in, id));
    smallest = t == 0 ? slot : std::min(smallest, slot);
  }
  double room = static_cast<double>(budget) - static_cast<double>(use.constants + use.records + use.temporary);
  if (budget == 0) room = all;
  if (room < all) room = std::max(0.0, room - smallest);  // something passes through a slot
  // Each sum at its own least: no choice of residents has all of them lower.
  const double up = LeastSum(loads, room, &Load::up), down = LeastSum(loads, room, &Load::down);
  const double up_wire = LeastSum(loads, room, &Load::up_wire), down_wire = LeastSum(loads, room, &Load::down_wire);
  const double normals = LeastSum(loads, room, &Load::normals), up_every = LeastSum(loads, room, &Load::up_every);
  const double host = LeastSum(loads, room, &Load::host), host_every = LeastSum(loads, room, &Load::host_every);
  // Where both directions run, each keeps `duplex` of its rate; one after the other they need no more than twice.
  const double slow = std::min(1.0, 1 / in.machine->link_duplex - 1);
  // Writing back every K steps saves downloads (and what they take from uploads) and costs (K - 1) / 2 more updates
  // applied on average. Any mixture of two neighbouring K is allowed: with both lines straight in the mixture, the best
  // is at an end or where they cross.
  struct Point {
    double compute, up, down, host;
    double most() const { return std::max({compute, up, down, host}); }
  };
  auto at = [&](int k) {
    const double both = std::min(up_wire, down_wire / k) * slow;
    return Point{demand.compute + normals * (k - 1) / 2, up + up_every / k + both, down / k + both,
                 host + host_every / k};
  };
  const int forced = in.options->writeback_every;
  Point best = at(forced > 0 ? forced : 1);
  for (int k = 1; forced == 0 && k < kMaxPeriod; ++k) {
    Point x = at(k), y = at(k + 1);
    auto mix = [&](double f) {
      return Point{x.compute + f * (y.compute - x.compute), x.up + f * (y.up - x.up), x.down + f * (y.down - x.down),
                   x.host + f * (y.host - x.host)};
    };
    for (auto link : {&Point::up, &Point::down, &Point::host}) {
      double gap = x.compute - x.*link, change = (y.compute - x.compute) - (y.*link - x.*link);
      double f = change != 0 ? std::clamp(-gap / change, 0.0, 1.0) : 0;
      for (double m : {0.0, f, 1.0})
        if (mix(m).most() < best.most()) best = mix(m);
    }
  }
  Bound b;
  b.compute = best.compute;
  b.up = best.up;
  b.down = best.down;
  b.host = best.host;
  b.seconds = best.most();
  b.binding = b.seconds == b.compute ? "compute" : b.seconds == b.up ? "h2d" : b.seconds == b.down ? "d2h" : "host";
  b.roofline = b.seconds;
  b.resident_bytes = std::clamp(room, 0.0, all);
  return b;
}

Bound LowerBound(const PlanInput& in, const Demand& demand, uint64_t budget, Z3Solver* solver) {
  if (solver == nullptr) {
    Z3Solver own;
    return LowerBound(in, demand, budget, &own);
  }
  Bound b = Roofline(in, demand, budget);
  PlanOptions options = *in.options;
  options.budget = budget;
  PlanInput at = in;
  at.options = &options;
  const std::optional<ClassBound> lp = SolveClassBound(at, demand, solver);
  if (!lp) return b;
  b.lp = lp->seconds;
  b.capped = lp->capped;
  if (b.lp <= b.seconds) return b;
  auto lane = [&](const char* name) { return lp->lanes.at(name); };
  b.seconds = b.lp;
  b.compute = lane("compute");
  b.up = lane("h2d");
  b.down = lane("d2h");
  b.host = lane("host");
  b.slots = lane("slots");
  for (const char* name : {"compute", "h2d", "d2h", "host", "slots"}) {  // the first of equal ones
    if (lane(name) < b.seconds * (1 - 1e-6)) continue;
    b.binding = name;
    break;
  }
  b.resident_bytes = lp->resident_bytes;
  return b;
}

}  // namespace zo2
