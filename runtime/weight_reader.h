// Weights as something that can be read block by block, wherever they are: files, a snapshot, an executor's masters, or
// any of these with journal records applied. What consumes weights (export, snapshots, digests) takes a reader.
#ifndef ZO2_RUNTIME_WEIGHT_READER_H_
#define ZO2_RUNTIME_WEIGHT_READER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/safetensors.h"
#include "ir/support/status.h"

namespace zo2 {

// Rows [row_begin, row_end) x columns [col_begin, col_end) of component 0 of a weight (index into Schedule::weights),
// in its logical layout and storage dtype, packed row-major. `out` has room for them.
using WeightReader = std::function<Status(int32_t weight, int64_t row_begin, int64_t row_end, int64_t col_begin,
                                          int64_t col_end, std::byte* out)>;

// Weights that a run changes, ascending.
std::vector<int32_t> TrainableWeights(const Schedule& schedule);
std::vector<int32_t> AllWeights(const Schedule& schedule);

// f(bytes) for consecutive blocks of whole rows, of some MiB each, of the whole weight.
Status ForEachBlock(const Schedule& schedule, int32_t weight, const WeightReader& read,
                    const std::function<Status(std::span<const std::byte>)>& f);

// SHA-256, hex, over the digests of the given weights; the digest of one is over its name, storage dtype, shape and
// bytes. `threads` weights are read at a time: with more than one `read` is called concurrently.
Result<std::string> DigestWeights(const Schedule& schedule, std::span<const int32_t> weights, const WeightReader& read,
                                  int threads);

// The given weights by canonical name as safetensors, written whole or not at all.
Status WriteWeights(const Schedule& schedule, std::span<const int32_t> weights, const WeightReader& read,
                    const std::string& path, const std::map<std::string, std::string>& metadata);

}  // namespace zo2

#endif  // ZO2_RUNTIME_WEIGHT_READER_H_
