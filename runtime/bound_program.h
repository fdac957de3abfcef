// A program with its addresses: every operand a pointer, every call a KernelCall, every edge a wait. Made once; running
// it allocates nothing and looks nothing up.
#ifndef ZO2_RUNTIME_BOUND_PROGRAM_H_
#define ZO2_RUNTIME_BOUND_PROGRAM_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/kernel_table.h"

namespace zo2 {

struct BoundOperand {
  std::byte* base = nullptr;  // of copy 0; null = absent
  uint64_t stride = 0;        // bytes from copy to copy of a ring
  uint32_t ring = 1;
  bool by_step = false;       // records: the copy goes by step, not by iteration
  uint64_t bytes = 0;         // from the first to past the last byte
  ArenaId arena = -1;
  uint64_t arena_end = 0;     // past the last byte of copy 0, from the arena's start

  uint64_t Copy(int64_t iteration, int64_t step) const {
    return ring <= 1 ? 0 : stride * (static_cast<uint64_t>(by_step ? step : iteration) % ring);
  }
  std::byte* At(int64_t iteration, int64_t step) const { return base == nullptr ? nullptr : base + Copy(iteration, step); }
};

struct BoundInstruction {
  const Instruction* instruction = nullptr;
  std::vector<BoundOperand> operands;
  struct Wait {
    LaneId lane;
    int64_t index;
    int32_t back;
  };
  std::vector<Wait> waits;
  // kCall: one KernelCall per branch, over `views` (inputs then outputs of each); `patched` lists the operands whose
  // address changes from iteration to iteration.
  Kernel kernel = nullptr;
  mutable std::vector<TensorView> views;  // used by one thread, which sets the addresses of patched ones
  std::vector<KernelCall> calls;
  int group = 0;  // operands per call
  bool patched = false;
};

struct BoundProgram {
  const Program* program = nullptr;
  std::vector<std::vector<BoundInstruction>> lanes;
  // Per tile: residues of the iterations that write its master back, and of those that write its codes.
  std::vector<uint64_t> master_writes, codes_writes;
  // Iterations that may be under way at once without the host overwriting what a lane reads or the reverse.
  int depth = 1;

  // The step that a master or codes, written in the iterations of residues `writes`, are current through when
  // `iteration` begins, `entry` being what it was when the program was started at iteration `first`; `step` is the step
  // of a program other than train.
  int64_t VersionAt(uint64_t writes, int64_t iteration, int64_t first, int64_t entry, int64_t step) const;
};

// arenas[i]: the memory of arena i. kRejected where an instruction needs what this build has no kernel for.
Result<BoundProgram> Bind(const Schedule& schedule, const Program& program, std::span<std::byte* const> arenas,
                          const KernelTable& kernels);
// Address of copy 0 of a buffer.
BoundOperand BindBuffer(const Schedule& schedule, BufferId buffer, std::span<std::byte* const> arenas);

}  // namespace zo2

#endif  // ZO2_RUNTIME_BOUND_PROGRAM_H_
