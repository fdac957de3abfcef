#include <algorithm>
#include <cstdio>
#include <thread>

#include "ir/schedule/schedule_io.h"
#include "ir/schedule/verify.h"
#include "ir/support/file.h"
#include "runtime/commands.h"
#include "runtime/device.h"
#include "runtime/profile.h"
#include "runtime/run_setup.h"

namespace zo2 {

Status RunProfile(const ProfileFlags& flags, const KernelTable& kernels) {
  DeviceOptions device_options;
  device_options.disk_folder = flags.disk_folder;
  if (!flags.emulate_link.empty()) {
    ZO2_ASSIGN(device_options.link, ParseLinkEmulation(flags.emulate_link));
  }
  ZO2_ASSIGN(std::unique_ptr<Device> device, OpenDevice(flags.device, device_options));
  Schedule plan;
  ProfileOptions options;
  options.threads = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  if (!flags.plan.empty()) {
    ZO2_ASSIGN(plan, ReadSchedule(flags.plan));
    ZO2_TRY(Verify(plan));
    ZO2_TRY(CheckAlignment(plan, *device));
    for (const Program& program : plan.programs)
      for (const Lane& lane : program.lanes)
        if (lane.kind == LaneKind::kCompute) options.threads = std::clamp(lane.threads, 1, 1024);
  }
  if (flags.threads > 0) options.threads = flags.threads;
  options.name = flags.name;
  options.seconds_each = flags.seconds_each;
  options.link = flags.emulate_link;
  options.disk_folder = flags.disk_folder;
  options.progress = !flags.quiet;
  ZO2_ASSIGN(const std::string text, ProfileMachine(*device, kernels, flags.plan.empty() ? nullptr : &plan, options));
  ZO2_TRY(WriteFile(flags.output, text));
  if (!flags.quiet) std::printf("wrote %s; plan for it with zo2-plan compile ... --machine %s\n", flags.output.c_str(), flags.output.c_str());
  return Status();
}

}  // namespace zo2
