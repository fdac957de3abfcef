// A device: memory, and queues that copy and launch. Thin, without smarts: what happens when is decided by the schedule
// and carried out by the executor, so a backend is small and one conformance suite covers all of them.
//
// Backends: "cpu" (always), "cuda" (cuda/cuda_device.h; a build or a machine without one says so).
#ifndef ZO2_RUNTIME_DEVICE_H_
#define ZO2_RUNTIME_DEVICE_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"

namespace zo2 {

// A slower link than the machine's own between host and device: a copy takes latency + bytes / rate, and the copies of a
// lane queue behind each other as on a real link. Rates in bytes per second, 0 = not slowed down.
struct LinkEmulation {
  double up = 0;       // host to device
  double down = 0;     // device to host
  double latency = 0;  // seconds per copy
  bool enabled() const { return up > 0 || down > 0 || latency > 0; }
};
// "up=2GB/s,down=2GB/s,latency=10us" in any order; units k, M, G (powers of 1000), Ki, Mi, Gi, with or without "B/s".
Result<LinkEmulation> ParseLinkEmulation(const std::string& text);
// "64MiB", "1.5GB", "4096": bytes.
Result<uint64_t> ParseBytes(const std::string& text);
// "1.50 GiB"
std::string PrintBytes(uint64_t bytes);

struct DeviceOptions {
  LinkEmulation link;  // cpu only
  std::string disk_folder = ".";  // where a disk arena's file is made
};

struct KernelTable;  // kernel_table.h

// Memory of one arena; freed when destroyed.
class ArenaMemory {
 public:
  virtual ~ArenaMemory() = default;
  std::byte* data() const { return data_; }  // aligned for the device; device memory need not be readable by the host
  uint64_t bytes() const { return bytes_; }

 protected:
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

class AsyncQueue;  // async_queue.h

// An in-order queue of a device. Used by one thread (its lane's). A call has done its work when it returns, unless the
// queue is an asynchronous one.
class Queue {
 public:
  virtual ~Queue() = default;
  // This queue if its work is done later (a GPU's stream), else null.
  virtual AsyncQueue* async() { return nullptr; }
  // To be called first by the thread that uses the queue: what it launches goes here.
  virtual Status Bind() = 0;
  virtual Status Copy(void* to, const void* from, uint64_t bytes) = 0;
  // When the work given so far is done, returns its error if there was one.
  virtual Status Synchronize() = 0;
};

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string_view name() const = 0;
  virtual uint64_t alignment() const = 0;
  // Zeroed memory. Too large is an error in words.
  virtual Result<std::unique_ptr<ArenaMemory>> Allocate(Tier tier, uint64_t bytes) = 0;
  virtual Result<std::unique_ptr<Queue>> OpenQueue(LaneKind kind) = 0;
  // Zeroed host memory that the device reads and writes in place while it works.
  virtual Result<std::unique_ptr<ArenaMemory>> AllocateShared(uint64_t bytes) { return Allocate(Tier::kHost, bytes); }
  // Kernels that the device brings along; null: those of the program.
  virtual const KernelTable* kernels() const { return nullptr; }
  // Bytes of the tier that can still be had, in words where they come from.
  struct Available {
    uint64_t bytes = 0;
    std::string from;  // "MemAvailable", "the container's limit of 4.00 GiB"
  };
  virtual Available MemoryAvailable(Tier tier) const = 0;
  // Tiers that take from one and the same memory (a CPU's "device" memory is host memory).
  virtual bool shares_host_memory() const = 0;
  // What is in memory beside the arenas, in words and bytes that add up; "" where nothing is to be said.
  virtual std::string MemoryText() const { return ""; }
  // For the run's metadata: what the device says of itself, "name" at least; empty for a CPU.
  virtual std::map<std::string, std::string> facts() const { return {}; }
  // Host access to device memory outside of any program.
  virtual Status Write(void* to, const void* from, uint64_t bytes) = 0;
  virtual Status Read(void* to, const void* from, uint64_t bytes) = 0;
};

// kDevice when this build or this machine has no such device.
Result<std::unique_ptr<Device>> OpenDevice(const std::string& name, const DeviceOptions& options = {});

}  // namespace zo2

#endif  // ZO2_RUNTIME_DEVICE_H_
