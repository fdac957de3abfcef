// Replay: weights at one step and the journal's records after it give the weights at a later step, the same bits that
// the run had, on any machine.
//
// The run applies each update when it streams a weight; replay applies all of them while a block of the weight is in
// the cache, so that memory is passed over once however many steps there are. Formulas are the run's own
// (step_kernels.h); bits depend neither on blocks nor on threads nor on how many steps are taken together.
#ifndef ZO2_RUNTIME_REPLAY_H_
#define ZO2_RUNTIME_REPLAY_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/journal.h"
#include "runtime/weight_reader.h"
#include "runtime/worker_pool.h"

namespace zo2 {

class Replay {
 public:
  // `start` gives the weights at step `from`; records of steps [from, to) of `log` are applied to trainable ones.
  // Schedule and log must outlive this. 0 <= from <= to <= log.steps().
  Replay(const Schedule& schedule, WeightReader start, const StepLog& log, int64_t from, int64_t to,
         const RunParameters& parameters, int threads, int64_t steps_per_pass = 256);

  // As a WeightReader; one caller at a time, but of frozen weights, which are handed through.
  Status Read(int32_t weight, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end, std::byte* out) {
    return ReadAt(to_, weight, row_begin, row_end, col_begin, col_end, out);
  }
  // The weights at another step, from <= version <= to; and from there on to `to`, in place.
  Status ReadAt(int64_t version, int32_t weight, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end,
                std::byte* out);
  void Advance(int64_t version, int32_t weight, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end,
               std::byte* values);
  // Spent on updates so far.
  double seconds() const { return seconds_; }
  WeightReader reader() {
    return [this](int32_t w, int64_t r0, int64_t r1, int64_t c0, int64_t c1, std::byte* out) {
      return Read(w, r0, r1, c0, c1, out);
    };
  }

 private:
  // Those of pending_ of steps < version.
  std::span<const kernels::PendingUpdate> Before(int64_t version) const;
  void Apply(std::span<const kernels::PendingUpdate> pending, int32_t weight, int64_t row_begin, int64_t row_end,
             int64_t col_begin, int64_t col_end, std::byte* values);

  const Schedule& schedule_;
  const WeightReader start_;
  const RunParameters parameters_;
  const int64_t to_, steps_per_pass_;
  std::vector<kernels::PendingUpdate> pending_;
  WorkerPool workers_;
  double seconds_ = 0;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_REPLAY_H_
