// The way of weights into an executor's masters and out of them.
#ifndef ZO2_RUNTIME_MASTERS_H_
#define ZO2_RUNTIME_MASTERS_H_

#include "ir/support/status.h"
#include "runtime/executor.h"
#include "runtime/weight_reader.h"

namespace zo2 {

// Fills every tile's master (the `load` of Executor::Initialize), where the host reaches it without a copy in between.
// With more than one thread `read` is called concurrently.
Status LoadMasters(const WeightReader& read, Executor& executor, int threads = 1);
// Reads the masters of an executor that is flushed and runs nothing. May be called concurrently.
WeightReader MasterReader(Executor& executor);

}  // namespace zo2

#endif  // ZO2_RUNTIME_MASTERS_H_
