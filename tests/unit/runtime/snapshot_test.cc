#include "runtime/snapshot.h"

#include <gtest/gtest.h>

#include <cstdio>

#include "tests/unit/runtime/tiny_journal.h"

namespace zo2 {
namespace {

// A run of 12 steps with snapshots after 4, 8 and 12, undisturbed; base weights in a file.
struct Rig {
  explicit Rig(tiny::Options options = {.period = 2, .freeze_first = true, .bias = true})
      : options(options), run(options) {
    EXPECT_TRUE(
        WriteWeights(run.schedule, AllWeights(run.schedule), TinyBase(run.schedule), folder + "/base.safetensors", {})
            .ok());
    base = *OpenBase(run.schedule, folder + "/base.safetensors", true);
    run.train.steps = 12;
    run.train.snapshot_every = 4;
    auto writer = JournalWriter::Create(path, run.Header(), 0);
    const auto summary = run.Run(base->source.reader(), 0, *writer, path);
    EXPECT_TRUE(summary.ok()) << summary.status().message();
    *writer = JournalWriter();
    journal = *Journal::Read(path);
    end = run.Weights();
  }
  std::unique_ptr<RunState> Open(const RunState::Options& o = {}) {
    auto state = RunState::Open(run.schedule, *base, journal, o);
    EXPECT_TRUE(state.ok()) << state.status().message();
    return std::move(*state);
  }
  // Weights at a step, from the base weights.
  std::vector<std::byte> Truth(int64_t step) {
    Replay replay(run.schedule, base->source.reader(), journal.steps, 0, step, run.parameters, 1);
    return Contents(run.schedule, replay.reader());
  }

  tiny::Options options;
  TinyTraining run;
  std::string folder = FreshFolder(), path = folder + "/run.zoj";
  std::unique_ptr<BaseWeights> base;
  Journal journal;
  std::vector<std::byte> end;
};

TEST(Snapshot, TheNewestOneIsUsedAndHasTheBitsOfTheRun) {
  Rig rig;
  ASSERT_EQ(rig.journal.snapshots.size(), 3u);
  EXPECT_EQ(rig.journal.snapshots[0].generation, 0);
  EXPECT_EQ(rig.journal.snapshots[1].generation, 1);
  auto state = rig.Open();
  ASSERT_TRUE(state->snapshot().has_value());
  EXPECT_EQ(state->snapshot()->step(), 12);
  EXPECT_EQ(Contents(rig.run.schedule, state->reader()), rig.end);
  EXPECT_EQ(rig.Truth(12), rig.end);
  EXPECT_EQ(state->Origin(), "the snapshot at step 12");
  // Snapshots hold what is trained and nothing else.
  const auto header = ReadSafetensorsHeader(SnapshotPath(rig.path, 0));
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(header->Find("W0"), nullptr);
  EXPECT_NE(header->Find("W1"), nullptr);
  EXPECT_EQ(header->metadata.at("step"), "12");
}

TEST(Snapshot, AnyStepCanBeHad) {
  Rig rig;
  for (int64_t step = 0; step <= 12; ++step) {
    auto state = rig.Open({.at = step});
    EXPECT_EQ(state->step(), step);
    // The file of the snapshot at step 4 has been replaced by that at 12.
    EXPECT_EQ(state->snapshot().has_value() ? state->snapshot()->step() : 0, step == 12 ? 12 : step >= 8 ? 8 : 0);
    EXPECT_EQ(Contents(rig.run.schedule, state->reader()), rig.Truth(step)) << step;
  }
  const auto past = RunState::Open(rig.run.schedule, *rig.base, rig.journal, {.at = 13});
  ASSERT_FALSE(past.ok());
  EXPECT_NE(past.status().message().find("ends at step 12"), std::string::npos) << past.status().message();
}

TEST(Snapshot, DamageFallsBackToTheOlderOneAndThenToTheBaseWeights) {
  Rig rig;
  const std::string newest = SnapshotPath(rig.path, 0), older = SnapshotPath(rig.path, 1);
  const std::string bytes = ReadBytes(newest), older_bytes = ReadBytes(older);
  const auto expect_from = [&](int64_t step, const std::string& what) {
    auto state = rig.Open();
    EXPECT_EQ(state->snapshot().has_value() ? state->snapshot()->step() : 0, step) << what;
    EXPECT_EQ(Contents(rig.run.schedule, state->reader()), rig.end) << what;
    EXPECT_EQ(state->notes().size(), step == 12 ? 0u : step == 8 ? 1u : 2u) << what;
  };
  size_t used = 0;
  for (size_t at = 0; at < bytes.size(); ++at) {
    std::string damaged = bytes;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x20);
    WriteBytes(newest, damaged);
    auto state = rig.Open();
    used += state->snapshot()->step() == 12;  // blanks and unread keys of the header may change
    ASSERT_EQ(Contents(rig.run.schedule, state->reader()), rig.end) << at;
  }
  EXPECT_LT(used, 32u) << "of " << bytes.size() << " bytes";
  for (size_t size = 0; size < bytes.size(); size += 7) {
    WriteBytes(newest, bytes.substr(0, size));
    expect_from(8, "cut to " + std::to_string(size));
  }
  std::remove(newest.c_str());
  expect_from(8, "gone");
  // A whole snapshot of another step, or of another run.
  WriteBytes(newest, older_bytes);
  expect_from(8, "of another step");
  WriteBytes(older, bytes);
  expect_from(0, "both of another step");
  std::remove(older.c_str());
  std::remove(newest.c_str());
  expect_from(0, "both gone");
}

TEST(Snapshot, UnfinishedFilesOfThisJournalAreRemovedAndNoOthers) {
  const std::string folder = FreshFolder();
  const char* others[] = {"run.zoj", "run.zoj.snap-a", "other.zoj.snap-a.tmp.1.0", "run.zoj.snap-a.mine"};
  for (const char* name : others) WriteBytes(folder + "/" + name, "x");
  WriteBytes(folder + "/run.zoj.snap-b.tmp.123.0", "x");
  RemoveUnfinishedSnapshots(folder + "/run.zoj");
  EXPECT_FALSE(FileExists(folder + "/run.zoj.snap-b.tmp.123.0"));
  for (const char* name : others) EXPECT_TRUE(FileExists(folder + "/" + name)) << name;
  RemoveUnfinishedSnapshots(folder + "/absent/run.zoj");
}

TEST(Snapshot, OneWhoseRecordIsLostDoesNotCount) {
  Rig rig;
  // As after a crash between the file and its record, or a damaged end of the journal.
  const std::string bytes = ReadBytes(rig.path);
  WriteBytes(rig.path, bytes.substr(0, bytes.size() - 1));
  rig.journal = *Journal::Read(rig.path);
  EXPECT_EQ(rig.journal.snapshots.size(), 2u);
  auto state = rig.Open();
  EXPECT_EQ(state->snapshot()->step(), 8);
  EXPECT_EQ(Contents(rig.run.schedule, state->reader()), rig.end);
  ASSERT_FALSE(state->notes().empty());
  EXPECT_NE(state->notes()[0].find("torn"), std::string::npos);
}

TEST(Snapshot, ARunGoesOnWithTheSameBitsWhereverItWasCut) {
  for (const bool keep_snapshots : {true, false})
    for (const int64_t steps : {1, 4, 5, 7, 8, 11}) {
      Rig rig;
      // The journal as it was when the run was killed after `steps` steps, with half a record behind them.
      const std::string bytes = ReadBytes(rig.path);
      std::string cut = bytes;
      for (size_t size = bytes.size(); size-- > 0;) {
        WriteBytes(rig.path, bytes.substr(0, size));
        const auto journal = Journal::Read(rig.path);
        ASSERT_TRUE(journal.ok());
        if (journal->steps.steps() == steps && journal->note.empty()) {
          cut = bytes.substr(0, size + 9);
          break;
        }
      }
      WriteBytes(rig.path, cut);
      if (!keep_snapshots)
        for (const int generation : {0, 1}) std::remove(SnapshotPath(rig.path, generation).c_str());
      const Journal journal = *Journal::Read(rig.path);
      ASSERT_EQ(journal.steps.steps(), steps);
      TinyTraining again(rig.options);
      ASSERT_TRUE(CheckHeader(journal, again.Header(), HeaderUse::kResume).ok());
      auto state = RunState::Open(again.schedule, *rig.base, journal, {});
      ASSERT_TRUE(state.ok());
      again.train = rig.run.train;
      auto writer = JournalWriter::Append(journal, 0);
      ASSERT_TRUE(writer.ok());
      const auto summary = again.Run((*state)->reader(), steps, *writer, rig.path);
      ASSERT_TRUE(summary.ok()) << summary.status().message();
      *writer = JournalWriter();
      EXPECT_EQ(again.Weights(), rig.end);
      const Journal whole = *Journal::Read(rig.path);
      ASSERT_EQ(whole.steps.steps(), 12);
      for (int64_t t = 0; t < 12; ++t)
        EXPECT_EQ(std::memcmp(&whole.steps.at(t), &rig.journal.steps.at(t), StepRecordBytes(1)), 0) << t;
    }
}

TEST(RunState, RefusalsNameWhatDiffers) {
  Rig rig;
  TinyTraining other(rig.options);
  other.parameters.eps = 0.5;
  const Status resume = CheckHeader(rig.journal, other.Header(), HeaderUse::kResume);
  ASSERT_FALSE(resume.ok());
  EXPECT_EQ(resume.code(), Code::kInvalid);
  EXPECT_NE(resume.message().find("eps is 0.01 in the journal and 0.5 now"), std::string::npos) << resume.message();
  // Other base weights under the same names.
  const auto base = OpenState(rig.run.schedule, *rig.base, rig.journal, {});
  ASSERT_FALSE(base.ok());  // the rig's header does not pin these weights
  EXPECT_NE(base.status().message().find("base.sha256"), std::string::npos) << base.status().message();
}

TEST(WeightReader, DigestsDependOnNamesShapesAndBytesOnly) {
  TinyTraining a({.bias = true}), tiled({.slots = 3, .bias = true, .cut = true});
  const auto digest = [](const TinyTraining& t, int threads) {
    return *DigestWeights(t.schedule, AllWeights(t.schedule), TinyBase(t.schedule), threads);
  };
  EXPECT_EQ(digest(a, 1), digest(a, 3));
  EXPECT_EQ(digest(a, 1), digest(tiled, 1));
  TinyTraining renamed({.bias = true});
  renamed.schedule.weights[0].name = "V0";
  EXPECT_NE(digest(a, 1), digest(renamed, 1));
  TinyTraining value({.bias = true});
  value.schedule.weights[0].components[0].tensor_id = 3;  // the made-up values go by it
  EXPECT_NE(digest(a, 1), digest(value, 1));
}

}  // namespace
}  // namespace zo2
