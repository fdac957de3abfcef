// Puts the fake driver, with the GPU's kernels run on the CPU, behind `--device cuda` of the program this is linked into:
// zo2-run from end to end through the cuda device. ZO2_FAKE_SEED draws the order of work; odd seeds are lazy. The device
// breaks at piece of work ZO2_FAKE_FAIL_AT.
#include <cstdlib>

#include "runtime/aten_device/device_kernels.h"
#include "runtime/cuda/cuda_device.h"
#include "tests/unit/cuda/fake_driver.h"

namespace zo2::cuda {
namespace {

int64_t Number(const char* name, int64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoll(text, nullptr, 10);
}

Result<std::unique_ptr<Driver>> OpenFake() {
  const int64_t seed = Number("ZO2_FAKE_SEED", 0);
  return MakeFakeDriver({.kernels = &DeviceKernels(), .seed = static_cast<uint64_t>(seed), .lazy = seed % 2 == 1,
                         .fail_at = Number("ZO2_FAKE_FAIL_AT", -1)}, nullptr);
}

[[maybe_unused]] const bool g_set = [] {
  g_open_driver_for_tests = OpenFake;
  return true;
}();

}  // namespace
}  // namespace zo2::cuda
