// What a journal pins of its run: everything that decides bits beside the records themselves. It is one JSON object, so
// a person can read it at the top of the file, and two of them are compared key by key.
//
//   method, noise, q, seed, eps, weight_decay, clip_g, rounding
//   base.sha256   of the base weights: DigestWeights of all of them
//   weights       by canonical name: tensor id, shape, storage dtype, aliases (ties), trainable, decays, multipliers
//   data          digest of the file, order, rows of a batch, truncated or not; its path is only told
//   numerics      of the plan (schedule.h), whose digest is `fingerprint`; and what the plan cannot know but
//                 decides bits too: kernels.library with its version, kernels.instruction_set of the machine
//
// What may change when a run goes on: number of steps, learning rate and its shape (recorded with every step), budgets,
// links, placement, evaluation data.
#ifndef ZO2_RUNTIME_JOURNAL_HEADER_H_
#define ZO2_RUNTIME_JOURNAL_HEADER_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/step_kernels.h"

namespace zo2 {

struct DataPins {
  std::string path;    // told, not compared
  std::string sha256;  // of the file
  std::string order;   // "random", "sequential"
  int64_t rows = 0;    // of a batch
  bool truncate = false;
};

struct JournalHeader {
  RunParameters parameters;
  int q = 1;
  std::string base_sha256;
  std::string fingerprint;  // of the plan's numerics
  std::string json;        // all of it; keys sorted
  std::string Id() const;  // SHA-256 of it
};

// `library`: of the kernels that compute the losses (KernelTable).
JournalHeader MakeJournalHeader(const Schedule& schedule, const RunParameters& parameters,
                                const std::string& base_sha256, const DataPins& data, std::string_view library);
// kInvalid where the text is no header of this format.
Result<JournalHeader> ParseJournalHeader(const std::string& json);

// kResume: the run goes on, everything counts. kWeights: records are applied to base weights; what only decides g (eps,
// data, numerics of the forward pass, q of the plan) does not.
enum class HeaderUse : uint8_t { kResume, kWeights };
// "eps is 0.001 in the journal and 0.002 now", one per difference.
std::vector<std::string> HeaderDifferences(const JournalHeader& journal, const JournalHeader& now, HeaderUse use);

}  // namespace zo2

#endif  // ZO2_RUNTIME_JOURNAL_HEADER_H_
