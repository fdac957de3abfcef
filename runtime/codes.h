// Codes of coded tiles (schedule.h): how they are made from values, and the host update that keeps a master
// and its codes up to date where they live.
//
// Codes are current through the step of the last host update that wrote them, or through 0, when they are
// made of the base weights. That is a function of the schedule and of the step alone, so a run that goes on
// knows which codes it had.
#ifndef ZO2_RUNTIME_CODES_H_
#define ZO2_RUNTIME_CODES_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/step_kernels.h"
#include "runtime/worker_pool.h"

namespace zo2 {

// Per tile: residues of the iterations in which the program writes its codes.
std::vector<uint64_t> CodesWrites(const Schedule& schedule, const Program& program);
// Per tile: the step that its codes are current through when a run from step 0 reaches `step`; 0 for frozen
// tiles and for those without codes.
std::vector<int64_t> CodesVersions(const Schedule& schedule, int64_t step);
// Tiles whose codes lag behind a master, ascending: coded and trained.
std::vector<TileId> TrainedCodes(const Schedule& schedule);

// Where the encoded rows of a segment lie: `coded` is the segment's first coded byte, laid out for `rows`
// rows of which row 0 is `row_begin` of the weight (wire_format.h).
struct CodesPlace {
  std::byte* coded = nullptr;
  int64_t row_begin = 0, rows = 0;
};
// Encodes rows [row_begin, row_end) of a segment from `values` (storage dtype, packed, from row row_begin
// on), which are current through `step`. kInvalid, naming the weight and whether its file or its updates are
// to blame, when a value is not finite.
Status EncodeRows(const Schedule& schedule, const Segment& segment, int64_t row_begin, int64_t row_end,
                  const std::byte* values, const CodesPlace& to, int64_t step);

// kHostUpdate: brings the master job.master_out (= job.source) from job.version to job.step and encodes it to
// `codes`, unless that is null; kInvalid when updates made a value not finite. Bits are those of PrepareTile's
// master_out; the work is split over the pool.
Status HostUpdate(const PrepareJob& job, std::byte* codes, WorkerPool& workers);

}  // namespace zo2

#endif  // ZO2_RUNTIME_CODES_H_
