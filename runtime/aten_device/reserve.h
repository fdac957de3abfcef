// A region of device memory for what ATen allocates beside the workspaces of calls: what its libraries keep for as long
// as the process lives, and what a workspace had no room for.
#ifndef ZO2_RUNTIME_ATEN_DEVICE_RESERVE_H_
#define ZO2_RUNTIME_ATEN_DEVICE_RESERVE_H_

#include <cstdint>
#include <mutex>
#include <vector>

namespace zo2::aten_device {

// Hands out pieces of a region that it never touches. Thread-safe.
//
// A piece that was freed goes to the same stream alone from then on: work that was launched on a stream before the host
// freed its memory runs before what is launched there later, and no such order holds between streams.
class Reserve {
 public:
  // `memory` is aligned to kAlignment; `bytes` may be 0.
  Reserve(void* memory, int64_t bytes);

  static constexpr int64_t kAlignment = 512;
  // nullptr where neither a piece freed on that stream nor the rest of the region holds `bytes`.
  void* Allocate(int64_t bytes, const void* stream);
  // False where p was not handed out, or was freed already.
  bool Free(const void* p);
  int64_t used() const;  // bytes that were ever handed out
  int64_t bytes() const { return bytes_; }

 private:
  struct Piece {
    uintptr_t begin;
    int64_t bytes;
    const void* stream;
    bool free;
  };
  const uintptr_t memory_;
  const int64_t bytes_;
  mutable std::mutex mutex_;
  int64_t next_ = 0;           // everything behind it was never handed out
  std::vector<Piece> pieces_;
};

}  // namespace zo2::aten_device

#endif  // ZO2_RUNTIME_ATEN_DEVICE_RESERVE_H_
