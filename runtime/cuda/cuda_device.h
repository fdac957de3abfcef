// The cuda device: one GPU behind the interface of device.h.
//
// Device memory is one allocation per arena. Host arenas are ordinary memory, first touched near the GPU and pinned in
// chunks, so that nothing is rounded up to a power of two. A queue is a stream where its lane works on the device
// (compute, copies), and a plain one of the host where it does not.
#ifndef ZO2_RUNTIME_CUDA_CUDA_DEVICE_H_
#define ZO2_RUNTIME_CUDA_CUDA_DEVICE_H_

#include <memory>

#include "runtime/cuda/driver.h"
#include "runtime/device.h"

namespace zo2::cuda {

// kDevice, in one sentence, where this build has no CUDA module, this machine no driver, or the driver no GPU.
Result<std::unique_ptr<Device>> OpenCudaDevice(const DeviceOptions& options);
// The driver alone, with the same errors.
Result<std::unique_ptr<Driver>> OpenDriver();
// On this driver.
Result<std::unique_ptr<Device>> MakeCudaDevice(std::unique_ptr<Driver> driver, const DeviceOptions& options);

// What the module exports under the name kOpenDriver: the first GPU's driver.
inline constexpr char kOpenDriver[] = "zo2_cuda_open_driver";
using OpenDriverFunction = Result<std::unique_ptr<Driver>> (*)();
inline constexpr char kModuleFile[] = "libzo2_cuda.so";  // beside the program

// Test programs put who plays the driver here, before anything is opened.
extern OpenDriverFunction g_open_driver_for_tests;

}  // namespace zo2::cuda

#endif  // ZO2_RUNTIME_CUDA_CUDA_DEVICE_H_
