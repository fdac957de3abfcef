#include "runtime/program_run.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>
#include <utility>

#include "runtime/codes.h"

namespace zo2 {
namespace {

int64_t Nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

ProgramRun::ProgramRun(Context context)
    : context_(std::move(context)), submitted_(context_.first), end_(context_.first) {
  const BoundProgram& bound = *context_.bound;
  const size_t n = bound.lanes.size();
  trace_.resize(n);
  for (size_t l = 0; l < n; ++l) {
    lanes_.push_back(std::make_unique<LaneState>());
    lanes_[l]->passed.Reset(static_cast<uint64_t>(context_.first) * bound.lanes[l].size());
    lanes_[l]->peak.assign(context_.schedule->arenas.size(), 0);
    // Events beyond these, of a run that may well end before them, make room for themselves.
    constexpr size_t kReserved = 1 << 20;
    trace_[l].reserve(std::min(kReserved, static_cast<size_t>(context_.trace_iterations) * bound.lanes[l].size()));
  }
  if (context_.chaos.mode == ChaosMode::kPriority)
    turnstile_ = std::make_unique<Turnstile>(context_.chaos.seed, static_cast<int>(n));
  admitted_.Reset(static_cast<uint64_t>(context_.first));
  for (size_t l = 0; l < n; ++l)
    context_.threads[l]->Start([this, l] { is_async(l) ? RunAsyncLane(l) : RunLane(l); });
}

ProgramRun::~ProgramRun() { (void)Close().ok(); }

void ProgramRun::Submit(int64_t end) {
  submitted_ = std::max(submitted_, end);
  admitted_.Signal(static_cast<uint64_t>(submitted_));
}

Status ProgramRun::Wait(int64_t iteration) {
  for (size_t l = 0; l < lanes_.size(); ++l)
    lanes_[l]->passed.Wait(static_cast<uint64_t>(iteration + 1) * context_.bound->lanes[l].size());
  for (size_t l = 0; l < lanes_.size(); ++l)
    if (is_async(l) && !context_.bound->lanes[l].empty() && !failed_.load())
      if (Status status = context_.async->lanes[l]->iteration_end.at(iteration).Synchronize(); !status.ok())
        Fail(std::move(status));
  std::lock_guard<std::mutex> lock(error_mutex_);
  return error_;
}

Status ProgramRun::Close() {
  if (!closed_) {
    closed_ = true;
    end_.store(submitted_);
    admitted_.Signal(Counter::kForever);
    for (LaneThread* thread : context_.threads) thread->Join();
  }
  std::lock_guard<std::mutex> lock(error_mutex_);
  return error_;
}

std::vector<LaneStats> ProgramRun::stats() const {
  std::vector<LaneStats> stats;
  for (const auto& lane : lanes_)
    stats.push_back({1e-9 * static_cast<double>(lane->busy.load()), 1e-9 * static_cast<double>(lane->waiting.load()),
                     lane->bytes.load(), lane->instructions.load()});
  return stats;
}

std::vector<uint64_t> ProgramRun::peak() const {
  std::vector<uint64_t> peak(context_.schedule->arenas.size(), 0);
  for (const auto& lane : lanes_)
    for (size_t a = 0; a < peak.size(); ++a) peak[a] = std::max(peak[a], lane->peak[a]);
  return peak;
}

void ProgramRun::Fail(Status status) {
  std::lock_guard<std::mutex> lock(error_mutex_);
  if (error_.ok()) error_ = std::move(status);
  failed_.store(true);
}

bool ProgramRun::Ready(const BoundInstruction& bound, int64_t iteration) const {
  for (const BoundInstruction::Wait& wait : bound.waits) {
    const size_t from = static_cast<size_t>(wait.lane);
    const int64_t i = iteration - wait.back;
    if (i < context_.first) continue;
    const uint64_t target = static_cast<uint64_t>(i) * context_.bound->lanes[from].size() +
                            static_cast<uint64_t>(wait.index) + 1;
    if (lanes_[from]->passed.value() < target) return false;
  }
  return true;
}

bool ProgramRun::WaitPassed(const BoundInstruction::Wait& wait, int64_t iteration) {
  const int64_t i = iteration - wait.back;
  if (i < context_.first) return false;
  const size_t from = static_cast<size_t>(wait.lane);
  lanes_[from]->passed.Wait(static_cast<uint64_t>(i) * context_.bound->lanes[from].size() +
                            static_cast<uint64_t>(wait.index) + 1);
  return true;
}

int64_t ProgramRun::StepOf(int64_t iteration) const {
  return context_.bound->program->purpose == Purpose::kTrain ? iteration : context_.step;
}

void ProgramRun::Touch(size_t l, const BoundInstruction& bound, int64_t iteration, int64_t step) {
  for (const BoundOperand& operand : bound.operands) {
    if (operand.base == nullptr) continue;
    uint64_t& peak = lanes_[l]->peak[static_cast<size_t>(operand.arena)];
    peak = std::max(peak, operand.arena_end + operand.Copy(iteration, step));
  }
}

void ProgramRun::RunLane(size_t l) {
  const std::vector<BoundInstruction>& instructions = context_.bound->lanes[l];
  const int64_t length = static_cast<int64_t>(instructions.size());
  LaneState& me = *lanes_[l];
  ChaosDelay delay(context_.chaos.seed, static_cast<int>(l));
  const bool delays = context_.chaos.mode == ChaosMode::kDelay;
  if (length == 0) return;
  for (int64_t iteration = context_.first;; ++iteration) {
    admitted_.Wait(static_cast<uint64_t>(iteration) + 1);
    if (admitted_.value() == Counter::kForever && iteration >= end_.load()) break;
    if (turnstile_) turnstile_->Wake(static_cast<int>(l));
    int64_t now = Nanoseconds();
    for (int64_t index = 0; index < length; ++index) {
      const BoundInstruction& bound = instructions[static_cast<size_t>(index)];
      const uint64_t passed = static_cast<uint64_t>(iteration * length + index + 1);
      if (!RunsAt(*context_.bound->program, *bound.instruction, iteration) || failed_.load(std::memory_order_relaxed)) {
        me.passed.Signal(passed);
        continue;
      }
      const int64_t begin = now;
      if (turnstile_) {
        turnstile_->Enter(static_cast<int>(l), [&bound, iteration, this] { return Ready(bound, iteration); });
      } else {
        for (const BoundInstruction::Wait& wait : bound.waits) WaitPassed(wait, iteration);
      }
      for (const BoundInstruction::Wait& wait : bound.waits) {
        if (iteration - wait.back < context_.first || !is_async(static_cast<size_t>(wait.lane)) || failed_.load()) continue;
        const EventRing& done = context_.async->lanes[static_cast<size_t>(wait.lane)]->passed[static_cast<size_t>(wait.index)];
        if (Status status = done.at(iteration - wait.back).Synchronize(); !status.ok()) Fail(std::move(status));
      }
      if (delays) delay.Sleep();
      const int64_t start = Nanoseconds();
      if (!failed_.load(std::memory_order_relaxed))
        if (Status status = Execute(l, bound, iteration); !status.ok()) Fail(std::move(status));
      now = Nanoseconds();
      me.waiting.store(me.waiting.load(std::memory_order_relaxed) + start - begin, std::memory_order_relaxed);
      me.busy.store(me.busy.load(std::memory_order_relaxed) + now - start, std::memory_order_relaxed);
      me.instructions.store(me.instructions.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
      if (iteration - context_.first < context_.trace_iterations)
        trace_[l].push_back({iteration, static_cast<int32_t>(index), begin, start, now});
      if (delays) delay.Sleep();
      me.passed.Signal(passed);
      if (turnstile_) turnstile_->Leave(static_cast<int>(l));
    }
    if (turnstile_) turnstile_->Idle(static_cast<int>(l));
  }
  if (turnstile_) turnstile_->Idle(static_cast<int>(l));
}

Status ProgramRun::Execute(size_t l, const BoundInstruction& bound, int64_t iteration) {
  const int64_t step = StepOf(iteration);
  LaneState& me = *lanes_[l];
  Touch(l, bound, iteration, step);
  switch (bound.instruction->kind) {
    case InstrKind::kCopy:
    case InstrKind::kDiskRead:
    case InstrKind::kDiskWrite: {
      const BoundOperand &from = bound.operands[0], &to = bound.operands[1];
      const uint64_t bytes = std::min(from.bytes, to.bytes);
      ZO2_TRY(context_.threads[l]->queue().Copy(to.At(iteration, step), from.At(iteration, step), bytes));
      me.bytes.store(me.bytes.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
      return Status();
    }
    case InstrKind::kPrepare:
      return ExecutePrepare(l, bound, iteration, step);
    case InstrKind::kHostUpdate:
      return ExecuteHostUpdate(l, bound, iteration, step);
    case InstrKind::kCall:
      return ForEachCall(bound, iteration, step, bound.kernel);
    case InstrKind::kGradient: {
      const GradientJob job = MakeGradientJob(bound, iteration, step);
      Gradient(*job.control, job.branches, job.losses, job.q, *job.parameters, job.record);
      return Status();
    }
    case InstrKind::kGather:
      return ExecuteGather(bound, iteration, step);
    case InstrKind::kHostCall:
    case InstrKind::kCollective:
      break;
  }
  return Internal("an instruction of kind ", Name(bound.instruction->kind), " reached a lane");
}

Status ProgramRun::ForEachCall(const BoundInstruction& bound, int64_t iteration, int64_t step,
                               const std::function<Status(const KernelCall&)>& run) const {
  const size_t group = static_cast<size_t>(bound.group);
  const size_t tensors = group - 2;
  for (size_t g = 0; g < bound.calls.size(); ++g) {
    KernelCall call = bound.calls[g];
    if (bound.patched) {
      // Rings: this iteration's copy. Only this lane's thread uses the instruction, so its views may be changed in place.
      TensorView* views = bound.views.data() + g * tensors;
      const BoundOperand* operands = bound.operands.data() + g * group;
      for (size_t i = 0; i < tensors; ++i) views[i].data = operands[i].At(iteration, step);
      call.state = operands[tensors].At(iteration, step);
      call.workspace = operands[tensors + 1].At(iteration, step);
    }
    if (Status status = run(call); !status.ok()) {
      const PlanNode& node = context_.schedule->nodes[static_cast<size_t>(bound.instruction->node)];
      return Error(status.code(), "node ", node.name, " (", Name(node.op), "), call ", g, ": ", status.message());
    }
  }
  return Status();
}

PrepareJob ProgramRun::MakeJob(const BoundInstruction& bound, int64_t iteration, int64_t step) const {
  const Instruction& instruction = *bound.instruction;
  const size_t tile = static_cast<size_t>(instruction.tile);
  const BoundProgram& program = *context_.bound;
  PrepareJob job;
  job.schedule = context_.schedule;
  job.train = context_.train;
  job.tile = &context_.schedule->tiles[tile];
  job.parameters = context_.parameters;
  job.saturated = context_.saturated;
  job.coded = instruction.coded;
  job.step = step;
  const std::vector<uint64_t>& writes = job.coded ? program.codes_writes : program.master_writes;
  const std::vector<int64_t>& entry = job.coded ? context_.entry_codes : context_.entry_version;
  job.version = instruction.source_after_write
                    ? step
                    : program.VersionAt(writes[tile], iteration, context_.first, entry[tile], step);
  return job;
}

Status ProgramRun::ExecuteHostUpdate(size_t l, const BoundInstruction& bound, int64_t iteration, int64_t step) {
  if (bound.operands.size() != 3) return Internal("a host update has ", bound.operands.size(), " operands");
  PrepareJob job = MakeJob(bound, iteration, step);
  job.source = job.master_out = bound.operands[0].At(iteration, step);
  job.records = context_.records_host;
  return HostUpdate(job, bound.operands[2].At(iteration, step), context_.threads[l]->workers());
}

Result<PrepareJob> ProgramRun::MakePrepareJob(const BoundInstruction& bound, int64_t iteration, int64_t step,
                                              PrepareArrays* arrays) const {
  const Instruction& instruction = *bound.instruction;
  PrepareJob job = MakeJob(bound, iteration, step);
  auto& [outputs, branches] = *arrays;
  const size_t n = instruction.branches.size();
  if (n > 64 || bound.operands.size() != 3 + n) return Internal("prepare of ", job.tile->name, ": operands and branches");
  for (size_t b = 0; b < n; ++b) {
    outputs[b] = bound.operands[3 + b].At(iteration, step);
    branches[b] = &context_.bound->program->branches[static_cast<size_t>(instruction.branches[b])];
  }
  job.outputs = {outputs, n};
  job.branches = {branches, n};
  job.source = bound.operands[0].At(iteration, step);
  job.master_out = bound.operands[1].At(iteration, step);
  job.records = context_.records;
  if (bound.operands[2].base != nullptr) {
    job.gathered = true;
    job.ids = {reinterpret_cast<const int64_t*>(bound.operands[2].At(iteration, step)), bound.operands[2].bytes / 8};
  }
  return job;
}

Status ProgramRun::ExecutePrepare(size_t l, const BoundInstruction& bound, int64_t iteration, int64_t step) {
  PrepareArrays arrays;
  ZO2_ASSIGN(const PrepareJob job, MakePrepareJob(bound, iteration, step, &arrays));
  return PrepareTile(job, context_.threads[l]->workers());
}

Status ProgramRun::ExecuteGather(const BoundInstruction& bound, int64_t iteration, int64_t step) {
  const Instruction& instruction = *bound.instruction;
  const Tile& tile = context_.schedule->tiles[static_cast<size_t>(instruction.tile)];
  const Segment& segment = tile.segments[0];
  const Component& component = context_.schedule->weights[static_cast<size_t>(segment.weight)]
                                   .components[static_cast<size_t>(segment.component)];
  const uint64_t row = static_cast<uint64_t>((segment.col_end - segment.col_begin) * SizeOf(component.storage));
  const int64_t rows = segment.row_end - segment.row_begin;
  const std::span<const int64_t> ids{reinterpret_cast<const int64_t*>(bound.operands[0].At(iteration, step)),
                                     bound.operands[0].bytes / 8};
  const std::byte* master = bound.operands[1].At(iteration, step) + segment.offset;
  std::byte* to = bound.operands[2].At(iteration, step);
  for (size_t i = 0; i < ids.size(); ++i) {
    const int64_t id = ids[i] - segment.row_begin;
    if (id < 0 || id >= rows)
      return Invalid("an input id is ", ids[i], " but ", tile.name, " has rows ", segment.row_begin, " to ",
                     segment.row_end - 1, ": the data does not belong to this model");
    std::memcpy(to + i * row, master + static_cast<uint64_t>(id) * row, row);
  }
  return Status();
}

GradientJob ProgramRun::MakeGradientJob(const BoundInstruction& bound, int64_t iteration, int64_t step) const {
  const Program& program = *context_.bound->program;
  GradientJob job;
  for (size_t b = 0; b < program.branches.size(); ++b) {
    const BoundOperand &sum = bound.operands[2 + 2 * b], &count = bound.operands[3 + 2 * b];
    job.losses.push_back({{reinterpret_cast<const double*>(sum.At(iteration, step)), sum.bytes / 8},
                          {reinterpret_cast<const double*>(count.At(iteration, step)), count.bytes / 8}});
  }
  job.control = reinterpret_cast<const StepControl*>(bound.operands[0].At(iteration, step));
  job.record = reinterpret_cast<StepRecord*>(bound.operands[1].At(iteration, step));
  job.branches = program.branches;
  job.q = program.samples;
  job.parameters = context_.parameters;
  return job;
}

}  // namespace zo2
