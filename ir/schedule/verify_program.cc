// Format of a program: its numbers, lanes, edges, and the serial order.
#include <algorithm>
#include <cmath>
#include <set>

#include "ir/schedule/verify_internal.h"

namespace zo2::internal {
namespace {

// A buffer of this kind and at least these bytes.
bool IsBuffer(const Schedule& s, BufferId id, BufferKind kind, uint64_t bytes) {
  return id >= 0 && Ix(id) < s.buffers.size() && s.buffers[Ix(id)].kind == kind && s.buffers[Ix(id)].bytes >= bytes;
}
bool OnDevice(const Schedule& s, BufferId id) {
  return s.arenas[Ix(s.buffers[Ix(id)].arena)].tier == Tier::kDevice;
}

Status CheckBranches(ProgramFacts* facts) {
  const Program& p = *facts->program;
  const auto reject = [&](const auto&... args) { return Rejected("program ", p.name, ": ", args...); };
  const bool train = p.purpose == Purpose::kTrain;
  if (p.period < 1 || p.period > (train ? kMaxPeriod : 1)) return reject("its period is ", p.period);
  if (p.samples < 1 || p.micro_batches < 1 || p.samples > kMaxPasses / p.micro_batches)
    return reject("has ", p.samples, " samples of ", p.micro_batches, " micro batches; 1 to ", kMaxPasses,
                  " passes can be checked");
  if (!train && facts->passes() != 1) return reject("only train has several passes");
  if (p.max_lag_in < 0 || p.max_lag_out < 0) return reject("its lags are negative");
  if (p.purpose == Purpose::kEvaluate && (p.branches.size() != 1 || !p.branches[0].terms.empty()))
    return reject("an evaluation has one branch without terms");
  if (p.purpose == Purpose::kFlush && !p.branches.empty()) return reject("a flush has no branches");
  if (train) {
    std::vector<int> plus(Ix(p.samples)), minus(Ix(p.samples));
    for (const Branch& b : p.branches) {
      // The gradient is (loss+ - loss-) / 2 eps: it knows no other coefficients.
      if (b.terms.size() != 1 || b.terms[0].sample < 0 || b.terms[0].sample >= p.samples ||
          std::fabs(b.terms[0].coefficient) != 1)
        return reject("a branch of train must be one term, +1 or -1 times z of one of its samples");
      ++(b.terms[0].coefficient > 0 ? plus : minus)[Ix(b.terms[0].sample)];
    }
    for (size_t i = 0; i < plus.size(); ++i)
      if (plus[i] != 1 || minus[i] != 1)
        return reject("sample ", i, " needs one branch of each sign but has ", plus[i], " and ", minus[i]);
  }
  for (const Branch& b : p.branches) facts->sample.push_back(b.terms.empty() ? 0 : b.terms[0].sample);
  return Status();
}

Status CheckHostSide(const ProgramFacts& facts) {
  const Schedule& s = *facts.schedule;
  const Program& p = *facts.program;
  const auto reject = [&](const auto&... args) { return Rejected("program ", p.name, ": ", args...); };
  std::set<BufferId> used;
  const auto own = [&](BufferId id) { return used.insert(id).second; };
  const auto micro = static_cast<uint64_t>(p.micro_batches);
  for (const ProgramInput& in : p.inputs) {
    if (in.value < 0 || Ix(in.value) >= s.values.size() || s.values[Ix(in.value)].kind != ValueKind::kInput)
      return reject("one of its inputs is no input of the graph");
    const uint64_t bytes = micro * static_cast<uint64_t>(s.values[Ix(in.value)].type.bytes());
    if (!IsBuffer(s, in.staging, BufferKind::kStaging, bytes) || !IsBuffer(s, in.device, BufferKind::kInput, bytes) ||
        !own(in.staging) || !own(in.device))
      return reject("input ", s.values[Ix(in.value)].name, " lacks staging and device buffers of its own with ", bytes,
                    " bytes");
  }
  for (const ProgramOutput& out : p.outputs) {
    if (out.value < 0 || Ix(out.value) >= s.values.size()) return reject("one of its outputs is no value");
    const uint64_t bytes = static_cast<uint64_t>(facts.graph->type[Ix(out.value)].bytes());
    if (!IsBuffer(s, out.staging, BufferKind::kStaging, bytes) || !own(out.staging) || out.device < 0 ||
        Ix(out.device) >= s.buffers.size() || s.buffers[Ix(out.device)].bytes < bytes || !OnDevice(s, out.device))
      return reject("output ", s.values[Ix(out.value)].name, " lacks buffers of ", bytes, " bytes");
  }
  const bool losses = !p.loss_sum.empty();
  const size_t n = losses ? p.branches.size() : 0;
  if (p.loss_sum.size() != n || p.loss_count.size() != n || p.loss_sum_host.size() != n || p.loss_count_host.size() != n)
    return reject("its loss buffers are not one sum and one count per branch");
  if (losses && s.loss.node < 0) return reject("has loss buffers but the model has no loss");
  for (size_t b = 0; b < n; ++b) {
    const int32_t value = s.nodes[Ix(s.loss.node)].outputs[0];
    const uint64_t bytes = micro * static_cast<uint64_t>(facts.graph->type[Ix(value)].bytes());
    for (const auto* list : {&p.loss_sum, &p.loss_count})
      if (!IsBuffer(s, (*list)[b], BufferKind::kLoss, bytes) || !own((*list)[b]))
        return reject("branch ", b, " lacks loss buffers of its own with ", bytes, " bytes");
    for (const auto* list : {&p.loss_sum_host, &p.loss_count_host})
      if ((*list)[b] != -1 && (!IsBuffer(s, (*list)[b], BufferKind::kStaging, bytes) || !own((*list)[b])))
        return reject("branch ", b, " lacks loss staging of its own with ", bytes, " bytes");
  }
  if (p.purpose == Purpose::kTrain) {
    if (!losses) return reject("lacks loss buffers");
    const uint64_t record = StepRecordBytes(p.samples);
    if (!IsBuffer(s, p.control_staging, BufferKind::kStaging, sizeof(StepControl)) || !own(p.control_staging) ||
        !IsBuffer(s, p.control, BufferKind::kControl, sizeof(StepControl)))
      return reject("lacks its control buffers of ", sizeof(StepControl), " bytes");
    if (!IsBuffer(s, p.record, BufferKind::kRecord, record) || !OnDevice(s, p.record) ||
        !IsBuffer(s, p.record_host, BufferKind::kRecord, record) || OnDevice(s, p.record_host))
      return reject("lacks its record rings, on the device and on the host, of ", record, " bytes a record");
  } else {
    if (p.record != -1 && (facts.train == nullptr || p.record != facts.train->record))
      return reject("has a record ring that is not train's");
    if (p.control != -1 || p.control_staging != -1 || p.record_host != -1)
      return reject("has buffers for controls or records, which only train makes");
  }
  return Status();
}

Status CheckLanes(ProgramFacts* facts) {
  const Program& p = *facts->program;
  const auto reject = [&](const auto&... args) { return Rejected("program ", p.name, ": ", args...); };
  if (p.lanes.size() > 64) return reject("has ", p.lanes.size(), " lanes, more than 64");
  for (size_t l = 0; l < p.lanes.size(); ++l) {
    const Lane& lane = p.lanes[l];
    if (static_cast<int>(lane.kind) > static_cast<int>(LaneKind::kNet) || lane.threads < 1 ||
        lane.threads > kMaxThreads || lane.device < 0)
      return reject("lane ", l, " has no kind, threads or device this build knows");
    for (size_t i = 0; i < lane.instructions.size(); ++i) {
      facts->order.push_back({static_cast<LaneId>(l), static_cast<int32_t>(i)});
      if (i > 0 && lane.instructions[i].seq <= lane.instructions[i - 1].seq)
        return facts->Reject(facts->order.back(), "its seq does not follow that of the instruction before it");
    }
  }
  const auto seq = [&](Spot s) { return facts->at(s).seq; };
  std::sort(facts->order.begin(), facts->order.end(), [&](Spot x, Spot y) { return seq(x) < seq(y); });
  facts->instructions = static_cast<int64_t>(facts->order.size());
  for (size_t i = 1; i < facts->order.size(); ++i)
    if (seq(facts->order[i]) == seq(facts->order[i - 1]))
      return facts->Reject(facts->order[i], "another instruction has the same seq");
  for (const Edge& e : p.edges) {
    const auto there = [&](LaneId lane, int32_t index) {
      return lane >= 0 && Ix(lane) < p.lanes.size() && index >= 0 && Ix(index) < p.lanes[Ix(lane)].instructions.size();
    };
    if (!there(e.from_lane, e.from) || !there(e.to_lane, e.to))
      return reject("an edge joins instructions that are not there");
    if (e.back < 0 || e.back > kMaxBack) return reject("an edge reaches ", e.back, " iterations back");
    // An edge that runs with the serial order can close no cycle: that order is a witness that all can run.
    if (e.back == 0 && seq({e.from_lane, e.from}) >= seq({e.to_lane, e.to}))
      return facts->Reject({e.to_lane, e.to}, "waits for seq ", seq({e.from_lane, e.from}),
                           " of the same iteration, which comes later: against the serial order, a deadlock");
    facts->max_back = std::max(facts->max_back, e.back);
  }
  return Status();
}

}  // namespace

std::string ProgramFacts::Where(Spot s) const {
  const Instruction& i = at(s);
  std::string out = "program " + program->name + ", " + std::string(Name(program->lanes[Ix(s.lane)].kind)) + " lane " +
                    std::to_string(s.lane) + ", instruction " + std::to_string(s.index) + " (seq " +
                    std::to_string(i.seq) + ", " + std::string(Name(i.kind));
  if (i.tile >= 0 && Ix(i.tile) < schedule->tiles.size()) out += " of tile " + schedule->tiles[Ix(i.tile)].name;
  if (i.kind == InstrKind::kCall && i.node >= 0 && Ix(i.node) < schedule->nodes.size())
    out += " of node " + schedule->nodes[Ix(i.node)].name;
  return out + ")";
}

Status VerifyProgram(ProgramFacts* facts) {
  const Program& p = *facts->program;
  if (static_cast<int>(p.purpose) > 2) return Rejected("program ", p.name, " is for no purpose this build knows");
  ZO2_TRY(CheckBranches(facts));
  ZO2_TRY(CheckHostSide(*facts));
  ZO2_TRY(CheckLanes(facts));
  facts->effects.resize(p.lanes.size());
  for (size_t l = 0; l < p.lanes.size(); ++l) {
    facts->effects[l].resize(p.lanes[l].instructions.size());
    for (size_t i = 0; i < facts->effects[l].size(); ++i)
      ZO2_TRY(VerifyInstruction(*facts, {static_cast<LaneId>(l), static_cast<int32_t>(i)}, &facts->effects[l][i]));
  }
  return Status();
}

}  // namespace zo2::internal
