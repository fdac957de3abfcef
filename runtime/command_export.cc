#include <cstdio>
#include <memory>
#include <string>

#include "ir/schedule/schedule_io.h"
#include "ir/schedule/verify.h"
#include "ir/support/file.h"
#include "runtime/commands.h"
#include "runtime/device.h"
#include "runtime/output_paths.h"
#include "runtime/run_state.h"

namespace zo2 {

Status RunExport(const ExportFlags& flags) {
  ZO2_TRY(CheckOutputs({{"--output", flags.output}}, {flags.plan, flags.journal}));
  ZO2_ASSIGN(const Schedule schedule, ReadSchedule(flags.plan));
  ZO2_TRY(Verify(schedule));
  ZO2_ASSIGN(const Journal journal, Journal::Read(flags.journal));
  ZO2_ASSIGN(const std::unique_ptr<BaseWeights> base, OpenBase(schedule, flags.weights, /*digest=*/true));
  ZO2_ASSIGN(const int64_t at, journal.StepAt(flags.at));
  RunState::Options options{.at = at};
  if (flags.threads > 0) options.threads = flags.threads;
  ZO2_ASSIGN(const std::unique_ptr<RunState> state, OpenState(schedule, *base, journal, options));
  for (const std::string& note : base->source.notes()) std::fprintf(stderr, "note: %s\n", note.c_str());
  for (const std::string& note : state->notes()) std::fprintf(stderr, "note: %s\n", note.c_str());
  // "format" is what readers of the framework look for.
  ZO2_TRY(WriteWeights(schedule, AllWeights(schedule), state->reader(), flags.output,
                       {{"format", "pt"}, {"step", std::to_string(state->step())}}));
  ZO2_ASSIGN(const uint64_t bytes, FileSize(flags.output));
  if (flags.at == "best") std::printf("%s\n", BestText(*journal.Best()).c_str());
  std::printf("weights of step %ld: %s; %zu tensors, %s, written to %s\n", static_cast<long>(state->step()),
              state->Origin().c_str(), schedule.weights.size(), PrintBytes(bytes).c_str(), flags.output.c_str());
  return Status();
}

}  // namespace zo2
