// The calls of a GPU's driver that the cuda device makes, and no more: memory, streams, events, graphs, launches.
//
// Two implementations: module/driver_cuda.cc makes them, in a module that is loaded only where a GPU is asked for, and
// tests/unit/cuda/fake_driver.h plays them with threads of the host, so that everything above this line is tested without
// a GPU. Thread-safe as CUDA's runtime is; a stream is used by one thread, but for what is said to be for any.
#ifndef ZO2_RUNTIME_CUDA_DRIVER_H_
#define ZO2_RUNTIME_CUDA_DRIVER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "ir/support/status.h"
#include "runtime/cuda/gradient_launch.h"
#include "runtime/cuda/prepare_launch.h"
#include "runtime/kernel_table.h"

namespace zo2::cuda {

using StreamHandle = void*;
using EventHandle = void*;
using GraphHandle = void*;

struct GpuMemory {
  uint64_t free = 0, total = 0;  // bytes of the whole GPU, whoever uses it
  // What was in use before this process came, and what its context then took; both as measured when it was opened.
  uint64_t others = 0, context = 0;
};

class Driver {
 public:
  virtual ~Driver() = default;

  // Facts for people and for the run's metadata: "name", "compute_capability", "driver", "ecc", ...
  virtual std::map<std::string, std::string> facts() const = 0;
  // Of the host's memory that is nearest to the GPU; -1 = unknown or all the same.
  virtual int numa_node() const = 0;
  // What libraries keep beside the arena (contexts of cuBLAS and the like), in bytes.
  virtual uint64_t library_bytes() const = 0;
  virtual const KernelTable& kernels() const = 0;
  virtual Result<GpuMemory> Memory() = 0;

  virtual Result<void*> Allocate(uint64_t bytes) = 0;  // kDevice with what is free when it does not fit
  virtual void Free(void* memory) = 0;
  virtual Status Zero(void* memory, uint64_t bytes) = 0;
  // Pins host memory and makes it visible to the GPU at the same address.
  virtual Status Register(void* memory, uint64_t bytes) = 0;
  virtual void Unregister(void* memory) = 0;
  // Returns when it is done; either side may be pageable host memory.
  virtual Status CopyNow(void* to, const void* from, uint64_t bytes) = 0;

  virtual Result<StreamHandle> CreateStream() = 0;
  virtual void DestroyStream(StreamHandle stream) = 0;
  // Makes it the calling thread's. If it `launches`, kernels of libraries are going to be launched there by this thread.
  virtual Status MakeCurrent(StreamHandle stream, bool launches) = 0;
  virtual Status SynchronizeStream(StreamHandle stream) = 0;

  virtual Result<EventHandle> CreateEvent(bool timed) = 0;
  virtual void DestroyEvent(EventHandle event) = 0;
  virtual Status Record(EventHandle event, StreamHandle stream) = 0;
  virtual Status Wait(StreamHandle stream, EventHandle event) = 0;
  virtual Status SynchronizeEvent(EventHandle event) = 0;              // any thread
  virtual Result<double> Seconds(EventHandle from, EventHandle to) = 0;  // any thread

  // In stream order. Host memory is registered.
  virtual Status Copy(void* to, const void* from, uint64_t bytes, StreamHandle stream) = 0;
  // `work` launches on the thread's current stream, which is `stream`. It holds all that it needs.
  virtual Status Run(StreamHandle stream, std::function<Status()> work) = 0;
  virtual Status Prepare(StreamHandle stream, const PrepareLaunch& launch) = 0;
  virtual Status Gradient(StreamHandle stream, const GradientLaunch& launch) = 0;

  virtual Status BeginCapture(StreamHandle stream) = 0;
  virtual Result<GraphHandle> EndCapture(StreamHandle stream) = 0;
  virtual Status Launch(GraphHandle graph, StreamHandle stream) = 0;
  virtual void DestroyGraph(GraphHandle graph) = 0;
};

}  // namespace zo2::cuda

#endif  // ZO2_RUNTIME_CUDA_DRIVER_H_
