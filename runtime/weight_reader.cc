#include "runtime/weight_reader.h"

#include <algorithm>
#include <mutex>

#include "ir/support/hash.h"
#include "runtime/worker_pool.h"

namespace zo2 {
namespace {

constexpr int64_t kBlockBytes = 8 << 20;
// Of weights that are read side by side: stays in the second-level cache until it has been used. A transposed weight's
// rows are better read together, so not fewer than some, as long as they are no more than a block.
constexpr int64_t kSmallBlockBytes = 256 << 10, kSmallBlockRows = 64;

const PlanWeight& At(const Schedule& schedule, int32_t weight) { return schedule.weights[static_cast<size_t>(weight)]; }

}  // namespace

std::vector<int32_t> TrainableWeights(const Schedule& schedule) {
  std::vector<int32_t> weights;
  for (size_t w = 0; w < schedule.weights.size(); ++w)
    if (schedule.weights[w].components[0].trainable) weights.push_back(static_cast<int32_t>(w));
  return weights;
}

std::vector<int32_t> AllWeights(const Schedule& schedule) {
  std::vector<int32_t> weights(schedule.weights.size());
  for (size_t w = 0; w < weights.size(); ++w) weights[w] = static_cast<int32_t>(w);
  return weights;
}

namespace {

Status ForEachRows(const Schedule& schedule, int32_t w, int64_t block_bytes, int64_t least_rows,
                   const WeightReader& read, const std::function<Status(std::span<const std::byte>)>& f) {
  const PlanWeight& weight = At(schedule, w);
  const int64_t row_bytes = weight.cols() * SizeOf(weight.components[0].storage);
  if (row_bytes == 0) return Status();
  const int64_t step = std::max<int64_t>(
      1, std::min(std::max(least_rows, block_bytes / row_bytes), kBlockBytes / row_bytes));
  std::vector<std::byte> block;
  for (int64_t row = 0; row < weight.rows(); row += step) {
    const int64_t end = std::min(weight.rows(), row + step);
    block.resize(static_cast<size_t>((end - row) * row_bytes));
    ZO2_TRY(read(w, row, end, 0, weight.cols(), block.data()));
    ZO2_TRY(f(block));
  }
  return Status();
}

}  // namespace

Status ForEachBlock(const Schedule& schedule, int32_t weight, const WeightReader& read,
                    const std::function<Status(std::span<const std::byte>)>& f) {
  return ForEachRows(schedule, weight, kBlockBytes, 1, read, f);
}

Result<std::string> DigestWeights(const Schedule& schedule, std::span<const int32_t> weights, const WeightReader& read,
                                  int threads) {
  std::vector<std::string> digests(weights.size());
  std::mutex mutex;
  Status status;
  // One reader at a time may be one that cuts its blocks for threads of its own.
  const int64_t block_bytes = threads > 1 ? kSmallBlockBytes : kBlockBytes;
  const int64_t least_rows = threads > 1 ? kSmallBlockRows : 1;
  WorkerPool workers(std::max(1, threads));
  workers.Run(static_cast<int64_t>(weights.size()), [&](int64_t i) {
    const PlanWeight& weight = At(schedule, weights[static_cast<size_t>(i)]);
    Sha256 sha;
    std::string head = weight.name + '\0' + std::string(Name(weight.components[0].storage)) + '\0';
    for (const int64_t d : weight.shape) head += std::to_string(d) + ',';
    sha.Update(head + '\0');
    const Status read_status = ForEachRows(schedule, weights[static_cast<size_t>(i)], block_bytes, least_rows, read,
                                           [&](std::span<const std::byte> bytes) {
                                             sha.Update(bytes);
                                             return Status();
                                           });
    digests[static_cast<size_t>(i)] = sha.Hex();
    std::lock_guard<std::mutex> lock(mutex);
    if (status.ok() && !read_status.ok()) status = read_status;
  });
  if (!status.ok()) return status;
  Sha256 all;
  for (const std::string& digest : digests) all.Update(digest);
  return all.Hex();
}

Status WriteWeights(const Schedule& schedule, std::span<const int32_t> weights, const WeightReader& read,
                    const std::string& path, const std::map<std::string, std::string>& metadata) {
  std::vector<SafetensorsWriter::Tensor> tensors;
  for (const int32_t w : weights)
    tensors.push_back({At(schedule, w).name, At(schedule, w).components[0].storage, At(schedule, w).shape});
  ZO2_ASSIGN(SafetensorsWriter writer, SafetensorsWriter::Create(path, std::move(tensors), metadata));
  for (const int32_t w : weights)
    ZO2_TRY(ForEachBlock(schedule, w, read, [&](std::span<const std::byte> bytes) { return writer.Append(bytes); }));
  return writer.Finish();
}

}  // namespace zo2
