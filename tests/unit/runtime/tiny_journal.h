// Trains a tiny schedule with a journal and snapshots beside it, as `zo2-run train` does.
#ifndef ZO2_TESTS_UNIT_RUNTIME_TINY_JOURNAL_H_
#define ZO2_TESTS_UNIT_RUNTIME_TINY_JOURNAL_H_

#include <gtest/gtest.h>

#include <cstring>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ir/support/file.h"
#include "runtime/journal.h"
#include "runtime/masters.h"
#include "runtime/replay.h"
#include "runtime/run_state.h"
#include "runtime/snapshot.h"
#include "runtime/trainer.h"
#include "tests/unit/runtime/tiny_run.h"

namespace zo2 {

// The made-up base weights of tiny_run.h.
inline WeightReader TinyBase(const Schedule& schedule) {
  return [&schedule](int32_t w, int64_t r0, int64_t r1, int64_t c0, int64_t c1, std::byte* out) {
    const PlanWeight& weight = schedule.weights[static_cast<size_t>(w)];
    for (int64_t r = r0; r < r1; ++r)
      for (int64_t c = c0; c < c1; ++c) {
        const float value = MasterValue(weight.components[0].tensor_id, r * weight.cols() + c);
        std::memcpy(out, &value, 4);
        out += 4;
      }
    return Status();
  };
}

// All weights, one after the other.
inline std::vector<std::byte> Contents(const Schedule& schedule, const WeightReader& read) {
  std::vector<std::byte> all;
  for (const int32_t w : AllWeights(schedule)) {
    const Status status = ForEachBlock(schedule, w, read, [&](std::span<const std::byte> bytes) {
      all.insert(all.end(), bytes.begin(), bytes.end());
      return Status();
    });
    EXPECT_TRUE(status.ok()) << status.message();
  }
  return all;
}

inline std::string ReadBytes(const std::string& path) { return *ReadFile(path); }
inline void WriteBytes(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary | std::ios::trunc)
      .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

// A folder of this test's own, empty.
inline std::string FreshFolder() {
  const ::testing::TestInfo* info = ::testing::UnitTest::GetInstance()->current_test_info();
  const std::string folder = ::testing::TempDir() + "zo2_" + info->test_suite_name() + "_" + info->name();
  EXPECT_EQ(std::system(("rm -rf '" + folder + "' && mkdir -p '" + folder + "'").c_str()), 0);
  return folder;
}

struct TinyTraining {
  explicit TinyTraining(const tiny::Options& options = {})
      : schedule(tiny::MakeSchedule(options)), kernels(fake::Kernels()) {
    schedule.numerics = R"({"compute_threads":2,"weights":[["W0","f32"],["W1","f32"]]})";
    train.quiet = true;
    train.lr = {LrShape::kConstant, 5e-2, 0, 0};
    train.snapshot_seconds = 0;
  }

  JournalHeader Header(const std::string& base_sha256 = "of nothing") const {
    return MakeJournalHeader(schedule, parameters, base_sha256, {"data.npy", "digest of data", "random", 2, false},
                             "fake 1");
  }

  // From `step` to train.steps; `start` has the weights at `step`. The journal may be closed (steps are not recorded).
  Result<TrainSummary> Run(const WeightReader& start, int64_t step, JournalWriter& journal,
                           const std::string& path = "") {
    return Run([&](Executor& e) { return LoadMasters(start, e); }, step, journal, path);
  }
  // Going on.
  Result<TrainSummary> Run(RunState& state, JournalWriter& journal, const std::string& path = "") {
    return Run([&](Executor& e) { return LoadRun(state, e); }, state.step(), journal, path);
  }
  Result<TrainSummary> Run(const std::function<Status(Executor&)>& load, int64_t step, JournalWriter& journal,
                           const std::string& path) {
    ZO2_ASSIGN(device, OpenDevice("cpu"));
    ZO2_ASSIGN(executor, Executor::Prepare(schedule, *device, {}));
    ZO2_TRY(executor->Initialize(kernels, parameters, step, load));
    TrainHooks hooks;
    hooks.fill = [this](int64_t s, std::span<std::byte* const>) -> Result<int64_t> {
      FillTinyInputs(*executor, *schedule.Find(Purpose::kTrain), s, s, nan_step);
      return 2;
    };
    hooks.record = [&](const StepRecord& record) {
      records.Append(record);
      return journal.open() ? journal.Step(record) : Status();
    };
    if (!path.empty())
      hooks.snapshot = [&](int64_t s) -> Status {
        ZO2_ASSIGN(const SnapshotRecord record, WriteSnapshot(path, Header().Id(), parameters.seed, schedule,
                                                              MasterReader(*executor), CodesOf(*executor), s,
                                                              generation, 2));
        generation = 1 - generation;
        return journal.Snapshot(record);
      };
    return Train(*executor, train, hooks);
  }
  // What has a master.
  std::vector<std::byte> Weights() {
    std::vector<std::byte> all;
    for (const int32_t w : AllWeights(schedule)) {
      const auto coded = [w](const Tile& tile) { return tile.master < 0 && tile.segments[0].weight == w; };
      if (std::any_of(schedule.tiles.begin(), schedule.tiles.end(), coded)) continue;
      EXPECT_TRUE(ForEachBlock(schedule, w, MasterReader(*executor), [&](std::span<const std::byte> bytes) {
                    all.insert(all.end(), bytes.begin(), bytes.end());
                    return Status();
                  }).ok());
    }
    return all;
  }
  // Codes and the steps that they are current through.
  std::vector<std::byte> Codes() {
    std::vector<std::byte> all;
    for (size_t t = 0; t < schedule.tiles.size(); ++t) {
      const Tile& tile = schedule.tiles[t];
      if (tile.codes < 0) continue;
      std::vector<std::byte> codes(tile.wire_bytes);
      EXPECT_TRUE(executor->ReadBuffer(tile.codes, 0, codes).ok());
      all.insert(all.end(), codes.begin(), codes.end());
      if (tile.trainable) all.push_back(static_cast<std::byte>(executor->codes_version(static_cast<TileId>(t))));
    }
    return all;
  }

  Schedule schedule;
  KernelTable kernels;
  RunParameters parameters{.seed = 0x123456789abcdefull, .eps = 1e-2, .weight_decay = 0.1};
  TrainOptions train;
  int64_t nan_step = -1;
  int generation = 0;
  StepLog records{schedule.Find(Purpose::kTrain)->samples};  // of this process
  std::unique_ptr<Device> device;
  std::unique_ptr<Executor> executor;
};

}  // namespace zo2

#endif  // ZO2_TESTS_UNIT_RUNTIME_TINY_JOURNAL_H_
