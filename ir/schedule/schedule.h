// The schedule: the contract between planner and runtime.
//
// A schedule is everything that happens, decided ahead of time: which bytes live where, which bytes move when, which
// kernel runs at which address. The runtime executes it and decides nothing; the verifier (verify.h) proves it safe.
//
// How to read one. A schedule has arenas (one memory of one tier each), buffers (ranges of an arena), weights cut into
// tiles, a small copy of the graph (values, nodes), and programs. A program is run once per *iteration*. It is a set of
// lanes; a lane is an in-order queue of instructions of one device; edges order instructions of different lanes,
// possibly of earlier iterations. Nothing else orders anything: iterations overlap as far as the edges allow, so the
// next step's first uploads run under this step's tail. Between two different programs (train, then evaluate) the
// runtime drains every lane.
//
// The serial order. Every instruction has a `seq`, unique in its program and increasing within each lane. Running
// iteration by iteration, each in the order of seq, is the *meaning* of the program: what every read must see. Lanes
// and edges may run instructions in any order that gives every read the same bytes; the verifier proves that they do.
//
// Iterations. For `train` the iteration is the step t = 0, 1, 2, ...; an instruction runs only in the iterations with
// (t mod period) in its residues, and is passed over at no cost in the others. Other programs have period 1 and count
// their iterations from 0 each time they are started; their step is the step the run has reached.
//
// Master versions. The master of a tile is *current through v* when it has every update of steps < v and none later.
// At step t the weight's value θ(t) has all updates of steps < t. `prepare` takes bytes that are current through v,
// applies the pending updates v .. t-1 from the ring of step records, one rounding to the storage dtype each, and so has
// θ(t); it may write θ(t) to master_out and emits the branches θ(t) + Σ c·z. The number t-v differs from step to step
// (it grows until a write-back is due); the runtime keeps v per tile, since write-backs are at fixed residues.
//
// Coded tiles. A tile may cross the link in another form than its master's: each component has a wire format
// (wire_format.h), and the tile's bytes in that form are its *codes*, a buffer of their own. Codes are current through
// some v too, and never change the master: `prepare` decodes them, applies the updates v .. t-1 to the decoded values in
// binary32 without rounding to storage, and writes no master. Who keeps the exact master up to date?
//   frozen tile    nobody: its codes are made when weights are bound, and are all that memory holds of it (master -1).
//                  They are on the host (streamed) or on the device (resident).
//   host update    in every iteration a `host update` after the tile's last upload: it applies to the master on the host
//                  every update that is known, steps < t, and encodes it afresh. So at step t codes are current
//                  through t-1, and one update is applied on the device.
//   refresh        at the residues at which the tile is due (one per period, or several) the master itself goes up
//                  instead of the codes, is brought up to date by the prepare that finds it, comes down again, and a
//                  `host update` that finds nothing pending (source_after_write) encodes it. In between updates are
//                  applied after decoding.
// A trained tile is one or the other: within an iteration of train every prepare of it reads the same form, codes or
// master; where the master is read codes are made, and where codes are read they are made in every iteration or in
// none. An evaluation reads codes. A prepare finds codes as they were when the iteration began. Only train makes codes:
// those of a run's first steps, before the first `host update`, are the ones made when weights were bound (v = 0).
// Which tiles are coded, in which format, and at which residue they are refreshed decides bits and is in the numeric
// fingerprint. A flush brings masters up to date and leaves codes as they are, so that bits do not depend on when
// one is run. The runtime keeps v of masters and of codes apart; both are in a snapshot, and so are the codes.
//
// A `host update` without codes keeps the master of any tile that streams, coded or not: instead of a write-back, or in
// a flush. Records for it come from the ring's copy on the host, which a run that is resumed finds filled like the ring
// on the device.
//
// Passes. A train iteration consists of samples × micro_batches passes over the whole graph, pass = sample ·
// micro_batches + micro batch; the other programs have one pass. Sample i uses direction step·q + i. Each call belongs
// to a pass and a branch. `gradient` comes after all passes.
//
// Reshapes are never called: a value made by a reshape node is the bytes of its input.
#ifndef ZO2_IR_SCHEDULE_SCHEDULE_H_
#define ZO2_IR_SCHEDULE_SCHEDULE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/graph/op.h"
#include "ir/support/dtype.h"
#include "ir/support/wire_format.h"

namespace zo2 {

inline constexpr int kScheduleVersion = 2;
inline constexpr int kMaxPeriod = 64;               // residues are bits of a uint64_t
inline constexpr int64_t kMaxInstructions = 500000;  // a longer schedule is refused: use larger tiles

// Every buffer starts at a multiple of this (bits of library kernels depend on alignment).
inline constexpr uint64_t kCpuAlignment = 64;
inline constexpr uint64_t kGpuAlignment = 256;

using ArenaId = int32_t;
using BufferId = int32_t;  // -1 = absent operand
using TileId = int32_t;    // -1 = none
using LaneId = int32_t;    // index into Program::lanes

enum class Tier : uint8_t { kDevice = 0, kHost = 1, kDisk = 2 };

// One memory. Buffers of it are at [offset, offset + bytes) of it.
struct Arena {
  Tier tier = Tier::kDevice;
  int32_t device = 0;   // for kDevice: which one; otherwise 0
  uint64_t bytes = 0;   // what the runtime allocates
  uint64_t budget = 0;  // what the user allowed; bytes <= budget. 0 = unlimited
};

enum class BufferKind : uint8_t {
  kMaster = 0,      // a tile's master copy, storage dtype. On the device it is resident, on the host it is streamed
  kSlot = 1,        // device memory through which tiles pass, as masters or in wire form
  kBranch = 2,      // a tile's weights of one branch, compute dtype
  kActivation = 3,  // a graph value of one branch
  kInput = 4,       // device copy of a batch input (ring)
  kConstant = 5,    // constants; filled once before the first iteration
  kState = 6,       // state of a kAccumulate op
  kLoss = 7,        // f64 sums or counts per example of one sample and branch, batch · micro_batches of them
  kControl = 8,     // StepControl ring
  kRecord = 9,      // StepRecord ring, on the device or its copy on the host
  kStaging = 10,    // host side of inputs and outputs (ring); filled and read by the host between iterations
  kOutput = 11,     // device side of an evaluation's output
  kWorkspace = 12,  // temporary memory of a lane's kernels
  kCodes = 13,      // a tile in wire form (coded tiles): on the host, or on the device for a frozen resident tile
};

// [offset, offset + ring · stride) of an arena. A ring buffer has `ring` copies: iteration i uses copy i mod ring
// (kRecord: step mod ring).
struct Buffer {
  std::string name;
  ArenaId arena = 0;
  BufferKind kind = BufferKind::kActivation;
  uint64_t offset = 0;  // bytes from the arena's start, aligned
  uint64_t bytes = 0;   // of one copy
  uint32_t ring = 1;
  uint64_t stride = 0;  // bytes from copy to copy; aligned; only read when ring > 1
  // For reports: first and last seq in which it is live in its program, half open; 0,0 = always.
  int64_t live_begin = 0, live_end = 0;
};

// One stored tensor of a weight. A plain weight has one, named like the weight. (Quantised weights: codes, scales.)
struct Component {
  std::string name;
  uint32_t tensor_id = 0;  // zo-noise v1
  DType storage = DType::kF32;
  WireFormat wire = WireFormat::kF32;  // of its coded tiles; others go as they are stored
  DType compute = DType::kF32;
  Shape shape;
  bool trainable = true;
};

struct PlanWeight {
  std::string name;
  std::vector<std::string> aliases;
  Shape shape;  // logical, row-major; noise counts elements in it
  WeightRole role = WeightRole::kOther;
  bool trainable = true;
  bool decay = true;
  double eps_mul = 1, lr_mul = 1;     // e and h of docs/NOISE.md
  std::vector<Component> components;
  std::vector<Place> places;          // where files hold it; [0] is loaded from
  std::vector<BufferId> state;        // state tensors of the method (momentum, ...); empty for ZO-SGD
  int64_t rows() const { return shape.size() < 2 ? 1 : shape[0]; }
  int64_t cols() const { return rows() == 0 ? 0 : NumElements(shape) / rows(); }
};

// Rows [row_begin, row_end) and columns [col_begin, col_end) of a component, packed row-major in the tile.
struct Segment {
  int32_t weight = 0;     // index into Schedule::weights
  int32_t component = 0;  // index into its components
  int64_t row_begin = 0, row_end = 0, col_begin = 0, col_end = 0;
  uint64_t offset = 0;         // bytes from the tile's start in the master (storage dtype); aligned
  uint64_t wire_offset = 0;    // ... in the codes (WireBytes of its rows and columns); aligned. Not coded: = offset
  uint64_t branch_offset = 0;  // ... in a branch buffer (compute dtype); aligned
  int64_t elements() const { return (row_end - row_begin) * (col_end - col_begin); }
};

// What is streamed and used together.
struct Tile {
  std::string name;
  std::vector<Segment> segments;
  uint64_t bytes = 0, wire_bytes = 0, branch_bytes = 0;  // whole tile in each form, padding included
  BufferId master = -1;     // kMaster buffer, on the device (resident) or the host; -1: a coded frozen tile has none
  BufferId codes = -1;      // kCodes buffer, wire_bytes long; -1: the tile is not coded, wire_bytes = bytes
  bool trainable = true;    // some segment is
  int32_t tile_class = 0;   // tiles of one class cost the same
};

// The graph's values and nodes, as far as programs call them.
struct PlanValue {
  std::string name;
  ValueKind kind = ValueKind::kActivation;
  TensorType type;        // of one micro-batch
  int32_t weight = -1;    // kWeight: index into Schedule::weights
  BufferId constant = -1; // kConstant: its kConstant buffer
  std::string data;       // kConstant: its bytes
};
struct PlanNode {
  Op op = Op::kAdd;
  std::string name;
  Attrs attrs;
  std::vector<int32_t> inputs, outputs;  // indices into Schedule::values; -1 = absent
};

// One term of a branch: coefficient · ε · z of sample `sample` of this step.
struct BranchTerm {
  int32_t sample = 0;
  double coefficient = 0;  // +1, -1, ...
};
struct Branch {
  std::vector<BranchTerm> terms;  // empty: θ itself
};

enum class InstrKind : uint8_t {
  kCopy = 0,        // bytes of operands[0] to operands[1]; on an h2d or d2h lane
  kDiskRead = 1,    // the same, from the disk arena
  kDiskWrite = 2,   // the same, to the disk arena
  // An operand marked ? has its place always; buffer -1 says that it is absent.
  kPrepare = 3,     // operands: source, master_out?, ids?, then one output per entry of `branches`
  kCall = 4,        // operands, per entry of `branches` (one group when it is empty): the node's inputs, outputs,
                    // state?, workspace?.  Losses are calls too.
  kGradient = 5,    // operands: control, record (written), then sum and count of each branch of the program in order
  kHostUpdate = 6,  // operands: master (read, written), one record of the ring on the host (read), codes? (written): on
                    // a host lane, applies in place what is pending of steps < t, then encodes
  kHostCall = 7,    // operands: what the objective reads, then sum, count: an objective computed on the host
  kGather = 8,      // operands: ids (host), master, destination: rows of an embedding by ids known before the step
  kCollective = 9,  // operands: scalars reduced in a fixed order over devices
};

enum class AccessMode : uint8_t { kRead = 0, kWrite = 1, kReadWrite = 2 };

// A strided view of a buffer; the address is final: arena base + buffer.offset + copy·stride + offset.
struct Operand {
  BufferId buffer = -1;  // -1 = absent
  uint64_t offset = 0;   // bytes from the start of the buffer's copy
  TensorType type;       // what the instruction sees; for copies u8[bytes]
  std::vector<int64_t> strides;  // in elements; empty = dense row-major
  AccessMode access = AccessMode::kRead;
  // For a weight operand of a call: which segment of which tile it is (its bytes must be that segment's).
  TileId tile = -1;
  int32_t segment = -1;
};

struct Instruction {
  InstrKind kind = InstrKind::kCall;
  int64_t seq = 0;             // place in the serial order; unique in the program
  uint64_t residues = ~0ull;   // bit r: runs in iterations with iteration mod period == r
  int32_t pass = 0;
  TileId tile = -1;            // copy of a tile, prepare, host update, gather
  int32_t node = -1;           // call: index into Schedule::nodes
  // Call: the branches it computes (empty: the node depends on no perturbed weight, one call serves all branches).
  // Prepare: the branches it emits.
  std::vector<int32_t> branches;
  // Prepare, gather, host update: the source bytes are the master as an earlier instruction of this same iteration
  // wrote it back (nothing is pending any more), not as it was when the iteration began.
  bool source_after_write = false;
  // Copy, prepare: of a coded tile, the bytes are its codes (wire form). False: they are its master.
  bool coded = false;
  // Call with a weight part (TileMode): its range on the tiled axis; first and last part of the node.
  int64_t part_begin = 0, part_end = 0;
  bool first_part = true, last_part = true;
  std::vector<Operand> operands;
  double seconds = 0;          // predicted
};

enum class LaneKind : uint8_t { kCompute = 0, kH2D = 1, kD2H = 2, kHost = 3, kDisk = 4, kNet = 5 };

struct Lane {
  int32_t device = 0;
  LaneKind kind = LaneKind::kCompute;
  int32_t threads = 1;  // of its kernels; part of the fingerprint on compute lanes
  std::vector<Instruction> instructions;
};

// Instruction `to` of iteration i starts only when lane `from_lane` has passed instruction `from` of iteration
// i - back (run it, or passed over it because of its residues). Before the program's first iteration all is passed.
struct Edge {
  LaneId from_lane = 0;
  int32_t from = 0;
  LaneId to_lane = 0;
  int32_t to = 0;
  int32_t back = 0;
};

enum class Purpose : uint8_t { kTrain = 0, kEvaluate = 1, kFlush = 2 };

// A batch input: the host writes the whole batch (micro_batches · rows) to `staging`; an instruction copies it to
// `device`, whose micro batch j is at j · type.bytes().
struct ProgramInput {
  int32_t value = -1;
  BufferId staging = -1, device = -1;
};
// An evaluation's output: an instruction copies `device` to `staging`, where the host reads it.
struct ProgramOutput {
  int32_t value = -1;
  BufferId staging = -1, device = -1;
};

struct Program {
  std::string name;
  Purpose purpose = Purpose::kTrain;
  int32_t period = 1;         // K
  int32_t samples = 1;        // q
  int32_t micro_batches = 1;
  std::vector<Branch> branches;
  std::vector<Lane> lanes;
  std::vector<Edge> edges;
  std::vector<ProgramInput> inputs;
  std::vector<ProgramOutput> outputs;
  // Per branch in order: kLoss buffers on the device (sum, count) and their copies in host staging (-1: flush).
  std::vector<BufferId> loss_sum, loss_count, loss_sum_host, loss_count_host;
  BufferId control_staging = -1, control = -1;  // train
  BufferId record = -1, record_host = -1;       // record ring on the device and its host copy (train)
  // State contract. On entry every trainable tile's master is current through some v with step - v <= max_lag_in;
  // when the program is left at step t, t - v <= max_lag_out (flush: 0).
  int32_t max_lag_in = 0, max_lag_out = 0;
  double predicted_period = 0;  // seconds per iteration in the steady state
};

// What the host gives each train iteration (kControl, little endian, 16 bytes).
struct StepControl {
  uint64_t step;
  double lr;
};
// What `gradient` leaves of each train iteration (kRecord): this header, then loss_plus[q], loss_minus[q], g[q],
// all binary64. skipped: a loss was not finite; the step has no update.
struct StepRecord {
  uint64_t step;
  double lr;
  uint32_t q;
  uint32_t skipped;
  double* loss_plus() { return reinterpret_cast<double*>(this + 1); }
  double* loss_minus() { return loss_plus() + q; }
  double* g() { return loss_plus() + 2 * q; }
  const double* loss_plus() const { return reinterpret_cast<const double*>(this + 1); }
  const double* loss_minus() const { return loss_plus() + q; }
  const double* g() const { return loss_plus() + 2 * q; }
};
constexpr uint64_t StepRecordBytes(int q) { return sizeof(StepRecord) + 24 * static_cast<uint64_t>(q); }

enum class Rounding : uint8_t { kNearest = 0, kStochastic = 1 };

struct Schedule {
  int32_t version = kScheduleVersion;
  std::string model_name, model_digest;
  std::string machine;               // name of the machine description it was made for
  std::string numerics;              // canonical JSON of everything that decides bits
  std::string fingerprint;           // hex digest of `numerics`
  std::string model_dir;             // folder of the model file: relative Place files are found from here
  LossInfo loss;
  Rounding rounding = Rounding::kStochastic;  // of narrow storage
  bool rademacher = false;
  std::vector<Arena> arenas;
  std::vector<PlanWeight> weights;
  std::vector<Tile> tiles;
  std::vector<PlanValue> values;
  std::vector<PlanNode> nodes;
  std::vector<Buffer> buffers;
  std::vector<Program> programs;     // at most one per purpose today
  std::vector<std::string> notes;
  std::string report;                // the plan's report, JSON; the runtime does not read it
  const Program* Find(Purpose purpose) const {
    for (const Program& p : programs)
      if (p.purpose == purpose) return &p;
    return nullptr;
  }
};

// ---- small facts about the structs, for all readers ----
std::string_view Name(Tier);
std::string_view Name(BufferKind);
std::string_view Name(InstrKind);
std::string_view Name(LaneKind);
std::string_view Name(Purpose);
inline bool RunsAt(const Program& p, const Instruction& i, int64_t iteration) {
  return (i.residues >> (static_cast<uint64_t>(iteration) % static_cast<uint64_t>(p.period))) & 1;
}
int64_t NumInstructions(const Schedule&);

}  // namespace zo2

#endif  // ZO2_IR_SCHEDULE_SCHEDULE_H_
