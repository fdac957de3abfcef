// Small valid schedules, whole enough to be executed and small enough that all their interleavings can be
// enumerated.
//
// The model, for a batch of two examples:
//
//   x[2,4] (+ c[4]) -> linear(W0[4,4], b0[4]?) -> relu -> ... -> linear(W1[3,4], b1[3]?) ->
//   classify_loss(labels[2])
//
// or, with `lm_head`, x[1,2,4] and causal_lm_loss(W1[6,4]) in place of the last two; with `embedding`, ids in
// place of x and W0[6,4]. Tiles are one per weight (with its bias), or two or three per matrix with `cut`.
// Lanes: 0 compute, 1 h2d, 2 d2h, 3 host where something is done there. Edges are the fewest that order every pair of instructions that touch a
// common byte, one of them writing.
#ifndef ZO2_TESTS_TOOLS_TINY_SCHEDULES_H_
#define ZO2_TESTS_TOOLS_TINY_SCHEDULES_H_

#include <string>
#include <vector>

#include "ir/schedule/schedule.h"

namespace zo2::tiny {

// Where the tiles of a matrix are, and who keeps their masters.
enum class Keep {
  kPlain,          // masters on the host (or on the device: slots 0), written back through the link
  kFrozenCodes,    // frozen: codes on the host
  kResidentCodes,  // frozen: codes on the device
  kHostMaster,     // not coded; the master is updated on the host after its last upload
  kHostFirst,      // ... before its first one
  kHostUpdate,     // codes on the host, made afresh in every step
  kRefresh,        // ... made afresh every `period` steps, when the master itself goes up
};

struct Options {
  int slots = 2;    // 0: every tile resident
  int period = 1;   // K: masters of streamed tiles go back every K steps
  int samples = 1;  // q
  int micro_batches = 1;
  bool tied = false;            // W0 is used a second time: relu -> linear(W0) -> relu
  bool freeze_first = false;    // W0 (and b0) are not trained
  bool prepare_frozen = false;  // a frozen tile is emitted by a prepare instead of being read where it is
  bool bias = false;
  bool cut = false;  // matrices in two tiles, their calls in two parts
  bool lm_head = false;
  bool constant = false;           // x + c first: a node that no weight reaches
  bool separate_branches = false;  // a call per branch instead of one for both
  bool host_losses = true;         // losses are copied to the host
  bool evaluate = true, flush = true;
  int ring = 2;                 // copies of inputs and controls
  bool embedding = false;       // the first matrix looks rows up instead of multiplying
  bool columns = false;         // W1 is [in, out]: cut along columns
  bool reshape = false;         // reshapes between the matrices: of values, and of a weight that is added
  bool spread = false;          // every other upload on a lane 3, every other prepare on a compute lane 4
  bool split_gradient = false;  // gradients of every other iteration on lane 4
  Keep first = Keep::kPlain, second = Keep::kPlain;  // tiles of W0 and of W1
  WireFormat wire = WireFormat::kI8;                 // of what is coded; a bias goes as bf16
  bool host_late = false;       // host updates come after the step's record
  bool flush_on_device = false; // flushes upload the masters that host updates keep
  bool flush_on_host = false;   // flushes update all masters that stream on the host
  bool host_between = false;    // between refreshes masters are updated on the host, without codes
  bool idle = false;            // a trained weight that no node uses: brought up to date after the gradient
};

Schedule MakeSchedule(const Options& options);

struct Named {
  std::string name;
  Options options;
};
// Every feature that a runtime with a handful of kernels can execute, at least once.
std::vector<Named> Corpus();
// Codes and updates on the host.
std::vector<Named> CodedCorpus();
// All of those, and what only the verifier and its judge need to understand.
std::vector<Named> WholeCorpus();

// Adds the edges that are missing for any two instructions of the program that touch a common byte, one of
// them writing. O((instructions * iterations)^2): for tiny programs.
void AddEdges(const Schedule& schedule, Program* program);

}  // namespace zo2::tiny

#endif  // ZO2_TESTS_TOOLS_TINY_SCHEDULES_H_
