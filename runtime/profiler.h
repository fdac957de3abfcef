// What measuring a machine has in common for all devices: which figures there are, what the plan says is to be
// measured, and the file they go into. How calls, prepares and copies are timed is left to who knows the device:
// profile.cc where they have done their work when they return, profile_async.cc where they are given to a queue.
#ifndef ZO2_RUNTIME_PROFILER_H_
#define ZO2_RUNTIME_PROFILER_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ir/graph/op.h"
#include "runtime/copy_load.h"
#include "runtime/plan_run.h"
#include "runtime/profile.h"
#include "runtime/timed_call.h"
#include "runtime/worker_pool.h"

namespace zo2 {

class Profiler {
 public:
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;
  virtual ~Profiler() = default;

  // The machine file's text. Once.
  Result<std::string> Run();

 protected:
  static constexpr uint64_t kSmallCopy = 4096;            // bytes
  static constexpr uint64_t kBeyondCaches = 96ull << 20;  // of a CPU: masters prepared in turn come from memory

  // compute_threads: of the kernels' calls; host_threads: that update and encode masters in host memory.
  Profiler(Device& device, const KernelTable& kernels, const Schedule* plan, const ProfileOptions& options,
           int compute_threads, int host_threads, KernelFlavour flavour);

  // ---- the device's part, in this order ----
  virtual Status Link() = 0;
  // The plan's run beside copies, if that says something; `alone` is its run without, `seconds` how long it went on.
  virtual Status BesideOwnCopies(PlanRun&, const PlanTiming& alone, double seconds) { return Status(); }
  // Whatever the calls need around them; runs Compute, then HostMasters.
  virtual Status OnLane() = 0;
  virtual Status Products() = 0;
  virtual Status OtherCalls() = 0;  // attention, elementwise, memory, overhead of a call
  virtual Status TypicalWorkBesideCopies() = 0;
  virtual Status Prepares() = 0;    // prepares, and noise alone
  // Times a call on operands of its own. Views whose data is null stay absent, the others' addresses mean nothing.
  virtual Result<Timing> TimeCall(const KernelCall& call, int64_t state_bytes, int64_t rows, double seconds) = 0;

  // ---- what they share ----
  void Say(const std::string& what) const;
  Kernel kernel(Op op) const { return kernels_.call[static_cast<size_t>(op)]; }
  int64_t Workspace(Op op, const Attrs& attrs, const std::vector<TensorView>& inputs) const;
  // With its workspace; the views stay the caller's.
  KernelCall MakeCall(Op op, const Attrs& attrs, const std::vector<TensorView>& inputs,
                      const std::vector<TensorView>& outputs) const;
  // Of nothing where the table has no kernel for the op.
  Result<Timing> TimeOp(Op op, const Attrs& attrs, const std::vector<TensorView>& inputs,
                        const std::vector<TensorView>& outputs, double seconds);
  // y[m,n] = x[m,k] W[n,k]^T with x and y of dtype `around`. 0 FLOP/s: there is no kernel.
  struct Product {
    double flops = 0, seconds = 0, spread = 0;
  };
  Result<Product> Gemm(DType dtype, DType around, int64_t m, int64_t n, int64_t k, double seconds);
  Status GemmPoint(DType dtype, DType around, int64_t m, int64_t n, int64_t k);
  // Figures of a timing, none if it is of nothing: `amount` per second, or with amount 0 the seconds themselves.
  void Put(const char* figure, double amount, const Timing& timing);
  Result<Timing> TimeAttention(DType dtype, int64_t batch, int64_t heads, int64_t tokens, int64_t size, double seconds);
  static double AttentionFlop(int64_t batch, int64_t heads, int64_t tokens, int64_t size);
  // What copies cost the compute lane: `period` measures the seconds of one piece of its work while copies go on.
  Status BesideCopies(CopyLoad& load, const std::function<Result<double>()>& period);
  // Until every thread has a core of its own and the cores are at their speed.
  void WarmUp();
  Status Compute();
  // Masters in host memory, of which `pool` is: updates without branches, and the encoder for the wire.
  Status HostMasters(Pool& pool);
  uint64_t DeviceArenaBytes() const;  // of the plan's largest

  Device& device_;
  const KernelTable& kernels_;
  const Schedule* const plan_;
  const ProfileOptions& options_;
  const int compute_threads_;
  WorkerPool workers_;  // of host memory; on a CPU of the kernels, too
  nlohmann::ordered_json json_;
  std::map<std::string, double> calls_, spread_;

 private:
  Status InPlace();
  Status PlannedCalls();
  Status PlannedCall(const Instruction& call);
  int64_t RowsOf(const Instruction& call) const;
  Status Disk();

  const KernelFlavour flavour_;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_PROFILER_H_
