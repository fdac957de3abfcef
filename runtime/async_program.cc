#include "runtime/async_program.h"

#include <algorithm>
#include <numeric>

#include "runtime/cuda/prepare_launch.h"

namespace zo2 {
namespace {

constexpr int64_t kMostGraphs = 64;  // of one stretch

bool OnlyOnAsyncLanes(InstrKind kind) { return kind == InstrKind::kPrepare || kind == InstrKind::kGradient; }

// Sets the moduli; see Stretch.
void DecideGraphs(const BoundProgram& bound, const std::vector<BoundInstruction>& instructions, Stretch* stretch) {
  int launches = 0;
  int64_t iterations = std::lcm<int64_t>(bound.program->period, bound.depth), steps = 1;
  for (int32_t i = stretch->begin; i < stretch->end; ++i) {
    const BoundInstruction& b = instructions[static_cast<size_t>(i)];
    launches += b.instruction->kind == InstrKind::kCall ? static_cast<int>(b.calls.size()) : 1;
    for (const BoundOperand& operand : b.operands) {
      if (operand.ring <= 1) continue;
      int64_t& modulus = operand.by_step ? steps : iterations;
      modulus = std::lcm<int64_t>(std::min(modulus, kMostGraphs + 1), operand.ring);
    }
  }
  if (launches < 2 || iterations > kMostGraphs || steps > kMostGraphs || iterations * steps > kMostGraphs) return;
  stretch->iterations = iterations;
  stretch->steps = steps;
}

}  // namespace

Result<EventRing> EventRing::Make(AsyncQueue& queue, int copies) {
  EventRing ring;
  for (int i = 0; i < copies; ++i) {
    ZO2_ASSIGN(std::unique_ptr<Event> event, queue.MakeEvent(false));
    ring.events_.push_back(std::move(event));
  }
  return ring;
}

cuda::StepScalars* AsyncProgram::scalars(int64_t iteration) const {
  return reinterpret_cast<cuda::StepScalars*>(memory->data()) + iteration % depth * scalars_count;
}
uint64_t* AsyncProgram::saturated() const {
  return reinterpret_cast<uint64_t*>(reinterpret_cast<cuda::StepScalars*>(memory->data()) + depth * scalars_count);
}

Result<std::unique_ptr<AsyncProgram>> MakeAsyncProgram(const BoundProgram& bound, Device& device,
                                                       const std::vector<LaneThread*>& threads) {
  const size_t n = bound.lanes.size();
  auto program = std::make_unique<AsyncProgram>();
  program->depth = bound.depth;
  program->lanes.resize(n);
  bool any = false;
  int64_t max_back = 0;
  std::vector<std::vector<bool>> waited_for(n);
  for (size_t l = 0; l < n; ++l) waited_for[l].assign(bound.lanes[l].size(), false);
  for (size_t l = 0; l < n; ++l)
    for (const BoundInstruction& b : bound.lanes[l])
      for (const BoundInstruction::Wait& wait : b.waits) {
        waited_for[static_cast<size_t>(wait.lane)][static_cast<size_t>(wait.index)] = true;
        max_back = std::max<int64_t>(max_back, wait.back);
      }
  // Iteration i's copy is recorded again by iteration i + copies, which begins when iteration i + copies - depth has ended
  // everywhere: nobody is left who waits for i.
  const int copies = static_cast<int>(bound.depth + max_back + 1);
  for (size_t l = 0; l < n; ++l) {
    AsyncQueue* queue = threads[l]->queue().async();
    const std::vector<BoundInstruction>& instructions = bound.lanes[l];
    if (queue == nullptr) continue;
    any = true;
    auto lane = std::make_unique<AsyncLane>();
    lane->passed.resize(instructions.size());
    lane->scalars.assign(instructions.size(), -1);
    ZO2_ASSIGN(lane->iteration_end, EventRing::Make(*queue, copies));
    for (size_t i = 0; i < instructions.size(); ++i) {
      const BoundInstruction& b = instructions[i];
      const bool begins = lane->stretches.empty() || !b.waits.empty() || waited_for[l][i - 1];
      const int32_t index = static_cast<int32_t>(i);
      if (begins) lane->stretches.push_back({index, index, 0, 0, {}});
      lane->stretches.back().end = index + 1;
      if (waited_for[l][i]) {
        ZO2_ASSIGN(lane->passed[i], EventRing::Make(*queue, copies));
      }
      if (b.instruction->kind == InstrKind::kPrepare)
        lane->scalars[i] = static_cast<int32_t>(program->scalars_count++);
    }
    if (bound.program->lanes[l].kind == LaneKind::kCompute)
      for (Stretch& stretch : lane->stretches) DecideGraphs(bound, instructions, &stretch);
    program->lanes[l] = std::move(lane);
  }
  for (size_t l = 0; l < n; ++l)
    for (const BoundInstruction& b : bound.lanes[l])
      if (any && program->lanes[l] == nullptr && OnlyOnAsyncLanes(b.instruction->kind))
        return Error(Code::kRejected, "program ", bound.program->name, ": ", Name(b.instruction->kind),
                     " is on a lane of the host, but this device has the weights");
  if (!any) return std::unique_ptr<AsyncProgram>();
  const uint64_t scalars = static_cast<uint64_t>(program->depth * program->scalars_count) * sizeof(cuda::StepScalars);
  ZO2_ASSIGN(program->memory, device.AllocateShared(scalars + sizeof(uint64_t)));
  return program;
}

}  // namespace zo2
