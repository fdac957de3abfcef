#include "runtime/replay.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "tests/unit/runtime/tiny_journal.h"

namespace zo2 {
namespace {

TEST(Replay, GivesTheBitsOfTheRun) {
  std::vector<tiny::Options> cases;
  for (const int samples : {1, 2})
    for (const int period : {1, 2, 3}) cases.push_back({.period = period, .samples = samples, .bias = true});
  cases.push_back({.slots = 0});
  cases.push_back({.freeze_first = true, .bias = true});
  cases.push_back({.period = 2, .tied = true, .cut = true});
  cases.push_back({.micro_batches = 2, .lm_head = true});
  for (const tiny::Options& options : cases) {
    TinyTraining run(options);
    run.train.steps = 11;
    run.train.lr = {LrShape::kCosine, 5e-2, 2, 11};
    run.nan_step = 4;
    JournalWriter none;
    const auto summary = run.Run(TinyBase(run.schedule), 0, none);
    ASSERT_TRUE(summary.ok()) << summary.status().message();
    EXPECT_EQ(summary->skipped, 1);
    const std::vector<std::byte> expected = run.Weights();
    ASSERT_NE(expected, Contents(run.schedule, TinyBase(run.schedule)));
    for (const int64_t steps_per_pass : {1, 2, 3, 256})
      for (const int threads : {1, 3}) {
        Replay whole(run.schedule, TinyBase(run.schedule), run.records, 0, 11, run.parameters, threads, steps_per_pass);
        EXPECT_EQ(Contents(run.schedule, whole.reader()), expected)
            << steps_per_pass << " steps per pass, K " << options.period;
        Replay first(run.schedule, TinyBase(run.schedule), run.records, 0, 5, run.parameters, threads, steps_per_pass);
        Replay second(run.schedule, first.reader(), run.records, 5, 11, run.parameters, threads, steps_per_pass);
        EXPECT_EQ(Contents(run.schedule, second.reader()), expected) << "in two stretches";
      }
  }
}

// A weight of `dtype` that is large enough for several parts, odd in both axes, and a log of made-up steps.
struct Large {
  explicit Large(DType dtype, Rounding rounding = Rounding::kStochastic) : dtype(dtype) {
    schedule.rounding = rounding;
    PlanWeight weight;
    weight.name = "w";
    weight.shape = {331, 257};
    weight.lr_mul = 0.5;
    weight.components = {{"w", 99, dtype, PlainWire(dtype), dtype, weight.shape, true}};
    schedule.weights.push_back(weight);
    std::mt19937_64 random(1);
    for (int64_t n = 0; n < 331 * 257; ++n) {
      const float value = static_cast<float>(static_cast<int64_t>(random() % 2001) - 1000) * 1e-3f;
      uint32_t bits;
      std::memcpy(&bits, &value, 4);
      if (dtype == DType::kF32)
        base.insert(base.end(), reinterpret_cast<std::byte*>(&bits), reinterpret_cast<std::byte*>(&bits) + 4);
      if (dtype == DType::kBF16)
        base.insert(base.end(), reinterpret_cast<std::byte*>(&bits) + 2, reinterpret_cast<std::byte*>(&bits) + 4);
    }
    for (uint64_t step = 0; step < 9; ++step) {
      uint64_t words[6] = {};
      StepRecord& record = *reinterpret_cast<StepRecord*>(words);
      record = {step, 1e-2, 1, step == 3 ? 1u : 0u};
      record.g()[0] = step == 3 ? NAN : 0.3 * static_cast<double>(step) - 1;
      log.Append(record);
    }
  }
  WeightReader Reader() const {
    return [this](int32_t, int64_t r0, int64_t r1, int64_t c0, int64_t c1, std::byte* out) {
      const int64_t size = SizeOf(dtype);
      for (int64_t r = r0; r < r1; ++r, out += (c1 - c0) * size)
        std::memcpy(out, base.data() + (r * 257 + c0) * size, static_cast<size_t>((c1 - c0) * size));
      return Status();
    };
  }
  DType dtype;
  Schedule schedule;
  std::vector<std::byte> base;
  StepLog log{1};
  RunParameters parameters{.seed = 77, .weight_decay = 0.2};
};

TEST(Replay, BlocksThreadsAndPassesChangeNoBits) {
  for (const DType dtype : {DType::kF32, DType::kBF16})
    for (const Rounding rounding : {Rounding::kStochastic, Rounding::kNearest}) {
      const Large large(dtype, rounding);
      // Step by step through PrepareTile, as a run does it.
      Tile tile;
      tile.segments = {{0, 0, 0, 331, 0, 257, 0, 0, 0}};
      std::vector<std::byte> expected = large.base;
      WorkerPool one(1);
      for (int64_t step = 0; step < 9; ++step) {
        PrepareJob job;
        job.schedule = &large.schedule;
        job.tile = &tile;
        job.source = job.master_out = expected.data();
        job.version = step;
        job.step = step + 1;
        job.records = {reinterpret_cast<const std::byte*>(&large.log.at(0)), StepRecordBytes(1), 9};
        job.parameters = &large.parameters;
        ASSERT_TRUE(PrepareTile(job, one).ok());
      }
      for (const int64_t steps_per_pass : {1, 4, 256})
        for (const int threads : {1, 4}) {
          Replay replay(large.schedule, large.Reader(), large.log, 0, 9, large.parameters, threads, steps_per_pass);
          EXPECT_EQ(Contents(large.schedule, replay.reader()), expected);
          std::vector<std::byte> blocks(expected.size());
          const int64_t size = SizeOf(dtype);
          for (int64_t r = 0; r < 331; r += 50)
            for (int64_t c = 0; c < 257; c += 100) {
              const int64_t r1 = std::min<int64_t>(331, r + 50), c1 = std::min<int64_t>(257, c + 100);
              std::vector<std::byte> block(static_cast<size_t>((r1 - r) * (c1 - c) * size));
              ASSERT_TRUE(replay.Read(0, r, r1, c, c1, block.data()).ok());
              for (int64_t i = r; i < r1; ++i)
                std::memcpy(blocks.data() + (i * 257 + c) * size, block.data() + (i - r) * (c1 - c) * size,
                            static_cast<size_t>((c1 - c) * size));
            }
          EXPECT_EQ(blocks, expected) << "in blocks";
        }
    }
}

TEST(Replay, FrozenWeightsAndNoRecordsAreTheStart) {
  TinyTraining run({.freeze_first = true});
  run.train.steps = 3;
  JournalWriter none;
  ASSERT_TRUE(run.Run(TinyBase(run.schedule), 0, none).ok());
  Replay nothing(run.schedule, TinyBase(run.schedule), run.records, 2, 2, run.parameters, 2);
  EXPECT_EQ(Contents(run.schedule, nothing.reader()), Contents(run.schedule, TinyBase(run.schedule)));
  Replay replay(run.schedule, TinyBase(run.schedule), run.records, 0, 3, run.parameters, 2);
  std::vector<float> frozen(16), base(16);
  ASSERT_TRUE(replay.Read(0, 0, 4, 0, 4, reinterpret_cast<std::byte*>(frozen.data())).ok());
  ASSERT_TRUE(TinyBase(run.schedule)(0, 0, 4, 0, 4, reinterpret_cast<std::byte*>(base.data())).ok());
  EXPECT_EQ(frozen, base);
}

TEST(Replay, ErrorsOfTheStartPassThrough) {
  const Large large(DType::kF32);
  const WeightReader broken = [](int32_t, int64_t, int64_t, int64_t, int64_t, std::byte*) {
    return Invalid("no such file");
  };
  Replay replay(large.schedule, broken, large.log, 0, 9, large.parameters, 2);
  const auto digest = DigestWeights(large.schedule, AllWeights(large.schedule), replay.reader(), 1);
  ASSERT_FALSE(digest.ok());
  EXPECT_EQ(digest.status().message(), "no such file");
}

}  // namespace
}  // namespace zo2
