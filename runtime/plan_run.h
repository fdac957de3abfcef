// A plan's train program run for measuring: zo2-run profile finds out what calls and prepares take in their
// places, with caches as the instructions before them leave them, by running them there.
//
// The schedule runs as it is, on small made-up weights and inputs of ones, but copies of tiles are left out
// after the first iterations, so nothing takes cores or memory from the compute lane that the measurement
// does not ask for. Where lanes are asynchronous queues, whose copies take no cores, they go on.
#ifndef ZO2_RUNTIME_PLAN_RUN_H_
#define ZO2_RUNTIME_PLAN_RUN_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/device.h"
#include "runtime/executor.h"
#include "runtime/kernel_table.h"

namespace zo2 {

// Of the iterations that took neither long nor short: the middle half by period.
struct PlanTiming {
  double period = 0;       // seconds, mean
  double spread = 0;       // of all iterations: (90th - 10th percentile) / 2, over the median
  int64_t iterations = 0;  // all
  double seconds = 0;      // from the end of the first to the end of the last
  std::vector<std::vector<double>>
      busy;  // [lane][instruction], seconds, mean; 0 where it is not a compute lane
};

class PlanRun {
 public:
  // kDevice when the plan's memory is not there, kInvalid when it does not train.
  static Result<std::unique_ptr<PlanRun>> Open(const Schedule& plan, Device& device,
                                               const KernelTable& kernels);
  ~PlanRun();

  // Iterations for about this long, at least `least` of them after the first.
  Result<PlanTiming> Run(double seconds, int least = 6);
  const Program& program() const;

 private:
  PlanRun() = default;
  std::unique_ptr<Device> device_;  // null: the caller's is used as it is
  std::unique_ptr<Executor> executor_;
};

// Fills the inputs of a step with something a model accepts: every integer 1 (an id, a label, an attended token), every
// number 0.5.
void FillInputs(const Executor& executor, const Program& program, int64_t step);

// Seconds of calls (one branch of one part) and of prepares with one update and two branches, means by
// signature (CallSignature, PrepareSignature).
std::map<std::string, double> CallsInPlace(const Schedule& plan, const Program& train,
                                           const PlanTiming& timing);
// Weights per second of those prepares, by storage dtype: of tiles so large (64 Ki weights) that the overhead of the
// call, which the planner adds to what it finds by rate, does not show. Empty for plans with q > 1 or K > 1, whose
// prepares differ.
std::map<DType, double> PrepareRatesInPlace(const Schedule& plan, const Program& train,
                                            const PlanTiming& timing);
}  // namespace zo2

#endif  // ZO2_RUNTIME_PLAN_RUN_H_
