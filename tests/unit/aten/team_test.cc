#include "runtime/aten/team.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <set>
#include <stdexcept>

namespace zo2::aten {
namespace {

TEST(Team, EveryPieceOnceInManyRounds) {
  for (const int threads : {1, 2, 5}) {
    Team team(threads);
    EXPECT_EQ(team.threads(), threads);
    for (int round = 0; round < 3000; ++round) {
      const int64_t pieces = round % 13;
      std::vector<std::atomic<int>> done(static_cast<size_t>(pieces));
      team.Run(pieces, [&](int64_t i) { ++done[static_cast<size_t>(i)]; });
      for (auto& d : done) ASSERT_EQ(d.load(), 1);
    }
  }
}

TEST(Team, WritesOfHelpersAreSeenAfterwards) {
  Team team(3);
  std::vector<int64_t> values(1000);
  for (int64_t round = 1; round < 500; ++round) {
    team.Run(1000, [&](int64_t i) { values[static_cast<size_t>(i)] += i; });
    if (round % 100 == 0)  // helpers sleep now and then
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  for (int64_t i = 0; i < 1000; ++i) ASSERT_EQ(values[static_cast<size_t>(i)], 499 * i);
}

TEST(Team, HelpersTakePart) {
  Team team(2);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  for (int round = 0; round < 1000 && seen.size() < 2; ++round)
    team.Run(4, [&](int64_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      std::lock_guard<std::mutex> lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
  EXPECT_EQ(seen.size(), 2u);
}

TEST(Team, ThrowsWhatAPieceThrewAndGoesOn) {
  Team team(2);
  for (int round = 0; round < 50; ++round) {
    EXPECT_THROW(team.Run(10,
                          [](int64_t i) {
                            if (i == 7) throw std::runtime_error("piece 7");
                          }),
                 std::runtime_error);
    std::atomic<int> count{0};
    team.Run(10, [&](int64_t) { ++count; });
    EXPECT_EQ(count, 10);
  }
}

TEST(Team, MineIsOfTheThread) {
  Team* mine = &Team::Mine(2);
  EXPECT_EQ(mine, &Team::Mine(2));
  Team* other = nullptr;
  std::thread([&] { other = &Team::Mine(2); }).join();
  EXPECT_NE(mine, other);
}

}  // namespace
}  // namespace zo2::aten
