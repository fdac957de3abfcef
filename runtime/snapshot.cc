#include "runtime/snapshot.h"

#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "ir/support/file.h"

namespace zo2 {

std::string SnapshotPath(const std::string& journal, int generation) {
  return journal + (generation == 0 ? ".snap-a" : ".snap-b");
}

void RemoveUnfinishedSnapshots(const std::string& journal) {
  for (const int generation : {0, 1}) RemoveUnfinished(SnapshotPath(journal, generation));
}

Result<SnapshotRecord> WriteSnapshot(const std::string& journal, const std::string& journal_id, uint64_t seed,
                                     const Schedule& schedule, const WeightReader& masters, int64_t step,
                                     int generation, int threads) {
  const std::vector<int32_t> weights = TrainableWeights(schedule);
  ZO2_ASSIGN(const std::string digest, DigestWeights(schedule, weights, masters, threads));
  ZO2_TRY(WriteWeights(schedule, weights, masters, SnapshotPath(journal, generation),
                       {{"zo2_snapshot", "1"},
                        {"step", std::to_string(step)},
                        {"journal", journal_id},
                        {"seed", std::to_string(seed)},
                        {"sha256", digest}}));
  return SnapshotRecord{step, generation, digest};
}

Result<Snapshot> Snapshot::Open(const Journal& journal, const SnapshotRecord& record, const Schedule& schedule,
                                int threads) {
  Snapshot snapshot;
  snapshot.schedule_ = &schedule;
  snapshot.record_ = record;
  const std::string path = SnapshotPath(journal.path, record.generation);
  ZO2_ASSIGN(snapshot.file_, SafetensorsFile::Open(path));
  const std::map<std::string, std::string>& metadata = snapshot.file_.header().metadata;
  const std::pair<const char*, std::string> expected[] = {{"zo2_snapshot", "1"},
                                                          {"journal", journal.id},
                                                          {"seed", std::to_string(journal.header.parameters.seed)},
                                                          {"step", std::to_string(record.step)},
                                                          {"sha256", record.digest}};
  for (const auto& [key, value] : expected) {
    const auto it = metadata.find(key);
    if (it == metadata.end() || it->second != value)
      return Invalid(path, " has ", key, " ", it == metadata.end() ? "missing" : it->second, " where the journal has ",
                     value);
  }
  snapshot.data_.resize(schedule.weights.size());
  const std::vector<int32_t> weights = TrainableWeights(schedule);
  for (const int32_t w : weights) {
    const PlanWeight& weight = schedule.weights[static_cast<size_t>(w)];
    const SafetensorsEntry* entry = snapshot.file_.header().Find(weight.name);
    if (entry == nullptr || entry->dtype != weight.components[0].storage || entry->shape != weight.shape)
      return Invalid(path, " lacks ", weight.name, " or has it in another dtype or shape");
    ZO2_ASSIGN(snapshot.data_[static_cast<size_t>(w)], snapshot.file_.Data(weight.name));
  }
  const WeightReader read = [&](int32_t w, int64_t r0, int64_t r1, int64_t c0, int64_t c1, std::byte* out) {
    return snapshot.Read(w, r0, r1, c0, c1, out);
  };
  ZO2_ASSIGN(const std::string digest, DigestWeights(schedule, weights, read, threads));
  if (digest != record.digest)
    return Invalid(path, " is damaged: its contents do not have the digest it was written with");
  return snapshot;
}

Status Snapshot::Read(int32_t w, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end,
                      std::byte* out) const {
  const PlanWeight& weight = schedule_->weights[static_cast<size_t>(w)];
  const std::span<const std::byte> data = data_[static_cast<size_t>(w)];
  if (data.empty()) return Internal("weight ", weight.name, " is not in the snapshot");
  const int64_t size = SizeOf(weight.components[0].storage), cols = weight.cols(), width = col_end - col_begin;
  file_.Passed(static_cast<uint64_t>((row_end - row_begin) * width * size));
  if (width == cols) {
    std::memcpy(out, data.data() + row_begin * cols * size, static_cast<size_t>((row_end - row_begin) * cols * size));
    return Status();
  }
  for (int64_t r = row_begin; r < row_end; ++r)
    std::memcpy(out + (r - row_begin) * width * size, data.data() + (r * cols + col_begin) * size,
                static_cast<size_t>(width * size));
  return Status();
}

std::optional<Snapshot> NewestSnapshot(const Journal& journal, const Schedule& schedule, int64_t at, int threads,
                                       std::vector<std::string>* notes) {
  std::set<int> seen;  // a generation's file is that of its last record
  for (auto record = journal.snapshots.rbegin(); record != journal.snapshots.rend(); ++record) {
    if (!seen.insert(record->generation).second || record->step > at) continue;
    Result<Snapshot> snapshot = Snapshot::Open(journal, *record, schedule, threads);
    if (snapshot.ok()) return std::move(*snapshot);
    notes->push_back("the snapshot at step " + std::to_string(record->step) +
                     " does not count: " + snapshot.status().message());
  }
  return std::nullopt;
}

}  // namespace zo2
