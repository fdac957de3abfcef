// Memory that lasts: masters, codes, constants and records belong to nobody else in any program; rings, staging and controls
// to nobody else in their own program. Everything else may share bytes: verify_meaning finds what was overwritten.
// So the two copies of a ring need not be told apart when one iteration is looked at.
#include <algorithm>
#include <tuple>

#include "ir/schedule/verify_internal.h"

namespace zo2::internal {
namespace {

bool Persists(BufferKind kind) {
  return kind == BufferKind::kMaster || kind == BufferKind::kCodes || kind == BufferKind::kConstant ||
         kind == BufferKind::kRecord;
}

// Buffers used here; the exclusive ones overlap none of them.
Status CheckDisjoint(const Schedule& s, const std::string& where, const std::vector<bool>& used,
                     const std::vector<bool>& exclusive) {
  struct Range {
    ArenaId arena;
    uint64_t begin, end;
    size_t buffer;
  };
  std::vector<Range> ranges;
  for (size_t i = 0; i < s.buffers.size(); ++i) {
    const Buffer& b = s.buffers[i];
    const uint64_t extent = b.ring > 1 ? b.stride * b.ring : b.bytes;
    if (used[i] && extent > 0) ranges.push_back({b.arena, b.offset, b.offset + extent, i});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const Range& x, const Range& y) { return std::tie(x.arena, x.begin) < std::tie(y.arena, y.begin); });
  // Of the ranges so far in this arena: the one that reaches farthest, and the exclusive one that does.
  const Range *any = nullptr, *own = nullptr;
  for (const Range& r : ranges) {
    if (any != nullptr && any->arena != r.arena) any = own = nullptr;
    const Range* clash = own != nullptr && own->end > r.begin                            ? own
                         : exclusive[r.buffer] && any != nullptr && any->end > r.begin ? any
                                                                                        : nullptr;
    if (clash != nullptr)
      return Rejected(where, "buffers ", s.buffers[clash->buffer].name, " and ", s.buffers[r.buffer].name,
                      " share bytes of arena ", r.arena, ", but one of them (", Name(s.buffers[clash->buffer].kind),
                      ", ", Name(s.buffers[r.buffer].kind), ") must keep its own");
    if (any == nullptr || r.end > any->end) any = &r;
    if (exclusive[r.buffer] && (own == nullptr || r.end > own->end)) own = &r;
  }
  return Status();
}

}  // namespace

Status VerifyMemory(const Schedule& s, const std::vector<ProgramFacts>& programs, VerifyStats* stats) {
  stats->peak.assign(s.arenas.size(), 0);
  std::vector<bool> persists(s.buffers.size());
  for (size_t i = 0; i < s.buffers.size(); ++i) {
    const Buffer& b = s.buffers[i];
    uint64_t& peak = stats->peak[Ix(b.arena)];
    peak = std::max(peak, b.offset + (b.ring > 1 ? b.stride * (b.ring - 1) : 0) + b.bytes);
    persists[i] = Persists(b.kind);
  }
  ZO2_TRY(CheckDisjoint(s, "", std::vector<bool>(s.buffers.size(), true), persists));
  for (const ProgramFacts& facts : programs) {
    const Program& p = *facts.program;
    std::vector<bool> used(s.buffers.size()), exclusive(s.buffers.size());
    const auto use = [&](BufferId id) {
      if (id >= 0) used[Ix(id)] = true;
    };
    for (const auto& lane : facts.effects)
      for (const auto& effects : lane)
        for (const Effect& e : effects) use(e.buffer);
    for (const ProgramInput& in : p.inputs) use(in.staging), use(in.device);
    for (const ProgramOutput& out : p.outputs) use(out.staging), use(out.device);
    for (const auto* list : {&p.loss_sum, &p.loss_count, &p.loss_sum_host, &p.loss_count_host})
      for (const BufferId id : *list) use(id);
    if (p.purpose == Purpose::kTrain) use(p.control), use(p.control_staging);
    for (size_t i = 0; i < s.buffers.size(); ++i) {
      const Buffer& b = s.buffers[i];
      exclusive[i] = used[i] && (b.ring > 1 || b.kind == BufferKind::kStaging || b.kind == BufferKind::kControl);
    }
    ZO2_TRY(CheckDisjoint(s, "program " + p.name + ": ", used, exclusive));
  }
  return Status();
}

}  // namespace zo2::internal
