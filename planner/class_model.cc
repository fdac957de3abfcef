#include "planner/class_model.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>

#include "planner/arith.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

// What a tile takes in one step, as emit_tiles.cc emits it. A master that is written back every K steps has K
// updates pending then, and K / 2 on average in the steps between; codes that the host keeps have one.
TileDemand Take(const PlanInput& in, const Demand& demand, TileId id, bool resident, int every) {
  const Partition& p = *in.partition;
  const Tile& tile = p.tiles[Ix(id)];
  const CostModel& cost = *in.cost;
  const bool updates = tile.trainable && in.train != nullptr, used = demand.used[Ix(id)],
             coded = p.coded[Ix(id)] && !(tile.trainable && resident),
             on_host = !resident && UpdatedOnHost(in, id), refreshed = !resident && Refreshed(in, id);
  const double uses = resident && updates ? std::max(1, demand.uploads[Ix(id)]) : demand.uploads[Ix(id)],
               k = every;
  const int branches = !used ? 0 : updates ? 2 : 1;
  auto prepare = [&](double pending, bool write, bool from_codes) {
    return cost.Prepare(tile, p.weights, pending, branches, updates, write, from_codes);
  };
  TileDemand d;
  double due = updates && !on_host ? 1 : 0;  // of the steps: those that write the master back
  if (!resident && every > 1) due /= k;
  // Steps that bring the master up to date; the others.
  if (!NeedsPrepare(p, id)) {
    if (!resident && demand.copied[Ix(id)] > 0) d.compute = demand.copied[Ix(id)] * prepare(0, false, false);
  } else if (uses > 0) {
    if (due > 0)
      d.compute += due * (prepare(resident ? 1 : k, true, false) + (uses - 1) * prepare(0, false, false));
    const double pending = on_host ? 1 : updates ? k / 2 : 0;
    if (due < 1 && (used || !refreshed)) d.compute += (1 - due) * uses * prepare(pending, false, coded);
  }
  if (resident) return d;
  d.hold = d.compute;
  const double masters = uses * (refreshed ? due
                                 : coded   ? 0
                                           : 1),  // uploads per step in each form
      codes = coded && used ? uses - masters : 0;
  d.up_wire = masters * (cost.Upload(tile.bytes) - cost.Upload(0)) +
              codes * (cost.Upload(tile.wire_bytes) - cost.Upload(0));
  d.up = d.up_wire + (masters + codes) * cost.Upload(0);
  d.down_wire = due * (cost.Download(tile.bytes) - cost.Download(0));
  d.down = d.down_wire + due * cost.Download(0);
  d.compute += in.machine->UploadTax() * (masters * static_cast<double>(tile.bytes) +
                                          codes * static_cast<double>(tile.wire_bytes)) +
               in.machine->DownloadTax() * due * static_cast<double>(tile.bytes);
  if (on_host) d.host = cost.HostUpdate(tile, p.weights, 1, true);
  if (refreshed) d.host = due * cost.HostUpdate(tile, p.weights, 0, true);
  d.compute += in.machine->HostTax() * d.host;
  return d;
}

// What a step takes of the link whatever is decided.
void FixedCopies(const PlanInput& in, ClassModel* m) {
  const Layout& layout = in.train != nullptr ? *in.train : *in.evaluate;
  auto bytes = [&](int temp) { return layout.temps[Ix(temp)].bytes; };
  for (const auto& [value, temp] : layout.input) m->up += in.cost->Upload(bytes(temp));
  for (size_t b = 0; b < layout.loss_sum.size(); ++b)
    m->down += in.cost->Download(bytes(layout.loss_sum[b])) + in.cost->Download(bytes(layout.loss_count[b]));
  if (in.train == nullptr) {
    for (ValueId v : layout.outputs)
      m->down += in.cost->Download(static_cast<uint64_t>(in.graph->value(v).type.bytes()));
    return;
  }
  m->up += in.cost->Upload(sizeof(StepControl));
  m->down += in.cost->Download(StepRecordBytes(in.options->samples));
}

}  // namespace

ClassModels::ClassModels(const PlanInput& in, const Demand& demand) : in_(in), demand_(demand) {
  const Partition& p = *in.partition;
  std::map<std::vector<int64_t>, size_t> known;
  for (size_t t = 0; t < p.tiles.size(); ++t) {
    const Tile& tile = p.tiles[t];
    std::vector<int64_t> key = {tile.tile_class, demand.uploads[t], demand.used[t], demand.copied[t],
                                tile.trainable};
    for (const Segment& s : tile.segments) {  // all that cost.h looks at
      const Component& c = p.weights[Ix(s.weight)].components[0];
      for (int64_t x : {s.row_end - s.row_begin, s.col_end - s.col_begin, static_cast<int64_t>(c.storage),
                        static_cast<int64_t>(c.wire), static_cast<int64_t>(c.compute), int64_t{c.trainable}})
        key.push_back(x);
    }
    const auto [it, fresh] = known.emplace(std::move(key), classes_.size());
    if (fresh) classes_.push_back({});
    classes_[it->second].push_back(static_cast<TileId>(t));
    class_of_.push_back(it->second);
  }
  for (const auto& tiles : classes_)
    sizes_.push_back(AlignUp(SlotBytes(in, tiles[0]), in.machine->alignment()));
  std::sort(sizes_.begin(), sizes_.end(), std::greater<>());
  sizes_.erase(std::unique(sizes_.begin(), sizes_.end()), sizes_.end());
}

const ClassModel& ClassModels::Every(int k) {
  auto [it, fresh] = models_.try_emplace(k);
  ClassModel& m = it->second;
  if (!fresh) return m;
  const uint64_t align = in_.machine->alignment();
  m.every = k;
  m.compute = demand_.calls;
  FixedCopies(in_, &m);
  m.slow = 1 / in_.machine->link_duplex - 1;
  Decision nothing;
  nothing.resident.assign(in_.partition->tiles.size(), true);
  nothing.writeback_every = k;
  const MemoryUse use = MeasureMemory(in_, nothing);
  auto left = [](uint64_t budget, uint64_t taken, bool* fits) {
    *fits = taken <= budget;
    return *fits ? budget - taken : 0;
  };
  m.room = left(in_.options->budget, use.device() - use.resident, &m.fits);
  m.host_room = left(in_.options->host_budget, use.host_staging, &m.host_fits);
  // Fixed strategies have residents of their own, whatever the limit.
  const bool fixed = in_.options->strategy == "resident" || in_.options->strategy == "zo2";
  m.resident_limit = fixed ? UINT64_MAX : in_.options->resident.value_or(UINT64_MAX);
  for (const std::vector<TileId>& tiles : classes_) {
    const TileId id = tiles[0];
    TileClass c;
    c.tiles = tiles;
    c.trained = in_.partition->tiles[Ix(id)].trainable && in_.train != nullptr;
    c.bytes = AlignUp(ResidentBytes(in_, id), align);
    c.slot_bytes = AlignUp(SlotBytes(in_, id), align);
    c.host_bytes = AlignUp(MasterBytesOnHost(in_, id), align) + AlignUp(CodeBytesOnHost(in_, id), align);
    c.resident = Take(in_, demand_, id, true, k);
    c.streamed = Take(in_, demand_, id, false, k);
    m.classes.push_back(std::move(c));
  }
  return m;
}

double Period(const ClassModel& m, const std::vector<int64_t>& streamed, int slots) {
  TileDemand all;
  double compute = m.compute;
  for (size_t c = 0; c < m.classes.size(); ++c) {
    const TileDemand& s = m.classes[c].streamed;
    const auto x = static_cast<double>(streamed[c]), n = static_cast<double>(m.classes[c].tiles.size());
    compute += (n - x) * m.classes[c].resident.compute + x * s.compute;
    all.up += x * s.up;
    all.down += x * s.down;
    all.up_wire += x * s.up_wire;
    all.down_wire += x * s.down_wire;
    all.hold += x * s.hold;
    all.host += x * s.host;
  }
  const double both = m.slow * std::min(all.up_wire, all.down_wire);
  const double turn = slots > 0 ? (all.up + all.down + all.hold + 2 * both) / slots : 0;
  return std::max({compute, m.up + all.up + both, m.down + all.down + both, all.host, turn});
}

double ClassProgram::Seconds(const std::vector<double>& x) const {
  double most_seconds = 0;
  for (const Lane& lane : lanes)
    most_seconds =
        std::max(most_seconds, std::inner_product(x.begin(), x.end(), lane.per_tile.begin(), lane.base));
  return most_seconds;
}

double ClassProgram::Least() const {
  const Limit& device = limits[0];  // sum of -bytes x <= -what has to be streamed
  double seconds = 0;
  std::vector<size_t> order(most.size());
  for (const Lane& lane : lanes) {
    std::iota(order.begin(), order.end(), size_t{0});
    std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return lane.per_tile[a] * device.per_tile[b] >
             lane.per_tile[b] * device.per_tile[a];  // seconds per byte
    });
    double sum = lane.base, needed = -device.most;
    for (size_t c : order) {
      const auto n = static_cast<double>(most[c]);
      const double share = lane.per_tile[c] < 0 ? n : std::clamp(needed / -device.per_tile[c], 0.0, n);
      sum += share * lane.per_tile[c];
      needed += share * device.per_tile[c];
    }
    if (needed > 0.5) return std::numeric_limits<double>::infinity();
    seconds = std::max(seconds, sum);
  }
  return seconds;
}

ClassProgram MakeProgram(const ClassModel& m, const Setting& setting) {
  ClassProgram p;
  const size_t n = m.classes.size();
  const double slots = setting.slots;
  auto lane = [&](const char* name, double base) {
    p.lanes.push_back({name, base, std::vector<double>(n)});
    return p.lanes.size() - 1;
  };
  auto limit = [&](double most, bool integers) {
    p.limits.push_back({most, std::vector<double>(n), integers});
    return p.limits.size() - 1;
  };
  const size_t compute = lane("compute", m.compute), up = lane("h2d", m.up), down = lane("d2h", m.down),
               turn = lane("slots", 0), updates = lane("host", 0);
  double all = 0;
  for (const TileClass& c : m.classes)
    all += static_cast<double>(c.bytes) * static_cast<double>(c.tiles.size());
  const size_t device =
      limit(static_cast<double>(m.room) - slots * static_cast<double>(setting.slot_bytes) - all, true);
  const size_t host = limit(static_cast<double>(m.host_room), true);
  const size_t shorter = limit(0, false);
  if (m.resident_limit < UINT64_MAX) limit(static_cast<double>(m.resident_limit) - all, true);
  for (size_t c = 0; c < n; ++c) {
    const TileClass& t = m.classes[c];
    const TileDemand &s = t.streamed, &r = t.resident;
    const auto count = static_cast<int64_t>(t.tiles.size());
    const double both = m.slow * (setting.more_down ? s.up_wire : s.down_wire);
    const bool fits = setting.any_tile || t.slot_bytes <= setting.slot_bytes;
    p.most.push_back(fits && !(t.trained && setting.frozen_only) ? count : 0);
    p.lanes[compute].base += static_cast<double>(count) * r.compute;
    p.lanes[compute].per_tile[c] = s.compute - r.compute;
    p.lanes[up].per_tile[c] = s.up + both;
    p.lanes[down].per_tile[c] = s.down + both;
    if (setting.slots > 0) p.lanes[turn].per_tile[c] = (s.up + s.down + s.hold + 2 * both) / slots;
    p.lanes[updates].per_tile[c] = s.host;
    p.limits[shorter].per_tile[c] = setting.more_down ? s.up_wire - s.down_wire : s.down_wire - s.up_wire;
    p.limits[host].per_tile[c] = static_cast<double>(t.host_bytes);
    p.limits[device].per_tile[c] = -static_cast<double>(t.bytes);
    if (p.limits.size() > 3) p.limits[3].per_tile[c] = -static_cast<double>(t.bytes);
  }
  return p;
}

}  // namespace zo2
