#include "runtime/masters.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/runtime/tiny_journal.h"

namespace zo2 {
namespace {

TEST(Masters, ReadAnyRectangleOfWeightsInTiles) {
  TinyTraining run({.bias = true, .cut = true});
  run.train.steps = 2;
  JournalWriter none;
  ASSERT_TRUE(run.Run(TinyBase(run.schedule), 0, none).ok());
  const WeightReader masters = MasterReader(*run.executor);
  std::vector<float> whole(16);
  ASSERT_TRUE(masters(0, 0, 4, 0, 4, reinterpret_cast<std::byte*>(whole.data())).ok());
  for (int64_t r0 = 0; r0 < 4; ++r0)
    for (int64_t r1 = r0 + 1; r1 <= 4; ++r1)
      for (int64_t c0 = 0; c0 < 4; ++c0)
        for (int64_t c1 = c0 + 1; c1 <= 4; ++c1) {
          std::vector<float> part(static_cast<size_t>((r1 - r0) * (c1 - c0)));
          ASSERT_TRUE(masters(0, r0, r1, c0, c1, reinterpret_cast<std::byte*>(part.data())).ok());
          for (int64_t r = r0; r < r1; ++r)
            for (int64_t c = c0; c < c1; ++c)
              ASSERT_EQ(part[static_cast<size_t>((r - r0) * (c1 - c0) + c - c0)],
                        whole[static_cast<size_t>(r * 4 + c)]);
        }
}

TEST(Masters, WhatIsLoadedIsRead) {
  for (const tiny::Options& options : {tiny::Options{.bias = true}, tiny::Options{.slots = 0, .cut = true}}) {
    const Schedule schedule = tiny::MakeSchedule(options);
    const KernelTable kernels = fake::Kernels();
    auto device = *OpenDevice("cpu");
    for (const int threads : {1, 3}) {
      auto executor = *Executor::Prepare(schedule, *device, {});
      const auto load = [&](Executor& e) { return LoadMasters(TinyBase(schedule), e, threads); };
      ASSERT_TRUE(executor->Initialize(kernels, {}, 0, load).ok());
      EXPECT_EQ(Contents(schedule, MasterReader(*executor)), Contents(schedule, TinyBase(schedule)));
    }
  }
}

// Memory that only Write reaches, as on a GPU.
class FarDevice : public Device {
 public:
  std::string_view name() const override { return near_->name(); }
  uint64_t alignment() const override { return near_->alignment(); }
  Result<std::unique_ptr<ArenaMemory>> Allocate(Tier tier, uint64_t bytes) override { return near_->Allocate(tier, bytes); }
  Result<std::unique_ptr<Queue>> OpenQueue(LaneKind kind) override { return near_->OpenQueue(kind); }
  Available MemoryAvailable(Tier tier) const override { return near_->MemoryAvailable(tier); }
  bool shares_host_memory() const override { return false; }
  Status Write(void* to, const void* from, uint64_t bytes) override {
    return near_->Write(to, from, bytes);
  }
  Status Read(void* to, const void* from, uint64_t bytes) override { return near_->Read(to, from, bytes); }

 private:
  std::unique_ptr<Device> near_ = *OpenDevice("cpu");
};

std::vector<std::byte> AllCodes(Executor& executor) {
  std::vector<std::byte> all;
  for (const Tile& tile : executor.schedule().tiles) {
    if (tile.codes < 0) continue;
    const size_t begin = all.size();
    all.resize(begin + tile.wire_bytes);
    EXPECT_TRUE(executor.ReadBuffer(tile.codes, 0, std::span(all).subspan(begin)).ok());
  }
  return all;
}

TEST(Masters, CodesAreEncodedOnTheWayInPiecesOfAnySize) {
  for (const tiny::Named& named : tiny::CodedCorpus()) {
    if (named.options.embedding) continue;  // no kernel here
    const Schedule schedule = tiny::MakeSchedule(named.options);
    auto near = *OpenDevice("cpu");
    FarDevice far;
    const auto codes = [&](Device& device, const std::function<Status(Executor&)>& load) {
      auto executor = *Executor::Prepare(schedule, device, {});
      const Status status = executor->Initialize(fake::Kernels(), {}, 0, load);
      EXPECT_TRUE(status.ok()) << named.name << ": " << status.message();
      return AllCodes(*executor);
    };
    const std::vector<std::byte> expected = codes(*near, LoadTinyMasters);
    for (const int64_t piece : {int64_t{1}, int64_t{40}, kPieceBytes})
      for (const int threads : {1, 3})
        for (Device* device : {near.get(), static_cast<Device*>(&far)})
          EXPECT_EQ(codes(*device, [&](Executor& e) { return LoadMasters(TinyBase(schedule), e, threads, piece); }), expected)
              << named.name << " in pieces of " << piece;
  }
}

TEST(Masters, AWeightThatCannotBeEncodedIsNamed) {
  const Schedule schedule = tiny::MakeSchedule({.freeze_first = true, .first = tiny::Keep::kFrozenCodes});
  const WeightReader bad = [&](int32_t w, int64_t r0, int64_t r1, int64_t c0, int64_t c1, std::byte* out) -> Status {
    ZO2_TRY(TinyBase(schedule)(w, r0, r1, c0, c1, out));
    const float infinite = INFINITY;
    std::memcpy(out, &infinite, 4);
    return Status();
  };
  auto device = *OpenDevice("cpu");
  auto executor = *Executor::Prepare(schedule, *device, {});
  const Status status =
      executor->Initialize(fake::Kernels(), {}, 0, [&](Executor& e) { return LoadMasters(bad, e); });
  EXPECT_EQ(status.code(), Code::kInvalid);
  EXPECT_NE(status.message().find("weight W0 has 1 values that are not finite"), std::string::npos) << status.message();
}

}  // namespace
}  // namespace zo2
