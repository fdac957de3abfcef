// Mutations of memory, of what an instruction does and of what the tables say.
#include <algorithm>
#include <cstddef>
#include <iterator>

#include "tests/property/mutator.h"

namespace zo2 {
namespace {

size_t U(int64_t i) { return static_cast<size_t>(i); }

}  // namespace

// ---- memory ----

std::string Mutator::ShiftBuffer(Schedule* s) {
  Buffer& b = s->buffers[Pick(s->buffers.size())];
  const int64_t shift = (static_cast<int64_t>(Pick(9)) - 4) * 64;
  if (shift == 0 || static_cast<int64_t>(b.offset) + shift < 0) return "";
  b.offset = static_cast<uint64_t>(static_cast<int64_t>(b.offset) + shift);
  return "buffer " + b.name + " shifted by " + std::to_string(shift);
}
std::string Mutator::AliasBuffers(Schedule* s) {
  Buffer& a = s->buffers[Pick(s->buffers.size())];
  const Buffer& b = s->buffers[Pick(s->buffers.size())];
  if (&a == &b || a.arena != b.arena || a.offset == b.offset) return "";
  a.offset = b.offset;
  return "buffer " + a.name + " moved to " + b.name;
}
std::string Mutator::ShrinkArena(Schedule* s) {
  Arena& a = s->arenas[Pick(s->arenas.size())];
  const uint64_t by = 64 * (1 + Pick(8));
  if (a.bytes <= by) return "";
  (Pick(4) == 0 ? a.budget : a.bytes) -= by;
  return "arena or its budget shrunk";
}
std::string Mutator::ChangeRing(Schedule* s) {
  Buffer& b = s->buffers[Pick(s->buffers.size())];
  if (b.stride == 0) b.stride = (b.bytes + 63) / 64 * 64;
  b.ring = b.ring > 1 && Pick(3) > 0 ? b.ring - 1 : b.ring + 1;
  return "ring of " + b.name + " is " + std::to_string(b.ring);
}
std::string Mutator::RecordRing(Schedule* s) {
  Buffer& b = s->buffers[U(Pick(4) > 0 ? s->programs[0].record : s->programs[0].record_host)];
  const uint32_t was = b.ring;
  b.ring = 1 + static_cast<uint32_t>(Pick(4));
  return b.ring == was ? "" : "ring of " + b.name + " is " + std::to_string(b.ring);
}
std::string Mutator::ChangeStride(Schedule* s) {
  std::vector<Buffer*> rings;
  for (Buffer& b : s->buffers)
    if (b.ring > 1) rings.push_back(&b);
  if (rings.empty()) return "";
  Buffer& b = *rings[Pick(rings.size())];
  b.stride = Pick(3) == 0 ? b.stride + 64 : b.stride >= 64 ? b.stride - 64 : 0;
  return "copies of " + b.name + " are " + std::to_string(b.stride) + " apart";
}
std::string Mutator::SwapMasters(Schedule* s) {
  Tile &a = s->tiles[Pick(s->tiles.size())], &b = s->tiles[Pick(s->tiles.size())];
  if (&a == &b) return "";
  std::swap(a.master, b.master);
  return "tiles " + a.name + " and " + b.name + " swapped masters";
}
std::string Mutator::SwapCodes(Schedule* s) {
  Tile &a = s->tiles[Pick(s->tiles.size())], &b = s->tiles[Pick(s->tiles.size())];
  if (a.codes == -1 && b.codes == -1) return "";
  switch (Pick(3)) {
    case 0:
      if (a.codes == b.codes) return "";
      std::swap(a.codes, b.codes);
      return "tiles " + a.name + " and " + b.name + " swapped codes";
    case 1:
      std::swap(a.codes, a.master);
      return "master and codes of tile " + a.name + " swapped";
    default: {
      BufferId& home = Pick(2) == 0 ? a.codes : a.master;
      if (home == -1) return "";
      home = -1;
      return "tile " + a.name + " has no codes or no master";
    }
  }
}
// Buffers that the host fills or reads.
std::string Mutator::HostSide(Schedule* s) {
  Program& p = AnyProgram(s);
  std::vector<BufferId*> ids = {&p.control_staging, &p.control, &p.record, &p.record_host};
  for (ProgramInput& in : p.inputs) ids.push_back(&in.staging), ids.push_back(&in.device);
  for (ProgramOutput& out : p.outputs) ids.push_back(&out.staging), ids.push_back(&out.device);
  for (auto* list : {&p.loss_sum_host, &p.loss_count_host})
    for (BufferId& id : *list) ids.push_back(&id);
  BufferId &a = *ids[Pick(ids.size())], &b = *ids[Pick(ids.size())];
  if (a == b || a < 0 || b < 0) return "";
  std::swap(a, b);
  return "the host takes " + s->buffers[U(a)].name + " for " + s->buffers[U(b)].name;
}

// ---- what an instruction does ----

std::string Mutator::ShiftOperand(Schedule* s) {
  Operand* o = AnyOperand(s);
  if (o == nullptr) return "";
  const int64_t steps[] = {-64, -16, -8, -4, 4, 8, 16, 64};
  const int64_t shift = steps[Pick(8)];
  if (static_cast<int64_t>(o->offset) + shift < 0) return "";
  o->offset = static_cast<uint64_t>(static_cast<int64_t>(o->offset) + shift);
  return "operand shifted by " + std::to_string(shift);
}
std::string Mutator::RedirectOperand(Schedule* s) {
  Operand* o = AnyOperand(s);
  if (o == nullptr) return "";
  const Buffer& was = s->buffers[U(o->buffer)];
  std::vector<BufferId> others;
  for (size_t b = 0; b < s->buffers.size(); ++b)
    if (s->buffers[b].kind == was.kind && static_cast<BufferId>(b) != o->buffer)
      others.push_back(static_cast<BufferId>(b));
  if (others.empty()) return "";
  o->buffer = others[Pick(others.size())];
  return "operand went from " + was.name + " to " + s->buffers[U(o->buffer)].name;
}
std::string Mutator::SwapOperands(Schedule* s) {
  Instruction* i = AnyInstruction(s);
  if (i == nullptr || i->operands.size() < 2) return "";
  Operand &a = i->operands[Pick(i->operands.size())], &b = i->operands[Pick(i->operands.size())];
  if (&a == &b || a.buffer < 0 || b.buffer < 0 || a.type != b.type || a.access != b.access) return "";
  std::swap(a, b);
  return "operands swapped";
}
std::string Mutator::DropOperand(Schedule* s) {
  Operand* o = AnyOperand(s);
  if (o == nullptr) return "";
  *o = Operand();
  return "operand dropped";
}
std::string Mutator::DropMasterOut(Schedule* s) {
  Instruction* i = AnyOf(s, InstrKind::kPrepare);
  if (i == nullptr || i->operands[1].buffer < 0) return "";
  i->operands[1] = Operand();
  return "master_out dropped";
}
std::string Mutator::OperandTile(Schedule* s) {
  Instruction* i = AnyOf(s, InstrKind::kCall);
  if (i == nullptr) return "";
  Operand& o = i->operands[Pick(i->operands.size())];
  if (o.tile < 0) return "";
  const TileId tile = o.tile;
  const int32_t segment = o.segment;
  o.tile = static_cast<TileId>(Pick(s->tiles.size()));
  o.segment = static_cast<int32_t>(Pick(s->tiles[U(o.tile)].segments.size()));
  return o.tile == tile && o.segment == segment ? "" : "an operand is said to be of another segment";
}
std::string Mutator::OperandView(Schedule* s) {
  Instruction* i = AnyOf(s, InstrKind::kCall);
  if (i == nullptr) return "";
  Operand& o = i->operands[Pick(i->operands.size())];
  if (o.buffer < 0 || o.type.shape.empty()) return "";
  const size_t d = Pick(o.type.shape.size());
  switch (Pick(3)) {
    case 0:
      o.type.shape[d] += o.type.shape[d] > 1 ? Sign() : 1;
      return "an axis is longer or shorter";
    case 1:
      if (o.type.shape.size() < 2) return "";
      std::swap(o.type.shape[d], o.type.shape[(d + 1) % o.type.shape.size()]);
      return "axes of an operand swapped";
    default:
      if (o.strides.empty()) {
        o.strides.assign(o.type.shape.size(), 1);
        for (size_t k = o.strides.size() - 1; k-- > 0;) o.strides[k] = o.strides[k + 1] * o.type.shape[k + 1];
      }
      o.strides[d] += o.strides[d] > 0 ? Sign() : 1;
      return "a stride of an operand changed";
  }
}
std::string Mutator::CopySize(Schedule* s) {
  Instruction* i = AnyOf(s, InstrKind::kCopy);
  if (i == nullptr) return "";
  const int64_t steps[] = {4, 8, 16, 64}, by = Sign() * steps[Pick(4)];
  const size_t which = 1 + Pick(3);  // of its operands: one or both
  for (size_t k = 0; k < 2; ++k) {
    if ((which >> k & 1) == 0 || i->operands[k].type.shape.size() != 1) continue;
    if (i->operands[k].type.shape[0] + by <= 0) return "";
    i->operands[k].type.shape[0] += by;
  }
  return "a copy has " + std::to_string(by) + " bytes more";
}
// All of one tile's use of a slot moves to another one.
std::string Mutator::ChangeSlot(Schedule* s) {
  Program& p = AnyProgram(s);
  std::vector<Operand*> slots;
  std::vector<TileId> tiles;
  for (Lane& lane : p.lanes)
    for (Instruction& i : lane.instructions)
      for (Operand& o : i.operands)
        if (o.buffer >= 0 && s->buffers[U(o.buffer)].kind == BufferKind::kSlot)
          slots.push_back(&o), tiles.push_back(std::max(i.tile, o.tile));
  if (slots.empty()) return "";
  const BufferId from = slots[Pick(slots.size())]->buffer, to = slots[Pick(slots.size())]->buffer;
  const auto tile = static_cast<TileId>(Pick(s->tiles.size()));
  int changed = 0;
  for (size_t k = 0; k < slots.size() && from != to; ++k)
    if (slots[k]->buffer == from && tiles[k] == tile) slots[k]->buffer = to, ++changed;
  return changed == 0 ? "" : "tile " + std::to_string(tile) + " went to another slot";
}
std::string Mutator::FlipAfterWrite(Schedule* s) {
  Instruction* i = AnyOf(s, Pick(3) > 0 ? InstrKind::kPrepare : InstrKind::kHostUpdate);
  if (i == nullptr) return "";
  i->source_after_write = !i->source_after_write;
  return "source_after_write flipped";
}
std::string Mutator::FlipCoded(Schedule* s) {
  Instruction* i = AnyOf(s, Pick(2) == 0 ? InstrKind::kPrepare : InstrKind::kCopy);
  if (i == nullptr || i->tile < 0) return "";
  i->coded = !i->coded;
  return "coded flipped";
}
// An upload and its prepare take the codes for the master or the reverse, in all they say. Of a tile that
// train prepares once in all iterations that would be another plan rather than a broken one.
std::string Mutator::OtherForm(Schedule* s) {
  Program& p = AnyProgram(s);
  std::vector<Instruction*> prepares;
  for (Lane& lane : p.lanes)
    for (Instruction& i : lane.instructions)
      if (i.kind == InstrKind::kPrepare && s->tiles[U(i.tile)].codes != -1) prepares.push_back(&i);
  if (prepares.empty()) return "";
  Instruction& prepare = *prepares[Pick(prepares.size())];
  const auto of_tile = std::count_if(prepares.begin(), prepares.end(),
                                     [&](const Instruction* i) { return i->tile == prepare.tile; });
  const Tile& tile = s->tiles[U(prepare.tile)];
  if (p.purpose == Purpose::kTrain && of_tile < 2) return "";
  Instruction* upload = nullptr;
  for (Lane& lane : p.lanes)
    for (Instruction& i : lane.instructions)
      if (i.kind == InstrKind::kCopy && i.tile == prepare.tile && i.coded == prepare.coded &&
          i.seq < prepare.seq && i.operands[1].buffer == prepare.operands[0].buffer &&
          (upload == nullptr || i.seq > upload->seq))
        upload = &i;
  if (upload == nullptr) return "";
  const bool coded = !prepare.coded;
  prepare.coded = upload->coded = coded;
  upload->operands[0].buffer = coded ? tile.codes : tile.master;
  for (Operand* o : {&prepare.operands[0], &upload->operands[0], &upload->operands[1]})
    o->type.shape = {static_cast<int64_t>(coded ? tile.wire_bytes : tile.bytes)};
  if (Pick(2) == 0) prepare.operands[1] = Operand();
  if (Pick(2) == 0) prepare.source_after_write = false;
  return std::string("tile ") + tile.name + " goes as " + (coded ? "codes" : "master");
}
std::string Mutator::ChangePart(Schedule* s) {
  Instruction* i = AnyOf(s, InstrKind::kCall);
  if (i == nullptr) return "";
  switch (Pick(i->part_end > 0 ? 4 : 2)) {
    case 0:
      i->first_part = !i->first_part;
      break;
    case 1:
      i->last_part = !i->last_part;
      break;
    case 2:
      i->part_begin += Sign();
      break;
    default:
      i->part_end += Sign();
  }
  return "part is [" + std::to_string(i->part_begin) + ", " + std::to_string(i->part_end) + ")";
}
std::string Mutator::ChangeTile(Schedule* s) {
  Instruction* i = AnyInstruction(s);
  if (i == nullptr || i->tile < 0) return "";
  const TileId was = i->tile;
  i->tile = static_cast<TileId>(Pick(s->tiles.size()));
  return i->tile == was ? "" : "tile of a " + std::string(Name(i->kind)) + " changed";
}
std::string Mutator::ChangeNode(Schedule* s) {
  Instruction* i = AnyOf(s, InstrKind::kCall);
  if (i == nullptr) return "";
  const PlanNode& was = s->nodes[U(i->node)];
  const size_t n = Pick(s->nodes.size());
  const PlanNode& now = s->nodes[n];
  if (&was == &now || was.inputs.size() != now.inputs.size() || was.outputs.size() != now.outputs.size())
    return "";
  i->node = static_cast<int32_t>(n);
  return "call of another node";
}
std::string Mutator::SwapBranches(Schedule* s) {
  Instruction* i = AnyInstruction(s);
  if (i == nullptr || i->branches.empty()) return "";
  if (i->branches.size() > 1 && Pick(2) == 0) {
    std::swap(i->branches[0], i->branches[1]);
  } else {
    i->branches[Pick(i->branches.size())] ^= 1;
    if (i->branches[0] >= static_cast<int32_t>(s->programs[0].branches.size())) return "";
  }
  return "branches changed";
}

// ---- what the tables say ----

std::string Mutator::ChangeCoefficient(Schedule* s) {
  Program& p = s->programs[0];
  Branch& b = p.branches[Pick(p.branches.size())];
  const double other[] = {-b.terms[0].coefficient, 2, -2, 0.5, 0, 1e300, 1.0 + 0x1p-40};
  switch (Pick(5)) {
    case 0:
      b.terms[0].sample += static_cast<int32_t>(Sign());
      return "a branch has the noise of sample " + std::to_string(b.terms[0].sample);
    case 1:
      b.terms.push_back(b.terms[0]);
      return "a branch has its term twice";
    default:
      b.terms[0].coefficient = other[Pick(std::size(other))];
      return "a coefficient is " + std::to_string(b.terms[0].coefficient);
  }
}
std::string Mutator::ChangeSegment(Schedule* s) {
  Tile& t = s->tiles[Pick(s->tiles.size())];
  Segment& g = t.segments[Pick(t.segments.size())];
  const auto shift = [&](uint64_t* offset) {
    *offset = *offset >= 64 && Pick(2) == 0 ? *offset - 64 : *offset + (Pick(2) == 0 ? 64 : 4);
  };
  switch (Pick(8)) {
    case 0:
      g.row_begin += Sign();
      break;
    case 1:
      g.row_end += Sign();
      break;
    case 2:
      g.col_begin += Sign();
      break;
    case 3:
      g.col_end += Sign();
      break;
    case 4:
      shift(&g.offset);
      break;
    case 5:
      shift(&g.wire_offset);
      break;
    case 6:
      shift(&g.branch_offset);
      break;
    default: {  // two tiles of a weight swap what they hold
      Segment& other = s->tiles[Pick(s->tiles.size())].segments[0];
      if (&other == &g || other.weight != g.weight || other.elements() != g.elements()) return "";
      std::swap(other.row_begin, g.row_begin), std::swap(other.row_end, g.row_end);
      std::swap(other.col_begin, g.col_begin), std::swap(other.col_end, g.col_end);
    }
  }
  const PlanWeight& w = s->weights[U(g.weight)];  // what the judge could not even load
  if (g.row_begin < 0 || g.row_begin >= g.row_end || g.row_end > w.rows() || g.col_begin < 0 ||
      g.col_begin >= g.col_end || g.col_end > w.cols())
    return "";
  return "a segment of tile " + t.name + " changed";
}
std::string Mutator::FlipTrainable(Schedule* s) {
  // Not weight and component alike: that is another plan rather than a broken one.
  const size_t tables[] = {1, 2, 4, 5, 6}, which = tables[Pick(5)], w = Pick(s->weights.size());
  if (which & 1) s->weights[w].trainable = !s->weights[w].trainable;
  if (which & 2) s->weights[w].components[0].trainable = !s->weights[w].components[0].trainable;
  for (Tile& t : s->tiles)
    for (const Segment& g : t.segments)
      if ((which & 4) && U(g.weight) == w) t.trainable = !t.trainable;
  return "weight " + s->weights[w].name + " is trained or not, in tables " + std::to_string(which);
}
std::string Mutator::ChangeCounts(Schedule* s) {
  Program& p = s->programs[0];
  int32_t& n = Pick(2) == 0 ? p.samples : p.micro_batches;
  n += n > 1 && Pick(2) == 0 ? -1 : 1;
  return "there are " + std::to_string(p.samples) + " samples of " + std::to_string(p.micro_batches) +
         " micro batches";
}

}  // namespace zo2
