// Where ATen's temporaries on a CPU go. Out-variants still allocate; the planner gave every call a workspace for that.
// While a kernel runs, allocations on its thread are taken from the part of the call's workspace that the
// kernel itself does not use, one after the other, and are all gone when the call ends. What does not fit
// goes to ATen's default allocator and is counted, so that a test can say what escaped.
//
// The hook is process-wide (c10::SetCPUAllocator) but goes by thread: threads without a call see the default
// allocator.
#ifndef ZO2_RUNTIME_ATEN_WORKSPACE_ALLOCATOR_H_
#define ZO2_RUNTIME_ATEN_WORKSPACE_ALLOCATOR_H_

#include "runtime/aten/workspace.h"

namespace zo2 {

// Binds a call's workspace to this thread, for its kernel and for what ATen allocates on the CPU.
class WorkspaceScope : public WorkspaceBinding {
 public:
  WorkspaceScope(void* memory, int64_t bytes, int64_t grain = 64);
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_ATEN_WORKSPACE_ALLOCATOR_H_
