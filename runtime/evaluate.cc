#include "runtime/evaluate.h"

#include <bit>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <limits>
#include <string>
#include <vector>

namespace zo2 {
namespace {

// Exactly, of the three dtypes logits come in.
float ToFloat(const std::byte* at, DType dtype) {
  if (dtype == DType::kF32) return *reinterpret_cast<const float*>(at);
  uint16_t bits;
  std::memcpy(&bits, at, 2);
  if (dtype == DType::kBF16) return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16);
  const uint32_t sign = static_cast<uint32_t>(bits & 0x8000) << 16, rest = bits & 0x7FFF;
  if (rest >= 0x7C00) return std::bit_cast<float>(sign | 0x7F800000 | (rest & 0x3FF) << 13);
  if (rest >= 0x400) return std::bit_cast<float>(sign | ((rest << 13) + 0x38000000));
  const float small = static_cast<float>(rest) * 0x1p-24f;
  return sign != 0 ? -small : small;
}

// Rows of logits against labels, of the batches that are to be read.
struct Classifier {
  const ProgramOutput* output = nullptr;
  const ProgramInput* labels = nullptr;
  int64_t classes = 0;
  DType dtype = DType::kF32;
  struct Class {
    int64_t right = 0, labelled = 0, predicted = 0;
  };
  std::vector<Class> of;  // by class

  void Count(const std::byte* logits, const int64_t* label, int64_t rows) {
    for (int64_t r = 0; r < rows; ++r) {
      if (label[r] < 0) continue;
      int64_t best = 0;
      float largest = 0;
      for (int64_t c = 0; c < classes; ++c) {
        const float x = ToFloat(logits + (r * classes + c) * SizeOf(dtype), dtype);
        if (c == 0 || x > largest) {
          best = c;
          largest = x;
        }
      }
      if (label[r] < classes) ++of[static_cast<size_t>(label[r])].labelled;
      ++of[static_cast<size_t>(best)].predicted;
      if (best == label[r]) ++of[static_cast<size_t>(best)].right;
    }
  }

  void Finish(Evaluation* evaluation) const {
    int64_t right = 0, total = 0, seen = 0;
    double f1 = 0;
    for (const Class& c : of) {
      right += c.right;
      total += c.predicted;
      if (c.labelled + c.predicted == 0) continue;
      ++seen;
      f1 += 2.0 * static_cast<double>(c.right) / static_cast<double>(c.labelled + c.predicted);
    }
    if (total == 0) return;
    evaluation->accuracy = static_cast<double>(right) / static_cast<double>(total);
    evaluation->f1 = f1 / static_cast<double>(seen);
  }
};

Classifier FindClassifier(const Schedule& schedule, const Program& program, int64_t rows) {
  Classifier classifier;
  if (schedule.loss.kind != "classify") return classifier;
  for (const ProgramOutput& output : program.outputs) {
    const TensorType& type = schedule.values[static_cast<size_t>(output.value)].type;
    if (type.shape.size() != 2 || type.shape[0] != rows) continue;
    if (type.dtype != DType::kF32 && type.dtype != DType::kBF16 && type.dtype != DType::kF16) continue;
    classifier.output = &output;
    classifier.classes = type.shape[1];
    classifier.of.resize(static_cast<size_t>(type.shape[1]));
    classifier.dtype = type.dtype;
    break;
  }
  for (const ProgramInput& input : program.inputs)
    if (input.value == schedule.loss.labels) classifier.labels = &input;
  if (classifier.labels == nullptr) classifier.output = nullptr;
  return classifier;
}

}  // namespace

std::vector<std::byte*> InputAddresses(const Executor& executor, const Program& program, int64_t iteration) {
  std::vector<std::byte*> addresses;
  for (const ProgramInput& input : program.inputs) addresses.push_back(executor.Host(input.staging, iteration));
  return addresses;
}

int64_t BatchRows(const Schedule& schedule, const Program& program) {
  if (program.loss_sum.empty()) {
    if (program.inputs.empty()) return 0;
    const Shape& shape = schedule.values[static_cast<size_t>(program.inputs[0].value)].type.shape;
    return shape.empty() ? 0 : shape[0] * program.micro_batches;
  }
  return static_cast<int64_t>(schedule.buffers[static_cast<size_t>(program.loss_sum[0])].bytes / 8);
}

Status CheckMetric(const Schedule& schedule, EvalMetric metric) {
  const Program* program = schedule.Find(Purpose::kEvaluate);
  if (program == nullptr) return Invalid("the plan has no evaluate program: compile the model again with zo2-plan");
  if (metric == EvalMetric::kLoss)
    return program->loss_sum.empty() ? Invalid("--eval-metric loss: the plan has no loss") : Status();
  if (schedule.loss.kind != "classify")
    return Invalid("--eval-metric ", Name(metric), " is of models with the loss classify, and this one has ",
                   schedule.loss.kind, ": use --eval-metric loss");
  if (FindClassifier(schedule, *program, BatchRows(schedule, *program)).output == nullptr)
    return Invalid("--eval-metric ", Name(metric), " needs the model's logits, and the plan's evaluations do not ",
                   "return them: compile the model again with --keep-output, or a larger budget");
  return Status();
}

Result<double> MetricOf(const Evaluation& evaluation, EvalMetric metric) {
  if (metric == EvalMetric::kLoss) return evaluation.loss;
  if (evaluation.accuracy < 0)
    return Invalid("no example of the evaluation data has a label, so there is no ", Name(metric));
  return metric == EvalMetric::kAccuracy ? evaluation.accuracy : evaluation.f1;
}

Result<Evaluation> Evaluate(Executor& executor, int64_t batches, const BatchFiller& fill, const OutputTaker& take) {
  const Schedule& schedule = executor.schedule();
  const Program* program = schedule.Find(Purpose::kEvaluate);
  if (program == nullptr) return Invalid("the plan has no evaluate program: compile the model again with zo2-plan");
  const bool has_loss = !program->loss_sum.empty();
  if (has_loss && (program->loss_sum_host.empty() || program->loss_sum_host[0] < 0 || program->loss_count_host[0] < 0))
    return Invalid("the plan's evaluate program does not return its losses: compile the model again with zo2-plan");
  const int64_t rows = BatchRows(schedule, *program);
  ZO2_TRY(executor.Start(Purpose::kEvaluate));
  Classifier classifier = FindClassifier(schedule, *program, rows);
  std::vector<int64_t> real(static_cast<size_t>(batches), 0);
  std::vector<const std::byte*> outputs(program->outputs.size());
  double sum = 0, count = 0;
  Evaluation result;
  const auto read = [&](int64_t i) -> Status {
    ZO2_TRY(executor.Wait(i));
    const int64_t n = real[static_cast<size_t>(i)];
    if (has_loss) {
      const double* sums = reinterpret_cast<const double*>(executor.Host(program->loss_sum_host[0], i));
      const double* counts = reinterpret_cast<const double*>(executor.Host(program->loss_count_host[0], i));
      for (int64_t r = 0; r < n; ++r) {
        sum += sums[r];
        count += counts[r];
      }
    }
    if (take) {
      for (size_t o = 0; o < outputs.size(); ++o) outputs[o] = executor.Host(program->outputs[o].staging, i);
      ZO2_TRY(take(n, outputs));
    }
    if (classifier.output != nullptr)
      classifier.Count(executor.Host(classifier.output->staging, i),
                       reinterpret_cast<const int64_t*>(executor.Host(classifier.labels->staging, i)), n);
    result.examples += n;
    return Status();
  };
  Status status;
  int64_t done = 0;
  for (int64_t i = 0; i < batches && status.ok(); ++i) {
    if (i - done >= executor.depth()) status = read(done++);
    if (!status.ok()) break;
    Result<int64_t> filled = fill(i, InputAddresses(executor, *program, i));
    if (!filled.ok()) {
      status = filled.status();
      break;
    }
    real[static_cast<size_t>(i)] = std::min(*filled, rows);
    executor.Submit();
  }
  while (status.ok() && done < executor.submitted()) status = read(done++);
  const Status drained = executor.Drain();
  ZO2_TRY(status);
  ZO2_TRY(drained);
  result.loss = has_loss ? sum / count : std::numeric_limits<double>::quiet_NaN();
  classifier.Finish(&result);
  return result;
}

BatchFiller FillInOrder(const Dataset& data, int64_t batch_rows) {
  return [&data, batch_rows](int64_t index, std::span<std::byte* const> inputs) -> Result<int64_t> {
    const int64_t first = index * batch_rows, real = std::min(batch_rows, data.examples() - first);
    for (int64_t row = 0; row < batch_rows; ++row) data.Fill(row < real ? first + row : first, row, inputs);
    return real;
  };
}

std::string EvaluationText(const Evaluation& evaluation) {
  char text[120];
  std::string line;
  if (std::isfinite(evaluation.loss)) {
    std::snprintf(text, sizeof text, "loss %.6f", evaluation.loss);
    line = text;
  }
  if (evaluation.accuracy >= 0) {
    std::snprintf(text, sizeof text, "%saccuracy %.4f", line.empty() ? "" : ", ", evaluation.accuracy);
    line += text;
  }
  std::snprintf(text, sizeof text, "%s%ld examples", line.empty() ? "" : " on ",
                static_cast<long>(evaluation.examples));
  return line + text;
}

}  // namespace zo2
