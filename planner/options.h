// What a user may ask of a plan. Everything here is either a budget, a choice that decides bits (and so is in the
// numeric fingerprint), or a decision forced by hand.
#ifndef ZO2_PLANNER_OPTIONS_H_
#define ZO2_PLANNER_OPTIONS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"

namespace zo2 {

// --storage-for, --compute-for: weights whose name contains a match of `regex` take `dtype` (absent: as their file has
// them). The last rule that matches counts.
struct TypeRule {
  std::string regex;
  std::optional<DType> dtype;
};

struct PlanOptions {
  // Budgets, bytes. 0: what the machine has.
  uint64_t budget = 0;       // device arena
  uint64_t host_budget = 0;  // host arena

  // Choices that decide bits.
  uint64_t tile = 0;  // tile target, bytes of storage; 0: from the model alone (partition.h)
  int samples = 1;    // q of n-SPSA
  int micro_batches = 1;  // the graph is bound to the rows of one micro-batch
  Rounding rounding = Rounding::kStochastic;
  bool rademacher = false;
  std::optional<DType> storage;       // of weights with two and more axes (precision.h); absent: as their files have them
  DType compute = DType::kF32;        // of matrices, on a CPU: f32 or bf16
  std::vector<TypeRule> storage_for, compute_for;

  // Decisions forced by hand.
  std::string strategy = "auto";     // auto | greedy | zo2 | stream | resident
  int slots = 0;                     // 0: the planner decides
  int writeback_every = 0;           // K; 0: the planner decides
  std::optional<uint64_t> resident;  // bytes of masters kept on the device; UINT64_MAX: all; absent: decides

  int64_t steps = 1000;   // for the total in the report
  std::string model_dir;  // folder of the model file, copied into the schedule
};

// "64MiB", "1.5 GB", "4096" -> bytes. Decimal units (kB, MB, GB, TB) are powers of 1000, binary ones (KiB, ...; also
// a bare K, M, G, T) powers of 1024.
Result<uint64_t> ParseSize(const std::string& text);
// What counts as a rate, per second.
inline constexpr double kLeastRate = 1e-12, kMostRate = 1e19;
// "2GB/s", "500MiB/s" -> bytes per second.
Result<double> ParseRate(const std::string& text);
// 1536 -> "1.50 KiB".
std::string FormatSize(double bytes);
// 0.0123 -> "12.30 ms".
std::string FormatSeconds(double seconds);

}  // namespace zo2

#endif  // ZO2_PLANNER_OPTIONS_H_
