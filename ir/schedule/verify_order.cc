// Hazards. The program unrolled over a window of iterations, in the serial order, with vector clocks: clock[l] of an
// instruction says how many instructions of lane l have passed before it may start. Every access is compared with the
// last writer of each byte, and every write with its readers since; transitivity covers the rest.
//
// Why a window is enough: a path from iteration i to iteration j passes through iterations i .. j only, so whether one
// exists depends on j - i and on i mod period. Two accesses that meet at a byte, with none in between, are at most
// P = lcm(period, rings) iterations apart; a window of 2 P holds all of them at every phase. A ring of records longer
// than that is taken as a shorter one, which asks for more.
#include <algorithm>
#include <array>
#include <map>
#include <numeric>

#include "ir/schedule/verify_internal.h"

namespace zo2::internal {
namespace {

constexpr int64_t kMaxUnrolled = 200'000'000;
constexpr int64_t kMaxPhases = 4096;
constexpr int64_t kMaxClocks = int64_t{1} << 27;

class Window {
 public:
  explicit Window(const ProgramFacts& facts)
      : facts_(facts), s_(*facts.schedule), p_(*facts.program), lanes_(p_.lanes.size()), maps_(s_.arenas.size()) {}

  Status Check(VerifyStats* stats) {
    ZO2_TRY(Size());
    ZO2_TRY(Prepare());
    for (int64_t t = 0; t < iterations_; ++t) {
      for (size_t n = 0; n < facts_.order.size(); ++n) {
        const Spot spot = facts_.order[n];
        const Instruction& i = facts_.at(spot);
        std::vector<int64_t>& clock = lane_clock_[Ix(spot.lane)];
        const int64_t position = t * length_[Ix(spot.lane)] + spot.index;
        if (RunsAt(p_, i, t)) {
          for (size_t k = first_edge_[n]; k < first_edge_[n + 1]; ++k) {
            const auto& [source, back] = edges_[k];
            if (t < back) continue;
            const int64_t* from = Clock(source, t - back);
            for (size_t l = 0; l < lanes_; ++l) clock[l] = std::max(clock[l], from[l]);
          }
          stats->edges += static_cast<int64_t>(first_edge_[n + 1] - first_edge_[n]);
          for (const Effect& e : facts_.effects_at(spot)) ZO2_TRY(Touch(spot, e, t, position, clock));
          if (p_.purpose == Purpose::kTrain) ZO2_TRY(CheckRecords(spot, i, t, clock));
          ++stats->instructions;
        }
        clock[Ix(spot.lane)] = position + 1;
        if (source_of_[n] >= 0) std::copy(clock.begin(), clock.end(), Clock(source_of_[n], t));
      }
    }
    return Status();
  }

 private:
  struct Reader {
    LaneId lane;
    int64_t position;
    Spot spot;
  };
  // A ring of records: the gradient's, or its copy on the host.
  struct Records {
    int64_t ring = 0;
    std::vector<Spot> writers, readers;
  };
  struct Cell {
    uint64_t end;
    LaneId lane = -1;  // last writer; -1 none
    int64_t position = 0;
    Spot spot;
    std::vector<Reader> readers;  // since then; the last one of each lane
  };

  Status Size() {
    int64_t phases = p_.period;
    for (const auto& lane : facts_.effects) {
      for (const auto& effects : lane) {
        for (const Effect& e : effects) {
          const Buffer& b = s_.buffers[Ix(e.buffer)];
          if (b.ring > 1 && b.kind != BufferKind::kRecord && phases <= kMaxPhases)
            phases = std::lcm(phases, static_cast<int64_t>(b.ring));
        }
      }
    }
    if (phases > kMaxPhases)
      return Rejected("program ", p_.name, ": its period and rings repeat only after ", phases, " iterations, more than ",
                      kMaxPhases);
    iterations_ = std::max<int64_t>(2 * p_.period + facts_.max_back + 1, 2 * phases);
    if (iterations_ * std::max<int64_t>(1, facts_.instructions) > kMaxUnrolled)
      return Rejected("program ", p_.name, ": ", iterations_, " iterations of ", facts_.instructions,
                      " instructions are too many to check");
    return Status();
  }

  Status Prepare() {
    for (const Lane& lane : p_.lanes) length_.push_back(static_cast<int64_t>(lane.instructions.size()));
    lane_clock_.assign(lanes_, std::vector<int64_t>(lanes_));
    std::vector<std::vector<size_t>> number(lanes_);  // place in the serial order
    for (size_t l = 0; l < lanes_; ++l) number[l].resize(Ix(length_[l]));
    for (size_t n = 0; n < facts_.order.size(); ++n) number[Ix(facts_.order[n].lane)][Ix(facts_.order[n].index)] = n;
    source_of_.assign(facts_.order.size(), -1);
    first_edge_.assign(facts_.order.size() + 1, 0);
    int64_t sources = 0;
    for (const Edge& e : p_.edges) {
      int64_t& source = source_of_[number[Ix(e.from_lane)][Ix(e.from)]];
      if (source < 0) source = sources++;
      ++first_edge_[number[Ix(e.to_lane)][Ix(e.to)] + 1];
    }
    std::partial_sum(first_edge_.begin(), first_edge_.end(), first_edge_.begin());
    std::vector<size_t> fill(first_edge_.begin(), first_edge_.end() - 1);
    edges_.resize(p_.edges.size());
    for (const Edge& e : p_.edges)
      edges_[fill[number[Ix(e.to_lane)][Ix(e.to)]]++] = {source_of_[number[Ix(e.from_lane)][Ix(e.from)]], e.back};
    const int64_t clocks = sources * (facts_.max_back + 1) * static_cast<int64_t>(lanes_);  // below 2^32
    if (clocks > kMaxClocks)
      return Rejected("program ", p_.name, ": ", p_.edges.size(), " edges that reach up to ", facts_.max_back,
                      " iterations back are too many to check");
    clocks_.assign(Ix(clocks), 0);
    if (p_.purpose == Purpose::kTrain) PrepareRecords();
    return Status();
  }

  // The rings of records, and who writes and reads them.
  void PrepareRecords() {
    device_.ring = std::min<int64_t>(s_.buffers[Ix(p_.record)].ring, iterations_ / 2);
    host_.ring = std::min<int64_t>(s_.buffers[Ix(p_.record_host)].ring, iterations_ / 2);
    for (auto& lags : lags_) lags.resize(s_.tiles.size());
    for (const Spot spot : facts_.order) {
      const Instruction& i = facts_.at(spot);
      if (i.kind == InstrKind::kGradient) device_.writers.push_back(spot);
      if (CopiesRecord(i)) host_.writers.push_back(spot);
      if (!AppliesUpdates(s_, i)) continue;
      (AppliesOnHost(i) ? host_ : device_).readers.push_back(spot);
      std::vector<int8_t>& lags = lags_[i.coded][Ix(i.tile)];
      const uint64_t writes = (i.coded ? facts_.code_writes : facts_.master_writes)[Ix(i.tile)];
      for (int r = 0; lags.size() < Ix(p_.period); ++r) lags.push_back(static_cast<int8_t>(LagAt(writes, p_.period, r)));
    }
  }
  bool CopiesRecord(const Instruction& i) const {
    return i.kind == InstrKind::kCopy && i.operands[1].buffer == p_.record_host;
  }
  // How many updates a reader applies at iteration t, at most.
  int64_t Lag(const Instruction& i, int64_t t) const { return lags_[i.coded][Ix(i.tile)][Ix(t % p_.period)]; }

  Status CheckRecords(Spot spot, const Instruction& i, int64_t t, const std::vector<int64_t>& clock) const {
    if (AppliesUpdates(s_, i)) return CheckRecordsRead(spot, i, t, clock);
    if (i.kind == InstrKind::kGradient) return CheckRecordsKept(device_, spot, t, clock);
    return CopiesRecord(i) ? CheckRecordsKept(host_, spot, t, clock) : Status();
  }

  int64_t* Clock(int64_t source, int64_t t) {
    return clocks_.data() + (Ix(source) * Ix(facts_.max_back + 1) + Ix(t % (facts_.max_back + 1))) * lanes_;
  }

  Status Hazard(Spot spot, Spot earlier, int64_t t, int64_t position, const char* what, const Buffer& b) const {
    const int64_t back = t - position / length_[Ix(earlier.lane)];
    return facts_.Reject(spot, what, " buffer ", b.name, " without waiting for ", facts_.Where(earlier),
                         back == 0 ? "" : ", " + std::to_string(back) + " iterations before");
  }

  Status Touch(Spot spot, const Effect& e, int64_t t, int64_t position, const std::vector<int64_t>& clock) {
    const Buffer& b = s_.buffers[Ix(e.buffer)];
    if (e.bytes == 0) return Status();
    const uint64_t ring = b.kind == BufferKind::kRecord ? std::min<uint64_t>(b.ring, Ix(iterations_ / 2)) : b.ring;
    const uint64_t begin = b.offset + e.offset + (ring > 1 ? b.stride * (Ix(t) % ring) : 0), end = begin + e.bytes;
    std::map<uint64_t, Cell>& map = maps_[Ix(b.arena)];
    Cut(map, begin);
    Cut(map, end);
    auto it = map.lower_bound(begin);
    const bool writes = Writes(e.role);
    for (uint64_t at = begin; at < end;) {
      if (it == map.end() || it->first > at) {  // bytes that nobody has touched yet
        const uint64_t stop = it == map.end() ? end : std::min(end, it->first);
        if (!writes) it = map.emplace_hint(it, at, Cell{stop, -1, 0, {}, {}});
        if (writes) {
          at = stop;
          continue;
        }
      }
      Cell& cell = it->second;
      if (cell.lane >= 0 && cell.lane != spot.lane && clock[Ix(cell.lane)] <= cell.position)
        return Hazard(spot, cell.spot, t, cell.position, writes ? "overwrites" : "reads", b);
      if (writes) {
        for (const Reader& r : cell.readers)
          if (r.lane != spot.lane && clock[Ix(r.lane)] <= r.position)
            return Hazard(spot, r.spot, t, r.position, "overwrites", b);
      } else {
        bool known = false;
        for (Reader& r : cell.readers) {
          if (r.lane != spot.lane) continue;
          r.position = position;
          r.spot = spot;
          known = true;
        }
        if (!known) cell.readers.push_back({spot.lane, position, spot});
      }
      at = cell.end;
      ++it;
    }
    if (writes) {
      it = map.erase(map.lower_bound(begin), it);
      map.emplace_hint(it, begin, Cell{end, spot.lane, position, spot, {}});
    }
    return Status();
  }

  static void Cut(std::map<uint64_t, Cell>& map, uint64_t at) {
    auto it = map.lower_bound(at);
    if (it == map.begin()) return;
    --it;
    if (it->second.end <= at) return;
    Cell right = it->second;
    it->second.end = at;
    map.emplace(at, std::move(right));
  }

  // The records that this instruction applies must have been made, and be on the host if it runs there.
  Status CheckRecordsRead(Spot spot, const Instruction& i, int64_t t, const std::vector<int64_t>& clock) const {
    for (int64_t d = 1; d <= std::min(t, Lag(i, t)); ++d) {
      for (const Spot w : (AppliesOnHost(i) ? host_ : device_).writers) {
        if (!RunsAt(p_, facts_.at(w), t - d)) continue;
        if (clock[Ix(w.lane)] <= (t - d) * length_[Ix(w.lane)] + w.index)
          return facts_.Reject(spot, "applies the update of ", d == 1 ? "the step" : std::to_string(d) + " steps",
                               " before without waiting for ", facts_.Where(w));
      }
    }
    return Status();
  }

  // The record that this instruction overwrites, of step t - ring, must have been read by all that apply it.
  Status CheckRecordsKept(const Records& records, Spot spot, int64_t t, const std::vector<int64_t>& clock) const {
    for (const Spot r : records.readers) {
      const Instruction& i = facts_.at(r);
      // It applies records t' - lag .. t' - 1 at step t'; the one overwritten now is among them if t' <= t - ring + lag.
      for (int64_t d = 1; d <= p_.period; ++d) {
        const int64_t at = t - records.ring + d;
        if (at < 0 || at > t || !RunsAt(p_, i, at) || Lag(i, at) < d) continue;
        if (at == t && i.seq > facts_.at(spot).seq)
          return facts_.Reject(r, "applies a record that its step's ", Name(facts_.at(spot).kind),
                               " has overwritten; the ring is too short");
        if (clock[Ix(r.lane)] <= at * length_[Ix(r.lane)] + r.index)
          return facts_.Reject(spot, "overwrites a record without waiting for ", facts_.Where(r), ", which applies it");
      }
    }
    return Status();
  }

  const ProgramFacts& facts_;
  const Schedule& s_;
  const Program& p_;
  size_t lanes_;
  int64_t iterations_ = 0;
  std::vector<int64_t> length_;
  std::vector<std::vector<int64_t>> lane_clock_;
  std::vector<int64_t> source_of_;   // per place in the order: its number among the sources of edges, or -1
  std::vector<size_t> first_edge_;   // per place in the order: its edges in edges_
  std::vector<std::pair<int64_t, int32_t>> edges_;  // source, back
  std::vector<int64_t> clocks_;      // per source, per iteration mod (max_back + 1), per lane
  std::vector<std::map<uint64_t, Cell>> maps_;  // per arena, by first byte
  Records device_, host_;
  // Of masters and of codes, per tile that is read with updates pending in that form, per residue.
  std::array<std::vector<std::vector<int8_t>>, 2> lags_;
};

}  // namespace

Status VerifyOrder(const ProgramFacts& facts, VerifyStats* stats) { return Window(facts).Check(stats); }

}  // namespace zo2::internal
