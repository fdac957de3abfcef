#include "runtime/aten/workspace_allocator.h"

#include <c10/core/CPUAllocator.h>

#include <cstddef>

namespace zo2 {
namespace {

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
    if (n > 0 && WorkspaceIsBound()) {
      if (void* p = TakeWorkspace(static_cast<int64_t>(n))) return {p, p, &FreeNothing, c10::DeviceType::CPU};
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
    if (p != nullptr && !InWorkspace(p)) Installed().fallback_->raw_deallocate(p);
  }
  c10::Allocator* fallback_;
};

}  // namespace

WorkspaceScope::WorkspaceScope(void* memory, int64_t bytes, int64_t grain) : WorkspaceBinding(memory, bytes, grain) {
  WorkspaceAllocator::Installed();
}

}  // namespace zo2
