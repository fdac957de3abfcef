// `prepare` on a GPU: what one launch of its kernel is told, and how a tile becomes launches.
//
// Launches are captured into CUDA graphs once and replayed every step, so a PrepareLaunch holds only what never
// changes: addresses, geometry, which samples each branch adds. What changes per step is read by the kernel itself: the
// step and the version of the source from a StepScalars, lr and g of the pending updates from the ring of step records.
//
// The kernel's body (prepare_body.h) is compiled for the GPU by prepare.cu and for the host by prepare_launch.cc, where
// RunOnHost runs it block by block, thread by thread. Its meaning, to the bit, is that of runtime/kernels/prepare.h.
#ifndef ZO2_RUNTIME_CUDA_PREPARE_LAUNCH_H_
#define ZO2_RUNTIME_CUDA_PREPARE_LAUNCH_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ir/support/dtype.h"
#include "ir/support/status.h"
#include "runtime/kernels/codec_job.h"
#include "runtime/step_kernels.h"

namespace zo2::cuda {

inline constexpr int kPrepareThreads = 128;  // of a block
inline constexpr int kMaxRects = 16;         // of a launch
inline constexpr int kMaxOutputs = 16;       // of a launch: branches that one prepare emits
inline constexpr int kMaxTerms = 32;         // of a launch, of all its outputs together
inline constexpr int kDefaultBlocks = 1848;  // 14 for each of 132 multiprocessors: two waves. Changes no bit

// Written by the host before a launch or its replay, read by the kernel: mapped pinned memory.
struct StepScalars {
  int64_t step = 0;     // the branches are of θ(step)
  int64_t version = 0;  // the source has all updates of steps < version; version .. step-1 are pending
};

// A branch: where the tile's branch buffer begins, and its terms in order (none: θ itself).
struct PrepareOutput {
  std::byte* data = nullptr;
  int32_t term_begin = 0, term_end = 0;  // into PrepareLaunch::terms
};
struct PrepareTerm {
  double coefficient = 0;  // of ε: +1, -1, ...
  int32_t sample = 0;      // direction = step q + sample
};

// A segment of the tile. Rows are packed; strides are in bytes. Row i of its buffers is row row_begin + i of the
// weight, or the i-th of PrepareLaunch::ids. Whole rows without gaps have become one long row.
struct PrepareRect {
  const std::byte* source = nullptr;  // values, or the first row's codes
  const float* scales = nullptr;      // of codes: the first row's
  std::byte* master = nullptr;        // null: not written; may be the source
  uint64_t branch_offset = 0;         // bytes from each output's data
  int64_t source_stride = 0, master_stride = 0, branch_stride = 0;
  int64_t scales_stride = 0;  // floats
  int64_t rows = 0, width = 0, cols_logical = 0;
  int64_t row_begin = 0, col_begin = 0;
  int64_t id_begin = 0, id_end = 0;  // gathered rows: the ids that exist
  int64_t units = 0;                 // of one row: the most runs of elements that a thread takes at once
  double eps_mul = 1, lr_mul = 1, weight_decay = 0;
  int32_t block_begin = 0, block_end = 0;  // of the launch
  uint32_t tensor_id = 0;
  kernels::Storage compute = kernels::Storage::kF32;
  bool trainable = false;  // false: no updates, and every branch is θ itself
};

// A ring of records, as RecordRing, with numbers that a kernel can take apart.
struct DeviceRing {
  const std::byte* base = nullptr;
  uint64_t stride = 0;
  uint32_t ring = 1;
};

// The kernel's parameter, by value: 3544 bytes. All addresses are the device's.
struct PrepareLaunch {
  PrepareRect rects[kMaxRects];
  PrepareOutput outputs[kMaxOutputs];
  PrepareTerm terms[kMaxTerms];
  const StepScalars* scalars = nullptr;
  const int64_t* ids = nullptr;   // [rows of the rectangle], or null. A row whose id does not exist becomes NaN.
  uint64_t* saturated = nullptr;  // atomically += master elements that were cut to the largest finite value; or null
  DeviceRing records;             // of `samples` samples each
  uint64_t seed = 0;
  double eps = 0;
  int32_t rect_count = 0, output_count = 0, term_count = 0;
  int32_t blocks = 0;
  int32_t samples = 1;                         // q
  kernels::Wire source = kernels::Wire::kF32;  // how every rectangle's source is stored, master or codes
  bool rounds = false;                         // updates are rounded to a storage of 16 bits
  bool stochastic = false, rademacher = false;
};
static_assert(sizeof(PrepareLaunch) <= 4096, "kernel parameters");

// Launches that do what PrepareTile(job) does: in any order, on one stream or several. The addresses in `job` and
// `device_ring` are the device's and are not read; job.step, job.version and job.records say nothing, `scalars` and
// `device_ring` do. Segments of one form share a launch, up to kMaxRects; the blocks of a launch are at least one for
// each rectangle, and beyond that no more than `blocks`. Bits of a NaN are left open; all others are PrepareTile's.
// kInvalid: more branches or terms than a launch has room for, a rectangle too large, or types it does not know.
Result<std::vector<PrepareLaunch>> MakePrepareLaunches(const PrepareJob& job, const RecordRing& device_ring,
                                                       const StepScalars* scalars, int blocks = kDefaultBlocks);

// In which order a block's threads run between two barriers on the host. A body whose bits depend on it has a race.
enum class ThreadOrder : uint8_t { kForward, kBackward };
// The kernel's body on the host, every block and thread of the grid one after another; the addresses are the host's.
void RunOnHost(const PrepareLaunch& launch, ThreadOrder order = ThreadOrder::kForward);

// On a CUDA stream (null: the default one). kDevice if CUDA does not take it. Defined where CUDA is built (prepare.cu).
Status LaunchPrepare(const PrepareLaunch& launch, void* stream);

}  // namespace zo2::cuda

#endif  // ZO2_RUNTIME_CUDA_PREPARE_LAUNCH_H_
