// The GPU's gradient, and prepare of tiles so large that every block has many rounds.
#include <gtest/gtest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "tests/gpu/tile_on_gpu.h"
#include "tests/unit/cuda_kernels/loss_case.h"

namespace zo2::cuda {
namespace {

// Lists of the case, one after the other in the GPU's memory.
std::vector<LossPairs> PutLosses(Gpu& gpu, const Losses& losses) {
  std::vector<double> all;
  for (size_t b = 0; b < losses.sums.size(); ++b) {
    all.insert(all.end(), losses.sums[b].begin(), losses.sums[b].end());
    all.insert(all.end(), losses.counts[b].begin(), losses.counts[b].end());
  }
  const auto* at = reinterpret_cast<const double*>(gpu.Put(all.data(), all.size() * sizeof(double)));
  std::vector<LossPairs> pairs;
  for (size_t b = 0; b < losses.sums.size(); ++b) {
    const size_t n = losses.sums[b].size();
    pairs.push_back({{at, n}, {at + n, losses.counts[b].size()}});
    at += n + losses.counts[b].size();
  }
  return pairs;
}

TEST(GpuGradient, RandomLossesHaveTheBitsOfTheCpu) {
  Gpu& gpu = Gpu::Get();
  int skipped = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    gpu.Reset();
    const LossCase c = MakeLossCase(seed);
    std::vector<uint64_t> want_memory(StepRecordBytes(c.q) / 8), got_memory(StepRecordBytes(c.q) / 8 + 64, 0xA5);
    StepRecord& want = *reinterpret_cast<StepRecord*>(want_memory.data());
    Gradient(c.control, c.losses.branches, c.losses.pairs(), c.q, c.parameters, &want);
    std::byte* const control = gpu.Put(&c.control, sizeof c.control);
    std::byte* const record = gpu.Put(got_memory.data(), 8 * got_memory.size());
    const auto launch = MakeGradientLaunch({control}, c.losses.branches, PutLosses(gpu, c.losses), c.q, c.parameters,
                                           {record + 8 * 32}, nullptr);
    ASSERT_TRUE(launch.ok()) << launch.status().message();
    ASSERT_TRUE(gpu.driver().Gradient(gpu.stream(), *launch).ok());
    ASSERT_TRUE(gpu.driver().SynchronizeStream(gpu.stream()).ok());
    ASSERT_TRUE(gpu.driver().CopyNow(got_memory.data(), record, 8 * got_memory.size()).ok());
    SCOPED_TRACE(seed);
    ExpectSame(*reinterpret_cast<StepRecord*>(got_memory.data() + 32), want);
    EXPECT_EQ(got_memory[31], 0xA5u);
    EXPECT_EQ(got_memory[32 + StepRecordBytes(c.q) / 8], 0xA5u);
    ASSERT_FALSE(testing::Test::HasFailure());
    skipped += static_cast<int>(want.skipped);
  }
  EXPECT_GT(skipped, 50);
}

TEST(GpuGradient, RingsGoByTheStep) {
  Gpu& gpu = Gpu::Get();
  gpu.Reset();
  Losses losses;
  losses.branches = {{{{0, 1.0}}}, {{{0, -1.0}}}};
  losses.sums = {{3}, {1}};
  losses.counts = {{1}, {1}};
  std::vector<StepControl> controls(3);
  std::vector<std::byte> records(4 * 128);
  RunParameters parameters;
  parameters.eps = 0.5;
  auto& scalars = *reinterpret_cast<StepScalars*>(gpu.shared());
  std::byte* const control = gpu.Take(3 * 64);
  std::byte* const record = gpu.Put(records.data(), records.size());
  const auto launch = MakeGradientLaunch({control, 64, 3}, losses.branches, PutLosses(gpu, losses), 1, parameters,
                                         {record, 128, 4}, &scalars);
  ASSERT_TRUE(launch.ok());
  for (uint64_t step = 0; step < 10; ++step) {
    const StepControl now{step, 0.25 * static_cast<double>(step)};
    ASSERT_TRUE(gpu.driver().CopyNow(control + 64 * (step % 3), &now, sizeof now).ok());
    scalars = {static_cast<int64_t>(step), 0};
    ASSERT_TRUE(gpu.driver().Gradient(gpu.stream(), *launch).ok());
    ASSERT_TRUE(gpu.driver().SynchronizeStream(gpu.stream()).ok());
    ASSERT_TRUE(gpu.driver().CopyNow(records.data(), record, records.size()).ok());
    const StepRecord& r = *reinterpret_cast<const StepRecord*>(records.data() + 128 * (step % 4));
    EXPECT_EQ(r.step, step);
    EXPECT_EQ(r.lr, now.lr);
    EXPECT_EQ(r.g()[0], 2.0);
  }
}

// A matrix of a model in every storage and wire format, three updates pending, a master written, two branches.
TEST(GpuPrepare, LargeTilesHaveTheBitsOfTheCpu) {
  constexpr int64_t kRows = 701, kCols = 1537;  // nothing divides them
  for (int format = 0; format < 6; ++format) {
    for (const bool signs : {false, true}) {
      const auto wire = static_cast<WireFormat>(format);
      const DType storage = format < 3 ? static_cast<DType>(format) : DType::kF16;
      TileCase c;
      c.coded = format >= 3;
      c.schedule.rademacher = signs;
      PlanWeight weight;
      weight.name = "w";
      weight.shape = {kRows, kCols};
      weight.decay = true;
      weight.components.push_back({"w", 77, storage, wire, storage, weight.shape});
      c.schedule.weights.push_back(weight);
      c.schedule.programs.emplace_back();
      c.train().branches = {{{{0, 1.0}}}, {{{0, -1.0}}}};
      c.parameters = {0x123456789ABCDEF, 1e-3, 0.1, 0};
      c.tile.segments.push_back({0, 0, 0, kRows, 0, kCols, 0, 0, 0});
      c.tile.bytes = c.tile.branch_bytes = static_cast<uint64_t>(kRows * kCols * SizeOf(storage));
      c.tile.wire_bytes = WireBytes(wire, kRows, kCols);
      // Values of a hash, all finite and of a model's size.
      std::vector<float> values(static_cast<size_t>(kRows * kCols));
      for (size_t i = 0; i < values.size(); ++i)
        values[i] = std::ldexp(static_cast<float>(static_cast<int64_t>(i * 2654435761u % 4001) - 2000), -16);
      c.planes.emplace_back(c.coded ? c.tile.wire_bytes + 64 : c.tile.bytes);
      if (c.coded) {
        std::byte* const aligned =
            c.planes[0].data() + (64 - reinterpret_cast<uintptr_t>(c.planes[0].data()) % 64) % 64;
        kernels::Encode({wire, kRows, kCols, 0, kRows, DType::kF32, values.data(), kCols, aligned});
        std::memmove(c.planes[0].data(), aligned, c.tile.wire_bytes);
      } else {
        for (size_t i = 0; i < values.size(); ++i) {
          const uint32_t bits = std::bit_cast<uint32_t>(values[i]);
          const uint16_t narrow = storage == DType::kBF16 ? static_cast<uint16_t>(bits >> 16)
                                                          : static_cast<uint16_t>(0x1400 + i % 0x2000);
          if (storage == DType::kF32)
            std::memcpy(c.planes[0].data() + 4 * i, &bits, 4);
          else
            std::memcpy(c.planes[0].data() + 2 * i, &narrow, 2);
        }
        c.master = 0;
      }
      for (int b = 0; b < 2; ++b) {
        c.planes.emplace_back(c.tile.branch_bytes);
        c.outputs.push_back(static_cast<int>(c.planes.size()) - 1);
      }
      c.lead.assign(c.planes.size(), 0);
      c.ring = {nullptr, StepRecordBytes(1), 4};
      c.records.assign(4 * c.ring.stride, std::byte{0});
      c.version = 4;
      c.step = 7;
      for (int64_t s = c.version; s < c.step; ++s) {
        StepRecord& r = *reinterpret_cast<StepRecord*>(c.records.data() + c.ring.stride * static_cast<uint64_t>(s % 4));
        r = {static_cast<uint64_t>(s), 1e-3, 1, 0};
        r.g()[0] = 0.7 * static_cast<double>(s) - 3;
      }
      uint64_t want_cut = 0, got_cut = 0;
      const std::vector<Bytes> want = RunTile(c, &want_cut);
      const auto got = RunTileOnGpu(c, kDefaultBlocks, &got_cut, nullptr);
      ASSERT_TRUE(got.ok()) << got.status().message();
      for (size_t p = 0; p < want.size(); ++p)
        EXPECT_TRUE((*got)[p] == want[p]) << Name(storage) << ", wire " << format << ", plane " << p;
      EXPECT_EQ(got_cut, want_cut);
      if (!c.coded) {
        EXPECT_FALSE(want[0] == c.planes[0]) << "nothing was updated";
      }
    }
  }
}

}  // namespace
}  // namespace zo2::cuda
