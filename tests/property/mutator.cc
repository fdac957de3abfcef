// The list of mutations, and those of order; those of memory, operands and tables are in mutator_content.cc.
#include "tests/property/mutator.h"

#include <algorithm>
#include <cstddef>

namespace zo2 {
namespace {

size_t U(int64_t i) { return static_cast<size_t>(i); }
LaneId IdOf(const Program& p, const Lane* lane) { return static_cast<LaneId>(lane - p.lanes.data()); }

// Edges of a lane's instruction k, as another index.
template <typename Renumber>
void RenumberEdges(Program* p, LaneId lane, Renumber renumber) {
  for (Edge& e : p->edges) {
    if (e.from_lane == lane) e.from = renumber(e.from);
    if (e.to_lane == lane) e.to = renumber(e.to);
  }
}
// Room for others between the places of the serial order.
void StretchSeq(Program* p) {
  for (Lane& lane : p->lanes)
    for (Instruction& i : lane.instructions) i.seq *= 8;
}

}  // namespace

const std::vector<std::pair<const char*, Mutator::Mutation>>& Mutator::All() {
  static const std::vector<std::pair<const char*, Mutation>> kAll = {
      {"drop edge", &Mutator::DropEdge},
      {"drop edges into", &Mutator::DropEdgesInto},
      {"edge back", &Mutator::EdgeBack},
      {"move edge", &Mutator::MoveEdge},
      {"swap instructions", &Mutator::SwapInstructions},
      {"move instruction", &Mutator::MoveInstruction},
      {"other lane", &Mutator::OtherLane},
      {"seq", &Mutator::ChangeSeq},
      {"residues", &Mutator::ChangeResidues},
      {"period", &Mutator::ChangePeriod},
      {"drop instruction", &Mutator::DropInstruction},
      {"repeat instruction", &Mutator::RepeatInstruction},
      {"shift buffer", &Mutator::ShiftBuffer},
      {"alias buffers", &Mutator::AliasBuffers},
      {"shrink arena", &Mutator::ShrinkArena},
      {"ring", &Mutator::ChangeRing},
      {"record ring", &Mutator::RecordRing},
      {"ring stride", &Mutator::ChangeStride},
      {"swap masters", &Mutator::SwapMasters},
      {"swap codes", &Mutator::SwapCodes},
      {"host side", &Mutator::HostSide},
      {"shift operand", &Mutator::ShiftOperand},
      {"redirect operand", &Mutator::RedirectOperand},
      {"swap operands", &Mutator::SwapOperands},
      {"drop operand", &Mutator::DropOperand},
      {"drop master_out", &Mutator::DropMasterOut},
      {"operand's tile", &Mutator::OperandTile},
      {"operand's view", &Mutator::OperandView},
      {"copy size", &Mutator::CopySize},
      {"other slot", &Mutator::ChangeSlot},
      {"source_after_write", &Mutator::FlipAfterWrite},
      {"coded", &Mutator::FlipCoded},
      {"other form", &Mutator::OtherForm},
      {"part", &Mutator::ChangePart},
      {"tile", &Mutator::ChangeTile},
      {"node", &Mutator::ChangeNode},
      {"branches", &Mutator::SwapBranches},
      {"coefficient", &Mutator::ChangeCoefficient},
      {"segment", &Mutator::ChangeSegment},
      {"trainable", &Mutator::FlipTrainable},
      {"counts", &Mutator::ChangeCounts},
  };
  return kAll;
}

Program& Mutator::AnyProgram(Schedule* s) {
  return Pick(3) > 0 ? s->programs[0] : s->programs[Pick(s->programs.size())];
}

Lane* Mutator::AnyLane(Schedule* s, Program** program) {
  Program& p = AnyProgram(s);
  if (program != nullptr) *program = &p;
  Lane& lane = p.lanes[Pick(p.lanes.size())];
  return lane.instructions.empty() ? nullptr : &lane;
}
Instruction* Mutator::AnyInstruction(Schedule* s) {
  Lane* lane = AnyLane(s);
  return lane == nullptr ? nullptr : &lane->instructions[Pick(lane->instructions.size())];
}
Instruction* Mutator::AnyOf(Schedule* s, InstrKind kind) {
  std::vector<Instruction*> all;
  for (Lane& lane : AnyProgram(s).lanes)
    for (Instruction& i : lane.instructions)
      if (i.kind == kind) all.push_back(&i);
  return all.empty() ? nullptr : all[Pick(all.size())];
}
Operand* Mutator::AnyOperand(Schedule* s) {
  Instruction* i = AnyInstruction(s);
  if (i == nullptr || i->operands.empty()) return nullptr;
  Operand& o = i->operands[Pick(i->operands.size())];
  return o.buffer < 0 ? nullptr : &o;
}
Edge* Mutator::AnyEdge(Schedule* s, Program** program) {
  Program& p = AnyProgram(s);
  if (program != nullptr) *program = &p;
  return p.edges.empty() ? nullptr : &p.edges[Pick(p.edges.size())];
}

// ---- order ----

std::string Mutator::DropEdge(Schedule* s) {
  Program* p = nullptr;
  Edge* e = AnyEdge(s, &p);
  if (e == nullptr) return "";
  p->edges.erase(p->edges.begin() + (e - p->edges.data()));
  return "edge dropped";
}
std::string Mutator::DropEdgesInto(Schedule* s) {
  Program* p = nullptr;
  Edge* e = AnyEdge(s, &p);
  if (e == nullptr) return "";
  const LaneId lane = e->to_lane;
  const int32_t to = e->to;
  const auto n = std::erase_if(p->edges, [&](const Edge& x) { return x.to_lane == lane && x.to == to; });
  return std::to_string(n) + " edges into one instruction dropped";
}
std::string Mutator::EdgeBack(Schedule* s) {
  Edge* e = AnyEdge(s);
  if (e == nullptr) return "";
  e->back = e->back > 0 && Pick(2) == 0 ? e->back - 1 : e->back + 1;
  return "edge now reaches " + std::to_string(e->back) + " back";
}
std::string Mutator::MoveEdge(Schedule* s) {
  Program* p = nullptr;
  Edge* e = AnyEdge(s, &p);
  if (e == nullptr) return "";
  int32_t& end = Pick(2) == 0 ? e->from : e->to;
  const Lane& lane = p->lanes[U(&end == &e->from ? e->from_lane : e->to_lane)];
  const int32_t before = end;
  end = static_cast<int32_t>(Pick(lane.instructions.size()));
  return before == end ? "" : "an end of an edge moved";
}
std::string Mutator::SwapInstructions(Schedule* s) {
  Program* p = nullptr;
  Lane* lane = AnyLane(s, &p);
  if (lane == nullptr || lane->instructions.size() < 2) return "";
  const size_t i = Pick(lane->instructions.size() - 1);
  Instruction &a = lane->instructions[i], &b = lane->instructions[i + 1];
  // Two uploads of one tile to one slot are the same instruction; their identities would differ for nothing.
  if (a.kind == InstrKind::kCopy && b.kind == InstrKind::kCopy && a.tile == b.tile &&
      a.residues == b.residues && a.operands[0].buffer == b.operands[0].buffer &&
      a.operands[1].buffer == b.operands[1].buffer)
    return "";
  std::swap(a, b);
  std::swap(a.seq, b.seq);
  const auto k = static_cast<int32_t>(i);
  if (Pick(2) == 0)  // their edges go with them
    RenumberEdges(p, IdOf(*p, lane), [k](int32_t x) { return x == k ? k + 1 : x == k + 1 ? k : x; });
  return "instructions swapped in lane " + std::string(Name(lane->kind));
}
std::string Mutator::MoveInstruction(Schedule* s) {
  Program* p = nullptr;
  Lane* lane = AnyLane(s, &p);
  if (lane == nullptr || lane->instructions.size() < 3) return "";
  auto& list = lane->instructions;
  const auto from = static_cast<int32_t>(Pick(list.size())), to = static_cast<int32_t>(Pick(list.size()));
  if (std::abs(from - to) < 2 || list[U(from)].kind == InstrKind::kCopy) return "";  // twins, see above
  std::vector<int64_t> seq;
  for (const Instruction& i : list) seq.push_back(i.seq);
  if (from < to) {
    std::rotate(list.begin() + from, list.begin() + from + 1, list.begin() + to + 1);
  } else {
    std::rotate(list.begin() + to, list.begin() + from, list.begin() + from + 1);
  }
  for (size_t k = 0; k < list.size(); ++k) list[k].seq = seq[k];
  if (Pick(2) == 0)
    RenumberEdges(p, IdOf(*p, lane), [from, to](int32_t x) {
      if (x == from) return to;
      return from < to ? x - (x > from && x <= to) : x + (x >= to && x < from);
    });
  return "instruction moved from place " + std::to_string(from) + " to " + std::to_string(to) +
         " of its lane";
}
// On a lane of its own; the order it had to its neighbours is kept by edges, or only half, or not.
std::string Mutator::OtherLane(Schedule* s) {
  Program* p = nullptr;
  Lane* lane = AnyLane(s, &p);
  if (lane == nullptr) return "";
  const LaneId from = IdOf(*p, lane), to = static_cast<LaneId>(p->lanes.size());
  const auto k = static_cast<int32_t>(Pick(lane->instructions.size()));
  const auto length = static_cast<int32_t>(lane->instructions.size());
  Lane fresh{lane->device, lane->kind, lane->threads, {lane->instructions[U(k)]}};
  lane->instructions.erase(lane->instructions.begin() + k);
  for (Edge& e : p->edges) {
    if (e.from_lane == from && e.from == k) e.from_lane = to, e.from = 0;
    if (e.to_lane == from && e.to == k) e.to_lane = to, e.to = 0;
    if (e.from_lane == from && e.from > k) --e.from;
    if (e.to_lane == from && e.to > k) --e.to;
  }
  p->lanes.push_back(std::move(fresh));
  const size_t keep = Pick(4);  // bit 0: after those before it, bit 1: before those after it
  if (keep & 1) {
    if (k > 0) p->edges.push_back({from, k - 1, to, 0, 0});
    if (length > 1) p->edges.push_back({from, length - 2, to, 0, 1});
  }
  if (keep & 2) {
    if (k < length - 1) p->edges.push_back({to, 0, from, k, 0});
    if (length > 1) p->edges.push_back({to, 0, from, 0, 1});
  }
  return "instruction on a lane of its own, bound on sides " + std::to_string(keep);
}
std::string Mutator::ChangeSeq(Schedule* s) {
  Program* p = nullptr;
  Lane* lane = AnyLane(s, &p);
  if (lane == nullptr) return "";
  StretchSeq(p);
  const size_t k = Pick(lane->instructions.size());
  const int64_t low = k == 0 ? -8 : lane->instructions[k - 1].seq;
  const int64_t high =
      k + 1 == lane->instructions.size() ? lane->instructions[k].seq + 800 : lane->instructions[k + 1].seq;
  lane->instructions[k].seq = low + static_cast<int64_t>(Pick(U(high - low + 1)));
  return "an instruction has another place in the serial order";
}
std::string Mutator::ChangeResidues(Schedule* s) {
  Instruction* i = AnyInstruction(s);
  if (i == nullptr) return "";
  i->residues ^= 1ull << Pick(U(s->programs[0].period));
  return "residues of seq " + std::to_string(i->seq) + " changed";
}
std::string Mutator::ChangePeriod(Schedule* s) {
  Program& p = s->programs[0];
  p.period += p.period > 1 && Pick(2) == 0 ? -1 : 1;
  return "period is " + std::to_string(p.period);
}
std::string Mutator::DropInstruction(Schedule* s) {
  Program* p = nullptr;
  Lane* lane = AnyLane(s, &p);
  if (lane == nullptr) return "";
  const LaneId l = IdOf(*p, lane);
  const auto k = static_cast<int32_t>(Pick(lane->instructions.size()));
  lane->instructions.erase(lane->instructions.begin() + k);
  std::erase_if(p->edges, [&](const Edge& e) {
    return (e.from_lane == l && e.from == k) || (e.to_lane == l && e.to == k);
  });
  RenumberEdges(p, l, [k](int32_t x) { return x - (x > k); });
  return "instruction dropped";
}
std::string Mutator::RepeatInstruction(Schedule* s) {
  Program* p = nullptr;
  Lane* lane = AnyLane(s, &p);
  if (lane == nullptr) return "";
  StretchSeq(p);
  const auto k = static_cast<int32_t>(Pick(lane->instructions.size()));
  const auto to = k + static_cast<int32_t>(Pick(U(static_cast<int64_t>(lane->instructions.size()) - k)));
  Instruction twin = lane->instructions[U(k)];
  twin.seconds = 0;  // free to read what it likes, if nobody else notices
  twin.seq = lane->instructions[U(to)].seq + 1;
  lane->instructions.insert(lane->instructions.begin() + to + 1, std::move(twin));
  RenumberEdges(p, IdOf(*p, lane), [to](int32_t x) { return x + (x > to); });
  return "instruction " + std::to_string(k) + " repeated after " + std::to_string(to);
}

}  // namespace zo2
