// A tile of tests/unit/cuda_kernels/tile_case.h in the GPU's memory.
#ifndef ZO2_TESTS_GPU_TILE_ON_GPU_H_
#define ZO2_TESTS_GPU_TILE_ON_GPU_H_

#include <vector>

#include "tests/gpu/gpu.h"
#include "tests/unit/cuda_kernels/tile_case.h"

namespace zo2::cuda {

class TileOnGpu {
 public:
  // Takes memory of Gpu::Get() and the first bytes of what host and GPU share. `c` must outlive this.
  explicit TileOnGpu(TileCase& c);

  // Launches whose addresses are the GPU's.
  Result<std::vector<PrepareLaunch>> Make(int blocks);
  // Writes the step, the version and the records of the case to where the launches read them.
  Status Update();
  // Reads all planes back.
  Result<std::vector<Bytes>> Planes();
  uint64_t saturated() const { return *saturated_; }

 private:
  TileCase& c_;
  std::vector<std::byte*> planes_;
  std::byte *records_ = nullptr, *ids_ = nullptr;
  StepScalars* scalars_ = nullptr;
  uint64_t* saturated_ = nullptr;
};

// The TileRunner of the GPU.
Result<std::vector<Bytes>> RunTileOnGpu(TileCase& c, int blocks, uint64_t* saturated, std::vector<PrepareLaunch>* kept);

}  // namespace zo2::cuda

#endif  // ZO2_TESTS_GPU_TILE_ON_GPU_H_
