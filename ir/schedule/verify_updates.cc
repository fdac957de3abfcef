// Every trained tile gets every update once and in order, whatever programs follow one another.
//
// Meaning has shown that a prepare applies what is pending and that a master, where it is written, is written whole
// and current. Left: that masters are written often enough for the records to be still in their ring, that programs
// hand over what the next one accepts, and that a flush leaves nothing pending.
//
// How much can be pending? A run begins with nothing pending, a flush restores that, an evaluation changes nothing,
// and a train iteration at residue r finds the updates since the last write-back: at most LagAt(r). So train never
// leaves more than the largest LagAt behind.
#include <algorithm>

#include "ir/schedule/verify_internal.h"

namespace zo2::internal {

int64_t LagAt(uint64_t writes, int period, int r) {
  for (int64_t d = 1; d <= period; ++d) {
    const int64_t w = ((r - d) % period + period) % period;
    if (writes >> w & 1) return d;
  }
  return 0;
}

Status VerifyUpdates(const Schedule& s, const std::vector<ProgramFacts>& programs) {
  int64_t lag = 0;
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
      for (int r = 0; r < p.period; ++r) lag = std::max(lag, LagAt(writes, p.period, r));
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
    if (train != nullptr && s.buffers[Ix(train->record)].ring < static_cast<uint64_t>(lag))
      return reject("needs records of the last ", lag, " steps, but their ring has ", s.buffers[Ix(train->record)].ring,
                    " copies");
  }
  return Status();
}

}  // namespace zo2::internal
