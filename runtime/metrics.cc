#include "runtime/metrics.h"

#include <errno.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <string_view>

#include "ir/support/file.h"

namespace zo2 {
namespace {

std::string StepLine(const StepRecord& record, double seconds) {
  std::string line = "{\"step\":" + std::to_string(record.step);
  line += ",\"loss_plus\":" + JsonNumbers(record.loss_plus(), record.q);
  line += ",\"loss_minus\":" + JsonNumbers(record.loss_minus(), record.q);
  line += ",\"g\":" + JsonNumbers(record.g(), record.q);
  line += ",\"lr\":" + JsonNumber(record.lr) + ",\"seconds\":" + JsonNumber(seconds);
  if (record.skipped != 0) line += ",\"skipped\":true";
  return line + "}\n";
}

}  // namespace

std::string JsonNumber(double value) {
  if (!std::isfinite(value)) return "null";
  char text[40];
  std::snprintf(text, sizeof text, "%.17g", value);
  return text;
}

std::string JsonNumbers(const double* values, uint32_t n) {
  if (n == 1) return JsonNumber(values[0]);
  std::string list = "[";
  for (uint32_t i = 0; i < n; ++i) list += (i == 0 ? "" : ",") + JsonNumber(values[i]);
  return list + "]";
}

MetricsWriter::~MetricsWriter() {
  if (file_ != nullptr) std::fclose(file_);
}

Result<MetricsWriter> MetricsWriter::Open(const std::string& path, bool append) {
  MetricsWriter writer;
  if (path.empty()) return writer;
  writer.file_ = std::fopen(path.c_str(), append ? "a" : "w");
  if (writer.file_ == nullptr) return Invalid("cannot write metrics to ", path, ": ", std::strerror(errno));
  return writer;
}

Status MetricsWriter::Write(const std::string& line) {
  // A line reaches the system whole and at once: a reader that follows the file, and a killed run, see whole steps.
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0)
    return Error(Code::kInvalid, "cannot write the metrics file: ", std::strerror(errno));
  return Status();
}

Status MetricsWriter::Step(const StepRecord& record, double seconds) {
  return file_ == nullptr ? Status() : Write(StepLine(record, seconds));
}

Status MetricsWriter::Eval(int64_t step, const Evaluation& evaluation) {
  if (file_ == nullptr) return Status();
  std::string line = "{\"step\":" + std::to_string(step) + ",\"eval_loss\":" + JsonNumber(evaluation.loss);
  if (evaluation.accuracy >= 0)
    line += ",\"eval_accuracy\":" + JsonNumber(evaluation.accuracy) + ",\"eval_f1\":" + JsonNumber(evaluation.f1);
  return Write(line + ",\"eval_examples\":" + std::to_string(evaluation.examples) + "}\n");
}

Status MendMetrics(const std::string& path, const StepLog& log, bool evaluated) {
  if (!FileSize(path).ok()) return Status();  // not there, or a pipe
  RemoveUnfinished(path);
  ZO2_ASSIGN(const std::string old, ReadFile(path));
  std::string mended;
  int64_t next = 0;  // step whose line is to come
  const auto fill_to = [&](int64_t step) {
    for (; next < step; ++next) mended += StepLine(log.at(next), std::numeric_limits<double>::quiet_NaN());
  };
  for (size_t begin = 0, end; begin < old.size(); begin = end + 1) {
    end = old.find('\n', begin);
    if (end == std::string::npos) break;
    const std::string line = old.substr(begin, end + 1 - begin);
    const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!json.is_object() || !json.contains("step") || !json["step"].is_number_unsigned()) continue;
    const int64_t step = json["step"].get<int64_t>();
    if (step < 0 || step > log.steps()) continue;
    if (json.contains("eval_loss")) {  // of the weights after `step` steps
      if (step == log.steps() && !evaluated) continue;
      fill_to(step);
      mended += line;
    } else if (step < log.steps() && step >= next) {
      fill_to(step);
      mended += line;
      next = step + 1;
    }
  }
  fill_to(log.steps());
  return mended == old ? Status() : WriteFile(path, mended);
}

}  // namespace zo2
