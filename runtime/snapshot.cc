#include "runtime/snapshot.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "ir/support/file.h"
#include "ir/support/hash.h"
#include "runtime/codes.h"

namespace zo2 {
namespace {

constexpr uint64_t kBlockBytes = 8 << 20;

// Several tiles may have one name.
std::string CodesName(const Schedule& schedule, TileId tile) {
  return "zo2.codes." + std::to_string(tile) + "." + schedule.tiles[static_cast<size_t>(tile)].name;
}

// f(bytes) for consecutive blocks of each tile's codes.
Status ForEachCodes(const Schedule& schedule, const std::vector<TileId>& tiles, const RunCodes& codes,
                    const std::function<Status(std::span<const std::byte>)>& f) {
  std::vector<std::byte> block;
  for (const TileId t : tiles) {
    const uint64_t bytes = schedule.tiles[static_cast<size_t>(t)].wire_bytes;
    for (uint64_t at = 0; at < bytes; at += kBlockBytes) {
      block.resize(std::min(kBlockBytes, bytes - at));
      ZO2_TRY(codes.read(t, at, block));
      ZO2_TRY(f(block));
    }
  }
  return Status();
}

Result<std::string> DigestCodes(const Schedule& schedule, const std::vector<TileId>& tiles, const RunCodes& codes) {
  Sha256 sha;
  for (const TileId t : tiles) sha.Update(CodesName(schedule, t) + '\0');
  ZO2_TRY(ForEachCodes(schedule, tiles, codes, [&](std::span<const std::byte> bytes) {
    sha.Update(bytes);
    return Status();
  }));
  return sha.Hex();
}

std::string Versions(const std::vector<TileId>& tiles, const std::vector<int64_t>& versions) {
  std::string text;
  for (const TileId t : tiles) text += (text.empty() ? "" : " ") + std::to_string(versions[static_cast<size_t>(t)]);
  return text;
}

}  // namespace

std::string SnapshotPath(const std::string& journal, int generation) {
  return journal + (generation == 0 ? ".snap-a" : ".snap-b");
}

void RemoveUnfinishedSnapshots(const std::string& journal) {
  for (const int generation : {0, 1}) RemoveUnfinished(SnapshotPath(journal, generation));
}

Result<SnapshotRecord> WriteSnapshot(const std::string& journal, const std::string& journal_id, uint64_t seed,
                                     const Schedule& schedule, const WeightReader& masters, const RunCodes& codes,
                                     int64_t step, int generation, int threads) {
  const std::vector<int32_t> weights = TrainableWeights(schedule);
  const std::vector<TileId> coded = TrainedCodes(schedule);
  ZO2_ASSIGN(const std::string digest, DigestWeights(schedule, weights, masters, threads));
  std::map<std::string, std::string> metadata = {{"zo2_snapshot", "1"},
                                                 {"step", std::to_string(step)},
                                                 {"journal", journal_id},
                                                 {"seed", std::to_string(seed)},
                                                 {"sha256", digest}};
  std::vector<SafetensorsWriter::Tensor> tensors;
  for (const int32_t w : weights) {
    const PlanWeight& weight = schedule.weights[static_cast<size_t>(w)];
    tensors.push_back({weight.name, weight.components[0].storage, weight.shape});
  }
  for (const TileId t : coded) {
    const Tile& tile = schedule.tiles[static_cast<size_t>(t)];
    tensors.push_back({CodesName(schedule, t), DType::kU8, {static_cast<int64_t>(tile.wire_bytes)}});
  }
  if (!coded.empty()) {
    const std::vector<int64_t> expected = CodesVersions(schedule, step);
    for (const TileId t : coded)
      if (codes.versions[static_cast<size_t>(t)] != expected[static_cast<size_t>(t)])
        return Internal("the codes of tile ", schedule.tiles[static_cast<size_t>(t)].name, " are current through step ",
                        codes.versions[static_cast<size_t>(t)], " at step ", step);
    ZO2_ASSIGN(metadata["codes_sha256"], DigestCodes(schedule, coded, codes));
    metadata["codes_versions"] = Versions(coded, codes.versions);
  }
  ZO2_ASSIGN(SafetensorsWriter writer,
             SafetensorsWriter::Create(SnapshotPath(journal, generation), std::move(tensors), metadata));
  const auto append = [&](std::span<const std::byte> bytes) { return writer.Append(bytes); };
  for (const int32_t w : weights) ZO2_TRY(ForEachBlock(schedule, w, masters, append));
  ZO2_TRY(ForEachCodes(schedule, coded, codes, append));
  ZO2_TRY(writer.Finish());
  return SnapshotRecord{step, generation, digest};
}

Result<Snapshot> Snapshot::Open(const Journal& journal, const SnapshotRecord& record, const Schedule& schedule,
                                int threads, bool codes) {
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
  if (codes) ZO2_TRY(snapshot.OpenCodes());
  return snapshot;
}

Status Snapshot::OpenCodes() {
  const std::vector<TileId> coded = TrainedCodes(*schedule_);
  codes_.resize(schedule_->tiles.size());
  if (coded.empty()) return Status();
  const auto lacks = [&](const auto&... what) { return Invalid("its codes do not count: ", what...); };
  for (const TileId t : coded) {
    const Tile& tile = schedule_->tiles[static_cast<size_t>(t)];
    const SafetensorsEntry* entry = file_.header().Find(CodesName(*schedule_, t));
    if (entry == nullptr || entry->dtype != DType::kU8 || entry->bytes != tile.wire_bytes)
      return lacks("those of tile ", tile.name, " are missing or of another size");
    ZO2_ASSIGN(codes_[static_cast<size_t>(t)], file_.Data(CodesName(*schedule_, t)));
  }
  RunCodes read;
  read.read = [this](TileId t, uint64_t offset, std::span<std::byte> out) {
    file_.Passed(out.size());
    std::memcpy(out.data(), Codes(t).data() + offset, out.size());
    return Status();
  };
  ZO2_ASSIGN(const std::string digest, DigestCodes(*schedule_, coded, read));
  const std::pair<const char*, std::string> expected[] = {
      {"codes_sha256", digest}, {"codes_versions", Versions(coded, CodesVersions(*schedule_, record_.step))}};
  for (const auto& [key, value] : expected) {
    const auto it = file_.header().metadata.find(key);
    if (it == file_.header().metadata.end() || it->second != value)
      return lacks(key, it == file_.header().metadata.end() ? " is missing" : " is another one");
  }
  return Status();
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
                                       bool codes, std::vector<std::string>* notes) {
  std::set<int> seen;  // a generation's file is that of its last record
  for (auto record = journal.snapshots.rbegin(); record != journal.snapshots.rend(); ++record) {
    if (!seen.insert(record->generation).second || record->step > at) continue;
    Result<Snapshot> snapshot = Snapshot::Open(journal, *record, schedule, threads, codes);
    if (snapshot.ok()) return std::move(*snapshot);
    notes->push_back("the snapshot at step " + std::to_string(record->step) +
                     " does not count: " + snapshot.status().message());
  }
  return std::nullopt;
}

}  // namespace zo2
