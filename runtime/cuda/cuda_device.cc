#include "runtime/cuda/cuda_device.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <utility>
#include <vector>

#include "runtime/async_queue.h"
#include "runtime/cpu_device.h"

namespace zo2::cuda {
namespace {

constexpr uint64_t kChunk = 1ull << 30;  // of pinned memory

class CudaMemory : public ArenaMemory {
 public:
  // `in_use` is the sum of what is allocated.
  static Result<std::unique_ptr<ArenaMemory>> Create(Driver& driver, uint64_t bytes, uint64_t* in_use) {
    auto memory = std::make_unique<CudaMemory>(driver, in_use);
    if (bytes > 0) {
      ZO2_ASSIGN(void* data, driver.Allocate(bytes));
      memory->data_ = static_cast<std::byte*>(data);
      memory->bytes_ = bytes;
      *in_use += bytes;
      ZO2_TRY(driver.Zero(data, bytes));
    }
    return std::unique_ptr<ArenaMemory>(std::move(memory));
  }
  CudaMemory(Driver& driver, uint64_t* in_use) : driver_(driver), in_use_(in_use) {}
  ~CudaMemory() override {
    if (data_ == nullptr) return;
    driver_.Free(data_);
    *in_use_ -= bytes_;
  }

 private:
  Driver& driver_;
  uint64_t* const in_use_;
};

// Pages of [data, data + bytes) come from the node, if it has some left.
void PreferNode(void* data, uint64_t bytes, int node) {
  if (node < 0 || node >= 64) return;
  const unsigned long mask = 1ul << node;
  // Without effect where the kernel or a container does not allow it: then pages come from where they come.
  (void)syscall(SYS_mbind, data, bytes, MPOL_PREFERRED, &mask, sizeof mask * 8, 0);
}

class PinnedMemory : public ArenaMemory {
 public:
  // `pages`: memory of the host, not touched yet.
  static Result<std::unique_ptr<ArenaMemory>> Pin(Driver& driver, std::unique_ptr<ArenaMemory> pages) {
    auto memory = std::make_unique<PinnedMemory>(driver, std::move(pages));
    memory->data_ = memory->pages_->data();
    memory->bytes_ = memory->pages_->bytes();
    PreferNode(memory->data_, memory->bytes_, driver.numa_node());
    for (uint64_t at = 0; at < memory->bytes_; at += kChunk) {
      ZO2_TRY(driver.Register(memory->data_ + at, std::min(kChunk, memory->bytes_ - at)));
      memory->pinned_ = at + kChunk;
    }
    return std::unique_ptr<ArenaMemory>(std::move(memory));
  }
  PinnedMemory(Driver& driver, std::unique_ptr<ArenaMemory> pages) : driver_(driver), pages_(std::move(pages)) {}
  ~PinnedMemory() override {
    for (uint64_t at = 0; at < pinned_; at += kChunk) driver_.Unregister(data_ + at);
  }

 private:
  Driver& driver_;
  const std::unique_ptr<ArenaMemory> pages_;
  uint64_t pinned_ = 0;
};

class CudaEvent : public Event {
 public:
  CudaEvent(Driver& driver, EventHandle handle) : driver_(driver), handle_(handle) {}
  ~CudaEvent() override { driver_.DestroyEvent(handle_); }
  Status Synchronize() override { return driver_.SynchronizeEvent(handle_); }
  EventHandle handle() const { return handle_; }

 private:
  Driver& driver_;
  const EventHandle handle_;
};

class CudaGraph : public CapturedWork {
 public:
  CudaGraph(Driver& driver, GraphHandle handle) : driver_(driver), handle_(handle) {}
  ~CudaGraph() override { driver_.DestroyGraph(handle_); }
  GraphHandle handle() const { return handle_; }

 private:
  Driver& driver_;
  const GraphHandle handle_;
};

EventHandle Handle(Event& event) { return static_cast<CudaEvent&>(event).handle(); }

// A call that owns what it points to.
struct OwnedCall {
  explicit OwnedCall(const KernelCall& from) : call(from) {
    views.assign(from.inputs.begin(), from.inputs.end());
    views.insert(views.end(), from.outputs.begin(), from.outputs.end());
    call.inputs = std::span<const TensorView>(views).first(from.inputs.size());
    call.outputs = std::span<const TensorView>(views).last(from.outputs.size());
  }
  OwnedCall(const OwnedCall&) = delete;
  KernelCall call;
  std::vector<TensorView> views;
};

class CudaQueue : public AsyncQueue {
 public:
  CudaQueue(Driver& driver, StreamHandle stream, bool launches)
      : driver_(driver), stream_(stream), launches_(launches) {}
  ~CudaQueue() override { driver_.DestroyStream(stream_); }

  Status Bind() override { return driver_.MakeCurrent(stream_, launches_); }
  Status Synchronize() override { return driver_.SynchronizeStream(stream_); }

  Status Copy(void* to, const void* from, uint64_t bytes) override {
    return driver_.Copy(to, from, bytes, stream_);
  }

  Result<std::unique_ptr<Event>> MakeEvent(bool timed) override {
    ZO2_ASSIGN(const EventHandle handle, driver_.CreateEvent(timed));
    return std::unique_ptr<Event>(std::make_unique<CudaEvent>(driver_, handle));
  }
  Status Record(Event& event) override { return driver_.Record(Handle(event), stream_); }
  Status Wait(Event& event) override { return driver_.Wait(stream_, Handle(event)); }
  Result<double> Seconds(Event& from, Event& to) override { return driver_.Seconds(Handle(from), Handle(to)); }

  Status Call(Kernel kernel, const KernelCall& call) override {
    auto owned = std::make_shared<const OwnedCall>(call);
    return driver_.Run(stream_, [kernel, owned] { return kernel(owned->call); });
  }
  Status Prepare(const PrepareJob& job, const StepScalars* scalars) override {
    ZO2_ASSIGN(const std::vector<PrepareLaunch> launches, MakePrepareLaunches(job, job.records, scalars));
    for (const PrepareLaunch& launch : launches) ZO2_TRY(driver_.Prepare(stream_, launch));
    return Status();
  }
  Status Gradient(const GradientJob& job) override {
    const auto bytes = [](const void* data) { return static_cast<std::byte*>(const_cast<void*>(data)); };
    ZO2_ASSIGN(const GradientLaunch launch,
               MakeGradientLaunch({bytes(job.control)}, job.branches, job.losses, job.q, *job.parameters,
                                  {bytes(job.record)}, nullptr));
    return driver_.Gradient(stream_, launch);
  }

  Status BeginCapture() override { return driver_.BeginCapture(stream_); }
  Result<std::unique_ptr<CapturedWork>> EndCapture() override {
    ZO2_ASSIGN(const GraphHandle handle, driver_.EndCapture(stream_));
    return std::unique_ptr<CapturedWork>(std::make_unique<CudaGraph>(driver_, handle));
  }
  Status Launch(CapturedWork& work) override {
    return driver_.Launch(static_cast<CudaGraph&>(work).handle(), stream_);
  }

 private:
  Driver& driver_;
  const StreamHandle stream_;
  const bool launches_;
};

class CudaDevice : public Device {
 public:
  CudaDevice(std::unique_ptr<Driver> driver, std::unique_ptr<Device> host)
      : driver_(std::move(driver)), host_(std::move(host)) {}

  std::string_view name() const override { return "cuda"; }
  uint64_t alignment() const override { return kGpuAlignment; }
  Result<std::unique_ptr<ArenaMemory>> Allocate(Tier tier, uint64_t bytes) override {
    if (tier == Tier::kDevice) return CudaMemory::Create(*driver_, bytes, &in_use_);
    ZO2_ASSIGN(std::unique_ptr<ArenaMemory> memory, host_->Allocate(tier, bytes));
    if (tier == Tier::kDisk || bytes == 0) return memory;
    return PinnedMemory::Pin(*driver_, std::move(memory));
  }
  Result<std::unique_ptr<Queue>> OpenQueue(LaneKind kind) override {
    if (kind != LaneKind::kCompute && kind != LaneKind::kH2D && kind != LaneKind::kD2H) return host_->OpenQueue(kind);
    ZO2_ASSIGN(const StreamHandle stream, driver_->CreateStream());
    return std::unique_ptr<Queue>(std::make_unique<CudaQueue>(*driver_, stream, kind == LaneKind::kCompute));
  }
  const KernelTable* kernels() const override { return &driver_->kernels(); }
  Available MemoryAvailable(Tier tier) const override {
    if (tier != Tier::kDevice) return host_->MemoryAvailable(tier);
    Result<GpuMemory> memory = driver_->Memory();
    if (!memory.ok()) return {0, memory.status().message()};
    return {memory->free, "of the GPU's " + PrintBytes(memory->total) + ", the rest is in use"};
  }
  bool shares_host_memory() const override { return false; }
  Status Write(void* to, const void* from, uint64_t bytes) override { return driver_->CopyNow(to, from, bytes); }
  Status Read(void* to, const void* from, uint64_t bytes) override { return driver_->CopyNow(to, from, bytes); }
  std::map<std::string, std::string> facts() const override { return driver_->facts(); }
  std::string MemoryText() const override {
    const Result<GpuMemory> memory = driver_->Memory();
    if (!memory.ok()) return "GPU memory: " + memory.status().message();
    const uint64_t libraries = driver_->library_bytes(), used = memory->total - memory->free;
    const uint64_t known = memory->others + memory->context + libraries + in_use_;
    return "GPU memory: arenas " + PrintBytes(in_use_) + " + kept for libraries " + PrintBytes(libraries) + " + context " +
           PrintBytes(memory->context) + " + in use before " + PrintBytes(memory->others) +
           (used >= known ? " + not accounted for " + PrintBytes(used - known) : "") + " = " + PrintBytes(used) +
           (used < known ? " (less than their sum: somebody else gave memory back)" : "") + " of " +
           PrintBytes(memory->total) + " by the driver's count";
  }

 private:
  const std::unique_ptr<Driver> driver_;
  const std::unique_ptr<Device> host_;
  uint64_t in_use_ = 0;  // by arenas on the GPU
};

}  // namespace

Result<std::unique_ptr<Device>> MakeCudaDevice(std::unique_ptr<Driver> driver, const DeviceOptions& options) {
  if (options.link.enabled())
    return Invalid("--emulate-link slows the cpu device's copies down; a GPU has a link of its own");
  DeviceOptions host_options = options;
  ZO2_ASSIGN(std::unique_ptr<Device> host, OpenCpuDevice(host_options));
  return std::unique_ptr<Device>(std::make_unique<CudaDevice>(std::move(driver), std::move(host)));
}

}  // namespace zo2::cuda
