#include "tests/gpu/tile_on_gpu.h"

namespace zo2::cuda {

TileOnGpu::TileOnGpu(TileCase& c) : c_(c) {
  Gpu& gpu = Gpu::Get();
  for (const Bytes& plane : c.planes) planes_.push_back(gpu.Put(plane.data(), plane.size()));
  records_ = gpu.Put(c.records.data(), c.records.size());
  ids_ = gpu.Put(c.ids.data(), c.ids.size() * sizeof c.ids[0]);
  scalars_ = reinterpret_cast<StepScalars*>(gpu.shared());
  saturated_ = reinterpret_cast<uint64_t*>(gpu.shared() + 256);
  *scalars_ = {c.step, c.version};
  *saturated_ = 0;
}

Result<std::vector<PrepareLaunch>> TileOnGpu::Make(int blocks) {
  PrepareJob job = c_.Job(c_.planes);
  const auto on_gpu = [&](int plane) {
    return planes_[static_cast<size_t>(plane)] + c_.lead[static_cast<size_t>(plane)];
  };
  job.source = on_gpu(0);
  if (job.master_out != nullptr) job.master_out = on_gpu(c_.master);
  for (size_t b = 0; b < c_.outputs.size(); ++b) c_.output_data[b] = on_gpu(c_.outputs[b]);
  job.ids = {reinterpret_cast<const int64_t*>(ids_), c_.ids.size()};
  job.saturated = saturated_;
  RecordRing ring = job.records;
  ring.base = records_;
  job.step = job.version = -1;  // they say nothing
  job.records = {};
  return MakePrepareLaunches(job, ring, scalars_, blocks);
}

Status TileOnGpu::Update() {
  *scalars_ = {c_.step, c_.version};
  return Gpu::Get().driver().CopyNow(records_, c_.records.data(), c_.records.size());
}

Result<std::vector<Bytes>> TileOnGpu::Planes() {
  std::vector<Bytes> memory = c_.planes;
  for (size_t p = 0; p < memory.size(); ++p)
    ZO2_TRY(Gpu::Get().driver().CopyNow(memory[p].data(), planes_[p], memory[p].size()));
  return memory;
}

Result<std::vector<Bytes>> RunTileOnGpu(TileCase& c, int blocks, uint64_t* saturated,
                                        std::vector<PrepareLaunch>* kept) {
  Gpu& gpu = Gpu::Get();
  gpu.Reset();
  TileOnGpu tile(c);
  ZO2_ASSIGN(const std::vector<PrepareLaunch> launches, tile.Make(blocks));
  for (const PrepareLaunch& launch : launches) ZO2_TRY(gpu.driver().Prepare(gpu.stream(), launch));
  ZO2_TRY(gpu.driver().SynchronizeStream(gpu.stream()));
  *saturated = tile.saturated();
  if (kept != nullptr) *kept = launches;
  return tile.Planes();
}

}  // namespace zo2::cuda
