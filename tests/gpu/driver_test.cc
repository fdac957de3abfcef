// Memory, streams, events and graphs of the driver.
#include <gtest/gtest.h>

#include <cstdlib>
#include <cstring>
#include <vector>

#include "tests/gpu/tile_on_gpu.h"

namespace zo2::cuda {
namespace {

constexpr uint64_t kLarge = 32ull << 20;  // bytes: copies long enough that another stream would overtake them

// Pinned memory of the host.
class Pinned {
 public:
  explicit Pinned(uint64_t bytes) : data_(static_cast<std::byte*>(std::aligned_alloc(4096, bytes))) {
    std::memset(data_, 0, bytes);
    status_ = Gpu::Get().driver().Register(data_, bytes);
  }
  ~Pinned() {
    if (status_.ok()) Gpu::Get().driver().Unregister(data_);
    std::free(data_);
  }
  std::byte* data() { return data_; }
  const Status& status() const { return status_; }

 private:
  std::byte* const data_;
  Status status_;
};

class GpuDriver : public testing::Test {
 protected:
  GpuDriver() { gpu_.Reset(); }
  Gpu& gpu_ = Gpu::Get();
  Driver& driver_ = gpu_.driver();
};

TEST_F(GpuDriver, SaysWhatItIs) {
  const auto facts = driver_.facts();
  ASSERT_TRUE(facts.contains("name"));
  EXPECT_FALSE(facts.at("name").empty());
  for (const auto& [fact, value] : facts) std::printf("%s: %s\n", fact.c_str(), value.c_str());
  const auto memory = driver_.Memory();
  ASSERT_TRUE(memory.ok()) << memory.status().message();
  EXPECT_GT(memory->total, 0u);
  EXPECT_LE(memory->free, memory->total);
}

TEST_F(GpuDriver, AnArenaThatDoesNotFitIsRefusedInWordsAndDoesNoHarm) {
  const auto before = driver_.Memory();
  ASSERT_TRUE(before.ok());
  const auto refused = driver_.Allocate(before->total + (1ull << 30));
  ASSERT_FALSE(refused.ok());
  EXPECT_EQ(refused.status().code(), Code::kDevice);
  EXPECT_NE(refused.status().message().find("are free"), std::string::npos) << refused.status().message();
  const auto small = driver_.Allocate(1 << 20);
  ASSERT_TRUE(small.ok()) << small.status().message();
  EXPECT_TRUE(driver_.Zero(*small, 1 << 20).ok());
  std::vector<std::byte> back(1 << 20, std::byte{1});
  EXPECT_TRUE(driver_.CopyNow(back.data(), *small, back.size()).ok());
  EXPECT_EQ(back, std::vector<std::byte>(back.size()));
  driver_.Free(*small);
}

// One stream fills a buffer again and again, another reads it; only events keep them apart.
TEST_F(GpuDriver, EventsKeepStreamsInOrder) {
  constexpr int kRounds = 12;
  Pinned up(kLarge), down(kLarge);
  ASSERT_TRUE(up.status().ok() && down.status().ok()) << up.status().message() << down.status().message();
  std::byte* const slot = gpu_.Take(kLarge);
  std::byte* const kept = gpu_.Take(kRounds * 4096);
  const auto first = driver_.CreateStream(), second = driver_.CreateStream();
  const auto filled = driver_.CreateEvent(false), read = driver_.CreateEvent(false);
  ASSERT_TRUE(first.ok() && second.ok() && filled.ok() && read.ok());
  std::vector<std::byte*> sources;  // on the device, so that nobody has to wait for the host
  for (int r = 0; r < kRounds; ++r) {
    std::memset(up.data(), r + 1, kLarge);
    sources.push_back(gpu_.Put(up.data(), kLarge));
    if (r == 7) break;  // memory for eight; they are used in turn
  }
  for (int r = 0; r < kRounds; ++r) {
    if (r > 0) {
      ASSERT_TRUE(driver_.Wait(*first, *read).ok());
    }
    ASSERT_TRUE(driver_.Copy(slot, sources[static_cast<size_t>(r) % sources.size()], kLarge, *first).ok());
    ASSERT_TRUE(driver_.Record(*filled, *first).ok());
    ASSERT_TRUE(driver_.Wait(*second, *filled).ok());
    ASSERT_TRUE(driver_.Copy(kept + r * 4096, slot + kLarge - 4096, 4096, *second).ok());  // what is written last
    if (r + 1 == kRounds) {
      ASSERT_TRUE(driver_.Copy(down.data(), slot, kLarge, *second).ok());
    }
    ASSERT_TRUE(driver_.Record(*read, *second).ok());
  }
  ASSERT_TRUE(driver_.SynchronizeEvent(*read).ok());
  std::vector<std::byte> back(kRounds * 4096);
  ASSERT_TRUE(driver_.CopyNow(back.data(), kept, back.size()).ok());
  for (int r = 0; r < kRounds; ++r) {
    const std::byte want{static_cast<unsigned char>(static_cast<size_t>(r) % sources.size() + 1)};
    EXPECT_EQ(back[static_cast<size_t>(r) * 4096], want) << r;
    EXPECT_EQ(back[static_cast<size_t>(r) * 4096 + 4095], want) << r;
  }
  const std::byte last{static_cast<unsigned char>((kRounds - 1) % sources.size() + 1)};
  EXPECT_EQ(down.data()[0], last);
  EXPECT_EQ(down.data()[kLarge - 1], last);
  driver_.DestroyStream(*first);
  driver_.DestroyStream(*second);
  driver_.DestroyEvent(*filled);
  driver_.DestroyEvent(*read);
}

TEST_F(GpuDriver, OnlyTimedEventsTellTime) {
  const auto begin = driver_.CreateEvent(true), end = driver_.CreateEvent(true), plain = driver_.CreateEvent(false);
  ASSERT_TRUE(begin.ok() && end.ok() && plain.ok());
  std::byte *a = gpu_.Take(kLarge), *b = gpu_.Take(kLarge);
  EXPECT_TRUE(driver_.Zero(a, kLarge).ok());
  for (const EventHandle event : {*begin, *end, *plain}) {
    ASSERT_TRUE(driver_.Record(event, gpu_.stream()).ok());
    ASSERT_TRUE(driver_.Copy(b, a, kLarge, gpu_.stream()).ok());
  }
  ASSERT_TRUE(driver_.SynchronizeStream(gpu_.stream()).ok());
  const auto between = driver_.Seconds(*begin, *end);
  ASSERT_TRUE(between.ok()) << between.status().message();
  EXPECT_GT(*between, 0);
  EXPECT_FALSE(driver_.Seconds(*begin, *plain).ok());
  for (const EventHandle event : {*begin, *end, *plain}) driver_.DestroyEvent(event);
}

// A graph of prepares, launched while the step, the version and the ring go on: what the same gives on the CPU.
TEST_F(GpuDriver, GraphsReadWhatChangesWhenTheirTurnComes) {
  for (uint64_t seed = 0; seed < 24; ++seed) {
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
    c.version = c.step = 0;
    gpu_.Reset();
    TileOnGpu tile(c);
    const auto launches = tile.Make(kDefaultBlocks);
    ASSERT_TRUE(launches.ok()) << launches.status().message();
    ASSERT_TRUE(driver_.BeginCapture(gpu_.stream()).ok());
    for (const PrepareLaunch& launch : *launches) ASSERT_TRUE(driver_.Prepare(gpu_.stream(), launch).ok());
    const auto graph = driver_.EndCapture(gpu_.stream());
    ASSERT_TRUE(graph.ok()) << graph.status().message();
    std::vector<Bytes> memory = c.planes;
    WorkerPool one(1);
    for (c.step = 0; c.step < 9; c.step += 2) {  // two updates are pending each time
      ASSERT_TRUE(PrepareTile(c.Job(memory), one).ok());
      ASSERT_TRUE(tile.Update().ok());
      ASSERT_TRUE(driver_.Launch(*graph, gpu_.stream()).ok());
      ASSERT_TRUE(driver_.SynchronizeStream(gpu_.stream()).ok());
      const auto planes = tile.Planes();
      ASSERT_TRUE(planes.ok());
      ASSERT_EQ(*planes, memory) << "seed " << seed << ", step " << c.step;
      c.version = c.step;
      for (int64_t s = c.step; s < c.step + 2; ++s) {
        StepRecord& r = *reinterpret_cast<StepRecord*>(c.records.data() + c.ring.stride * static_cast<uint64_t>(s % 3));
        r = {static_cast<uint64_t>(s), 1e-2, static_cast<uint32_t>(q), s == 4};
        for (int i = 0; i < q; ++i) r.g()[i] = 0.3 * static_cast<double>(s + i) - 1;
      }
    }
    driver_.DestroyGraph(*graph);
  }
}

}  // namespace
}  // namespace zo2::cuda
