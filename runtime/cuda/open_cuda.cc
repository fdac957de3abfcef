// Loads the module with the GPU's half of the cuda device. It is a library of its own so that zo2-run neither links nor
// loads CUDA's libraries, hundreds of megabytes, for runs on a CPU.
#include <dlfcn.h>

#include <filesystem>
#include <system_error>
#include <utility>

#include "runtime/cuda/cuda_device.h"

namespace zo2::cuda {

OpenDriverFunction g_open_driver_for_tests = nullptr;

Result<std::unique_ptr<Driver>> OpenDriver() {
  if (g_open_driver_for_tests != nullptr) return g_open_driver_for_tests();
  std::error_code error;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::filesystem::path module = program.parent_path() / kModuleFile;
  if (error || !std::filesystem::exists(module, error))
    return Error(Code::kDevice, "this build has no CUDA backend (", kModuleFile, " is not beside the program): run with "
                 "--device cpu, or build where a CUDA toolkit and LibTorch for CUDA are installed");
  if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) == nullptr)
    return Error(Code::kDevice, "this machine has no NVIDIA driver (libcuda.so.1 cannot be loaded): run with --device cpu");
  void* handle = dlopen(module.c_str(), RTLD_NOW | RTLD_GLOBAL);  // never closed: CUDA's libraries do not like it
  if (handle == nullptr) {
    const char* why = dlerror();
    return Error(Code::kDevice, "the CUDA module cannot be loaded: ", why != nullptr ? why : "no reason given");
  }
  const auto open = reinterpret_cast<OpenDriverFunction>(dlsym(handle, kOpenDriver));
  if (open == nullptr) return Internal(module.string(), " has no function ", kOpenDriver);
  return open();
}

Result<std::unique_ptr<Device>> OpenCudaDevice(const DeviceOptions& options) {
  ZO2_ASSIGN(std::unique_ptr<Driver> driver, OpenDriver());
  return MakeCudaDevice(std::move(driver), options);
}

}  // namespace zo2::cuda
