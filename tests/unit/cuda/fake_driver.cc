#include "tests/unit/cuda/fake_driver.h"

#include <sys/mman.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "runtime/device.h"

namespace zo2::cuda {
namespace {

using Work = std::function<Status()>;

uint64_t Mix(uint64_t x) {
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct FakeEvent {
  bool timed = false;
  int64_t recorded = 0, done = 0;  // generations
  double time = 0;                 // of the latest record that is done
};

struct Item {
  Work work;                       // null for waits and records
  FakeEvent* wait = nullptr;       // until its `generation` is done
  FakeEvent* record = nullptr;
  int64_t generation = 0;
};

struct FakeStream {
  std::deque<Item> items;
  bool busy = false;               // an item is being worked on
  bool capturing = false;
  std::vector<Work> captured;
  bool idle() const { return items.empty() && !busy; }
};

struct FakeGraph {
  std::vector<Work> work;
};

// Ranges of memory by their first byte.
class Ranges {
 public:
  void Add(const void* begin, uint64_t bytes) { ranges_[reinterpret_cast<uintptr_t>(begin)] = bytes; }
  bool Remove(const void* begin) { return ranges_.erase(reinterpret_cast<uintptr_t>(begin)) > 0; }
  uint64_t Bytes(const void* begin) const { return ranges_.at(reinterpret_cast<uintptr_t>(begin)); }
  // Also where the range lies in several that touch.
  bool Contain(const void* begin, uint64_t bytes) const {
    uintptr_t at = reinterpret_cast<uintptr_t>(begin);
    const uintptr_t end = at + bytes;
    while (at < end) {
      auto it = ranges_.upper_bound(at);
      if (it == ranges_.begin()) return false;
      --it;
      if (at >= it->first + it->second) return false;
      at = it->first + it->second;
    }
    return true;
  }

 private:
  std::map<uintptr_t, uint64_t> ranges_;
};

class FakeDriver : public Driver {
 public:
  FakeDriver(const FakeOptions& options, FakeLog* log)
      : options_(options), log_(log != nullptr ? log : &own_log_), worker_([this] { Work_(); }) {}
  ~FakeDriver() override {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      stop_ = true;
    }
    changed_.notify_all();
    worker_.join();
  }

  std::map<std::string, std::string> facts() const override { return {{"name", "a fake"}}; }
  int numa_node() const override { return -1; }
  uint64_t library_bytes() const override { return 0; }
  const KernelTable& kernels() const override { return *options_.kernels; }
  Result<GpuMemory> Memory() override {
    std::lock_guard<std::mutex> lock(mutex_);
    return GpuMemory{options_.memory - used_, options_.memory};
  }

  Result<void*> Allocate(uint64_t bytes) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (bytes > options_.memory - used_)
      return Error(Code::kDevice, "the GPU has no ", PrintBytes(bytes), ": ", PrintBytes(options_.memory - used_), " are free");
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED) return Error(Code::kDevice, "no memory");
    used_ += bytes;
    device_.Add(memory, bytes);
    return memory;
  }
  void Free(void* memory) override {
    std::lock_guard<std::mutex> lock(mutex_);
    const uint64_t bytes = device_.Bytes(memory);
    used_ -= bytes;
    device_.Remove(memory);
    munmap(memory, bytes);
  }
  Status Zero(void* memory, uint64_t bytes) override {
    std::memset(memory, 0, bytes);
    return Status();
  }
  Status Register(void* memory, uint64_t bytes) override {
    std::lock_guard<std::mutex> lock(mutex_);
    pinned_.Add(memory, bytes);
    return Status();
  }
  void Unregister(void* memory) override {
    std::lock_guard<std::mutex> lock(mutex_);
    pinned_.Remove(memory);
  }
  Status CopyNow(void* to, const void* from, uint64_t bytes) override {
    std::memcpy(to, from, bytes);
    return Status();
  }

  Result<StreamHandle> CreateStream() override {
    std::lock_guard<std::mutex> lock(mutex_);
    streams_.push_back(std::make_unique<FakeStream>());
    return static_cast<StreamHandle>(streams_.back().get());
  }
  void DestroyStream(StreamHandle stream) override {
    std::unique_lock<std::mutex> lock(mutex_);
    (void)WaitFor(lock, [&] { return At(stream).idle(); }).ok();
    std::erase_if(streams_, [&](const auto& s) { return s.get() == stream; });
  }
  Status MakeCurrent(StreamHandle, bool) override { return Status(); }
  Status SynchronizeStream(StreamHandle stream) override {
    std::unique_lock<std::mutex> lock(mutex_);
    return WaitFor(lock, [&] { return At(stream).idle(); });
  }

  Result<EventHandle> CreateEvent(bool timed) override {
    auto* event = new FakeEvent;
    event->timed = timed;
    return static_cast<EventHandle>(event);
  }
  void DestroyEvent(EventHandle event) override { delete static_cast<FakeEvent*>(event); }
  Status Record(EventHandle handle, StreamHandle stream) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (At(stream).capturing) return Internal("an event is recorded during a capture");
    auto* event = static_cast<FakeEvent*>(handle);
    ++log_->records;
    return Add(stream, {nullptr, nullptr, event, ++event->recorded});
  }
  Status Wait(StreamHandle stream, EventHandle handle) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (At(stream).capturing) return Internal("a stream waits for an event during a capture");
    auto* event = static_cast<FakeEvent*>(handle);
    ++log_->waits;
    return Add(stream, {nullptr, event, nullptr, event->recorded});
  }
  Status SynchronizeEvent(EventHandle handle) override {
    std::unique_lock<std::mutex> lock(mutex_);
    auto* event = static_cast<FakeEvent*>(handle);
    return WaitFor(lock, [event, generation = event->recorded] { return event->done >= generation; });
  }
  Result<double> Seconds(EventHandle from, EventHandle to) override {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto *a = static_cast<FakeEvent*>(from), *b = static_cast<FakeEvent*>(to);
    if (!a->timed || !b->timed || a->done < a->recorded || b->done < b->recorded || a->done == 0 || b->done == 0)
      return Internal("events that are not timed, or not done, are asked for their time");
    return b->time - a->time;
  }

  Status Copy(void* to, const void* from, uint64_t bytes, StreamHandle stream) override {
    std::lock_guard<std::mutex> lock(mutex_);
    for (const void* side : {static_cast<const void*>(to), from})
      if (!device_.Contain(side, bytes) && !pinned_.Contain(side, bytes))
        return Internal("an asynchronous copy of ", bytes, " bytes touches host memory that is not pinned");
    ++log_->copies;
    return Give(stream, [to, from, bytes] {
      std::memcpy(to, from, bytes);
      return Status();
    });
  }
  Status Run(StreamHandle stream, std::function<Status()> work) override {
    std::lock_guard<std::mutex> lock(mutex_);
    ++log_->calls;
    return Give(stream, std::move(work));
  }
  Status Prepare(StreamHandle stream, const PrepareLaunch& launch) override {
    std::lock_guard<std::mutex> lock(mutex_);
    ++log_->prepares;
    return Give(stream, [launch = std::make_shared<const PrepareLaunch>(launch)] {
      RunOnHost(*launch);
      return Status();
    });
  }
  Status Gradient(StreamHandle stream, const GradientLaunch& launch) override {
    std::lock_guard<std::mutex> lock(mutex_);
    ++log_->gradients;
    return Give(stream, [launch] {
      RunOnHost(launch);
      return Status();
    });
  }

  Status BeginCapture(StreamHandle stream) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (At(stream).capturing) return Internal("a capture begins within another");
    At(stream).capturing = true;
    return error_;
  }
  Result<GraphHandle> EndCapture(StreamHandle stream) override {
    std::lock_guard<std::mutex> lock(mutex_);
    if (!At(stream).capturing) return Internal("a capture ends that did not begin");
    At(stream).capturing = false;
    ++log_->graphs;
    return static_cast<GraphHandle>(new FakeGraph{std::exchange(At(stream).captured, {})});
  }
  Status Launch(GraphHandle graph, StreamHandle stream) override {
    std::lock_guard<std::mutex> lock(mutex_);
    ++log_->graph_launches;
    for (const Work& work : static_cast<FakeGraph*>(graph)->work) ZO2_TRY(Add(stream, {work, nullptr, nullptr, 0}));
    return error_;
  }
  void DestroyGraph(GraphHandle graph) override { delete static_cast<FakeGraph*>(graph); }

 private:
  static FakeStream& At(StreamHandle stream) { return *static_cast<FakeStream*>(stream); }

  Status Give(StreamHandle stream, Work work) {
    if (!At(stream).capturing) return Add(stream, {std::move(work), nullptr, nullptr, 0});
    At(stream).captured.push_back(std::move(work));
    return error_;
  }
  Status Add(StreamHandle stream, Item item) {
    if (!error_.ok()) return error_;
    At(stream).items.push_back(std::move(item));
    log_->most_waiting = std::max(log_->most_waiting, ++waiting_);
    changed_.notify_all();
    return Status();
  }
  template <typename Done>
  Status WaitFor(std::unique_lock<std::mutex>& lock, Done done) {
    ++waiters_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return !error_.ok() || done(); });
    --waiters_;
    return error_;
  }

  // The stream that is worked on next; null: none can go on. Its rank among the streams is drawn anew every few items.
  FakeStream* Choose() {
    FakeStream* best = nullptr;
    uint64_t best_rank = 0;
    for (size_t s = 0; s < streams_.size(); ++s) {
      FakeStream& stream = *streams_[s];
      if (stream.items.empty() || stream.busy) continue;
      const Item& head = stream.items.front();
      if (head.wait != nullptr && head.wait->done < head.generation) continue;
      const uint64_t rank = Mix(options_.seed * 1000003 + s * 7919 + worked_ / 6 * 104729);
      if (best == nullptr || rank > best_rank) best = &stream, best_rank = rank;
    }
    return best;
  }

  void Work_() {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      FakeStream* stream = nullptr;
      changed_.wait(lock, [&] {
        stream = error_.ok() && (!options_.lazy || waiters_ > 0) ? Choose() : nullptr;
        return stop_ || stream != nullptr;
      });
      if (stream == nullptr) return;
      Item item = std::move(stream->items.front());
      stream->items.pop_front();
      if (item.work != nullptr) {
        stream->busy = true;
        lock.unlock();
        Status status = options_.fail_at >= 0 && worked_ >= options_.fail_at ? Error(Code::kDevice, "the GPU has fallen off the bus") : item.work();
        lock.lock();
        stream->busy = false;
        if (!status.ok() && error_.ok()) error_ = std::move(status);
      }
      if (item.record != nullptr) {
        item.record->done = std::max(item.record->done, item.generation);
        item.record->time = Now();
      }
      ++worked_;
      --waiting_;
      changed_.notify_all();
    }
  }

  const FakeOptions options_;
  FakeLog own_log_;
  FakeLog* const log_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::unique_ptr<FakeStream>> streams_;
  Ranges device_, pinned_;
  uint64_t used_ = 0;
  int64_t worked_ = 0, waiting_ = 0;
  int waiters_ = 0;
  Status error_;
  bool stop_ = false;
  std::thread worker_;
};

}  // namespace

std::unique_ptr<Driver> MakeFakeDriver(const FakeOptions& options, FakeLog* log) {
  return std::make_unique<FakeDriver>(options, log);
}

}  // namespace zo2::cuda
