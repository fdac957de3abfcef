// The workspace of the call that runs on this thread: memory that the planner gave it, handed out from the front, one
// piece after the other, and all gone when the call ends. Who hands it to ATen is another matter: workspace_allocator.h
// on a CPU, runtime/aten_device/cuda_hooks.h on a GPU. Here is no ATen.
#ifndef ZO2_RUNTIME_ATEN_WORKSPACE_H_
#define ZO2_RUNTIME_ATEN_WORKSPACE_H_

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
// Notes one allocation of a library that the workspace had no room for.
void CountEscape(uint64_t bytes);

// Binds a call's workspace to this thread for as long as it lives. Does not nest. Pieces begin at multiples of `grain`
// bytes, a power of two: from the workspace's own beginning, or, where that is not a multiple of 64, from the next one.
class WorkspaceBinding {
 public:
  WorkspaceBinding(void* memory, int64_t bytes, int64_t grain = 64);
  ~WorkspaceBinding();
  WorkspaceBinding(const WorkspaceBinding&) = delete;
  WorkspaceBinding& operator=(const WorkspaceBinding&) = delete;
};
// Whether a workspace is bound to this thread, be it empty.
bool WorkspaceIsBound();
// Whether p lies in the workspace of this thread.
bool InWorkspace(const void* p);

// Gives back, when it ends, all that was taken from the workspace since it began: for temporaries of one round of a
// loop. Nothing that was taken inside may be used afterwards. Frames nest.
class WorkspaceFrame {
 public:
  WorkspaceFrame();
  ~WorkspaceFrame();
  WorkspaceFrame(const WorkspaceFrame&) = delete;
  WorkspaceFrame& operator=(const WorkspaceFrame&) = delete;

 private:
  uintptr_t next_;
};

// Takes `bytes` of this thread's workspace, 64-byte aligned, until the call ends; nullptr where they are not
// left. Kernels take what they need first, ATen gets the rest.
void* TakeWorkspace(int64_t bytes);
// Bytes that TakeWorkspace would still give.
int64_t WorkspaceLeft();

}  // namespace zo2

#endif  // ZO2_RUNTIME_ATEN_WORKSPACE_H_
