// Measures the machine for the planner: zo2-run profile. This page is about devices whose calls have done their work
// when they return; of those with asynchronous queues profile_async.h says what is different.
//
// The result is a machine file, one JSON object; planner/machine.h explains its keys. With a plan, its train step is run
// (plan_run.h): `calls` has the seconds of every kernel call and prepare that occurs in it, by signature, each measured
// between its neighbours and with the caches that they leave; what runs only in other programs, or all of it where the
// plan's memory is not there, is measured call by call. Then the step is run beside copies in one and in both
// directions, of the size of the plan's tiles and at most as many as its weights: what it loses gives
// compute_share_while_uploading and _downloading. An emulated link is measured as it is emulated. `spread` says how much
// the measurements of a figure varied, `measured_on` where it was.
#ifndef ZO2_RUNTIME_PROFILE_H_
#define ZO2_RUNTIME_PROFILE_H_

#include <string>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/device.h"
#include "runtime/kernel_table.h"

namespace zo2 {

struct ProfileOptions {
  std::string name = "measured";   // of the machine
  int threads = 2;                 // of the compute lane; a device with asynchronous queues does not ask
  double seconds_each = 0.15;      // about how long each figure is measured
  std::string link;                // the --emulate-link text, for the file's source notes
  std::string disk_folder = ".";   // where disk rates are measured; empty = not measured
  bool progress = true;            // say on stderr what is being measured
};

// `plan` may be null. The machine file's text.
Result<std::string> ProfileMachine(Device& device, const KernelTable& kernels, const Schedule* plan,
                                   const ProfileOptions& options);

// "linear(f32[4,16,64],f32[256,64],-)": op and operand types of a call as it sees them; "-" is an absent operand. The
// planner looks calls up by this text.
std::string CallSignature(const KernelCall& call);

}  // namespace zo2

#endif  // ZO2_RUNTIME_PROFILE_H_
