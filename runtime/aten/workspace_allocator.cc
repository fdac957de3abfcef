#include "runtime/aten/workspace_allocator.h"

#include <c10/core/CPUAllocator.h>

#include <atomic>
#include <cstddef>

namespace zo2 {
namespace {

constexpr uintptr_t kAlign = 64;

// The free part of the workspace of the call that runs on this thread.
struct Workspace {
  uintptr_t begin = 0, next = 0, end = 0;
  bool Holds(const void* p) const {
    const auto at = reinterpret_cast<uintptr_t>(p);
    return begin <= at && at < end;
  }
  uintptr_t Free() const { return (next + kAlign - 1) / kAlign * kAlign; }
  void* Take(uint64_t bytes) {
    const uintptr_t at = Free();
    if (at > end || bytes > end - at) return nullptr;
    next = at + bytes;
    return reinterpret_cast<void*>(at);
  }
};
thread_local Workspace workspace;

std::atomic<uint64_t> escaped_calls{0}, escaped_bytes{0}, escaped_largest{0};

void CountEscape(uint64_t bytes) {
  escaped_calls.fetch_add(1, std::memory_order_relaxed);
  escaped_bytes.fetch_add(bytes, std::memory_order_relaxed);
  uint64_t largest = escaped_largest.load(std::memory_order_relaxed);
  while (bytes > largest &&
         !escaped_largest.compare_exchange_weak(largest, bytes, std::memory_order_relaxed)) {
  }
}

// Workspace memory is freed by the end of the call.
void FreeNothing(void*) {}

class WorkspaceAllocator : public c10::Allocator {
 public:
  static WorkspaceAllocator& Installed() {
    static WorkspaceAllocator& allocator = *[] {
      auto* a = new WorkspaceAllocator(c10::GetDefaultCPUAllocator());
      c10::SetCPUAllocator(a, /*priority=*/255);
      return a;
    }();
    return allocator;
  }

  c10::DataPtr allocate(size_t n) override {
    if (n > 0 && workspace.end != 0) {
      if (void* p = workspace.Take(n)) return {p, p, &FreeNothing, c10::DeviceType::CPU};
      CountEscape(n);
    }
    return fallback_->allocate(n);
  }
  // oneDNN allocates and frees by bare pointers.
  c10::DeleterFnPtr raw_deleter() const override { return &FreeRaw; }
  void copy_data(void* dest, const void* src, std::size_t count) const override {
    default_copy_data(dest, src, count);
  }

 private:
  explicit WorkspaceAllocator(c10::Allocator* fallback) : fallback_(fallback) {}
  static void FreeRaw(void* p) {
    if (p != nullptr && !workspace.Holds(p)) Installed().fallback_->raw_deallocate(p);
  }
  c10::Allocator* fallback_;
};

}  // namespace

EscapedAllocations GetEscapedAllocations() { return {escaped_calls, escaped_bytes, escaped_largest}; }

void ResetEscapedAllocations() { escaped_calls = escaped_bytes = escaped_largest = 0; }

WorkspaceScope::WorkspaceScope(void* memory, int64_t bytes) {
  WorkspaceAllocator::Installed();
  workspace.begin = workspace.next = reinterpret_cast<uintptr_t>(memory);
  workspace.end = workspace.begin + static_cast<uintptr_t>(bytes);
  if (memory == nullptr) workspace.begin = workspace.next = workspace.end = 1;  // bound, and nothing fits
}

WorkspaceScope::~WorkspaceScope() { workspace = Workspace(); }

int64_t WorkspaceLeft() {
  const uintptr_t at = workspace.Free();
  return at < workspace.end ? static_cast<int64_t>(workspace.end - at) : 0;
}

void* TakeWorkspace(int64_t bytes) {
  return bytes < 0 ? nullptr : workspace.Take(static_cast<uint64_t>(bytes));
}

}  // namespace zo2
