// --metrics: one JSON object per line and step. Floats have 17 significant digits, so they read back to the same bits;
// a number that is not finite is null. With several samples per step losses and g are lists.
#ifndef ZO2_RUNTIME_METRICS_H_
#define ZO2_RUNTIME_METRICS_H_

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/evaluate.h"
#include "runtime/journal.h"

namespace zo2 {

class MetricsWriter {
 public:
  MetricsWriter() = default;  // writes nowhere
  MetricsWriter(MetricsWriter&& other) noexcept : file_(std::exchange(other.file_, nullptr)) {}
  MetricsWriter& operator=(MetricsWriter&& other) noexcept {
    std::swap(file_, other.file_);
    return *this;
  }
  MetricsWriter(const MetricsWriter&) = delete;
  MetricsWriter& operator=(const MetricsWriter&) = delete;
  ~MetricsWriter();

  // A resumed run (`append`) adds lines; otherwise the file starts empty. An empty path writes nowhere.
  static Result<MetricsWriter> Open(const std::string& path, bool append);

  // {"step":0,"loss_plus":...,"loss_minus":...,"g":...,"lr":...,"seconds":...} and "skipped":true where it was.
  Status Step(const StepRecord& record, double seconds);
  // {"step":N,"eval_loss":...,"eval_accuracy":...,"eval_f1":...,"eval_examples":...}: θ(N) on the evaluation data;
  // accuracy and F1 are left out where the plan gives none.
  Status Eval(int64_t step, const Evaluation& evaluation);

 private:
  Status Write(const std::string& line);
  std::FILE* file_ = nullptr;
};

// Makes the file of a run that goes on at step log.steps() agree with its journal, so that it has every step once: torn
// lines and lines of steps that the journal does not have go, steps that it lacks come from the journal ("seconds"
// null). The evaluation of its last step stays (`evaluated`) unless it will be made again. A file
// that agrees already is left alone, and so is what is no regular file.
Status MendMetrics(const std::string& path, const StepLog& log, bool evaluated);

// 17 significant digits, or null.
std::string JsonNumber(double value);
// One number, or [a,b,...] when there are several.
std::string JsonNumbers(const double* values, uint32_t n);

}  // namespace zo2

#endif  // ZO2_RUNTIME_METRICS_H_
