// The cpu backend: real kernels, real concurrency, and on request an emulated link between "device" and host memory.
#ifndef ZO2_RUNTIME_CPU_DEVICE_H_
#define ZO2_RUNTIME_CPU_DEVICE_H_

#include <memory>

#include "runtime/device.h"

namespace zo2 {

Result<std::unique_ptr<Device>> OpenCpuDevice(const DeviceOptions& options);

// Bytes of memory that this process can still have: the least of MemAvailable, what the control groups (1 and 2) leave and
// what the limits of address space and data leave. No memory is locked on a CPU, so RLIMIT_MEMLOCK does not count.
Device::Available HostMemoryAvailable();

}  // namespace zo2

#endif  // ZO2_RUNTIME_CPU_DEVICE_H_
