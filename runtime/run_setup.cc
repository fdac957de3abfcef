#include "runtime/run_setup.h"

#include <cstdio>
#include <cstdlib>

#include "ir/schedule/schedule_io.h"
#include "runtime/host_id.h"
#include "runtime/trace.h"
#include "runtime/trace_table.h"

namespace zo2 {

Result<std::unique_ptr<Device>> OpenRunDevice(const RunFlags& flags) {
  DeviceOptions options;
  options.disk_folder = flags.disk_folder;
  if (!flags.emulate_link.empty()) {
    ZO2_ASSIGN(options.link, ParseLinkEmulation(flags.emulate_link));
  }
  return OpenDevice(flags.device, options);
}

Status CheckAlignment(const Schedule& schedule, const Device& device) {
  for (const Buffer& buffer : schedule.buffers)
    if (schedule.arenas[static_cast<size_t>(buffer.arena)].tier == Tier::kDevice &&
        (buffer.offset % device.alignment() != 0 || (buffer.ring > 1 && buffer.stride % device.alignment() != 0)))
      return Invalid("the plan was made for another kind of device than ", device.name(), ": buffer ", buffer.name,
                     " is not aligned to ", device.alignment(), " bytes; compile it with --machine for such a device");
  return Status();
}

Result<RunSetup> SetUp(const RunFlags& flags, std::unique_ptr<Device> device) {
  ExecutorOptions options;
  options.graphs = !flags.no_graphs;
  if (flags.chaos_seed >= 0) {
    if (flags.chaos_mode != "delay" && flags.chaos_mode != "priority")
      return Invalid("--chaos-mode ", flags.chaos_mode, ": use delay or priority");
    options.chaos = {flags.chaos_mode == "delay" ? ChaosMode::kDelay : ChaosMode::kPriority,
                     static_cast<uint64_t>(flags.chaos_seed)};
  }
  constexpr int64_t kMostTraced = 1000000;
  if (flags.trace_steps < 1 || flags.trace_steps > kMostTraced)
    return Invalid("--trace-steps is ", flags.trace_steps, " but must be from 1 to ", kMostTraced);
  if (!flags.trace.empty()) options.trace_iterations = flags.trace_steps;
  RunSetup setup;
  setup.device = std::move(device);
  ZO2_ASSIGN(Schedule schedule, ReadSchedule(flags.plan));
  ZO2_TRY(CheckAlignment(schedule, *setup.device));
  const std::string warning = MachineWarning(schedule, ThisMachine(flags.emulate_link, setup.device->facts()));
  if (!warning.empty() && !flags.quiet) std::fprintf(stderr, "note: %s\n", warning.c_str());
  ZO2_ASSIGN(setup.executor, Executor::Prepare(std::move(schedule), *setup.device, options));
  return setup;
}

int64_t TokensPerStep(const Schedule& schedule, const Program& program) {
  for (const ProgramInput& input : program.inputs) {
    const TensorType& type = schedule.values[static_cast<size_t>(input.value)].type;
    if (!IsFloat(type.dtype) && type.shape.size() == 2) return type.elements() * program.micro_batches;
  }
  return 0;
}

std::string PeakText(const Executor& executor) {
  std::string text;
  for (size_t a = 0; a < executor.measured_peak().size(); ++a) {
    const uint64_t measured = executor.measured_peak()[a], planned = executor.planned_peak()[a];
    if (planned == 0) continue;
    text += (text.empty() ? "" : "; ") + std::string(Name(executor.schedule().arenas[a].tier)) + " memory: peak " +
            PrintBytes(measured) +
            (measured == planned ? " as planned" : " (planned " + PrintBytes(planned) + " for all programs)");
  }
  const std::string more = executor.device().MemoryText();
  return more.empty() ? text : text + "\n" + more;
}

std::string DeviceText(const std::map<std::string, std::string>& before, const std::map<std::string, std::string>& after,
                       int64_t steps) {
  if (after.count("name") == 0) return "";
  std::string text = after.at("name"), more;
  for (const auto& [what, value] : after)
    if (what != "name" && what != "energy_j") more += (more.empty() ? " (" : ", ") + what + " " + value;
  if (!more.empty()) text += more + ")";
  if (before.count("energy_j") == 0 || after.count("energy_j") == 0) return text;
  const double joules = std::strtod(after.at("energy_j").c_str(), nullptr) - std::strtod(before.at("energy_j").c_str(), nullptr);
  char energy[80];
  std::snprintf(energy, sizeof energy, "; energy %.4g J", joules);
  text += energy;
  if (steps <= 0) return text;
  std::snprintf(energy, sizeof energy, ", %.3g J per step", joules / static_cast<double>(steps));
  return text + energy;
}

std::string PeriodText(const Schedule& schedule, const Program& program, double seconds, int64_t steps) {
  char text[120];
  const double period = steps > 0 ? seconds / static_cast<double>(steps) : 0;
  std::snprintf(text, sizeof text, "%.4g s/step", period);
  std::string result = text;
  if (program.predicted_period > 0 && period > 0) {
    std::snprintf(text, sizeof text, ", the plan says %.4g (%+.1f%%)", program.predicted_period,
                  100 * (period / program.predicted_period - 1));
    result += text;
    if (const std::string machine = UnmeasuredMachine(schedule); !machine.empty())
      result += " for the machine " + machine + "; zo2-run profile measures this one";
  }
  return result;
}

Status FinishTrace(const RunFlags& flags, const Executor& executor) {
  if (flags.trace.empty()) return Status();
  ZO2_TRY(WriteTrace(executor.schedule(), executor.traces(), flags.trace));
  if (!flags.quiet) std::printf("%s", TraceTable(executor.schedule(), executor.traces()).c_str());
  return Status();
}

}  // namespace zo2
