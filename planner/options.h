// What a user may ask of a plan. Everything here is either a budget, a choice that decides bits (and so is in the
// numeric fingerprint), or a decision forced by hand.
#ifndef ZO2_PLANNER_OPTIONS_H_
#define ZO2_PLANNER_OPTIONS_H_

#include <cstdint>
#include <map>
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

// --wire-for: weights whose name contains a match of `regex` cross the link in this format (f32: as they are stored).
struct WireRule {
  std::string regex;
  WireFormat format = WireFormat::kF32;
};
// By weight: the relative RMS error of each format that was measured, and the weight's shape if that is known.
struct MeasuredWeight {
  std::optional<std::vector<int64_t>> shape;
  std::map<WireFormat, double> errors;
};
using WireErrors = std::map<std::string, MeasuredWeight>;
// How the exact masters of trained coded tiles are kept (schedule.h): the host updates them every step, or they go up
// every K steps.
enum class WireUpdate : uint8_t { kAuto = 0, kHost = 1, kRefresh = 2 };

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
  WireFormat wire = WireFormat::kF32;  // of weights with two and more axes (wire.h); f32: as they are stored
  std::optional<double> max_wire_error;  // each in the narrowest format whose error is no larger; `wire` is not read
  WireErrors wire_errors;                // what max_wire_error goes by
  std::vector<WireRule> wire_for;
  WireUpdate wire_update = WireUpdate::kAuto;
  int refresh_every = 0;                 // K of kRefresh; 0: the planner decides

  // Decisions forced by hand.
  std::string strategy = "auto";     // auto | greedy | z3 | exhaustive | zo2 | stream | resident
  int slots = 0;                     // 0: the planner decides
  int writeback_every = 0;           // K; 0: the planner decides
  std::optional<uint64_t> resident;  // bytes of masters kept on the device; UINT64_MAX: all; absent: decides
  std::vector<std::string> without;  // heuristics that are turned off (heuristics.h)

  // When a search ends: at a period within this share of the bound, or after so many seconds.
  double gap = 0.01, time_limit = 60;
  double time_spent = 0;  // of these: over before the search begins (reading the model, other searches)
  bool prices = true;  // shadow prices in the report: the bound computed again for each

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
