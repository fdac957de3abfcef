#include "runtime/kernels/prepare.h"

#include <algorithm>
#include <atomic>
#include <cassert>
#include <cstring>
#include <vector>

#include "runtime/kernels/codec_lower.h"
#include "runtime/kernels/noise_isa.h"
#include "runtime/kernels/prepare_job.h"

namespace zo2::kernels {
namespace {

// A PrepareJob and the arrays that it points to.
struct Lowered {
  PrepareJob job = {};
  std::vector<StepJob> steps;
  std::vector<UpdateDraw> update_draws;
  std::vector<BranchJob> branches;
  std::vector<BranchDraw> branch_draws;
  std::vector<BranchUse> uses;
};

// The source; whether its rows are one long row without gaps.
bool LowerSource(const PrepareArgs& args, PrepareJob* job) {
  job->coded = args.coded;
  job->storage = args.coded ? Storage::kF32 : StorageOf(args.storage);
  if (!args.coded) {
    job->source = static_cast<const char*>(args.source);
    job->source_row_stride = args.source_row_stride * BytesOf(job->storage);
    return args.source_row_stride == job->width;
  }
  assert(args.master_out == nullptr);
  assert(args.wire_row >= 0 && args.wire_row + job->rows <= args.wire_rows);
  assert(args.wire_col >= 0 && args.wire_col + job->width <= args.wire_cols);
  job->codes = Rows(args.wire, args.wire_rows, args.wire_cols, const_cast<void*>(args.source));
  job->codes.codes += args.wire_row * job->codes.row_bytes;
  job->codes.scales += args.wire_row * job->codes.row_groups;
  job->wire_col = args.wire_col;
  return job->width == args.wire_cols && (!IsCoded(args.wire) || args.wire_cols % kWireGroup == 0);
}

void LowerGeometry(const PrepareArgs& args, Lowered* lowered) {
  PrepareJob& job = lowered->job;
  job.rows = args.row_end - args.row_begin;
  job.width = args.col_end - args.col_begin;
  job.row_begin = args.row_begin;
  job.col_begin = args.col_begin;
  job.cols_logical = args.cols_logical;
  job.row_ids = args.row_ids;
  bool dense = LowerSource(args, &job);
  job.master = static_cast<char*>(args.master_out);
  job.master_row_stride = args.master_row_stride * BytesOf(job.storage);
  dense = dense && (job.master == nullptr || args.master_row_stride == job.width);
  for (const BranchOut& out : args.branches) {
    const Storage dtype = StorageOf(out.dtype);
    lowered->branches.push_back(
        {static_cast<char*>(out.data), out.row_stride * BytesOf(dtype), dtype, !out.terms.empty()});
    dense = dense && out.row_stride == job.width;
  }
  job.branches = lowered->branches.data();
  job.branch_count = static_cast<int32_t>(lowered->branches.size());
  // Whole rows without gaps are one long row, so that tiles are full whatever the row length.
  if (dense && job.row_ids == nullptr && job.width == job.cols_logical) {
    job.width *= job.rows;
    job.rows = 1;
  }
}

void LowerUpdates(const PrepareArgs& args, Lowered* lowered) {
  const NoiseKey key = {args.seed, args.tensor_id};
  for (const PendingUpdate& update : args.pending) {
    if (update.skipped) continue;
    assert(update.q >= 1 && update.g != nullptr);
    StepJob step;
    step.rounding = MakeStream(RoundingKey(key), update.step);
    step.decay = DecayFactor(update.lr, args.weight_decay);
    step.draw_begin = static_cast<int64_t>(lowered->update_draws.size());
    for (int i = 0; i < update.q; ++i) {
      const uint64_t direction = update.step * static_cast<uint64_t>(update.q) + static_cast<uint64_t>(i);
      lowered->update_draws.push_back(
          {MakeStream(key, direction), UpdateCoefficient(update.lr, args.lr_mul, update.g[i], update.q)});
    }
    step.draw_end = static_cast<int64_t>(lowered->update_draws.size());
    lowered->steps.push_back(step);
  }
  PrepareJob& job = lowered->job;
  job.rademacher = args.rademacher;
  job.stochastic = args.rounding == Rounding::kStochastic;
  job.decays = args.weight_decay != 0;
  job.steps = lowered->steps.data();
  job.step_count = static_cast<int64_t>(lowered->steps.size());
  job.update_draws = lowered->update_draws.data();
}

// Merges the branches' lists of terms into one list of draws that keeps the order within each branch. A direction is
// drawn once unless two branches demand it in contradictory orders.
void LowerBranches(const PrepareArgs& args, Lowered* lowered) {
  const size_t count = args.branches.size();
  std::vector<size_t> next(count, 0);
  const auto pending = [&](size_t b) { return args.branches[b].terms.subspan(next[b]); };
  const auto is = [](uint64_t direction) {
    return [direction](const BranchTerm& term) { return term.direction == direction; };
  };
  // Some branch needs this direction, but another one before it.
  const auto too_early = [&](uint64_t direction) {
    for (size_t b = 0; b < count; ++b) {
      const auto terms = pending(b);
      if (!terms.empty() && terms[0].direction != direction && std::ranges::any_of(terms, is(direction))) return true;
    }
    return false;
  };
  while (true) {
    size_t chosen = count;
    for (size_t b = 0; b < count; ++b) {
      if (pending(b).empty()) continue;
      if (chosen == count) chosen = b;
      if (!too_early(pending(b)[0].direction)) {
        chosen = b;
        break;
      }
    }
    if (chosen == count) break;
    const uint64_t direction = pending(chosen)[0].direction;
    const int64_t use_begin = static_cast<int64_t>(lowered->uses.size());
    for (size_t b = 0; b < count; ++b) {
      const size_t terms = args.branches[b].terms.size();
      for (; next[b] < terms && args.branches[b].terms[next[b]].direction == direction; ++next[b]) {
        lowered->uses.push_back({static_cast<int32_t>(b), args.branches[b].terms[next[b]].coefficient, next[b] == 0,
                                 next[b] + 1 == terms});
      }
    }
    lowered->branch_draws.push_back({MakeStream({args.seed, args.tensor_id}, direction), use_begin,
                                     static_cast<int64_t>(lowered->uses.size())});
  }
  PrepareJob& job = lowered->job;
  job.branch_draws = lowered->branch_draws.data();
  job.branch_draw_count = static_cast<int64_t>(lowered->branch_draws.size());
  job.uses = lowered->uses.data();
}

// ---- the scalar reference: straight from the arguments, sharing with the SIMD path nothing but the geometry ----

float LoadElement(Storage dtype, const char* p, int64_t i) {
  float value;
  uint16_t half;
  switch (dtype) {
    case Storage::kF32: std::memcpy(&value, p + 4 * i, 4); return value;
    case Storage::kBF16: std::memcpy(&half, p + 2 * i, 2); return WidenBf16(half);
    default: std::memcpy(&half, p + 2 * i, 2); return WidenF16(half);
  }
}

void NarrowElement(Storage dtype, char* p, int64_t i, float value) {
  if (dtype == Storage::kF32) {
    std::memcpy(p + 4 * i, &value, 4);
  } else {
    const uint16_t half = dtype == Storage::kBF16 ? NarrowBf16(value) : NarrowF16(value);
    std::memcpy(p + 2 * i, &half, 2);
  }
}

constexpr int kRun = 8;  // elements that share a block of rounding bits

// `n` <= 8 elements of one row, from logical element `element`; `col` is their column in the buffers' `row`.
uint64_t ScalarRun(const PrepareArgs& args, const PrepareJob& job, uint64_t element, int n, int64_t row, int64_t col) {
  const NoiseKey key = {args.seed, args.tensor_id};
  uint64_t saturated = 0;
  float t[kRun], z[kRun];
  uint16_t r[kRun];
  char stored[kRun * sizeof(float)];
  const auto draw = [&](uint64_t direction) {
    if (args.rademacher) {
      RademacherFill(key, direction, element, n, z, Isa::kScalar);
    } else {
      GaussianFill(key, direction, element, n, z, Isa::kScalar);
    }
  };
  if (job.coded) {
    for (int i = 0; i < n; ++i) t[i] = DecodeElement(job.codes, row, job.wire_col + col + i);
  } else {
    const char* source = job.source + row * job.source_row_stride + col * BytesOf(job.storage);
    std::memcpy(stored, source, static_cast<size_t>(n * BytesOf(job.storage)));
    for (int i = 0; i < n; ++i) t[i] = LoadElement(job.storage, stored, i);
  }
  for (const PendingUpdate& update : args.pending) {
    if (update.skipped) continue;
    if (args.weight_decay != 0) {
      const float factor = DecayFactor(update.lr, args.weight_decay);
      for (int i = 0; i < n; ++i) t[i] = Mul(factor, t[i]);
    }
    for (int s = 0; s < update.q; ++s) {
      draw(update.step * static_cast<uint64_t>(update.q) + static_cast<uint64_t>(s));
      const float c = UpdateCoefficient(update.lr, args.lr_mul, update.g[s], update.q);
      for (int i = 0; i < n; ++i) t[i] = Fma(c, z[i], t[i]);
    }
    if (job.storage == Storage::kF32) {
      std::memcpy(stored, t, static_cast<size_t>(n) * sizeof(float));
      continue;
    }
    RoundBitsFill(key, update.step, element, n, r, Isa::kScalar);
    for (int i = 0; i < n; ++i) {
      uint16_t half;
      if (job.storage == Storage::kBF16) {
        half = args.rounding == Rounding::kStochastic ? StoreBf16Stochastic(t[i], r[i], &saturated)
                                                      : StoreBf16Nearest(t[i], &saturated);
      } else {
        half = args.rounding == Rounding::kStochastic ? StoreF16Stochastic(t[i], r[i], &saturated)
                                                      : StoreF16Nearest(t[i], &saturated);
      }
      std::memcpy(stored + 2 * i, &half, 2);
      t[i] = LoadElement(job.storage, stored, i);
    }
  }
  if (job.master != nullptr) {
    std::memcpy(job.master + row * job.master_row_stride + col * BytesOf(job.storage), stored,
                static_cast<size_t>(n * BytesOf(job.storage)));
  }
  for (size_t b = 0; b < args.branches.size(); ++b) {
    const BranchJob& branch = job.branches[b];
    float x[kRun];
    std::copy_n(t, n, x);
    for (const BranchTerm& term : args.branches[b].terms) {
      draw(term.direction);
      for (int i = 0; i < n; ++i) x[i] = Fma(term.coefficient, z[i], x[i]);
    }
    char* out = branch.data + row * branch.row_stride + col * BytesOf(branch.dtype);
    for (int i = 0; i < n; ++i) NarrowElement(branch.dtype, out, i, x[i]);
  }
  return saturated;
}

uint64_t ScalarRange(const PrepareArgs& args, const PrepareJob& job, int64_t begin, int64_t end) {
  uint64_t saturated = 0;
  while (begin < end) {
    const int64_t row = begin / job.width, col = begin % job.width;
    const uint64_t element = FirstElement(job, row) + static_cast<uint64_t>(col);
    const int64_t n = std::min({end - begin, job.width - col, kRun - static_cast<int64_t>(element % kRun)});
    saturated += ScalarRun(args, job, element, static_cast<int>(n), row, col);
    begin += n;
  }
  return saturated;
}

// Where part `part` begins, as a position in the rectangle's row-major order.
int64_t PartBegin(const PrepareJob& job, int64_t part, int64_t parts) {
  const int64_t total = job.rows * job.width;
  if (part <= 0 || part >= parts) return part <= 0 ? 0 : total;
  const int64_t begin = total / parts * part + total % parts * part / parts;
  const int64_t row = begin / job.width, col = begin % job.width;
  const int64_t past = static_cast<int64_t>((FirstElement(job, row) + static_cast<uint64_t>(col)) % kTile);
  return begin - std::min(past, col);
}

}  // namespace

void PreparePart(const PrepareArgs& args, int part, int parts, Isa isa) {
  assert(parts >= 1 && part >= 0 && part < parts);
  if (args.row_end <= args.row_begin || args.col_end <= args.col_begin) return;
  assert(args.source != nullptr && args.col_begin >= 0 && args.col_end <= args.cols_logical);
  Lowered lowered;
  LowerGeometry(args, &lowered);
  const PrepareJob& job = lowered.job;
  const int64_t begin = PartBegin(job, part, parts), end = PartBegin(job, part + 1, parts);
  if (begin >= end) return;

  uint64_t saturated = 0;
  isa = std::min(isa, DetectedIsa());
  if (isa == Isa::kScalar) {
    saturated = ScalarRange(args, job, begin, end);
  } else {
    LowerUpdates(args, &lowered);
    LowerBranches(args, &lowered);
    const size_t count = args.branches.size();
    std::vector<float> tiles(2 * count * kTile);
    std::vector<char*> pointers(2 * count);
    const PrepareScratch scratch = {tiles.data(), tiles.data() + count * kTile, pointers.data(),
                                    pointers.data() + count};
    saturated = isa == Isa::kAvx512 ? avx512::PrepareRange(job, begin, end, scratch)
                                    : avx2::PrepareRange(job, begin, end, scratch);
  }
  if (saturated != 0 && args.saturated != nullptr) {
    std::atomic_ref<uint64_t>(*args.saturated).fetch_add(saturated, std::memory_order_relaxed);
  }
}

void Prepare(const PrepareArgs& args, Isa isa) { PreparePart(args, 0, 1, isa); }

}  // namespace zo2::kernels
