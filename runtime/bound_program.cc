#include "runtime/bound_program.h"

#include <algorithm>
#include <string>

#include "runtime/codes.h"

namespace zo2 {
namespace {

// Bytes from the first element to past the last.
uint64_t Extent(const Operand& operand) {
  if (operand.strides.empty()) return static_cast<uint64_t>(operand.type.bytes());
  int64_t last = 0;
  for (size_t i = 0; i < operand.strides.size(); ++i) {
    if (operand.type.shape[i] == 0) return 0;
    last += (operand.type.shape[i] - 1) * operand.strides[i];
  }
  return static_cast<uint64_t>((last + 1) * SizeOf(operand.type.dtype));
}

BoundOperand BindOperand(const Schedule& schedule, const Operand& operand, std::span<std::byte* const> arenas) {
  if (operand.buffer < 0) return BoundOperand();
  BoundOperand bound = BindBuffer(schedule, operand.buffer, arenas);
  bound.bytes = Extent(operand);
  bound.base += operand.offset;
  bound.arena_end = schedule.buffers[static_cast<size_t>(operand.buffer)].offset + operand.offset + bound.bytes;
  return bound;
}

TensorView View(const Operand& operand, const BoundOperand& bound) {
  TensorView view;
  if (bound.base == nullptr) return view;
  view.data = bound.base;
  view.dtype = operand.type.dtype;
  view.shape = operand.type.shape;
  view.strides = operand.strides;
  if (view.strides.empty() && !view.shape.empty()) {
    view.strides.assign(view.shape.size(), 1);
    for (size_t i = view.shape.size() - 1; i-- > 0;)
      view.strides[i] = view.strides[i + 1] * std::max<int64_t>(1, view.shape[i + 1]);
  }
  return view;
}

Status BindCall(const Schedule& schedule, const Lane& lane, const KernelTable& kernels, BoundInstruction* bound) {
  const Instruction& instruction = *bound->instruction;
  const PlanNode& node = schedule.nodes[static_cast<size_t>(instruction.node)];
  bound->kernel = kernels.call[static_cast<size_t>(node.op)];
  if (bound->kernel == nullptr)
    return Error(Code::kRejected, "node ", node.name, ": this build has no kernel for ", Name(node.op));
  const size_t inputs = node.inputs.size(), outputs = node.outputs.size(), group = inputs + outputs + 2;
  const size_t groups = std::max<size_t>(1, instruction.branches.size());
  if (instruction.operands.size() != groups * group)
    return Error(Code::kRejected, "node ", node.name, ": a call of ", groups, " branches needs ", groups * group,
                 " operands (inputs, outputs, state, workspace per branch) but has ", instruction.operands.size());
  bound->group = static_cast<int>(group);
  bound->views.reserve(groups * (inputs + outputs));
  for (size_t g = 0; g < groups; ++g)
    for (size_t i = 0; i < inputs + outputs; ++i)
      bound->views.push_back(View(instruction.operands[g * group + i], bound->operands[g * group + i]));
  for (size_t g = 0; g < groups; ++g) {
    KernelCall call;
    call.op = node.op;
    call.attrs = &node.attrs;
    call.inputs = std::span<const TensorView>(bound->views).subspan(g * (inputs + outputs), inputs);
    call.outputs = std::span<const TensorView>(bound->views).subspan(g * (inputs + outputs) + inputs, outputs);
    call.part_begin = instruction.part_begin;
    call.part_end = instruction.part_end;
    call.first_part = instruction.first_part;
    call.last_part = instruction.last_part;
    call.state = bound->operands[g * group + inputs + outputs].base;
    const BoundOperand& workspace = bound->operands[g * group + inputs + outputs + 1];
    call.workspace = workspace.base;
    call.workspace_bytes = static_cast<int64_t>(workspace.bytes);
    call.threads = lane.threads;
    bound->calls.push_back(call);
  }
  for (const BoundOperand& operand : bound->operands) bound->patched |= operand.ring > 1;
  return Status();
}

}  // namespace

BoundOperand BindBuffer(const Schedule& schedule, BufferId id, std::span<std::byte* const> arenas) {
  const Buffer& buffer = schedule.buffers[static_cast<size_t>(id)];
  BoundOperand bound;
  bound.base = arenas[static_cast<size_t>(buffer.arena)] + buffer.offset;
  bound.stride = buffer.stride;
  bound.ring = buffer.ring;
  bound.by_step = buffer.kind == BufferKind::kRecord;
  bound.bytes = buffer.bytes;
  bound.arena = buffer.arena;
  bound.arena_end = buffer.offset + buffer.bytes;
  return bound;
}

Result<BoundProgram> Bind(const Schedule& schedule, const Program& program, std::span<std::byte* const> arenas,
                          const KernelTable& kernels) {
  BoundProgram bound;
  bound.program = &program;
  bound.master_writes.assign(schedule.tiles.size(), 0);
  bound.codes_writes = CodesWrites(schedule, program);
  bound.lanes.resize(program.lanes.size());
  for (size_t l = 0; l < program.lanes.size(); ++l) {
    const Lane& lane = program.lanes[l];
    bound.lanes[l].resize(lane.instructions.size());
    for (size_t i = 0; i < lane.instructions.size(); ++i) {
      const Instruction& instruction = lane.instructions[i];
      BoundInstruction& b = bound.lanes[l][i];
      b.instruction = &instruction;
      for (const Operand& operand : instruction.operands) b.operands.push_back(BindOperand(schedule, operand, arenas));
      if (instruction.kind == InstrKind::kHostCall || instruction.kind == InstrKind::kCollective)
        return Error(Code::kRejected, "program ", program.name, ": this build cannot run ", Name(instruction.kind));
      if (instruction.kind == InstrKind::kCall) ZO2_TRY(BindCall(schedule, lane, kernels, &b));
      if (instruction.tile >= 0) {
        const BufferId master = schedule.tiles[static_cast<size_t>(instruction.tile)].master;
        const size_t target = instruction.kind == InstrKind::kHostUpdate ? 0 : 1;
        const bool may_write = instruction.kind == InstrKind::kCopy || instruction.kind == InstrKind::kDiskWrite ||
                               instruction.kind == InstrKind::kPrepare || instruction.kind == InstrKind::kHostUpdate;
        if (may_write && instruction.operands.size() > target && master >= 0 &&
            instruction.operands[target].buffer == master)
          bound.master_writes[static_cast<size_t>(instruction.tile)] |= instruction.residues;
      }
    }
  }
  for (const Edge& edge : program.edges)
    bound.lanes[static_cast<size_t>(edge.to_lane)][static_cast<size_t>(edge.to)].waits.push_back(
        {edge.from_lane, edge.from, edge.back});

  uint32_t depth = 2;  // the host stays one step ahead of the one that runs
  const auto limit = [&](BufferId id) {
    if (id >= 0) depth = std::min(depth, std::max<uint32_t>(1, schedule.buffers[static_cast<size_t>(id)].ring));
  };
  for (const ProgramInput& input : program.inputs) limit(input.staging);
  for (const ProgramOutput& output : program.outputs) limit(output.staging);
  for (const BufferId id : program.loss_sum_host) limit(id);
  for (const BufferId id : program.loss_count_host) limit(id);
  limit(program.control_staging);
  if (program.purpose == Purpose::kTrain) limit(program.record_host);
  bound.depth = static_cast<int>(depth);
  return bound;
}

int64_t BoundProgram::VersionAt(uint64_t writes, int64_t iteration, int64_t first, int64_t entry, int64_t step) const {
  if (writes == 0) return entry;
  const int64_t period = program->period;
  for (int64_t i = iteration - 1; i >= first && i >= iteration - period; --i)
    if ((writes >> (i % period)) & 1) return program->purpose == Purpose::kTrain ? i : step;
  return entry;
}

}  // namespace zo2
