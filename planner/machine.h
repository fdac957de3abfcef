// A machine: what memories it has and how fast its parts are. `zo2-run profile` measures one; built-in entries stand
// for common classes, each figure with its source.
//
// A machine is a chain of memories with capacities - device (device_bytes), host (host_bytes), disk (disk_bytes) - and
// of links with a rate each way and a latency: device <-> host (link_*, copy_latency_s), host <-> disk (disk_*).
// Kernels run beside the device's memory, host updates and encoders beside the host's.
//
// The file is one JSON object. Rates are per second, sizes in bytes, times in seconds; what is left out takes the value
// of the built-in of the same kind.
//
//   name, kind             "cpu" | "cuda"
//   source                 object: figure -> where it comes from ("all": every other)
//   compute_threads        of the kernels; part of the numeric fingerprint
//   device_bytes, host_bytes, disk_bytes
//   gemm_flops             object by dtype: {"f32": 1.3e11, "bf16": 2.9e11, "f16": ...}
//   gemm_table             array of {"dtype","m","n","k","flops"}: rates at measured shapes; the nearest in log space
//                          (within a factor of 2 of each side) goes before gemm_flops
//   attention_flops        rate of fused attention
//   elementwise_ops        results per second of transcendental elementwise ops (gelu, silu, softmax, exp, ...)
//   memory_bytes_per_s     reads plus writes of kernels that only move or add
//   noise_normals_per_s    all threads of the compute lane
//   prepare_params_per_s   the fused pass with one pending update and two branches: a number, or an object by storage
//                          dtype
//   link_up_bytes_per_s, link_down_bytes_per_s      host -> device, device -> host, one at a time
//   link_duplex            share of its rate that each direction keeps while both run (1: fully duplex)
//   copy_latency_s         of each copy, on top of bytes / rate
//   compute_share_while_uploading, compute_share_while_downloading
//                          share of its rate that the compute lane keeps while the link carries bytes in that direction
//                          without a pause (1: copies cost it nothing). On a CPU copies take cores and memory from it
//   call_overhead_s        of each kernel call or prepare (launch, dispatch)
//   disk_read_bytes_per_s, disk_write_bytes_per_s, disk_latency_s      disk -> host, host -> disk, of each transfer
//   host_threads           that update masters and encode in host memory, beside the compute lane's
//   host_update_params_per_s      of those threads together: read, one pending update (one normal), write
//   encode_bytes_per_s     of those threads together: bytes of f32 masters read while they are encoded for the wire
//   calls                  object: signature -> seconds, measured; goes before every rate. The signature of a call is
//                          CallSignature(): "linear(f32[4,16,64],f32[256,64],-)", the inputs as the call sees them; of
//                          a prepare PrepareSignature() (ir/schedule): "prepare(f32>bf16[64,256])", the rectangles of
//                          the tile from storage to compute dtype, measured with one pending update and two branches
//   spread                 object: figure -> relative spread of its measurements (half of the range that holds the
//                          middle 80 %, over the median); or one number for all, the entry "all"
//   measured_on            object of strings: where `zo2-run profile` ran (processor, cores, instructions, link). A
//                          plan keeps it, and zo2-run says so when it runs elsewhere. Built-ins have none
// A field that is none of these, or out of its range, is an error.
#ifndef ZO2_PLANNER_MACHINE_H_
#define ZO2_PLANNER_MACHINE_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "ir/graph/op.h"
#include "ir/schedule/schedule.h"
#include "ir/support/dtype.h"
#include "ir/support/status.h"

namespace zo2 {

struct GemmPoint {
  DType dtype = DType::kF32;
  double m = 0, n = 0, k = 0, flops = 0;
};

struct Machine {
  std::string name;
  bool cuda = false;
  std::map<std::string, std::string> source;
  int compute_threads = 2;
  uint64_t device_bytes = 0, host_bytes = 0, disk_bytes = 0;
  std::map<DType, double> gemm_flops;
  std::vector<GemmPoint> gemm_table;
  double attention_flops = 0, elementwise_ops = 0, memory_bytes_per_s = 0;
  double noise_normals_per_s = 0;
  std::map<DType, double> prepare_params_per_s;
  double link_up_bytes_per_s = 0, link_down_bytes_per_s = 0, link_duplex = 1;
  double copy_latency_s = 0, call_overhead_s = 0;
  double compute_share_while_uploading = 1, compute_share_while_downloading = 1;
  double disk_read_bytes_per_s = 0, disk_write_bytes_per_s = 0, disk_latency_s = 0;
  int host_threads = 1;
  double host_update_params_per_s = 0, encode_bytes_per_s = 0;
  std::map<std::string, double> calls;
  std::map<std::string, double> spread;
  std::map<std::string, std::string> measured_on;

  uint64_t alignment() const;  // of buffers and segments on the device
  // Rate of a product [m,k] x [k,n] whose operands have this dtype.
  double GemmFlops(DType dtype, double m, double n, double k) const;
  // Seconds that the compute lane loses per byte copied beside it: (1 - share) / rate.
  double UploadTax() const { return (1 - compute_share_while_uploading) / link_up_bytes_per_s; }
  double DownloadTax() const { return (1 - compute_share_while_downloading) / link_down_bytes_per_s; }
  // ... per second of host updates: on a CPU they take the same cores.
  double HostTax() const {
    if (cuda) return 0;
    return host_threads >= compute_threads ? 1 : 1.0 * host_threads / compute_threads;
  }
};

// "linear(f32[4,16,64],f32[256,64],-)": op and operand types of a call; "-" is an absent operand.
std::string CallSignature(Op op, const std::vector<const TensorType*>& inputs);

// Built-in machines, the default first.
const std::vector<Machine>& BuiltinMachines();
// A built-in's name or a path of a JSON file. An error names what is known.
Result<Machine> LoadMachine(const std::string& name_or_path);
Result<Machine> MachineFromJson(const std::string& json, const std::string& origin);
std::string MachineToJson(const Machine& machine);
// The page that `zo2-plan machines` prints.
std::string MachinesText();

}  // namespace zo2

#endif  // ZO2_PLANNER_MACHINE_H_
