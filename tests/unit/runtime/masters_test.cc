#include "runtime/masters.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace zo2
