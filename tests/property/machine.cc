#include "tests/property/machine.h"

#include <algorithm>
#include <bit>

namespace zo2::symbolic {
namespace {

// One element's bytes, or its decoded value, after an update: which depends on which element of which weight
// it is.
uint64_t Updated(uint64_t symbol, uint64_t record, const Segment& g, int64_t element) {
  return Hash("updated", symbol, record, g.weight, element);
}

}  // namespace

int64_t Element(const Schedule& s, const Segment& g, int64_t n) {
  const int64_t width = g.col_end - g.col_begin;
  return (g.row_begin + n / width) * s.weights[U(g.weight)].cols() + g.col_begin + n % width;
}

uint64_t Loaded(int32_t weight, int64_t element, int64_t k) {
  return Mix(Hash("weight", weight, element), U(k));
}

Machine::Machine(const Schedule& schedule, const Program& program, const Setting& setting)
    : s_(schedule), p_(program), set_(setting) {
  const auto overlay = [&](BufferId id, uint64_t tag) {
    if (id >= 0 && U(id) < s_.buffers.size()) staged_.push_back({id, tag});
  };
  for (const ProgramInput& in : p_.inputs) overlay(in.staging, Hash("input", in.value));
  if (p_.purpose == Purpose::kTrain) overlay(p_.control_staging, Hash("control"));
}

int64_t Machine::Version(TileId tile, int64_t t) const {
  const BufferId master = s_.tiles[U(tile)].master;
  const auto writes = [&](const Instruction& in) {
    if (in.kind == InstrKind::kHostUpdate) return in.operands[0].buffer == master;
    return (in.kind == InstrKind::kCopy || in.kind == InstrKind::kPrepare) && in.operands[1].buffer == master;
  };
  for (int64_t i = t - 1; i >= set_.first; --i)
    for (const Lane& lane : p_.lanes)
      for (const Instruction& in : lane.instructions)
        if (in.tile == tile && writes(in) && RunsAt(p_, in, i)) return Step(i);
  return set_.entry.masters.empty() ? set_.first : set_.entry.masters[U(tile)];
}

int64_t Machine::CodeVersion(TileId tile, int64_t t) const {
  const BufferId codes = s_.tiles[U(tile)].codes;
  for (int64_t i = t - 1; i >= set_.first; --i)
    for (const Lane& lane : p_.lanes)
      for (const Instruction& in : lane.instructions)
        if (in.kind == InstrKind::kHostUpdate && in.tile == tile && in.operands[2].buffer == codes &&
            RunsAt(p_, in, i))
          return Step(i);
  return set_.entry.codes.empty() ? set_.first : set_.entry.codes[U(tile)];
}

// First byte of an operand's or buffer's copy.
uint64_t Machine::Address(BufferId id, uint64_t offset, int64_t copy) const {
  const Buffer& b = s_.buffers[U(id)];
  return b.offset + offset + (b.ring > 1 ? b.stride * (static_cast<uint64_t>(copy) % b.ring) : 0);
}

// Exact bytes of a view: runs of consecutive bytes.
std::vector<Range> Machine::View(const Operand& o, int64_t t, bool write) const {
  std::vector<Range> runs;
  if (o.buffer < 0 || o.type.elements() == 0) return runs;
  const uint64_t base = Address(o.buffer, o.offset, t), size = static_cast<uint64_t>(SizeOf(o.type.dtype));
  const Shape& shape = o.type.shape;
  std::vector<int64_t> strides = o.strides, at(shape.size(), 0);
  if (strides.empty()) {
    runs.push_back({ArenaOf(o.buffer), base, base + static_cast<uint64_t>(o.type.bytes()), write});
    return runs;
  }
  while (true) {
    int64_t element = 0;
    for (size_t d = 0; d < shape.size(); ++d) element += at[d] * strides[d];
    const uint64_t b = base + static_cast<uint64_t>(element) * size;
    if (!runs.empty() && runs.back().end == b) {
      runs.back().end += size;
    } else {
      runs.push_back({ArenaOf(o.buffer), b, b + size, write});
    }
    size_t d = shape.size();
    while (d > 0 && ++at[d - 1] == shape[d - 1]) at[--d] = 0;
    if (d == 0) return runs;
  }
}

// Prepares and host updates find a tile's segments from the first byte of their operands.
Range Machine::Piece(const Operand& o, const Segment& g, Form form, int64_t t, bool write) const {
  const Component& c = s_.weights[U(g.weight)].components[0];
  const uint64_t offset = form == Form::kBranch  ? g.branch_offset
                          : form == Form::kCodes ? g.wire_offset
                                                 : g.offset;
  const uint64_t begin = Address(o.buffer, o.offset + offset, t);
  const auto n = static_cast<uint64_t>(g.elements());
  const uint64_t bytes = form == Form::kBranch ? n * static_cast<uint64_t>(SizeOf(c.compute))
                         : form == Form::kCodes
                             ? WireBytes(c.wire, g.row_end - g.row_begin, g.col_end - g.col_begin)
                             : n * static_cast<uint64_t>(SizeOf(c.storage));
  return {ArenaOf(o.buffer), begin, begin + bytes, write};
}

bool Machine::Accumulates(const Instruction& i) const {
  const Op op = s_.nodes[U(i.node)].op;
  return op == Op::kCausalLmLoss || op == Op::kEmbedding;
}

// The ring of records that a device's pending updates come from.
BufferId Machine::Records() const {
  const Program* train = s_.Find(Purpose::kTrain);
  return train == nullptr ? -1 : train->record;
}

std::vector<Range> Machine::Pending(const Instruction& i, int64_t t) const {
  std::vector<Range> records;
  const BufferId ring = i.kind == InstrKind::kHostUpdate ? i.operands[1].buffer : Records();
  if (ring < 0 || !s_.tiles[U(i.tile)].trainable || i.source_after_write) return records;
  for (int64_t s = i.coded ? CodeVersion(i.tile, t) : Version(i.tile, t); s < Step(t); ++s) {
    const uint64_t begin = Address(ring, 0, s);
    records.push_back({ArenaOf(ring), begin, begin + s_.buffers[U(ring)].bytes, false});
  }
  return records;
}

std::vector<Range> Machine::Footprint(const Instruction& i, int64_t t) const {
  std::vector<Range> all;
  if (i.kind != InstrKind::kPrepare && i.kind != InstrKind::kHostUpdate) {
    for (const Operand& o : i.operands) {
      const std::vector<Range> more = View(o, t, o.access != AccessMode::kRead);
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }
  const bool host = i.kind == InstrKind::kHostUpdate;
  const auto add = [&](size_t k, const Segment& g, Form form, bool write) {
    if (i.operands[k].buffer >= 0) all.push_back(Piece(i.operands[k], g, form, t, write));
  };
  for (const Segment& g : s_.tiles[U(i.tile)].segments) {
    add(0, g, i.coded ? Form::kCodes : Form::kMaster, host);
    add(host ? 2 : 1, g, host ? Form::kCodes : Form::kMaster, true);
    for (size_t k = 3; k < i.operands.size(); ++k) add(k, g, Form::kBranch, true);
  }
  const std::vector<Range> records = Pending(i, t);
  all.insert(all.end(), records.begin(), records.end());
  return all;
}

bool Machine::Inside(const std::vector<Range>& ranges) const {
  for (const Arena& a : s_.arenas)
    if (a.budget != 0 && a.bytes > a.budget) return false;
  for (const Range& r : ranges)
    if (r.end > s_.arenas[r.arena].bytes || r.end < r.begin) return false;
  return true;
}

// What a byte of memory is to an instruction of iteration t. The host fills the copy of an iteration in time
// and overwrites it when the iteration is over.
uint64_t Machine::Symbol(const Memory& m, size_t arena, uint64_t at, int64_t t) const {
  for (const auto& [id, tag] : staged_) {
    const Buffer& b = s_.buffers[U(id)];
    if (U(b.arena) != arena || at < b.offset) continue;
    const uint64_t stride = b.ring > 1 ? b.stride : b.bytes,
                   copy = stride == 0 ? 0 : (at - b.offset) / stride;
    const uint64_t byte = stride == 0 ? 0 : (at - b.offset) % stride;
    if (copy >= b.ring || byte >= b.bytes) continue;
    return Hash("staged", tag, copy == static_cast<uint64_t>(t) % b.ring ? t : -1, byte);
  }
  return m[arena][at];
}

uint64_t Machine::Digest(const Memory& m, const std::vector<Range>& ranges, int64_t t) const {
  uint64_t h = 1;
  for (const Range& r : ranges)
    for (uint64_t at = r.begin; at < r.end; ++at) h = Mix(h, Symbol(m, r.arena, at, t));
  return h;
}

void Machine::Fill(Memory* m, const std::vector<Range>& ranges, uint64_t tag) {
  uint64_t i = 0;
  for (const Range& r : ranges)
    for (uint64_t at = r.begin; at < r.end; ++at) (*m)[r.arena][at] = Mix(tag, i++);
}

uint64_t Machine::Execute(const Instruction& i, int64_t t, Memory* m) const {
  switch (i.kind) {
    case InstrKind::kCopy:
      return Copy(i, t, m);
    case InstrKind::kPrepare:
      return Prepare(i, t, m);
    case InstrKind::kHostUpdate:
      return HostUpdate(i, t, m);
    case InstrKind::kCall:
      return Call(i, t, m);
    case InstrKind::kGradient:
      return Gradient(i, t, m);
    default:
      return 0;
  }
}

std::vector<uint64_t> Machine::Left(const Memory& m) const {
  std::vector<uint64_t> left;
  const int64_t last = set_.first + set_.iterations - 1;
  // Wherever their tiles hold them; a sum does not mind the order.
  uint64_t weights = 0;
  const auto bytes_of = [&](BufferId id, const Segment& g, Form form, auto visit) {
    Operand home;
    home.buffer = id;
    if (id < 0) return;
    const Range r = Piece(home, g, form, 0, false);
    for (uint64_t at = r.begin; at < r.end && at < m[r.arena].size(); ++at)
      visit(static_cast<int64_t>(at - r.begin), m[r.arena][at]);
  };
  for (size_t t = 0; t < s_.tiles.size(); ++t) {
    const Tile& tile = s_.tiles[t];
    // What is left pending in a master is as good as applied while its records are there; a flush leaves
    // nothing.
    std::vector<uint64_t> updates;
    Instruction all;
    all.kind = InstrKind::kPrepare, all.tile = static_cast<TileId>(t);
    if (p_.purpose != Purpose::kFlush)
      for (const Range& r : Pending(all, last + 1)) updates.push_back(Digest(m, {r}, last));
    for (const Segment& g : tile.segments) {
      const Component& component = s_.weights[U(g.weight)].components[0];
      const int64_t size = SizeOf(component.storage);
      bytes_of(tile.master, g, Form::kMaster, [&](int64_t byte, uint64_t symbol) {
        for (const uint64_t u : updates)
          if (component.trainable) symbol = Updated(symbol, u, g, Element(s_, g, byte / size));
        weights += Hash("left", g.weight, Element(s_, g, byte / size), byte % size, symbol);
      });
      bytes_of(tile.codes, g, Form::kCodes, [&](int64_t byte, uint64_t symbol) {
        weights += Hash("left in codes", g.weight, g.row_begin, g.col_begin, byte, symbol);
      });
    }
  }
  left.push_back(weights);
  const auto add = [&](BufferId id, uint64_t bytes, int64_t copy) {
    if (id < 0) return;
    const uint64_t begin = Address(id, 0, copy);
    const std::vector<Range> range = {{ArenaOf(id), begin, begin + bytes, false}};
    left.push_back(Inside(range) ? Digest(m, range, last) : 0);
  };
  if (p_.purpose == Purpose::kTrain) {
    add(p_.record_host, StepRecordBytes(p_.samples), last);
    add(p_.record, StepRecordBytes(p_.samples), last);
  }
  for (const auto* list : {&p_.loss_sum_host, &p_.loss_count_host})
    for (const BufferId id : *list) add(id, id < 0 ? 0 : s_.buffers[U(id)].bytes, last);
  for (const ProgramOutput& out : p_.outputs)
    add(out.staging, static_cast<uint64_t>(s_.values[U(out.value)].type.bytes()), last);
  return left;
}

uint64_t Machine::Copy(const Instruction& i, int64_t t, Memory* m) const {
  const std::vector<Range> from = View(i.operands[0], t, false), to = View(i.operands[1], t, true);
  uint64_t read = Digest(*m, from, t);
  // A master that goes up may have any number of updates pending.
  const Operand& target = i.operands[1];
  if (i.tile >= 0 && !i.coded && target.buffer >= 0 && s_.buffers[U(target.buffer)].kind == BufferKind::kSlot)
    read = Hash("upload");
  std::vector<uint64_t> symbols;
  for (const Range& r : from)
    for (uint64_t at = r.begin; at < r.end; ++at) symbols.push_back(Symbol(*m, r.arena, at, t));
  size_t k = 0;
  for (const Range& r : to)
    for (uint64_t at = r.begin; at < r.end && k < symbols.size(); ++at) (*m)[r.arena][at] = symbols[k++];
  return read;
}

// Element by element: the update and the noise of an element depend on which one of which weight it is. What
// it reads is what the weight is then: with how many updates pending it found the master is its own affair.
uint64_t Machine::Prepare(const Instruction& i, int64_t t, Memory* m) const {
  uint64_t read = Hash("prepare", i.tile);
  std::vector<uint64_t> updates;
  for (const Range& r : Pending(i, t)) updates.push_back(Digest(*m, {r}, t));
  if (i.operands[0].buffer < 0) return read;
  for (const Segment& g : s_.tiles[U(i.tile)].segments) {
    const Component& component = s_.weights[U(g.weight)].components[0];
    const Range source = Piece(i.operands[0], g, i.coded ? Form::kCodes : Form::kMaster, t, false);
    std::vector<uint64_t> now;
    for (uint64_t at = source.begin; at < source.end; ++at) now.push_back(Symbol(*m, source.arena, at, t));
    if (i.coded) now = Decode(component, g, now);
    const auto size = i.coded ? 1 : U(SizeOf(component.storage)), wide = U(SizeOf(component.compute));
    for (size_t k = 0; k < now.size() && component.trainable; ++k)
      for (const uint64_t u : updates)
        now[k] = Updated(now[k], u, g, Element(s_, g, static_cast<int64_t>(k / size)));
    for (const uint64_t symbol : now) read = Mix(read, symbol);
    if (i.operands[1].buffer >= 0) {
      const Range out = Piece(i.operands[1], g, Form::kMaster, t, true);
      for (size_t k = 0; k < std::min<size_t>(now.size(), out.end - out.begin); ++k)
        (*m)[out.arena][out.begin + k] = now[k];
    }
    for (size_t b = 0; b < i.branches.size() && 3 + b < i.operands.size(); ++b) {
      if (i.operands[3 + b].buffer < 0) continue;
      const Range out = Piece(i.operands[3 + b], g, Form::kBranch, t, true);
      for (size_t e = 0; e * size < now.size(); ++e) {
        uint64_t tag = Hash("theta", g.weight, Element(s_, g, static_cast<int64_t>(e)));
        for (size_t k = 0; k < size; ++k) tag = Mix(tag, now[e * size + k]);
        if (U(i.branches[b]) >= p_.branches.size()) {
          tag = Hash("no such branch");
        } else if (component.trainable) {
          for (const BranchTerm& term : p_.branches[U(i.branches[b])].terms)
            tag = Hash("term", tag, Step(t), term.sample, std::bit_cast<uint64_t>(term.coefficient));
        }
        for (size_t k = 0; k < wide; ++k) (*m)[out.arena][out.begin + e * wide + k] = Mix(tag, k);
      }
    }
  }
  return read;
}

uint64_t Machine::HostUpdate(const Instruction& i, int64_t t, Memory* m) const {
  uint64_t read = Hash("host update", i.tile);
  std::vector<uint64_t> updates;
  for (const Range& r : Pending(i, t)) updates.push_back(Digest(*m, {r}, t));
  if (i.operands[0].buffer < 0) return read;
  for (const Segment& g : s_.tiles[U(i.tile)].segments) {
    const Component& component = s_.weights[U(g.weight)].components[0];
    const Range master = Piece(i.operands[0], g, Form::kMaster, t, true);
    std::vector<uint64_t> now;
    for (uint64_t at = master.begin; at < master.end; ++at) now.push_back(Symbol(*m, master.arena, at, t));
    for (size_t k = 0; k < now.size() && component.trainable; ++k)
      for (const uint64_t u : updates)
        now[k] =
            Updated(now[k], u, g, Element(s_, g, static_cast<int64_t>(k / U(SizeOf(component.storage)))));
    for (const uint64_t symbol : now) read = Mix(read, symbol);
    for (size_t k = 0; k < now.size(); ++k) (*m)[master.arena][master.begin + k] = now[k];
    if (i.operands[2].buffer < 0) continue;
    const Range out = Piece(i.operands[2], g, Form::kCodes, t, true);
    const std::vector<uint64_t> codes = Encode(component, g, now);
    for (size_t k = 0; k < codes.size(); ++k) (*m)[out.arena][out.begin + k] = codes[k];
  }
  return read;
}

uint64_t Machine::Call(const Instruction& i, int64_t t, Memory* m) const {
  const PlanNode& node = s_.nodes[U(i.node)];
  const size_t inputs = node.inputs.size(), outputs = node.outputs.size(), group = inputs + outputs + 2;
  const bool carries = Accumulates(i);
  uint64_t read = 1;
  for (size_t g = 0; (g + 1) * group <= i.operands.size(); ++g) {
    const Operand* o = &i.operands[g * group];
    uint64_t digest =
        Hash("call", i.node, i.part_begin, i.part_end, carries && i.first_part, carries && i.last_part);
    for (size_t k = 0; k < inputs; ++k) digest = Mix(digest, Digest(*m, View(o[k], t, false), t));
    if (carries && !i.first_part)
      for (size_t k = inputs; k < inputs + outputs + 1; ++k)
        digest = Mix(digest, Digest(*m, View(o[k], t, false), t));
    read = Mix(read, digest);
    for (size_t k = inputs; k < group; ++k) Fill(m, View(o[k], t, true), Mix(digest, k - inputs));
  }
  return read;
}

uint64_t Machine::Gradient(const Instruction& i, int64_t t, Memory* m) const {
  uint64_t digest = Hash("gradient");
  for (size_t k = 0; k < i.operands.size(); ++k)
    if (k != 1) digest = Mix(digest, Digest(*m, View(i.operands[k], t, false), t));
  Fill(m, View(i.operands[1], t, true), digest);
  return digest;
}

}  // namespace zo2::symbolic
