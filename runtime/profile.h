// Measures the machine for the planner: zo2-run profile.
//
// The result is a machine file, one JSON object (rates per second, bytes, seconds; docs and zo2-plan machines explain
// the keys): gemm_flops, gemm_table, attention_flops, elementwise_ops, memory_bytes_per_s, noise_normals_per_s,
// prepare_params_per_s, link_up/down_bytes_per_s, link_duplex, copy_latency_s, call_overhead_s, disk rates, bytes of each
// memory, and with a plan `calls`: seconds of every kernel call that occurs in it, by signature. An emulated link is
// measured as it is emulated. Operands of calls come from the caches of all cores, masters from memory, as in a run.
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
  int threads = 2;                 // of the compute lane
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
