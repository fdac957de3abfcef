#include "planner/allocate.h"

#include <gtest/gtest.h>

#include <cstdio>
#include <fstream>
#include <random>
#include <sstream>
#include <string>

namespace zo2 {
namespace {

// Judges a packing without any of the packer's code: every pair.
void Check(const std::vector<ArenaItem>& items, const ArenaPacking& p) {
  ASSERT_EQ(p.offsets.size(), items.size());
  for (size_t i = 0; i < items.size(); ++i) {
    EXPECT_EQ(p.offsets[i] % items[i].align, 0u);
    EXPECT_LE(p.offsets[i] + items[i].size, p.height);
    for (size_t j = 0; j < i; ++j) {
      bool together = items[i].begin < items[j].end && items[j].begin < items[i].end;
      bool apart = p.offsets[i] + items[i].size <= p.offsets[j] || p.offsets[j] + items[j].size <= p.offsets[i];
      ASSERT_TRUE(!together || apart) << i << " and " << j;
    }
  }
  EXPECT_GE(p.height, p.lower_bound);
}

TEST(Allocate, Trivial) {
  EXPECT_EQ(AllocateArena({}).height, 0u);
  std::vector<ArenaItem> items = {{0, 2, 100, 64}, {1, 3, 50, 64}, {2, 4, 100, 64}};
  ArenaPacking p = AllocateArena(items);
  Check(items, p);
  EXPECT_EQ(p.lower_bound, 150u);
  EXPECT_LE(p.height, 178u);  // 100 rounded up to 128, then 50
}

TEST(Allocate, RandomInstances) {
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::vector<ArenaItem> items(random() % 60 + 1);
    for (ArenaItem& i : items) {
      i.begin = static_cast<int64_t>(random() % 40);
      i.end = i.begin + 1 + static_cast<int64_t>(random() % 20);
      i.align = uint64_t{1} << (random() % 9);
      i.size = random() % 5000 + 1;
    }
    Check(items, AllocateArena(items));
  }
}

// MiniMalloc's published instances fit 1048576; how close is best fit? The ratio is printed, and bounded loosely.
TEST(Allocate, MiniMallocInstances) {
  bool any = false;
  for (char name = 'A'; name <= 'K'; ++name) {
    std::ifstream in(std::string(ZO2_SHARED_DIR) + "/minimalloc/" + name + ".1048576.csv");
    if (!in) continue;
    any = true;
    std::vector<ArenaItem> items;
    std::string line;
    std::getline(in, line);
    while (std::getline(in, line)) {
      long long id, lower, upper, size;
      ASSERT_EQ(std::sscanf(line.c_str(), "%lld,%lld,%lld,%lld", &id, &lower, &upper, &size), 4) << line;
      items.push_back({lower, upper, static_cast<uint64_t>(size), 1});
    }
    ArenaPacking p = AllocateArena(items);
    Check(items, p);
    std::printf("  %c: %zu items, %.3f of the capacity they can be packed into\n", name, items.size(), static_cast<double>(p.height) / 1048576);
    EXPECT_LT(static_cast<double>(p.height) / 1048576, 1.45);
  }
  if (!any) GTEST_SKIP() << "no MiniMalloc instances under " << ZO2_SHARED_DIR;
}

}  // namespace
}  // namespace zo2
