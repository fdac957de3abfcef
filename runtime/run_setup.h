// From flags to an executor that has not been initialised yet, and what is said and written when a run is over.
#ifndef ZO2_RUNTIME_RUN_SETUP_H_
#define ZO2_RUNTIME_RUN_SETUP_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "ir/support/status.h"
#include "runtime/commands.h"
#include "runtime/device.h"
#include "runtime/executor.h"

namespace zo2 {

struct RunSetup {
  std::unique_ptr<Device> device;
  std::unique_ptr<Executor> executor;
};
// The device of --device, --emulate-link and --disk-folder. What is not there is said before anything else is looked at.
Result<std::unique_ptr<Device>> OpenRunDevice(const RunFlags& flags);
// Reads and verifies the plan, allocates.
Result<RunSetup> SetUp(const RunFlags& flags, std::unique_ptr<Device> device);
// kInvalid where the plan was made for a device that aligns less.
Status CheckAlignment(const Schedule& schedule, const Device& device);

// Tokens of one step: the elements of the first two-dimensional integer input (ids), all micro-batches. 0 = no such input.
int64_t TokensPerStep(const Schedule& schedule, const Program& program);

// "device memory: peak 61.20 MiB, as planned" per arena that is used; says so where it is not as planned.
std::string PeakText(const Executor& executor);
// What the device said of itself before and after `steps` steps: "NVIDIA H200 (driver ..., ecc on, ...); energy 620 J, 3.1 J per
// step"; "" of a CPU, which says nothing.
std::string DeviceText(const std::map<std::string, std::string>& before, const std::map<std::string, std::string>& after,
                       int64_t steps);
// "1.234 s/step, the plan says 1.200 (+2.8%)"; of a machine that nobody measured, its name and a hint.
std::string PeriodText(const Schedule& schedule, const Program& program, double seconds, int64_t steps);
// Writes flags.trace if it is asked for, and prints where the time went (trace_table.h).
Status FinishTrace(const RunFlags& flags, const Executor& executor);

}  // namespace zo2

#endif  // ZO2_RUNTIME_RUN_SETUP_H_
