// The fused `prepare` kernel: one pass over memory that applies the pending updates to a rectangle of a weight
// component and emits the branches that the next evaluations need.
//
// Per element, with t the value widened exactly to binary32 (docs/NOISE.md, "Use"):
//
//   for each pending step that was not skipped, in order:
//     if it decays:  t = fl(float(1 - lr wd) t)
//     for i in 0..q-1:  t = fma(c_i, z(step q + i), t),   c_i = float(-(((lr h) g_i) / q))
//     t = store(t): rounded once to the storage dtype, nearest or stochastic
//   master = t
//   for each branch:  x = t;  for each term in order: x = fma(coefficient, z(direction), x);  x rounded to nearest
//
// A source in wire form is decoded instead of widened, its updates are not rounded to the storage dtype, and there is no
// master.
//
// theta itself is never perturbed. The bits do not depend on the instruction set, on how the rectangle is cut, or on
// where its buffers lie; so a run may be cut, streamed and replayed in any way.
#ifndef ZO2_RUNTIME_KERNELS_PREPARE_H_
#define ZO2_RUNTIME_KERNELS_PREPARE_H_

#include <cstdint>
#include <span>

#include "ir/support/dtype.h"
#include "ir/support/wire_format.h"
#include "runtime/kernels/noise.h"
#include "runtime/kernels/step_core.h"

namespace zo2::kernels {

// How a master of 16 bits is rounded after an update; fp32 is kept as it is.
enum class Rounding : uint8_t { kNearest = 0, kStochastic = 1 };

// The update of one earlier step.
struct PendingUpdate {
  uint64_t step = 0;
  double lr = 0;
  bool skipped = false;       // its loss was not finite: no decay, no update, no rounding
  int q = 1;                  // samples, >= 1; sample i has direction step * q + i
  const double* g = nullptr;  // [q], projected gradients; may be null if skipped
};

struct BranchTerm {
  uint64_t direction = 0;
  float coefficient = 0;  // see BranchCoefficient (step_core.h)
};

// One output. Past the largest finite value of its dtype a perturbed parameter is infinite (IEEE rounding).
struct BranchOut {
  void* data = nullptr;              // first element of the rectangle
  int64_t row_stride = 0;            // elements
  DType dtype = DType::kF32;         // kF32, kBF16 or kF16: the compute dtype
  std::span<const BranchTerm> terms; // empty: theta itself (evaluation)
};

// A rectangle of one component. Every buffer holds the rectangle alone: its row i is row_begin + i of the weight (or
// row_ids[i]), its column j is col_begin + j. Elements of a row are contiguous; row strides are in elements. Addresses
// are aligned to the element; 64 bytes and whole multiples of 128 elements are fastest.
//
// Aliasing: `master_out` and at most one other output may lie exactly on `source` (same address, dtype and row stride),
// but not both: all reads of an element come before its writes. No other overlap is allowed.
struct PrepareArgs {
  uint64_t seed = 0;         // of the run
  uint32_t tensor_id = 0;    // of the component, from the plan
  int64_t cols_logical = 0;  // length of a row of the weight's logical row-major layout; element = row * this + col
  int64_t row_begin = 0, row_end = 0;  // half open
  int64_t col_begin = 0, col_end = 0;  // half open
  const int64_t* row_ids = nullptr;    // [row_end - row_begin] logical rows (embedding), or null
  DType storage = DType::kF32;         // kF32, kBF16 or kF16, of source and master_out
  const void* source = nullptr;
  int64_t source_row_stride = 0;
  // If `coded`, `source` is in wire form instead: the first byte of a rectangle of `wire_rows` x `wire_cols` values
  // (ir/support/wire_format.h; plain formats count as well), in which this one begins at `wire_row`, `wire_col`. Then
  // `storage` and `source_row_stride` say nothing, `master_out` is null, and no output may lie on `source`.
  bool coded = false;
  WireFormat wire = WireFormat::kF32;
  int64_t wire_rows = 0, wire_cols = 0;
  int64_t wire_row = 0, wire_col = 0;
  void* master_out = nullptr;  // null: the updated value is not kept
  int64_t master_row_stride = 0;
  std::span<const PendingUpdate> pending;  // ascending by step
  double lr_mul = 1.0;                     // the weight's own multiplier h of lr
  double weight_decay = 0.0;               // wd; 0 for a weight that does not decay
  Rounding rounding = Rounding::kStochastic;
  std::span<const BranchOut> branches;
  bool rademacher = false;        // z is +1 or -1 instead of Gaussian
  uint64_t* saturated = nullptr;  // atomically += master elements that were cut to the largest finite value; or null
};

// On the calling thread.
void Prepare(const PrepareArgs& args, Isa isa = BestIsa());

// Part `part` of `parts`, which may run concurrently: equal numbers of elements in the rectangle's row-major order, cut
// where the logical element is a multiple of 128 or at the start of a row. The parts do not depend on `isa`.
// Every call allocates about 100 bytes per pending sample and 1 KiB per branch.
void PreparePart(const PrepareArgs& args, int part, int parts, Isa isa = BestIsa());

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_PREPARE_H_
