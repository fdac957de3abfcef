// What zo2-run's commands do, apart from parsing flags: each opens what its flags name, puts the parts of the runtime
// together and returns how it went. The defaults here are what --help shows.
#ifndef ZO2_RUNTIME_COMMANDS_H_
#define ZO2_RUNTIME_COMMANDS_H_

#include <atomic>
#include <cstdint>
#include <string>

#include "ir/support/status.h"
#include "runtime/kernel_table.h"

namespace zo2 {

// Flags of every command that runs a plan.
struct RunFlags {
  std::string plan;  // plan file
  std::string device = "cpu";
  std::string emulate_link;          // "" = the machine's own
  std::string disk_folder = ".";     // for disk arenas
  bool no_graphs = false;
  int64_t chaos_seed = -1;           // < 0 = off
  std::string chaos_mode = "delay";  // or "priority"
  std::string trace;                 // Perfetto JSON
  int64_t trace_steps = 5;
  std::string weights;  // folder of safetensors files that go before the plan's places
  bool quiet = false;
};

struct TrainFlags {
  RunFlags run;
  std::string data;
  std::string order = "random";  // of examples; or "sequential"
  bool truncate = false;         // rows longer than the bound shape are cut
  int64_t steps = 1000;
  double lr = 1e-6;
  std::string lr_schedule = "constant";
  int64_t warmup = 0;
  double eps = 1e-3;
  uint64_t seed = 0;
  double weight_decay = 0;
  double clip_g = 0;  // 0 = never
  int64_t max_skips = 10;
  double stop_loss_ratio = 10;  // 0 = never
  std::string eval_data;
  int64_t eval_every = 0;  // 0 = at the end only
  std::string eval_metric = "loss";
  int64_t patience = 0;  // 0 = without end
  std::string journal;
  std::string fsync = "every";  // "every", "never" or a number of steps
  int64_t snapshot_every = 0;   // 0 = by time
  bool resume = false;
  std::string metrics;
  std::string output;  // tuned weights at the end, safetensors
  std::string again;   // the command line, for a shell, with --resume: told to whoever interrupts the run
};

struct EvalFlags {
  RunFlags run;
  std::string data;
  bool truncate = false;
  std::string journal;  // "" = the base weights
  std::string at = "end";  // Journal::StepAt
  std::string metrics;  // JSON object
  std::string outputs;  // the program's outputs of every example, safetensors
};

struct ReplayFlags {
  std::string plan, journal, weights;
  std::string at = "end";  // Journal::StepAt
  int threads = 0;  // 0 = the machine's
};

struct ExportFlags {
  std::string plan, journal, weights, output;
  std::string at = "end";  // Journal::StepAt
  int threads = 0;
};

struct SharesFlags {
  std::string plan, journal, weights, json;
  std::string at = "end";      // Journal::StepAt
  int64_t last = 20;           // steps before it whose updates are looked at
  int64_t elements = 1 << 20;  // of each weight, at most
  int threads = 0;
};

struct ProfileFlags {
  std::string plan;  // "" = typical shapes
  std::string output = "machine.json";
  std::string device = "cpu";
  std::string emulate_link;
  std::string disk_folder = ".";
  std::string name = "measured";
  int threads = 0;  // 0 = the plan's compute threads, or the machine's cores
  double seconds_each = 0.15;
  bool quiet = false;
};

// profile --weights: the weights of a plan instead of the machine.
struct WeightsFlags {
  RunFlags run;  // its plan, its weights, the device that evaluates
  std::string output = "weights.json";
  std::string data;              // "" = the effect on the loss is not measured
  bool truncate = false;
  int64_t batches = 8;           // of data
  bool each_weight = false;      // the effect of each weight alone, too
  int64_t elements = 1 << 22;    // of each weight, at most
};

// A command that fails leaves every file that was there as it was: nothing is opened for writing before plan, data,
// weights and journal have been read and found to fit.
//
// `stop` is set by a signal: the step is finished, masters are flushed, a snapshot is made, and all is well.
Status RunTrain(const TrainFlags& flags, const KernelTable& kernels, const std::atomic<bool>& stop);
Status RunEval(const EvalFlags& flags, const KernelTable& kernels);
// Applies the journal to the base weights, prints the digest of what results, and compares it with the snapshots.
Status RunReplay(const ReplayFlags& flags);
// Weights at a step of the journal, all of them, by canonical name, as safetensors.
Status RunExport(const ExportFlags& flags);
// The share of perturbation and update that is realised, per weight (shares.h), as a table and as JSON.
Status RunShares(const SharesFlags& flags);
Status RunProfile(const ProfileFlags& flags, const KernelTable& kernels);
// Error and effect of every wire format per weight (wire_error.h), as a table and as JSON for zo2-plan (docs/WIRE.md).
Status RunProfileWeights(const WeightsFlags& flags, const KernelTable& kernels);

}  // namespace zo2

#endif  // ZO2_RUNTIME_COMMANDS_H_
