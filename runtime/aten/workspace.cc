#include "runtime/aten/workspace.h"

#include <atomic>

namespace zo2 {
namespace {

constexpr uintptr_t kAlign = 64;  // what every kernel may count on

// The free part of the workspace of the call that runs on this thread.
struct Workspace {
  uintptr_t begin = 0, next = 0, end = 0, grain = kAlign;
  bool Holds(const void* p) const {
    const auto at = reinterpret_cast<uintptr_t>(p);
    return begin <= at && at < end;
  }
  // Grains count from the beginning: how much fits must not depend on where an arena happens to lie.
  uintptr_t Free() const { return begin + (next - begin + grain - 1) / grain * grain; }
  void* Take(uint64_t bytes) {
    const uintptr_t at = Free();
    if (at > end || bytes > end - at) return nullptr;
    next = at + bytes;
    return reinterpret_cast<void*>(at);
  }
};
thread_local Workspace workspace;
constexpr Workspace kEmpty = {kAlign, kAlign, 1, kAlign};  // bound, and nothing fits

std::atomic<uint64_t> escaped_calls{0}, escaped_bytes{0}, escaped_largest{0};

}  // namespace

EscapedAllocations GetEscapedAllocations() { return {escaped_calls, escaped_bytes, escaped_largest}; }

void ResetEscapedAllocations() { escaped_calls = escaped_bytes = escaped_largest = 0; }

void CountEscape(uint64_t bytes) {
  escaped_calls.fetch_add(1, std::memory_order_relaxed);
  escaped_bytes.fetch_add(bytes, std::memory_order_relaxed);
  uint64_t largest = escaped_largest.load(std::memory_order_relaxed);
  while (bytes > largest &&
         !escaped_largest.compare_exchange_weak(largest, bytes, std::memory_order_relaxed)) {
  }
}

WorkspaceBinding::WorkspaceBinding(void* memory, int64_t bytes, int64_t grain) {
  const auto at = reinterpret_cast<uintptr_t>(memory);
  const uintptr_t begin = (at + kAlign - 1) / kAlign * kAlign, end = at + static_cast<uintptr_t>(bytes);
  workspace = memory == nullptr || end < begin ? kEmpty : Workspace{begin, begin, end, static_cast<uintptr_t>(grain)};
}

WorkspaceBinding::~WorkspaceBinding() { workspace = Workspace(); }

bool WorkspaceIsBound() { return workspace.end != 0; }

bool InWorkspace(const void* p) { return workspace.Holds(p); }

WorkspaceFrame::WorkspaceFrame() : next_(workspace.next) {}

WorkspaceFrame::~WorkspaceFrame() { workspace.next = next_; }

int64_t WorkspaceLeft() {
  const uintptr_t at = workspace.Free();
  return at < workspace.end ? static_cast<int64_t>(workspace.end - at) : 0;
}

void* TakeWorkspace(int64_t bytes) {
  return bytes < 0 ? nullptr : workspace.Take(static_cast<uint64_t>(bytes));
}

}  // namespace zo2
