#include <nlohmann/json.hpp>

#include "runtime/snapshot.h"
#include "tests/fuzz/readers.h"
#include "tests/tools/tiny_schedules.h"

namespace zo2::fuzz {
namespace {

using Json = nlohmann::json;
// As a safetensors file; the fixed part is a block of weights of the digest and what its thread needs.
constexpr Allowance kAllowance{256 << 10, 96};
constexpr int64_t kStep = 3;
constexpr uint64_t kSeed = 7;

const Schedule& TheSchedule() {
  static const Schedule schedule = [] {
    tiny::Options options;
    options.bias = options.freeze_first = true;
    return tiny::MakeSchedule(options);
  }();
  return schedule;
}

// The digest that the file says it has: whoever forges a snapshot forges the journal beside it.
std::string SaidDigest(const std::string& path) {
  Result<SafetensorsHeader> header = ReadSafetensorsHeader(path);
  if (!header.ok()) return "";
  const auto it = header->metadata.find("sha256");
  return it == header->metadata.end() ? "" : it->second;
}

// The digest it should have; "" where weights are missing or in another shape.
std::string RightDigest(const std::string& path) {
  Result<SafetensorsFile> file = SafetensorsFile::Open(path);
  if (!file.ok()) return "";
  const Schedule& schedule = TheSchedule();
  const WeightReader read = [&](int32_t w, int64_t r0, int64_t, int64_t c0, int64_t, std::byte* out) -> Status {
    const PlanWeight& weight = schedule.weights[static_cast<size_t>(w)];
    ZO2_ASSIGN(const std::span<const std::byte> data, file->Data(weight.name));
    if (r0 != 0 || c0 != 0 || data.size() != static_cast<size_t>(NumElements(weight.shape)) * 4)
      return Invalid("not all of it");
    std::copy(data.begin(), data.end(), out);
    return Status();
  };
  const Result<std::string> digest = DigestWeights(schedule, TrainableWeights(schedule), read, 1);
  return digest.ok() ? *digest : "";
}

}  // namespace

int FuzzSnapshot(const uint8_t* data, size_t size) {
  static Journal journal = [] {
    Journal j;
    j.path = Folder() + "/run.zoj";
    j.id = "of the journal";
    j.header.parameters.seed = kSeed;
    return j;
  }();
  static InputFile file("run.zoj.snap-a");
  const Schedule& schedule = TheSchedule();
  file.Set({reinterpret_cast<const char*>(data), size});
  journal.snapshots = {{kStep, 0, SaidDigest(file.path())}};
  const MemoryLimit limit(kAllowance, size);
  std::vector<std::string> notes;
  const std::optional<Snapshot> snapshot = NewestSnapshot(journal, schedule, kStep, 1, /*codes=*/true, &notes);
  Require(snapshot.has_value() == notes.empty(), "a snapshot that does not count, without a note");
  if (!snapshot) return 0;
  ++TotalCounts().accepted;
  for (const int32_t w : TrainableWeights(schedule)) {
    const PlanWeight& weight = schedule.weights[static_cast<size_t>(w)];
    std::vector<std::byte> bytes(static_cast<size_t>(NumElements(weight.shape)) * 4);
    Require(
        snapshot->Read(w, 0, weight.rows(), 0, weight.cols(), bytes.data()).ok() &&
            snapshot->Read(w, weight.rows() - 1, weight.rows(), weight.cols() - 1, weight.cols(), bytes.data()).ok(),
        "a weight of a whole snapshot cannot be read");
  }
  return 0;
}

void RepairSnapshot(std::string* input) {
  RepairSafetensors(input);
  const auto head = [&](const std::string& digest) {
    if (input->size() < 8) return;
    const size_t length = Get<uint64_t>(*input, 0);
    Json header = Json::parse(input->substr(8, length), nullptr, /*allow_exceptions=*/false);
    if (!header.is_object()) return;
    header["__metadata__"] = {{"zo2_snapshot", "1"},
                              {"step", std::to_string(kStep)},
                              {"journal", "of the journal"},
                              {"seed", std::to_string(kSeed)},
                              {"sha256", digest}};
    const std::string text = header.dump(-1, ' ', false, Json::error_handler_t::replace),
                      data = input->substr(8 + length);
    input->clear();
    Put(static_cast<uint64_t>(text.size()), input);
    *input += text + data;
  };
  static InputFile file("repair.safetensors");
  file.Set(*input);
  head(RightDigest(file.path()));
}

}  // namespace zo2::fuzz
