#include "runtime/aten_device/reserve.h"

#include <algorithm>

namespace zo2::aten_device {

Reserve::Reserve(void* memory, int64_t bytes) : memory_(reinterpret_cast<uintptr_t>(memory)), bytes_(bytes) {}

void* Reserve::Allocate(int64_t bytes, const void* stream) {
  const std::lock_guard lock(mutex_);
  if (bytes < 0 || bytes > bytes_) return nullptr;
  const int64_t rounded = (std::max<int64_t>(1, bytes) + kAlignment - 1) / kAlignment * kAlignment;
  Piece* best = nullptr;
  for (Piece& p : pieces_)
    if (p.free && p.stream == stream && p.bytes >= rounded && (best == nullptr || p.bytes < best->bytes)) best = &p;
  if (best == nullptr) {
    if (rounded > bytes_ - next_) return nullptr;
    pieces_.push_back({memory_ + static_cast<uintptr_t>(next_), rounded, stream, true});
    next_ += rounded;
    best = &pieces_.back();
  }
  best->free = false;
  return reinterpret_cast<void*>(best->begin);
}

bool Reserve::Free(const void* p) {
  const std::lock_guard lock(mutex_);
  for (Piece& piece : pieces_) {
    if (piece.begin != reinterpret_cast<uintptr_t>(p) || piece.free) continue;
    piece.free = true;
    return true;
  }
  return false;
}

int64_t Reserve::used() const {
  const std::lock_guard lock(mutex_);
  return next_;
}

}  // namespace zo2::aten_device
