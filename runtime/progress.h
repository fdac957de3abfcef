// What a person sees of a run: one line that changes on a terminal, a plain line now and then otherwise.
#ifndef ZO2_RUNTIME_PROGRESS_H_
#define ZO2_RUNTIME_PROGRESS_H_

#include <cstdint>
#include <string>

#include "runtime/executor.h"

namespace zo2 {

class Progress {
 public:
  // tokens_per_step: 0 = unknown, examples are shown instead. `plain_every`: seconds between plain lines.
  Progress(int64_t first_step, int64_t total_steps, int64_t tokens_per_step, int64_t examples_per_step, bool quiet,
           double plain_every = 5);
  // After step `step`; loss is the mean of both branches.
  void Step(int64_t step, double loss, const ExecutorStats& stats);
  // A line of its own, above the changing one.
  void Note(const std::string& line);
  // Ends the changing line.
  void Finish();

  // The text of a progress line; public for its test. seconds: since the first step; stats: since then.
  static std::string Line(int64_t step, int64_t first_step, int64_t total_steps, double loss, int64_t units_per_step,
                          const char* unit, double seconds, const ExecutorStats& stats);

 private:
  double Seconds() const;
  const int64_t first_, total_, units_;
  const char* unit_;
  const bool quiet_;
  bool terminal_;
  const double plain_every_;
  double begin_, last_ = -1e9;
  bool open_line_ = false;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_PROGRESS_H_
