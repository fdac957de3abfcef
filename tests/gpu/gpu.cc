#include "tests/gpu/gpu.h"

#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "runtime/cuda/cuda_device.h"
#include "runtime/device.h"

namespace zo2::cuda {
namespace {

std::unique_ptr<Gpu> g_gpu;

}  // namespace

Status Gpu::Open(uint64_t pool_bytes) {
  std::unique_ptr<Gpu> gpu(new Gpu);
  ZO2_ASSIGN(gpu->driver_, OpenDriver());
  Driver& driver = *gpu->driver_;
  ZO2_ASSIGN(gpu->stream_, driver.CreateStream());
  ZO2_TRY(driver.MakeCurrent(gpu->stream_, /*launches=*/false));
  ZO2_ASSIGN(void* const pool, driver.Allocate(pool_bytes));
  gpu->pool_ = static_cast<std::byte*>(pool);
  gpu->bytes_ = pool_bytes;
  gpu->shared_ = static_cast<std::byte*>(std::aligned_alloc(4096, kShared));
  std::memset(gpu->shared_, 0, kShared);
  ZO2_TRY(driver.Register(gpu->shared_, kShared));
  g_gpu = std::move(gpu);
  return Status();
}

void Gpu::Close() { g_gpu.reset(); }

Gpu& Gpu::Get() { return *g_gpu; }

Gpu::~Gpu() {
  if (driver_ == nullptr) return;
  if (stream_ != nullptr) driver_->DestroyStream(stream_);
  if (pool_ != nullptr) driver_->Free(pool_);
  if (shared_ != nullptr) driver_->Unregister(shared_);
  std::free(shared_);
}

std::byte* Gpu::Take(uint64_t bytes) {
  std::byte* const at = pool_ + taken_;
  taken_ += (bytes + 255) / 256 * 256;
  if (taken_ > bytes_) {
    std::fprintf(stderr, "%s of GPU memory are asked for at once, and there are %s\n", PrintBytes(taken_).c_str(),
                 PrintBytes(bytes_).c_str());
    std::exit(1);
  }
  return at;
}

std::byte* Gpu::Put(const void* data, uint64_t bytes) {
  std::byte* const at = Take(bytes);
  if (bytes == 0) return at;
  if (const Status status = driver_->CopyNow(at, data, bytes); !status.ok()) {
    std::fprintf(stderr, "%s\n", status.message().c_str());
    std::exit(1);
  }
  return at;
}

}  // namespace zo2::cuda
