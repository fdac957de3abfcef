#include "runtime/worker_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <set>
#include <stdexcept>
#include <thread>

namespace zo2 {
namespace {

TEST(WorkerPool, EveryPieceOnceInManyRounds) {
  for (const int threads : {1, 2, 5}) {
    WorkerPool pool(threads);
    EXPECT_EQ(pool.threads(), threads);
    for (int round = 0; round < 3000; ++round) {
      const int64_t pieces = round % 13;
      std::vector<std::atomic<int>> done(static_cast<size_t>(pieces));
      pool.Run(pieces, [&](int64_t i) { ++done[static_cast<size_t>(i)]; });
      for (auto& d : done) ASSERT_EQ(d.load(), 1);
    }
  }
}

TEST(WorkerPool, WritesOfHelpersAreSeenAfterwards) {
  WorkerPool pool(3);
  std::vector<int64_t> values(1000);
  for (int64_t round = 1; round < 500; ++round) {
    pool.Run(1000, [&](int64_t i) { values[static_cast<size_t>(i)] += i; });
    if (round % 100 == 0)  // helpers sleep now and then
      std::this_thread::sleep_for(std::chrono::milliseconds(3));
  }
  for (int64_t i = 0; i < 1000; ++i) ASSERT_EQ(values[static_cast<size_t>(i)], 499 * i);
}

TEST(WorkerPool, HelpersTakePart) {
  WorkerPool pool(2);
  std::mutex mutex;
  std::set<std::thread::id> seen;
  for (int round = 0; round < 1000 && seen.size() < 2; ++round)
    pool.Run(4, [&](int64_t) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      std::lock_guard<std::mutex> lock(mutex);
      seen.insert(std::this_thread::get_id());
    });
  EXPECT_EQ(seen.size(), 2u);
}

TEST(WorkerPool, ThrowsWhatAPieceThrewAndGoesOn) {
  WorkerPool pool(2);
  for (int round = 0; round < 50; ++round) {
    EXPECT_THROW(pool.Run(10,
                          [](int64_t i) {
                            if (i == 7) throw std::runtime_error("piece 7");
                          }),
                 std::runtime_error);
    std::atomic<int> count{0};
    pool.Run(10, [&](int64_t) { ++count; });
    EXPECT_EQ(count, 10);
  }
}

TEST(WorkerPool, MineIsOfTheThread) {
  WorkerPool* mine = &WorkerPool::Mine(2);
  EXPECT_EQ(mine, &WorkerPool::Mine(2));
  WorkerPool* other = nullptr;
  std::thread([&] { other = &WorkerPool::Mine(2); }).join();
  EXPECT_NE(mine, other);
}

TEST(WorkerPool, AThreadsOwnIsTheOneItAdoptedWhereTheSizeFits) {
  std::thread([] {
    WorkerPool& made = WorkerPool::Mine(2);
    EXPECT_EQ(&made, &WorkerPool::Mine(2));
    WorkerPool mine(2);
    WorkerPool::Adopt(&mine);
    EXPECT_EQ(&WorkerPool::Mine(2), &mine);
    EXPECT_EQ(WorkerPool::Mine(3).threads(), 3);
  }).join();
}

}  // namespace
}  // namespace zo2
