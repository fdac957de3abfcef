#include <algorithm>

#include "ir/support/crc32.h"
#include "runtime/journal.h"
#include "tests/fuzz/readers.h"
#include "tests/tools/tiny_schedules.h"

namespace zo2::fuzz {
namespace {

constexpr size_t kHeadBytes = 16;
// The header is held as text and as JSON, twice while two are compared; records are held as they are, in vectors that
// double.
constexpr Allowance kAllowance{64 << 10, 96};

const JournalHeader& Now() {
  static const JournalHeader header =
      MakeJournalHeader(tiny::MakeSchedule({}), RunParameters{.seed = 7, .eps = 1e-3}, "of the base weights",
                        {"data.npy", "of the data", "random", 2, false}, "kernels");
  return header;
}

// A journal taken apart, whether or not its checksums are right.
struct Parts {
  std::string header;
  std::vector<std::string> bodies;
  std::string rest;
};
Parts Split(const std::string& input) {
  Parts parts;
  if (input.size() < kHeadBytes) return parts;
  const size_t length = std::min<size_t>(Get<uint32_t>(input, 12), input.size() - kHeadBytes);
  parts.header = input.substr(kHeadBytes, length);
  size_t at = std::min(input.size(), kHeadBytes + length + 4);
  while (input.size() - at >= 8) {
    const size_t bytes = Get<uint32_t>(input, at);
    if (bytes > input.size() - at - 8) break;
    parts.bodies.push_back(input.substr(at + 4, bytes));
    at += bytes + 8;
  }
  parts.rest = input.substr(at);
  return parts;
}
std::string Join(const Parts& parts) {
  std::string out = "zo2jrnl\n";
  Put(uint32_t{1}, &out);
  Put(static_cast<uint32_t>(parts.header.size()), &out);
  out += parts.header;
  uint32_t crc = Crc32(out);
  Put(crc, &out);
  for (const std::string& body : parts.bodies) {
    std::string record;
    Put(static_cast<uint32_t>(body.size()), &record);
    record += body;
    crc = Crc32(record, crc);
    Put(crc, &record);
    out += record;
  }
  return out + parts.rest;
}

}  // namespace

int FuzzJournal(const uint8_t* data, size_t size) {
  static InputFile file("input.zoj");
  Now();
  file.Set({reinterpret_cast<const char*>(data), size});
  const MemoryLimit limit(kAllowance, size);
  const Result<Journal> journal = Journal::Read(file.path());
  if (!journal.ok()) {
    CheckError(journal.status());
    return 0;
  }
  ++TotalCounts().accepted;
  Require(journal->good_bytes <= journal->bytes && journal->bytes == size, "more good bytes than the file has");
  Require((journal->good_bytes == journal->bytes) == journal->note.empty(), "a damaged end without a note");
  const size_t record = StepRecordBytes(journal->header.q);
  for (int64_t step = 0; step < journal->steps.steps(); ++step) {
    const StepRecord& at = journal->steps.at(step);
    Require(at.step == static_cast<uint64_t>(step) && at.q == static_cast<uint32_t>(journal->header.q),
            "a record out of order");
    Touch({reinterpret_cast<const std::byte*>(&at), record});
  }
  for (const SnapshotRecord& snapshot : journal->snapshots)
    Require(snapshot.step >= 0 && snapshot.step <= journal->steps.steps() && snapshot.digest.size() == 64,
            "a snapshot of no step");
  for (const EvaluationRecord& evaluation : journal->evaluations)
    Require(evaluation.step >= 0 && evaluation.step <= journal->steps.steps() && evaluation.data.size() == 64,
            "an evaluation of no step");
  for (const char* at : {"best", "end", "1"}) {
    const Result<int64_t> step = journal->StepAt(at);
    if (!step.ok()) CheckError(step.status());
    Require(!step.ok() || (*step >= 0 && *step <= journal->steps.steps()), "a step that is not there");
  }
  for (const HeaderUse use : {HeaderUse::kResume, HeaderUse::kWeights}) {
    HeaderDifferences(journal->header, Now(), use);
    Require(HeaderDifferences(journal->header, journal->header, use).empty(), "a header that differs from itself");
  }
  return 0;
}

void MutateJournal(std::string* input, Random& random) {
  Parts parts = Split(*input);
  std::vector<std::string>& bodies = parts.bodies;
  const size_t at = random.Below(bodies.size());
  switch (bodies.empty() ? 0 : random.Below(6)) {
    case 0:
    case 1:
      MutateJson(&parts.header, random);
      break;
    case 2:
    case 3:
      MutateBytes(&bodies[at], random);
      break;
    case 4:
      bodies.erase(bodies.begin() + static_cast<long>(at));
      break;
    default: {
      std::string copy = bodies[at];
      bodies.insert(bodies.begin() + static_cast<long>(random.Below(bodies.size() + 1)), std::move(copy));
    }
  }
  *input = Join(parts);
}

void RepairJournal(std::string* input) { *input = Join(Split(*input)); }

}  // namespace zo2::fuzz
