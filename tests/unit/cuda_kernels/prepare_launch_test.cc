// The GPU's prepare, its body run on the host block by block and thread by thread: random tiles against PrepareTile to
// the bit, launches that are replayed as CUDA graphs replay them, ids that do not exist, what does not fit.
#include "runtime/cuda/prepare_launch.h"

#include <gtest/gtest.h>

#include <iostream>

#include "tests/unit/cuda_kernels/tile_case.h"

namespace zo2::cuda {
namespace {

TEST(PrepareLaunch, RandomTilesHaveTheBitsOfTheCpu) {
  constexpr int kCases = 4000;
  int launches = 0, full = 0, coded = 0, gathered = 0, chunked = 0, chained = 0, rounds = 0, in_place = 0, frozen = 0;
  uint64_t cut = 0;
  int formats[6][2] = {};
  for (int n = 0; n < kCases; ++n) {
    CaseMaker maker(static_cast<uint64_t>(n));
    TileCase c = maker.Make();
    uint64_t want_cut = 0, got_cut = 0;
    const std::vector<Bytes> want = RunTile(c, &want_cut);
    std::vector<PrepareLaunch> kept;
    const int blocks = static_cast<int>(maker.Chance(50) ? 1 + maker.Below(4) : kDefaultBlocks);
    const ThreadOrder order = maker.Chance(50) ? ThreadOrder::kForward : ThreadOrder::kBackward;
    const Result<std::vector<Bytes>> got = RunLaunches(c, order, blocks, &got_cut, &kept);
    ASSERT_TRUE(got.ok()) << got.status().message();
    for (size_t p = 0; p < want.size(); ++p) {
      if ((*got)[p] == want[p]) continue;
      const auto differs = std::mismatch((*got)[p].begin(), (*got)[p].end(), want[p].begin());
      FAIL() << "case " << n << ", plane " << p << " of " << want.size() << " (0 the source, master " << c.master
             << ") differs at byte " << differs.first - (*got)[p].begin() << " - " << c.lead[p] << "; "
             << c.tile.segments.size() << " segments, coded " << c.coded << ", gathered " << c.gathered << ", "
             << c.step - c.version << " pending, q " << c.train().samples;
    }
    ASSERT_EQ(got_cut, want_cut) << "case " << n;
    cut += want_cut;
    coded += c.coded;
    gathered += c.gathered;
    in_place += c.master == 0;
    for (const PrepareLaunch& launch : kept) {
      ++launches;
      full += launch.rect_count == kMaxRects;
      ++formats[static_cast<int>(launch.source)][launch.rademacher];
      for (int r = 0; r < launch.rect_count; ++r) {
        const PrepareRect& rect = launch.rects[r];
        frozen += !rect.trainable;
        const int64_t units = rect.rows * rect.units;
        const bool several = units > static_cast<int64_t>(rect.block_end - rect.block_begin) * kPrepareThreads;
        rounds += several;
        chunked += several && rect.trainable && (c.step - c.version) * launch.samples > 128;
      }
    }
    for (const Branch& branch : c.train().branches) chained += branch.terms.size() == 3;
  }
  std::cout << kCases << " tiles, " << launches << " launches; full " << full << ", coded " << coded << ", gathered "
            << gathered << ", in place " << in_place << ", frozen " << frozen << ", blocks of several rounds " << rounds
            << " and with several chunks of updates " << chunked << ", branches of three terms " << chained
            << ", masters cut to the largest " << cut << "\n";
  for (const auto& format : formats) EXPECT_GT(std::min(format[0], format[1]), 50);
  EXPECT_GT(std::min({full, coded, gathered, in_place, frozen, rounds, chained}), 50);
  EXPECT_GT(chunked, 20);
  EXPECT_GT(cut, 100u);
}

// One launch, replayed while the step, the version and the ring go on, as a CUDA graph does.
TEST(PrepareLaunch, IsReplayedFromStepToStep) {
  for (uint64_t seed = 0; seed < 40; ++seed) {
    TileCase c;
    for (uint64_t s = seed; c.coded || c.gathered || c.tile.segments.empty(); s += 1000) c = CaseMaker(s).Make();
    const int q = c.train().samples;
    c.master = 0;
    for (size_t b = 0; b < c.outputs.size(); ++b) {  // none over the source
      c.lead.push_back(64);
      c.planes.emplace_back(c.tile.branch_bytes + 128, std::byte{0xA5});
      c.outputs[b] = static_cast<int>(c.planes.size()) - 1;
    }
    c.ring = {nullptr, StepRecordBytes(q), 3};
    c.records.assign(3 * c.ring.stride, std::byte{0});
    std::vector<Bytes> memory = c.planes, replayed = c.planes;
    StepScalars scalars;
    PrepareJob job = c.Job(replayed);
    const auto launches = MakePrepareLaunches(job, job.records, &scalars);
    ASSERT_TRUE(launches.ok());
    WorkerPool one(1);
    c.version = 0;
    for (c.step = 0; c.step < 9; ++c.step) {
      if (c.step % 2 == 1) continue;  // at every second step two updates are pending
      scalars = {c.step, c.version};
      ASSERT_TRUE(PrepareTile(c.Job(memory), one).ok());
      for (const PrepareLaunch& launch : *launches) RunOnHost(launch);
      ASSERT_EQ(replayed, memory) << "seed " << seed << ", step " << c.step;
      c.version = c.step;
      for (int64_t s = c.step; s < c.step + 2; ++s) {
        StepRecord& r = *reinterpret_cast<StepRecord*>(c.records.data() + c.ring.stride * static_cast<uint64_t>(s % 3));
        r = {static_cast<uint64_t>(s), 1e-2, static_cast<uint32_t>(q), s == 4};
        for (int i = 0; i < q; ++i) r.g()[i] = 0.3 * static_cast<double>(s + i) - 1;
      }
    }
    EXPECT_EQ(c.version, 8);
  }
}

// Biases and norms of a layer: many small segments, few launches; each has a block of its own.
TEST(PrepareLaunch, ManySegmentsShareALaunch) {
  TileCase c;
  c.schedule.programs.emplace_back();
  for (int32_t w = 0; w < 40; ++w) {
    PlanWeight weight;
    weight.shape = {1 + w};
    weight.components.push_back(
        {"b", static_cast<uint32_t>(w), DType::kF32, WireFormat::kF32, DType::kF32, weight.shape});
    c.schedule.weights.push_back(weight);
    c.tile.segments.push_back({w, 0, 0, 1, 0, w == 7 ? 0 : 1 + w, c.tile.bytes, 0, c.tile.bytes});
    c.tile.bytes += 256;
  }
  c.planes.emplace_back(c.tile.bytes);
  c.lead = {0};
  c.ring = {nullptr, StepRecordBytes(1), 1};
  const PrepareJob job = c.Job(c.planes);
  const StepScalars scalars;
  const auto launches = MakePrepareLaunches(job, job.records, &scalars);
  ASSERT_TRUE(launches.ok());
  ASSERT_EQ(launches->size(), 3u);  // 39 that are not empty
  EXPECT_EQ((*launches)[0].rect_count, 16);
  EXPECT_EQ((*launches)[2].rect_count, 7);
  for (const PrepareLaunch& launch : *launches) EXPECT_EQ(launch.blocks, launch.rect_count);
}

// A row whose id does not exist is NaN in every output, and the others are what they are.
TEST(PrepareLaunch, RowsOfIdsThatDoNotExistAreNaN) {
  int tested = 0;
  for (uint64_t seed = 0; tested < 60; ++seed) {
    CaseMaker maker(seed);
    TileCase c = maker.Make();
    if (!c.gathered || c.outputs.empty() || c.ids.size() < 3) continue;
    ++tested;
    const Segment& s = c.tile.segments[0];
    c.master = -1;
    for (size_t b = 0; b < c.outputs.size(); ++b)
      if (c.outputs[b] == 0)
        c.outputs[b] = static_cast<int>(c.planes.size()), c.lead.push_back(64),
        c.planes.emplace_back(c.tile.branch_bytes + 128);
    uint64_t cut = 0, got_cut = 0;
    std::vector<Bytes> want = RunTile(c, &cut);
    const size_t bad = static_cast<size_t>(maker.Below(static_cast<int64_t>(c.ids.size())));
    const int64_t not_there[] = {s.row_end, s.row_begin - 1, -1, std::numeric_limits<int64_t>::min(),
                                 std::numeric_limits<int64_t>::max()};
    c.ids[bad] = not_there[maker.Below(5)];
    const auto got = RunLaunches(c, ThreadOrder::kForward, kDefaultBlocks, &got_cut);
    ASSERT_TRUE(got.ok());
    EXPECT_LE(got_cut, cut);
    const DType compute = c.ComponentOf(s).compute;
    const uint32_t nan = compute == DType::kF32 ? 0x7FC00000 : compute == DType::kBF16 ? 0x7FC0 : 0x7E00;
    const int64_t width = s.col_end - s.col_begin, size = SizeOf(compute);
    for (const int plane : c.outputs)
      for (int64_t j = 0; j < width; ++j)
        std::memcpy(want[static_cast<size_t>(plane)].data() + c.lead[static_cast<size_t>(plane)] + s.branch_offset +
                        (static_cast<int64_t>(bad) * width + j) * size,
                    &nan, static_cast<size_t>(size));
    for (size_t p = 0; p < want.size(); ++p) EXPECT_EQ((*got)[p], want[p]) << "seed " << seed << ", plane " << p;
  }
}

// ---- what does not fit ----

class PrepareErrors : public testing::Test {
 protected:
  PrepareErrors() {
    PlanWeight weight;
    weight.shape = {4, 10};
    weight.components.push_back({"w", 1, DType::kF32, WireFormat::kF32, DType::kF32, {4, 10}});
    c_.schedule.weights.push_back(weight);
    c_.schedule.programs.emplace_back();
    c_.tile.name = "layer 3";
    c_.tile.segments.push_back({0, 0, 0, 4, 0, 10, 0, 0, 0});
    c_.planes.emplace_back(160);
    c_.lead = {0};
  }
  void AddBranches(int n, int terms) {
    for (int b = 0; b < n; ++b) {
      c_.train().branches.push_back({std::vector<BranchTerm>(static_cast<size_t>(terms), BranchTerm{0, 1.0})});
      c_.outputs.push_back(0);
    }
  }
  Result<std::vector<PrepareLaunch>> Make() {
    const PrepareJob job = c_.Job(c_.planes);
    return MakePrepareLaunches(job, job.records, &scalars_);
  }
  TileCase c_;
  StepScalars scalars_;
};

TEST_F(PrepareErrors, MoreBranchesThanRoom) {
  AddBranches(kMaxOutputs, 1);
  EXPECT_TRUE(Make().ok());
  AddBranches(1, 1);
  const auto made = Make();
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), Code::kInvalid);
  EXPECT_NE(made.status().message().find("layer 3 emits 17 branches"), std::string::npos) << made.status().message();
}

TEST_F(PrepareErrors, MoreTermsThanRoom) {
  AddBranches(8, 4);
  EXPECT_TRUE(Make().ok());
  AddBranches(1, 1);
  const auto made = Make();
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), Code::kInvalid);
  EXPECT_NE(made.status().message().find("33 terms"), std::string::npos) << made.status().message();
}

TEST_F(PrepareErrors, TypesItDoesNotKnow) {
  c_.schedule.weights[0].components[0].storage = DType::kF64;
  const auto made = Make();
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), Code::kInvalid);
  EXPECT_NE(made.status().message().find("w is stored as f64"), std::string::npos) << made.status().message();
}

TEST_F(PrepareErrors, ARectangleTooLarge) {
  c_.schedule.weights[0].shape = {int64_t{1} << 40, 11};  // a column is left out: rows stay apart
  c_.tile.segments[0].row_end = (int64_t{1} << 30) - 1;   // four runs each
  EXPECT_TRUE(Make().ok());
  ++c_.tile.segments[0].row_end;
  const auto made = Make();
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), Code::kInvalid);
  EXPECT_NE(made.status().message().find("use smaller tiles"), std::string::npos) << made.status().message();
}

TEST_F(PrepareErrors, BranchesWithoutOutputs) {
  AddBranches(2, 1);
  PrepareJob job = c_.Job(c_.planes);
  job.outputs = job.outputs.first(1);
  const auto made = MakePrepareLaunches(job, job.records, &scalars_);
  ASSERT_FALSE(made.ok());
  EXPECT_EQ(made.status().code(), Code::kInternal);
  EXPECT_EQ(MakePrepareLaunches(c_.Job(c_.planes), {}, nullptr).status().code(), Code::kInternal);
}

}  // namespace
}  // namespace zo2::cuda
