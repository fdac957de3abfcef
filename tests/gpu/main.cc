// test_gpu: the driver of a real GPU, and its kernels against the CPU's, to the bit. The tests of
// tests/unit/cuda_kernels run here with a GPU in the place of the host. Exit status 6: there is none.
#include <gtest/gtest.h>

#include <cstdio>

#include "tests/gpu/gpu.h"
#include "tests/gpu/tile_on_gpu.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (const zo2::Status status = zo2::cuda::Gpu::Open(512ull << 20); !status.ok()) {
    std::fprintf(stderr, "test_gpu: %s\n", status.message().c_str());
    return static_cast<int>(status.code());
  }
  zo2::cuda::g_tile_runner = zo2::cuda::RunTileOnGpu;
  const int result = RUN_ALL_TESTS();
  zo2::cuda::Gpu::Close();
  return result;
}
