#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ir/support/file.h"
#include "ir/support/safetensors.h"
#include "runtime/commands.h"
#include "runtime/dataset.h"
#include "runtime/evaluate.h"
#include "runtime/journal.h"
#include "runtime/masters.h"
#include "runtime/metrics.h"
#include "runtime/output_paths.h"
#include "runtime/run_setup.h"
#include "runtime/run_state.h"

namespace zo2 {
namespace {

// --outputs: one tensor per output, [examples, ...]. The first one goes to the file as it comes; since a safetensors
// file has one tensor behind the other, the others wait in memory.
class OutputFile {
 public:
  static Result<OutputFile> Create(const std::string& path, const Schedule& schedule, const Program& program,
                                   int64_t rows, int64_t examples) {
    if (program.outputs.empty())
      return Invalid(
          "the plan's evaluations return no outputs: compile the model again with --keep-output, or a larger budget");
    OutputFile file;
    std::vector<SafetensorsWriter::Tensor> tensors;
    for (const ProgramOutput& output : program.outputs) {
      const PlanValue& value = schedule.values[static_cast<size_t>(output.value)];
      Shape shape = value.type.shape;
      if (shape.empty() || shape[0] != rows)
        return Invalid("output ", value.name, " is not one value per example: its leading axis is not the batch of ",
                       rows);
      file.row_bytes_.push_back(static_cast<size_t>(value.type.bytes() / rows));
      shape[0] = examples;
      tensors.push_back({value.name, value.type.dtype, shape});
    }
    file.later_.resize(tensors.size() - 1);
    ZO2_ASSIGN(file.writer_, SafetensorsWriter::Create(path, std::move(tensors)));
    return file;
  }

  Status Take(int64_t rows, std::span<const std::byte* const> outputs) {
    for (size_t o = 1; o < outputs.size(); ++o)
      later_[o - 1].append(reinterpret_cast<const char*>(outputs[o]), row_bytes_[o] * static_cast<size_t>(rows));
    return writer_.Append({outputs[0], row_bytes_[0] * static_cast<size_t>(rows)});
  }

  Status Finish() {
    for (const std::string& data : later_) ZO2_TRY(writer_.Append(std::as_bytes(std::span(data))));
    return writer_.Finish();
  }

 private:
  SafetensorsWriter writer_;
  std::vector<size_t> row_bytes_;
  std::vector<std::string> later_;
};

std::string MetricsJson(const Evaluation& evaluation, int64_t step) {
  return "{\"loss\":" + JsonNumber(evaluation.loss) +
         ",\"accuracy\":" + (evaluation.accuracy >= 0 ? JsonNumber(evaluation.accuracy) : "null") +
         ",\"f1\":" + (evaluation.f1 >= 0 ? JsonNumber(evaluation.f1) : "null") +
         ",\"examples\":" + std::to_string(evaluation.examples) + ",\"step\":" + std::to_string(step) + "}\n";
}

}  // namespace

Status RunEval(const EvalFlags& flags, const KernelTable& kernels) {
  ZO2_ASSIGN(std::unique_ptr<Device> device, OpenRunDevice(flags.run));
  ZO2_TRY(CheckOutputs({{"--metrics", flags.metrics}, {"--outputs", flags.outputs}, {"--trace", flags.run.trace}},
                       {flags.run.plan, flags.data, flags.journal}));
  if (flags.at != "end" && flags.journal.empty())
    return Invalid("--at needs --journal: the plan's own weights have no steps");
  const auto note = [&](const std::string& text) {
    if (!flags.run.quiet) std::fprintf(stderr, "note: %s\n", text.c_str());
  };
  ZO2_ASSIGN(RunSetup setup, SetUp(flags.run, std::move(device)));
  Executor& executor = *setup.executor;
  const Schedule& schedule = executor.schedule();
  const Program* program = schedule.Find(Purpose::kEvaluate);
  if (program == nullptr)
    return Invalid(flags.run.plan, " has no evaluate program: compile the model again with zo2-plan");
  ZO2_ASSIGN(const std::unique_ptr<Dataset> data, Dataset::Open(flags.data, schedule, *program, {flags.truncate}));
  for (const std::string& text : data->notes()) note(flags.data + ": " + text);
  ZO2_ASSIGN(const std::unique_ptr<BaseWeights> base, OpenBase(schedule, flags.run.weights, !flags.journal.empty()));
  for (const std::string& text : base->source.notes()) note(text);

  std::optional<Journal> journal;
  std::unique_ptr<RunState> state;
  RunParameters parameters;
  if (!flags.journal.empty()) {
    ZO2_ASSIGN(journal, Journal::Read(flags.journal));
    ZO2_ASSIGN(const int64_t at, journal->StepAt(flags.at));
    ZO2_ASSIGN(state, OpenState(schedule, *base, *journal, {.at = at, .codes = true}));
    for (const std::string& text : state->notes()) note(text);
    parameters = journal->header.parameters;
  }
  const int64_t step = state ? state->step() : 0;
  ZO2_TRY(executor.Initialize(kernels, parameters, step, [&](Executor& e) {
    return state ? LoadRun(*state, e) : LoadMasters(base->source.reader(), e, HostThreads());
  }));

  const int64_t rows = BatchRows(schedule, *program);
  if (rows <= 0) return Invalid(flags.run.plan, " has no batch axis that could be evaluated");
  std::optional<OutputFile> outputs;
  OutputTaker take;
  if (!flags.outputs.empty()) {
    ZO2_ASSIGN(outputs, OutputFile::Create(flags.outputs, schedule, *program, rows, data->examples()));
    take = [&](int64_t n, std::span<const std::byte* const> values) { return outputs->Take(n, values); };
  }
  ZO2_ASSIGN(const Evaluation evaluation, Evaluate(executor, BatchesOf(*data, rows), FillInOrder(*data, rows), take));
  if (outputs) ZO2_TRY(outputs->Finish());
  if (!flags.metrics.empty()) ZO2_TRY(WriteFile(flags.metrics, MetricsJson(evaluation, step)));
  ZO2_TRY(FinishTrace(flags.run, executor));
  std::printf("%s\n", EvaluationText(evaluation).c_str());
  if (flags.run.quiet) return Status();
  if (flags.at == "best") std::printf("%s\n", BestText(*journal->Best()).c_str());
  if (state) std::printf("weights of step %ld: %s\n", static_cast<long>(step), state->Origin().c_str());
  if (outputs) std::printf("outputs: %s\n", flags.outputs.c_str());
  return Status();
}

}  // namespace zo2
