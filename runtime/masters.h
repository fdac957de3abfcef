// The way of weights into an executor's masters and codes and out of them.
//
// Codes are encoded straight from what gives the weights, in pieces of some MiB, a piece per thread: a coded
// frozen tile, which has no master, is never in memory as a whole.
#ifndef ZO2_RUNTIME_MASTERS_H_
#define ZO2_RUNTIME_MASTERS_H_

#include "ir/support/status.h"
#include "runtime/executor.h"
#include "runtime/run_state.h"
#include "runtime/snapshot.h"
#include "runtime/weight_reader.h"

namespace zo2 {

inline constexpr int64_t kPieceBytes = 4 << 20;  // about what a thread reads at a time; whole rows

// Fills every tile's master and codes (the `load` of Executor::Initialize), where the host reaches them
// without a copy in between. Codes are made of the same weights. With more than one thread `read` is called
// concurrently. kInvalid, naming the weight, where one that is to be encoded has values that are not finite.
Status LoadMasters(const WeightReader& read, Executor& executor, int threads = 1,
                   int64_t piece_bytes = kPieceBytes);
// The same of a run that goes on: masters at state.step(), codes as the run had them there, and the records
// of the steps that are pending in them.
Status LoadRun(RunState& state, Executor& executor);
// Reads the masters of an executor that is flushed and runs nothing. May be called concurrently. kInternal
// where a tile has none (frozen coded ones).
WeightReader MasterReader(Executor& executor);
// The codes of an executor that runs nothing.
RunCodes CodesOf(Executor& executor);

}  // namespace zo2

#endif  // ZO2_RUNTIME_MASTERS_H_
