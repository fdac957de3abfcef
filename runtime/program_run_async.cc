// Asynchronous lanes of a program's run: see async_program.h.
#include <algorithm>
#include <chrono>
#include <utility>

#include "runtime/cuda/prepare_launch.h"
#include "runtime/program_run.h"

namespace zo2 {
namespace {

int64_t Nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

AsyncQueue& QueueOf(LaneThread* thread) { return *thread->queue().async(); }

}  // namespace

void ProgramRun::RunAsyncLane(size_t l) {
  AsyncLane& lane = *context_.async->lanes[l];
  AsyncQueue& queue = QueueOf(context_.threads[l]);
  LaneState& me = *lanes_[l];
  const int64_t length = static_cast<int64_t>(context_.bound->lanes[l].size());
  ChaosDelay delay(context_.chaos.seed, static_cast<int>(l));
  const bool delays = context_.chaos.mode == ChaosMode::kDelay;
  if (length == 0) return;
  me.joined.assign(lanes_.size(), 0);
  if (!context_.threads[l]->bind_status().ok()) Fail(context_.threads[l]->bind_status());
  for (int64_t iteration = context_.first;; ++iteration) {
    admitted_.Wait(static_cast<uint64_t>(iteration) + 1);
    if (admitted_.value() == Counter::kForever && iteration >= end_.load()) break;
    if (turnstile_) turnstile_->Wake(static_cast<int>(l));
    for (Stretch& stretch : lane.stretches) {
      const BoundInstruction& first = context_.bound->lanes[l][static_cast<size_t>(stretch.begin)];
      const bool runs = RunsAt(*context_.bound->program, *first.instruction, iteration);
      if (turnstile_)
        turnstile_->Enter(static_cast<int>(l), [&, this] { return !runs || failed_.load() || Ready(first, iteration); });
      if (runs && !failed_.load())
        for (const BoundInstruction::Wait& wait : first.waits) WaitPassed(wait, iteration);
      if (delays) delay.Sleep();
      if (!failed_.load())
        if (Status status = RunStretch(l, stretch, iteration); !status.ok()) Fail(std::move(status));
      me.passed.Signal(static_cast<uint64_t>(iteration * length + stretch.end));
      if (turnstile_) turnstile_->Leave(static_cast<int>(l));
    }
    if (turnstile_) turnstile_->Idle(static_cast<int>(l));
  }
  if (turnstile_) turnstile_->Idle(static_cast<int>(l));
  Status status = queue.Synchronize();
  if (status.ok()) status = ResolveTrace(l);
  if (!status.ok()) Fail(std::move(status));
}

// Also where the stretch's instructions leave the iteration out, its events are recorded: who waits for one waits for all
// that is before it in the lane.
Status ProgramRun::RunStretch(size_t l, Stretch& stretch, int64_t iteration) {
  AsyncLane& lane = *context_.async->lanes[l];
  AsyncQueue& queue = QueueOf(context_.threads[l]);
  const std::vector<BoundInstruction>& instructions = context_.bound->lanes[l];
  const int64_t step = StepOf(iteration);
  const BoundInstruction& first = instructions[static_cast<size_t>(stretch.begin)];
  if (RunsAt(*context_.bound->program, *first.instruction, iteration)) ZO2_TRY(JoinLanes(l, first, iteration));
  WriteScalars(l, stretch, iteration);
  if (iteration - context_.first < context_.trace_iterations) {
    ZO2_TRY(GiveTraced(l, stretch, iteration));
  } else if (stretch.iterations == 0 || !context_.graphs) {
    ZO2_TRY(Give(l, stretch, iteration));
  } else {
    Stretch::Captured& captured = stretch.graphs[stretch.Key(iteration, step)];
    if (captured.warm && captured.graph == nullptr) {
      ZO2_TRY(queue.BeginCapture());
      const Status given = Give(l, stretch, iteration);
      Result<std::unique_ptr<CapturedWork>> graph = queue.EndCapture();  // ends a capture that has failed, too
      if (!given.ok()) return given;
      if (!graph.ok()) return graph.status();
      captured.graph = std::move(*graph);
    }
    ZO2_TRY(captured.graph != nullptr ? queue.Launch(*captured.graph) : Give(l, stretch, iteration));
    captured.warm = true;
  }
  LaneState& me = *lanes_[l];
  for (int32_t i = stretch.begin; i < stretch.end; ++i) {
    const BoundInstruction& bound = instructions[static_cast<size_t>(i)];
    if (!RunsAt(*context_.bound->program, *bound.instruction, iteration)) continue;
    Touch(l, bound, iteration, step);
    me.instructions.store(me.instructions.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    if (bound.instruction->kind == InstrKind::kCopy)
      me.bytes.store(me.bytes.load(std::memory_order_relaxed) + std::min(bound.operands[0].bytes, bound.operands[1].bytes),
                     std::memory_order_relaxed);
  }
  const EventRing& passed = lane.passed[static_cast<size_t>(stretch.end) - 1];
  if (!passed.empty()) ZO2_TRY(queue.Record(passed.at(iteration)));
  if (&stretch == &lane.stretches.back()) return queue.Record(lane.iteration_end.at(iteration));
  return Status();
}

Status ProgramRun::JoinLanes(size_t l, const BoundInstruction& first, int64_t iteration) {
  LaneState& me = *lanes_[l];
  for (const BoundInstruction::Wait& wait : first.waits) {
    const size_t from = static_cast<size_t>(wait.lane);
    const int64_t i = iteration - wait.back;
    if (i < context_.first || !is_async(from)) continue;
    const uint64_t target = static_cast<uint64_t>(i) * context_.bound->lanes[from].size() +
                            static_cast<uint64_t>(wait.index) + 1;
    if (me.joined[from] >= target) continue;  // the queue is behind that already
    me.joined[from] = target;
    ZO2_TRY(QueueOf(context_.threads[l])
                .Wait(context_.async->lanes[from]->passed[static_cast<size_t>(wait.index)].at(i)));
  }
  return Status();
}

void ProgramRun::WriteScalars(size_t l, const Stretch& stretch, int64_t iteration) {
  const AsyncLane& lane = *context_.async->lanes[l];
  const int64_t step = StepOf(iteration);
  for (int32_t i = stretch.begin; i < stretch.end; ++i) {
    if (lane.scalars[static_cast<size_t>(i)] < 0) continue;
    const PrepareJob job = MakeJob(context_.bound->lanes[l][static_cast<size_t>(i)], iteration, step);
    context_.async->scalars(iteration)[lane.scalars[static_cast<size_t>(i)]] = {job.step, job.version};
  }
}

Status ProgramRun::Give(size_t l, const Stretch& stretch, int64_t iteration) {
  const int64_t step = StepOf(iteration);
  for (int32_t i = stretch.begin; i < stretch.end; ++i) {
    const BoundInstruction& bound = context_.bound->lanes[l][static_cast<size_t>(i)];
    if (RunsAt(*context_.bound->program, *bound.instruction, iteration)) ZO2_TRY(GiveOne(l, bound, iteration, step));
  }
  return Status();
}

Status ProgramRun::GiveOne(size_t l, const BoundInstruction& bound, int64_t iteration, int64_t step) {
  AsyncQueue& queue = QueueOf(context_.threads[l]);
  switch (bound.instruction->kind) {
    case InstrKind::kCopy: {
      const BoundOperand &from = bound.operands[0], &to = bound.operands[1];
      return queue.Copy(to.At(iteration, step), from.At(iteration, step), std::min(from.bytes, to.bytes));
    }
    case InstrKind::kPrepare: {
      PrepareArrays arrays;
      ZO2_ASSIGN(PrepareJob job, MakePrepareJob(bound, iteration, step, &arrays));
      job.saturated = context_.async->saturated();
      const size_t index = static_cast<size_t>(&bound - context_.bound->lanes[l].data());
      const int32_t place = context_.async->lanes[l]->scalars[index];
      return queue.Prepare(job, context_.async->scalars(iteration) + place);
    }
    case InstrKind::kCall:
      return ForEachCall(bound, iteration, step,
                         [&](const KernelCall& call) { return queue.Call(bound.kernel, call); });
    case InstrKind::kGradient:
      return queue.Gradient(MakeGradientJob(bound, iteration, step));
    default:
      return Internal("an instruction of kind ", Name(bound.instruction->kind), " reached a lane of the device");
  }
}

Status ProgramRun::GiveTraced(size_t l, const Stretch& stretch, int64_t iteration) {
  AsyncQueue& queue = QueueOf(context_.threads[l]);
  LaneState& me = *lanes_[l];
  if (me.time_zero == nullptr) {
    ZO2_ASSIGN(me.time_zero, queue.MakeEvent(true));
    ZO2_TRY(queue.Record(*me.time_zero));
    ZO2_TRY(me.time_zero->Synchronize());
    me.time_zero_ns = Nanoseconds();
  }
  for (int32_t i = stretch.begin; i < stretch.end; ++i) {
    const BoundInstruction& bound = context_.bound->lanes[l][static_cast<size_t>(i)];
    if (!RunsAt(*context_.bound->program, *bound.instruction, iteration)) continue;
    Timed timed{iteration, i, nullptr, nullptr};
    ZO2_ASSIGN(timed.start, queue.MakeEvent(true));
    ZO2_ASSIGN(timed.end, queue.MakeEvent(true));
    ZO2_TRY(queue.Record(*timed.start));
    ZO2_TRY(GiveOne(l, bound, iteration, StepOf(iteration)));
    ZO2_TRY(queue.Record(*timed.end));
    me.timed.push_back(std::move(timed));
  }
  return Status();
}

// An instruction is at its lane's head when the one before it is done.
Status ProgramRun::ResolveTrace(size_t l) {
  LaneState& me = *lanes_[l];
  int64_t head = me.time_zero_ns, busy = 0, waiting = 0;
  for (const Timed& timed : me.timed) {
    ZO2_ASSIGN(const double start, QueueOf(context_.threads[l]).Seconds(*me.time_zero, *timed.start));
    ZO2_ASSIGN(const double end, QueueOf(context_.threads[l]).Seconds(*me.time_zero, *timed.end));
    const int64_t start_ns = std::max(head, me.time_zero_ns + static_cast<int64_t>(start * 1e9));
    const int64_t end_ns = std::max(start_ns, me.time_zero_ns + static_cast<int64_t>(end * 1e9));
    trace_[l].push_back({timed.iteration, timed.index, head, start_ns, end_ns});
    waiting += start_ns - head;
    busy += end_ns - start_ns;
    head = end_ns;
  }
  me.busy.store(busy);
  me.waiting.store(waiting);
  me.timed.clear();
  return Status();
}

}  // namespace zo2
