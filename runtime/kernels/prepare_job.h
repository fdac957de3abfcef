// PrepareArgs lowered for the SIMD loops: coefficients rounded, round keys made, branch terms grouped so that each
// direction is drawn once. Plain pointers only: this is included by files compiled for an instruction set.
#ifndef ZO2_RUNTIME_KERNELS_PREPARE_JOB_H_
#define ZO2_RUNTIME_KERNELS_PREPARE_JOB_H_

#include <cstdint>

#include "runtime/kernels/codec_job.h"
#include "runtime/kernels/noise_tiles.h"

namespace zo2::kernels {

struct UpdateDraw {
  PhiloxStream stream;
  float coefficient;
};
struct StepJob {
  PhiloxStream rounding;         // stream of stochastic rounding
  float decay;                   // factor, used if PrepareJob::decays
  int64_t draw_begin, draw_end;  // into PrepareJob::update_draws
};

struct BranchUse {
  int32_t branch;
  float coefficient;
  bool first, last;  // of this branch's terms
};
struct BranchDraw {
  PhiloxStream stream;
  int64_t use_begin, use_end;  // into PrepareJob::uses
};
struct BranchJob {
  char* data;
  int64_t row_stride;  // bytes
  Storage dtype;
  bool perturbed;  // has terms
};

struct PrepareJob {
  // Geometry: `rows` x `width` elements; buffer row i, column j is element first_element(i) + j of the weight.
  int64_t rows, width;
  int64_t row_begin, col_begin, cols_logical;
  const int64_t* row_ids;  // or null

  // A coded source has f32 storage: nothing is rounded between steps. `source` is null then; buffer column 0 is column
  // `wire_col` of the rows of `codes`.
  bool coded;
  CodedRows codes;
  int64_t wire_col;

  Storage storage;
  const char* source;
  int64_t source_row_stride;  // bytes
  char* master;               // or null
  int64_t master_row_stride;  // bytes

  bool rademacher, stochastic, decays;
  const StepJob* steps;
  int64_t step_count;
  const UpdateDraw* update_draws;

  const BranchJob* branches;
  int32_t branch_count;
  const BranchDraw* branch_draws;
  int64_t branch_draw_count;
  const BranchUse* uses;
};

// Working memory of one call, [branch_count] tiles each.
struct PrepareScratch {
  float* sums;    // chains of branches with more than one term
  float* stage;   // outputs of a tile that the rectangle covers in part
  char** out;     // current row of each branch
  char** target;  // where the current tile of each branch goes
};

ZO2_HD uint64_t FirstElement(const PrepareJob& job, int64_t row) {
  const int64_t logical = job.row_ids != nullptr ? job.row_ids[row] : job.row_begin + row;
  return static_cast<uint64_t>(logical) * static_cast<uint64_t>(job.cols_logical) + static_cast<uint64_t>(job.col_begin);
}

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_PREPARE_JOB_H_
