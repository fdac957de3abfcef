// The verifier: proves a schedule safe, shares no code with the planner. The runtime refuses what it rejects.
//
// It proves, for each program over an unrolled window of at least 2 · period + longest edge + 1 iterations, and for
// programs in any order of use:
//   format     every index, offset, size and count is in range (no overflow), seq is unique and increases in each lane,
//              operands have the access modes and shapes that their instruction or op demands; each sample has the
//              branches +z and -z, the only ones that its gradient can be made from;
//   memory     every buffer inside its arena, arena <= budget, aligned;
//   deadlock   lanes and edges together are acyclic in the unrolled window;
//   hazards    of two instructions that touch a common byte, one of them writing, one happens before the other, in
//              the direction of the serial order (vector clocks, O((instructions + edges) · lanes));
//   meaning    in the serial order: every read sees bytes written by the right producer (the right value, branch, pass
//              and iteration; the right tile, version and branch), wholly written and not overwritten by another
//              buffer; every node of the graph that the purpose needs is called for every branch and pass;
//   updates    every trainable tile gets every update exactly once and in order, on the device or on the host; records
//              are still in their ring when they are applied; flush leaves nothing pending; frozen tiles are never
//              written; what a step reads of a coded tile is the same in all its prepares, and is codes of a step that
//              follows from t alone, or the exact master;
//   durability no master on disk is written before its journal record is durable (an edge from the host lane's record
//              copy).
#ifndef ZO2_IR_SCHEDULE_VERIFY_H_
#define ZO2_IR_SCHEDULE_VERIFY_H_

#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"

namespace zo2 {

struct VerifyStats {
  int64_t instructions = 0;     // unrolled
  int64_t edges = 0;
  std::vector<uint64_t> peak;   // per arena: highest byte that any buffer of it reaches
};

// kRejected with one sentence that names program, lane, instruction and cause (the first one found).
Result<VerifyStats> Verify(const Schedule& schedule);

}  // namespace zo2

#endif  // ZO2_IR_SCHEDULE_VERIFY_H_
