// The GPU's gradient, its body run on the host, against Gradient() to the bit.
#include "runtime/cuda/gradient_launch.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <iostream>
#include <vector>

#include "tests/unit/cuda_kernels/loss_case.h"

namespace zo2::cuda {
namespace {

TEST(GradientLaunch, RandomLossesHaveTheBitsOfTheCpu) {
  int skipped = 0, clipped = 0, long_lists = 0, groups = 0;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    const LossCase c = MakeLossCase(seed);
    const Losses& losses = c.losses;
    const RunParameters& parameters = c.parameters;
    const StepControl& control = c.control;
    const int q = c.q;
    long_lists += c.long_lists;
    groups += c.groups;
    std::vector<uint64_t> want_memory(StepRecordBytes(q) / 8), got_memory(StepRecordBytes(q) / 8 + 2, 0xA5);
    StepRecord& want = *reinterpret_cast<StepRecord*>(want_memory.data());
    StepRecord& got = *reinterpret_cast<StepRecord*>(got_memory.data() + 1);
    Gradient(control, losses.branches, losses.pairs(), q, parameters, &want);
    StepControl copy = control;
    const auto launch = MakeGradientLaunch({reinterpret_cast<std::byte*>(&copy)}, losses.branches, losses.pairs(), q,
                                           parameters, {reinterpret_cast<std::byte*>(&got)}, nullptr);
    ASSERT_TRUE(launch.ok()) << launch.status().message();
    RunOnHost(*launch, seed % 2 == 0 ? ThreadOrder::kForward : ThreadOrder::kBackward);
    SCOPED_TRACE(seed);
    ExpectSame(got, want);
    EXPECT_EQ(got_memory.front(), 0xA5u);
    EXPECT_EQ(got_memory.back(), 0xA5u);
    ASSERT_FALSE(HasFailure());
    skipped += want.skipped;
    for (int i = 0; i < q; ++i) clipped += parameters.clip_g > 0 && std::fabs(want.g()[i]) == parameters.clip_g;
  }
  std::cout << skipped << " steps skipped, " << clipped << " g clipped, " << long_lists << " long lists, " << groups
            << " steps with more lists than are added at a time\n";
  EXPECT_GT(std::min({skipped, clipped, long_lists, groups}), 50);
}

TEST(GradientLaunch, AddsInTheOrderOfExamples) {
  std::vector<double> plus(300, 1.0), minus(300, 0.0);
  const std::vector<double> count(300, 1.0 / 300);
  plus[0] = 0x1p53;  // absorbs every 1 that comes after it
  plus[299] = -0x1p53;
  const std::vector<Branch> branches = {{{{0, 1.0}}}, {{{0, -1.0}}}};
  const std::vector<LossPairs> losses = {{plus, count}, {minus, count}};
  std::vector<uint64_t> memory(StepRecordBytes(1) / 8);
  StepRecord& record = *reinterpret_cast<StepRecord*>(memory.data());
  StepControl control{3, 0.5};
  RunParameters parameters;
  parameters.eps = 0.5;
  const auto launch = MakeGradientLaunch({reinterpret_cast<std::byte*>(&control)}, branches, losses, 1, parameters,
                                         {reinterpret_cast<std::byte*>(&record)}, nullptr);
  ASSERT_TRUE(launch.ok());
  RunOnHost(*launch);
  EXPECT_EQ(record.g()[0], 0.0);
  plus[299] = 1.0;
  plus[0] = 1.0;
  RunOnHost(*launch);  // a replay reads the losses again
  EXPECT_NEAR(record.g()[0], 300.0, 1e-9);
  EXPECT_EQ(record.step, 3u);
  EXPECT_EQ(record.lr, 0.5);
}

// A loss of no example is no number, whatever the block found in its memory.
TEST(GradientLaunch, NoExamples) {
  const std::vector<Branch> branches = {{{{0, 1.0}}}, {{{0, -1.0}}}};
  const std::vector<LossPairs> losses(2);
  std::vector<uint64_t> memory(StepRecordBytes(1) / 8);
  StepRecord& record = *reinterpret_cast<StepRecord*>(memory.data());
  StepControl control{3, 0.5};
  const auto launch = MakeGradientLaunch({reinterpret_cast<std::byte*>(&control)}, branches, losses, 1, {},
                                         {reinterpret_cast<std::byte*>(&record)}, nullptr);
  ASSERT_TRUE(launch.ok());
  RunOnHost(*launch);
  EXPECT_TRUE(std::isnan(record.loss_plus()[0]));
  EXPECT_TRUE(std::isnan(record.loss_minus()[0]));
  EXPECT_EQ(record.skipped, 1u);
}

// Copies of rings, by the step.
TEST(GradientLaunch, RingsGoByTheStep) {
  const std::vector<double> plus = {3}, minus = {1}, count = {1};
  const std::vector<Branch> branches = {{{{0, 1.0}}}, {{{0, -1.0}}}};
  const std::vector<LossPairs> losses = {{plus, count}, {minus, count}};
  std::vector<uint64_t> controls(3 * 8), records(4 * 16);
  RunParameters parameters;
  parameters.eps = 0.5;
  StepScalars scalars;
  const auto launch = MakeGradientLaunch({reinterpret_cast<std::byte*>(controls.data()), 64, 3}, branches, losses, 1,
                                         parameters, {reinterpret_cast<std::byte*>(records.data()), 128, 4}, &scalars);
  ASSERT_TRUE(launch.ok());
  for (uint64_t step = 0; step < 10; ++step) {
    *reinterpret_cast<StepControl*>(controls.data() + 8 * (step % 3)) = {step, 0.25 * static_cast<double>(step)};
    scalars.step = static_cast<int64_t>(step);
    RunOnHost(*launch);
    const StepRecord& r = *reinterpret_cast<const StepRecord*>(records.data() + 16 * (step % 4));
    EXPECT_EQ(r.step, step);
    EXPECT_EQ(r.lr, 0.25 * static_cast<double>(step));
    EXPECT_EQ(r.g()[0], 2.0);
    EXPECT_EQ(r.skipped, 0u);
  }
}

TEST(GradientLaunch, WhatDoesNotFit) {
  std::vector<Branch> branches;
  std::vector<LossPairs> losses;
  for (int i = 0; i < kMaxLosses + 1; ++i) {
    branches.push_back({{{i, 1.0}}});
    losses.emplace_back();
  }
  const RunParameters parameters;
  const auto make = [&](int q, DeviceCopies record, size_t n) {
    return MakeGradientLaunch({}, std::span(branches).first(n), losses, q, parameters, record, nullptr);
  };
  EXPECT_TRUE(make(kMaxLosses, {}, branches.size()).ok());  // the last one has no place in the record
  const auto full = make(kMaxLosses + 1, {}, branches.size());
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.status().code(), Code::kInvalid);
  EXPECT_NE(full.status().message().find("more than 64 branches"), std::string::npos) << full.status().message();
  EXPECT_EQ(make(1, {nullptr, 64, 2}, branches.size()).status().code(), Code::kInternal);
  EXPECT_EQ(make(1, {}, 3).status().code(), Code::kInternal);
}

}  // namespace
}  // namespace zo2::cuda
