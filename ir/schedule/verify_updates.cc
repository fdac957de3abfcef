// Every trained tile gets every update once and in order, whatever programs follow one another, and codes are those
// that the schedule's numerics mean.
//
// Meaning has shown that a prepare or a host update applies what is pending and that a master or codes, where they are
// written, are written whole and current. Left: that masters are written often enough for the records to be still in
// their rings, that programs hand over what the next one accepts, that a flush leaves nothing pending, and that the
// bits of a coded tile depend on nothing but the step.
//
// How much can be pending? A run begins with nothing pending, a flush restores that of masters and leaves codes alone,
// an evaluation changes nothing, and a train iteration at residue r finds the updates since the last write-back, or
// those since codes were last made: at most LagAt(r). So train never leaves more than the largest LagAt behind.
#include <algorithm>

#include "ir/schedule/verify_internal.h"

namespace zo2::internal {
namespace {

int64_t LargestLag(uint64_t writes, int period) {
  int64_t lag = 0;
  for (int r = 0; r < period; ++r) lag = std::max(lag, LagAt(writes, period, r));
  return lag;
}

// Host update or refresh. Either way the bits of step t are a function of t: no other program makes codes, and what a
// step reads, codes of a known step or the exact master, is the same in all its prepares.
Status CheckCodes(const ProgramFacts& facts, size_t t) {
  const Tile& tile = facts.schedule->tiles[t];
  const int period = facts.program->period;
  const uint64_t all = period == kMaxPeriod ? ~0ull : (1ull << period) - 1;
  const uint64_t made = facts.code_writes[t], codes = facts.code_reads[t], master = facts.master_reads[t];
  const auto reject = [&](const auto&... args) {
    return Rejected("program ", facts.program->name, ": ", args...);
  };
  if (made == 0) return reject("never makes codes of tile ", tile.name, " afresh");
  const auto first = [](uint64_t residues) { return __builtin_ctzll(residues); };
  if ((codes & master) != 0)
    return reject("prepares tile ", tile.name, " from its codes and from its master in iterations ",
                  first(codes & master), " mod ", period, ": two different weights");
  if (made == all && master == 0) return Status();
  if ((codes & made) != 0)
    return reject("makes codes of tile ", tile.name, " in iterations ", first(codes & made), " mod ", period,
                  ", where it reads them, but not in every iteration; a host update is due in each");
  if ((master & ~made) != 0)
    return reject("reads the master of tile ", tile.name, " in iterations ", first(master & ~made), " mod ", period,
                  " without making its codes there; a refresh does both");
  return Status();
}

}  // namespace

int64_t LagAt(uint64_t writes, int period, int r) {
  for (int64_t d = 1; d <= period; ++d) {
    const int64_t w = ((r - d) % period + period) % period;
    if (writes >> w & 1) return d;
  }
  return 0;
}

Status VerifyUpdates(const Schedule& s, const std::vector<ProgramFacts>& programs) {
  int64_t lag = 0;                                                              // of masters
  std::vector<int64_t> master_lag(s.tiles.size()), code_lag(s.tiles.size());  // of each tile
  const Program* train = s.Find(Purpose::kTrain);
  for (const ProgramFacts& facts : programs) {
    const Program& p = *facts.program;
    const auto reject = [&](const auto&... args) { return Rejected("program ", p.name, ": ", args...); };
    for (size_t t = 0; t < s.tiles.size(); ++t) {
      const Tile& tile = s.tiles[t];
      if (!tile.trainable) continue;
      const uint64_t writes = facts.master_writes[t];
      if (p.purpose == Purpose::kFlush && writes == 0)
        return reject("leaves updates of tile ", tile.name, " pending; a flush must write every trained master");
      if (p.purpose != Purpose::kTrain) continue;
      if (writes == 0) return reject("never writes the master of tile ", tile.name, ", so its updates are lost");
      if (tile.codes != -1) ZO2_TRY(CheckCodes(facts, t));
      master_lag[t] = LargestLag(writes, p.period);
      code_lag[t] = LargestLag(facts.code_writes[t], p.period);
      lag = std::max(lag, master_lag[t]);
    }
  }
  // Records of how many steps are applied from each ring.
  int64_t on_device = lag, on_host = 0;
  for (const ProgramFacts& facts : programs) {
    for (const Spot spot : facts.order) {
      const Instruction& i = facts.at(spot);
      if (!AppliesUpdates(s, i)) continue;
      const int64_t need = (i.coded ? code_lag : master_lag)[Ix(i.tile)];
      int64_t& most = AppliesOnHost(i) ? on_host : on_device;
      most = std::max(most, need);
    }
  }
  for (const ProgramFacts& facts : programs) {
    const Program& p = *facts.program;
    const auto reject = [&](const auto&... args) { return Rejected("program ", p.name, ": ", args...); };
    // A resumed or evaluated run enters with what train leaves.
    if (p.max_lag_in < lag)
      return reject("accepts masters ", p.max_lag_in, " steps behind, but train leaves them up to ", lag, " behind");
    const int64_t out = p.purpose == Purpose::kTrain ? lag : p.purpose == Purpose::kEvaluate ? lag : 0;
    if (p.max_lag_out < out)
      return reject("promises masters at most ", p.max_lag_out, " steps behind but leaves them up to ", out, " behind");
    if (p.purpose == Purpose::kFlush && p.max_lag_out != 0) return reject("a flush leaves nothing pending: max_lag_out 0");
    if (train == nullptr) continue;
    const auto short_ring = [&](BufferId id, int64_t need) { return s.buffers[Ix(id)].ring < static_cast<uint64_t>(need); };
    if (short_ring(train->record, on_device))
      return reject("needs records of the last ", on_device, " steps, but their ring has ",
                    s.buffers[Ix(train->record)].ring, " copies");
    if (short_ring(train->record_host, on_host))
      return reject("needs records of the last ", on_host, " steps on the host, but their ring there has ",
                    s.buffers[Ix(train->record_host)].ring, " copies");
  }
  return Status();
}

}  // namespace zo2::internal
