// Where ATen's temporaries go. Out-variants still allocate; the planner gave every call a workspace for that.
// While a kernel runs, allocations on its thread are taken from the part of the call's workspace that the
// kernel itself does not use, one after the other, and are all gone when the call ends. What does not fit
// goes to ATen's default allocator and is counted, so that a test can say what escaped.
//
// The hook is process-wide (c10::SetCPUAllocator) but goes by thread: threads without a call see the default
// allocator.
#ifndef ZO2_RUNTIME_ATEN_WORKSPACE_ALLOCATOR_H_
#define ZO2_RUNTIME_ATEN_WORKSPACE_ALLOCATOR_H_

#include <cstdint>

namespace zo2 {

// What did not fit into workspaces, on all threads, since the process began.
struct EscapedAllocations {
  uint64_t calls = 0;    // allocations
  uint64_t bytes = 0;    // their sum
  uint64_t largest = 0;  // the largest one
};
EscapedAllocations GetEscapedAllocations();
void ResetEscapedAllocations();

// Binds a call's workspace to this thread for as long as it lives. Does not nest.
class WorkspaceScope {
 public:
  WorkspaceScope(void* memory, int64_t bytes);
  ~WorkspaceScope();
  WorkspaceScope(const WorkspaceScope&) = delete;
  WorkspaceScope& operator=(const WorkspaceScope&) = delete;
};

// Takes `bytes` of this thread's workspace, 64-byte aligned, until the call ends; nullptr where they are not
// left. Kernels take what they need first, ATen gets the rest.
void* TakeWorkspace(int64_t bytes);
// Bytes that TakeWorkspace would still give.
int64_t WorkspaceLeft();

}  // namespace zo2

#endif  // ZO2_RUNTIME_ATEN_WORKSPACE_ALLOCATOR_H_
