#include "runtime/aten_device/reserve.h"

#include <gtest/gtest.h>

namespace zo2::aten_device {
namespace {

// The region is device memory: nothing may touch it, so that here it need not exist.
void* At(int64_t offset) { return reinterpret_cast<void*>((int64_t{1} << 40) + offset); }
const int kStreamA = 0, kStreamB = 0;

TEST(Reserve, HandsOutUntilItIsEmpty) {
  Reserve reserve(At(0), 2048);
  EXPECT_EQ(reserve.Allocate(1, &kStreamA), At(0));
  EXPECT_EQ(reserve.Allocate(513, &kStreamA), At(512));
  EXPECT_EQ(reserve.used(), 1536);
  EXPECT_EQ(reserve.Allocate(513, &kStreamA), nullptr);
  EXPECT_EQ(reserve.Allocate(512, &kStreamA), At(1536));
  EXPECT_EQ(reserve.Allocate(1, &kStreamA), nullptr);
  EXPECT_EQ(reserve.Allocate(-1, &kStreamA), nullptr);
  EXPECT_EQ(reserve.Allocate(INT64_MAX, &kStreamA), nullptr);
  EXPECT_EQ(Reserve(nullptr, 0).Allocate(1, &kStreamA), nullptr);
}

TEST(Reserve, WhatWasFreedStaysWithItsStream) {
  Reserve reserve(At(0), 4096);
  void* const large = reserve.Allocate(2000, &kStreamA);
  void* const small = reserve.Allocate(100, &kStreamA);
  EXPECT_TRUE(reserve.Free(large));
  EXPECT_TRUE(reserve.Free(small));
  EXPECT_EQ(reserve.Allocate(100, &kStreamB), At(2560));
  EXPECT_EQ(reserve.Allocate(50, &kStreamA), small);  // the smallest that holds it
  EXPECT_EQ(reserve.Allocate(50, &kStreamA), large);
  EXPECT_EQ(reserve.used(), 3072);
}

TEST(Reserve, FreesWhatItHandedOutOnce) {
  Reserve reserve(At(0), 4096);
  void* const p = reserve.Allocate(10, &kStreamA);
  EXPECT_FALSE(reserve.Free(At(512)));
  EXPECT_FALSE(reserve.Free(nullptr));
  EXPECT_TRUE(reserve.Free(p));
  EXPECT_FALSE(reserve.Free(p));
}

}  // namespace
}  // namespace zo2::aten_device
