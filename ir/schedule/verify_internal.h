// What the parts of the verifier share. Each part is one file:
//   verify_tables.cc       arenas, buffers, weights, tiles, values, nodes: indices, offsets, sizes
//   verify_program.cc      programs, lanes, edges; seq; the serial order
//   verify_instruction.cc  operands of one instruction -> its effects (which bytes, read or written, meaning what)
//   verify_memory.cc       memory that persists or rings: nobody else's
//   verify_meaning.cc      one iteration per residue in the serial order: every read finds what it means
//   verify_updates.cc      every update exactly once: write-backs, lags, rings of records; which codes a step reads
//   verify_order.cc        the unrolled window: whatever conflicts is ordered like the serial order
#ifndef ZO2_IR_SCHEDULE_VERIFY_INTERNAL_H_
#define ZO2_IR_SCHEDULE_VERIFY_INTERNAL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/schedule/verify.h"

namespace zo2::internal {

inline constexpr int kMaxBack = 64;       // longest edge, in iterations
inline constexpr int kMaxRank = 16;
inline constexpr int kMaxGroups = 64;     // branches of one call or prepare
inline constexpr uint64_t kMaxArenaBytes = 1ull << 60;
inline constexpr uint64_t kMaxValueBytes = 1ull << 44;
inline constexpr int kMaxPasses = 1 << 16;  // kMaxValueBytes of each still fit into kMaxArenaBytes
inline constexpr int kMaxThreads = 4096;

inline size_t Ix(int64_t index) { return static_cast<size_t>(index); }
template <typename... Args>
Status Rejected(const Args&... args) {
  return Error(Code::kRejected, "schedule: ", args...);
}

// What bytes mean. `a`, `b`, `c` by kind.
enum class Means : uint8_t {
  kNothing,   // not written in this iteration, or scratch
  kTile,      // master form of tile a; b = 1: current through this step (θ(t), or frozen), 0: as the iteration began
  kCodes,     // wire form of coded tile a; b = 1: made in this iteration, 0: as the iteration began
  kBranch,    // compute form of tile a in branch b (-1: frozen, the same in every branch)
  kValue,     // graph value a (a root) of branch b (-1: of every branch) and micro batch c (-1: of every one)
  kInput,     // the whole batch of input a
  kConstant,  // constant a
  kControl,
  kRecord,    // of this iteration
  kPartial,   // written in parts, not yet whole: entry a of the assemblies
};
struct Content {
  Means means = Means::kNothing;
  int32_t a = -1, b = -1, c = -1;
  bool operator==(const Content&) const = default;
};

enum class Role : uint8_t {
  kRead,       // must find `content`
  kReadAny,    // must find `content`, b may be anything (a frozen segment)
  kWrite,      // becomes `content`
  kSlice,      // a slice [part_begin, part_end) of `content` is written
  kNextPart,   // continues (or begins) `content`, which its last part completes
  kState,      // like kNextPart, of a call's state
  kScratch,    // means nothing before or after
  kCopyFrom,   // of a copy: whatever is whole; its kCopyTo comes next
  kCopyTo,
};
inline bool Writes(Role role) { return role != Role::kRead && role != Role::kReadAny && role != Role::kCopyFrom; }

// Bytes [offset, offset + bytes) of the iteration's copy of a buffer (of a strided view: its hull) that an instruction
// reads or writes. The content's own first byte is at offset - shift.
struct Effect {
  BufferId buffer = -1;
  Role role = Role::kRead;
  uint64_t offset = 0, bytes = 0;
  Content content;
  uint64_t shift = 0;
  uint64_t whole = 0;  // bytes of all of the content, for kSlice and kNextPart
  int64_t part_begin = 0, part_end = 0, part_total = 0;
  int16_t operand = 0;
  int16_t group = 0;
};

// Where an instruction is.
struct Spot {
  LaneId lane = 0;
  int32_t index = 0;
};

// Facts about the schedule's graph.
struct GraphFacts {
  std::vector<int32_t> root;     // per value: whose bytes it is (reshapes)
  std::vector<bool> perturbed;   // per value: a trained weight reaches it
  std::vector<bool> fed;         // per value: an input reaches it
  std::vector<TensorType> type;  // per value: as calls see it (weights in compute dtype)
};

// A program on its way through the verifier.
struct ProgramFacts {
  const Schedule* schedule = nullptr;
  const Program* program = nullptr;
  const GraphFacts* graph = nullptr;
  const Program* train = nullptr;         // may be null
  std::vector<Spot> order;                // in the serial order
  std::vector<std::vector<std::vector<Effect>>> effects;  // per lane, per instruction
  std::vector<int32_t> sample;            // per branch: the sample whose passes compute it
  int32_t max_back = 0;
  int64_t instructions = 0;
  // By verify_meaning, per tile, residues in which:
  std::vector<uint64_t> master_writes, code_writes;  // the master or the codes are written (at the end they are current)
  std::vector<uint64_t> master_reads, code_reads;    // a prepare reads it in this form

  const Instruction& at(Spot s) const { return program->lanes[Ix(s.lane)].instructions[Ix(s.index)]; }
  const std::vector<Effect>& effects_at(Spot s) const { return effects[Ix(s.lane)][Ix(s.index)]; }
  int32_t passes() const { return program->samples * program->micro_batches; }
  // "program train, h2d lane 1, instruction 4 (seq 17, copy of tile W0)".
  std::string Where(Spot s) const;
  template <typename... Args>
  Status Reject(Spot s, const Args&... args) const {
    return Rejected(Where(s), ": ", args...);
  }
};

// Bytes from the first to past the last element of a view; false on overflow or a malformed view.
bool ViewBytes(const TensorType& type, const std::vector<int64_t>& strides, uint64_t* bytes);
bool CheckedShape(const Shape& shape);
std::vector<int64_t> DenseStrides(const Shape& shape);
std::string Describe(const Schedule& schedule, const Content& content);

Status VerifyTables(const Schedule& schedule, GraphFacts* facts);
Status VerifyProgram(ProgramFacts* facts);
// Appends the effects of one instruction; the instruction's indices are checked here too.
Status VerifyInstruction(const ProgramFacts& facts, Spot spot, std::vector<Effect>* effects);
Status VerifyCall(const ProgramFacts& facts, Spot spot, std::vector<Effect>* effects);
Status VerifyMemory(const Schedule& schedule, const std::vector<ProgramFacts>& programs, VerifyStats* stats);
Status VerifyMeaning(ProgramFacts* facts);
Status VerifyUpdates(const Schedule& schedule, const std::vector<ProgramFacts>& programs);
Status VerifyOrder(const ProgramFacts& facts, VerifyStats* stats);
// Steps between iteration residue r and the last one before it among `writes` (of a master or of codes), 1..period; 0
// when there is none.
int64_t LagAt(uint64_t writes, int period, int r);
// A prepare or host update that applies what is pending in its tile; from which ring of records it takes it.
inline bool AppliesUpdates(const Schedule& s, const Instruction& i) {
  return (i.kind == InstrKind::kPrepare || i.kind == InstrKind::kHostUpdate) && s.tiles[Ix(i.tile)].trainable &&
         !i.source_after_write;
}
inline bool AppliesOnHost(const Instruction& i) { return i.kind == InstrKind::kHostUpdate; }

}  // namespace zo2::internal

#endif  // ZO2_IR_SCHEDULE_VERIFY_INTERNAL_H_
