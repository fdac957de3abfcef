// One iteration in the serial order, once per residue: a map from bytes to what they mean. A read must find exactly
// what it means, at the right place; what an iteration leaves to the host and in masters must be whole.
//
// Nothing but masters, codes, constants and what the host stages is there when an iteration begins: so no program relies on
// leftovers of the iteration before, and every iteration of a residue is alike.
#include <algorithm>
#include <map>

#include "ir/schedule/verify_internal.h"

namespace zo2::internal {
namespace {

// Content over the bytes of one arena. A piece [key, end) holds bytes key - base .. of its content.
class ByteMap {
 public:
  struct Piece {
    uint64_t end;
    uint64_t base;  // where the content's first byte is (modulo 2^64)
    Content content;
  };

  void Write(uint64_t begin, uint64_t end, const Content& content, uint64_t base) {
    if (begin >= end) return;
    Cut(begin);
    Cut(end);
    pieces_.erase(pieces_.lower_bound(begin), pieces_.lower_bound(end));
    pieces_.emplace(begin, Piece{end, base, content});
  }
  // Calls visit(begin, end, piece) for [begin, end), with a null piece for gaps; stops when it returns false.
  template <typename Visit>
  bool Each(uint64_t begin, uint64_t end, Visit visit) const {
    auto it = pieces_.upper_bound(begin);
    if (it != pieces_.begin()) --it;
    for (; begin < end; ++it) {
      while (it != pieces_.end() && it->second.end <= begin) ++it;
      if (it == pieces_.end() || it->first >= end) return visit(begin, end, static_cast<const Piece*>(nullptr));
      if (it->first > begin) {
        if (!visit(begin, it->first, static_cast<const Piece*>(nullptr))) return false;
        begin = it->first;
      }
      const uint64_t stop = std::min(end, it->second.end);
      if (!visit(begin, stop, &it->second)) return false;
      begin = stop;
    }
    return true;
  }

 private:
  void Cut(uint64_t at) {
    auto it = pieces_.lower_bound(at);
    if (it == pieces_.begin()) return;
    --it;
    if (it->second.end <= at) return;
    Piece right = it->second;
    it->second.end = at;
    pieces_.emplace(at, right);
  }
  std::map<uint64_t, Piece> pieces_;
};

// A value on its way to being whole.
struct Assembly {
  Content content;
  bool state = false;
  bool in_order = false;
  int64_t next = 0;                                   // in_order: parts [0, next) are there
  std::vector<std::pair<int64_t, int64_t>> covered;   // otherwise; sorted, disjoint, not touching
};

class Iteration {
 public:
  Iteration(const ProgramFacts& facts, int residue)
      : facts_(facts), s_(*facts.schedule), p_(*facts.program), residue_(residue), maps_(s_.arenas.size()) {}

  // Adds what this residue does to `out`.
  Status Run(ProgramFacts* out) {
    const uint64_t now = 1ull << residue_;
    Begin();
    std::map<TileId, Spot> writer;
    for (const Spot spot : facts_.order) {
      const Instruction& i = facts_.at(spot);
      if (!RunsAt(p_, i, residue_)) continue;
      spot_ = spot;
      const std::vector<Effect>& effects = facts_.effects_at(spot);
      for (const Effect& e : effects)
        if (!Writes(e.role) && e.role != Role::kCopyFrom) ZO2_TRY(Read(e));
      if (i.kind == InstrKind::kCopy && effects[0].role == Role::kCopyFrom) {
        ZO2_TRY(Copy(effects[0], effects[1]));
        continue;
      }
      for (const Effect& e : effects)
        if (Writes(e.role)) ZO2_TRY(Write(e));
      if (i.kind == InstrKind::kPrepare && i.operands[1].buffer != -1) writer[i.tile] = spot;
      if (i.kind == InstrKind::kPrepare) (i.coded ? out->code_reads : out->master_reads)[Ix(i.tile)] |= now;
      if (i.kind == InstrKind::kGradient) ++gradients_;
    }
    ZO2_TRY(End());
    for (size_t t = 0; t < s_.tiles.size(); ++t) {
      const Tile& tile = s_.tiles[t];
      if (!tile.trainable) continue;
      const auto id = static_cast<TileId>(t);
      // Only a host update writes codes, and whole ones.
      if (tile.codes != -1 && Holds(tile.codes, 0, tile.wire_bytes, {Means::kCodes, id, 1, -1}, 0))
        out->code_writes[t] |= now;
      if (Holds(tile.master, 0, tile.bytes, {Means::kTile, id, 1, -1}, 0)) {
        out->master_writes[t] |= now;
      } else if (!Holds(tile.master, 0, tile.bytes, {Means::kTile, id, 0, -1}, 0)) {
        return Rejected("program ", p_.name, ": the master of tile ", tile.name, " is left partly written");
      } else if (auto it = writer.find(id); it != writer.end()) {
        return facts_.Reject(it->second, "brings the tile up to date, but in iterations ", residue_, " mod ", p_.period,
                             " its master is not written");
      }
    }
    return Status();
  }

 private:
  uint64_t Address(BufferId id, uint64_t offset) const { return s_.buffers[Ix(id)].offset + offset; }
  ByteMap& Map(BufferId id) { return maps_[Ix(s_.buffers[Ix(id)].arena)]; }
  const ByteMap& Map(BufferId id) const { return maps_[Ix(s_.buffers[Ix(id)].arena)]; }
  void Put(BufferId id, uint64_t bytes, const Content& content) {
    Map(id).Write(Address(id, 0), Address(id, bytes), content, Address(id, 0));
  }

  void Begin() {
    for (size_t t = 0; t < s_.tiles.size(); ++t) {
      const Tile& tile = s_.tiles[t];
      const auto id = static_cast<int32_t>(t);
      if (tile.master != -1) Put(tile.master, tile.bytes, {Means::kTile, id, tile.trainable ? 0 : 1, -1});
      if (tile.codes != -1) Put(tile.codes, tile.wire_bytes, {Means::kCodes, id, 0, -1});
    }
    for (size_t v = 0; v < s_.values.size(); ++v)
      if (s_.values[v].constant != -1 && s_.values[v].kind == ValueKind::kConstant)
        Put(s_.values[v].constant, s_.values[v].data.size(), {Means::kConstant, static_cast<int32_t>(v), -1, -1});
    for (const ProgramInput& in : p_.inputs)
      Put(in.staging, Ix(p_.micro_batches) * static_cast<uint64_t>(s_.values[Ix(in.value)].type.bytes()),
          {Means::kInput, in.value, -1, -1});
    if (p_.purpose == Purpose::kTrain) Put(p_.control_staging, sizeof(StepControl), {Means::kControl});
  }

  bool Holds(BufferId id, uint64_t offset, uint64_t bytes, const Content& content, uint64_t shift) const {
    const uint64_t begin = Address(id, offset);
    return Map(id).Each(begin, begin + bytes, [&](uint64_t, uint64_t, const ByteMap::Piece* piece) {
      return piece != nullptr && piece->content == content && piece->base == begin - shift;
    });
  }

  Status Read(const Effect& e) const {
    const uint64_t begin = Address(e.buffer, e.offset);
    Status status;
    Map(e.buffer).Each(begin, begin + e.bytes, [&](uint64_t at, uint64_t, const ByteMap::Piece* piece) {
      const Content found = piece == nullptr ? Content() : piece->content;
      Content want = e.content;
      if (e.role == Role::kReadAny) want.b = found.b;
      if (found == want && piece != nullptr && piece->base == begin - e.shift) return true;
      const std::string displaced = found == want ? ", displaced" : "";
      status = facts_.Reject(spot_, "operand ", e.operand, " needs ", Describe(s_, e.content), " but byte ", at - begin,
                             " of it (buffer ", s_.buffers[Ix(e.buffer)].name, ") holds ", Tell(found), displaced,
                             p_.period > 1 ? " in iterations " + std::to_string(residue_) + " mod the period" : "");
      return false;
    });
    return status;
  }

  std::string Tell(const Content& content) const {
    if (content.means != Means::kPartial) return Describe(s_, content);
    return "only parts of " + Describe(s_, assemblies_[Ix(content.a)].content);
  }

  Status Copy(const Effect& from, const Effect& to) {
    const uint64_t begin = Address(from.buffer, from.offset), target = Address(to.buffer, to.offset);
    struct Moved {
      uint64_t begin, end, base;
      Content content;
    };
    std::vector<Moved> moved;
    const TileId tile = facts_.at(spot_).tile;
    const Means form = facts_.at(spot_).coded ? Means::kCodes : Means::kTile;
    const bool whole = Map(from.buffer).Each(begin, begin + from.bytes, [&](uint64_t b, uint64_t e, const ByteMap::Piece* piece) {
      if (piece == nullptr || piece->content.means == Means::kPartial || piece->content.means == Means::kNothing) return false;
      if (tile >= 0 && (piece->content.means != form || piece->content.a != tile)) return false;
      moved.push_back({b - begin + target, e - begin + target, piece->base - begin + target, piece->content});
      return true;
    });
    if (!whole)
      return facts_.Reject(spot_, "copies bytes of buffer ", s_.buffers[Ix(from.buffer)].name,
                           " that nothing of this iteration wrote");
    for (const Moved& m : moved) Map(to.buffer).Write(m.begin, m.end, m.content, m.base);
    return Status();
  }

  Status Write(const Effect& e) {
    const uint64_t begin = Address(e.buffer, e.offset);
    ByteMap& map = Map(e.buffer);
    switch (e.role) {
      case Role::kScratch:
        map.Write(begin, begin + e.bytes, Content(), begin);
        return Status();
      case Role::kSlice:
      case Role::kNextPart:
      case Role::kState:
        return WritePart(e);
      default:
        map.Write(begin, begin + e.bytes, e.content, begin - e.shift);
        return Status();
    }
  }

  // The first part claims all of the value's bytes; they must still be claimed when the others come.
  Status WritePart(const Effect& e) {
    const uint64_t base = Address(e.buffer, e.offset) - e.shift;
    ByteMap& map = Map(e.buffer);
    const bool in_order = e.role != Role::kSlice, state = e.role == Role::kState;
    int32_t id = -1;
    const bool claimed = map.Each(base, base + e.whole, [&](uint64_t, uint64_t, const ByteMap::Piece* piece) {
      if (piece == nullptr || piece->content.means != Means::kPartial || piece->base != base) return false;
      if (id == -1) id = piece->content.a;
      return id == piece->content.a;
    });
    const bool continues = claimed && id >= 0 && assemblies_[Ix(id)].content == e.content &&
                           assemblies_[Ix(id)].state == state && assemblies_[Ix(id)].in_order == in_order;
    if (in_order && e.part_begin != 0 && (!continues || assemblies_[Ix(id)].next != e.part_begin))
      return facts_.Reject(spot_, "continues ", Describe(s_, e.content), " at ", e.part_begin, " but ",
                           continues ? "its parts so far end elsewhere" : "nothing of it is there");
    if (!continues || (in_order && e.part_begin == 0)) {
      id = static_cast<int32_t>(assemblies_.size());
      assemblies_.push_back({e.content, state, in_order, 0, {}});
      map.Write(base, base + e.whole, {Means::kPartial, id, -1, -1}, base);
    }
    Assembly& a = assemblies_[Ix(id)];
    bool complete;
    if (in_order) {
      a.next = e.part_end;
      complete = a.next == e.part_total;
    } else {
      AddRange(&a.covered, e.part_begin, e.part_end);
      complete = a.covered.size() == 1 && a.covered[0] == std::make_pair<int64_t, int64_t>(0, int64_t{e.part_total});
    }
    if (complete) map.Write(base, base + e.whole, state ? Content() : e.content, base);
    return Status();
  }

  static void AddRange(std::vector<std::pair<int64_t, int64_t>>* ranges, int64_t begin, int64_t end) {
    std::vector<std::pair<int64_t, int64_t>> out;
    for (const auto& r : *ranges) {
      if (r.second < begin || r.first > end) {
        out.push_back(r);
      } else {
        begin = std::min(begin, r.first);
        end = std::max(end, r.second);
      }
    }
    out.emplace_back(begin, end);
    std::sort(out.begin(), out.end());
    *ranges = std::move(out);
  }

  // What the host reads, and what must have been done.
  Status End() const {
    const auto reject = [&](const auto&... args) { return Rejected("program ", p_.name, ": ", args...); };
    const GraphFacts& graph = *facts_.graph;
    const std::string when = p_.period > 1 ? " in iterations " + std::to_string(residue_) + " mod the period" : "";
    if (p_.purpose == Purpose::kTrain) {
      if (gradients_ != 1) return reject("computes ", gradients_, " gradients an iteration instead of one", when);
      if (!Holds(p_.record_host, 0, StepRecordBytes(p_.samples), {Means::kRecord}, 0))
        return reject("does not copy its record to the host", when);
    }
    for (size_t b = 0; b < p_.loss_sum.size(); ++b) {
      for (size_t k = 0; k < 2; ++k) {
        const BufferId host = (k == 0 ? p_.loss_sum_host : p_.loss_count_host)[b];
        const int32_t value = s_.nodes[Ix(s_.loss.node)].outputs[k];
        const auto one = static_cast<uint64_t>(graph.type[Ix(value)].bytes());
        for (int32_t j = 0; host != -1 && j < p_.micro_batches; ++j) {
          const Content want{Means::kValue, value, graph.perturbed[Ix(value)] ? static_cast<int32_t>(b) : -1,
                             graph.fed[Ix(value)] ? j : -1};
          if (!Holds(host, Ix(j) * one, one, want, 0)) return reject("does not copy ", Describe(s_, want), " to the host", when);
        }
      }
    }
    for (const ProgramOutput& out : p_.outputs) {
      const int32_t root = graph.root[Ix(out.value)];
      Content want{Means::kValue, root, graph.perturbed[Ix(root)] ? 0 : -1, graph.fed[Ix(root)] ? 0 : -1};
      if (s_.values[Ix(root)].kind == ValueKind::kInput) want = {Means::kInput, root, -1, -1};
      if (s_.values[Ix(root)].kind == ValueKind::kConstant) want = {Means::kConstant, root, -1, -1};
      if (!Holds(out.staging, 0, static_cast<uint64_t>(graph.type[Ix(root)].bytes()), want, 0))
        return reject("does not copy output ", s_.values[Ix(out.value)].name, " to the host", when);
    }
    return Status();
  }

  const ProgramFacts& facts_;
  const Schedule& s_;
  const Program& p_;
  int residue_;
  Spot spot_;
  int gradients_ = 0;
  std::vector<ByteMap> maps_;
  std::vector<Assembly> assemblies_;
};

}  // namespace

std::string Describe(const Schedule& s, const Content& c) {
  const auto tile = [&] { return "tile " + (c.a >= 0 && Ix(c.a) < s.tiles.size() ? s.tiles[Ix(c.a)].name : "?"); };
  const auto value = [&] { return c.a >= 0 && Ix(c.a) < s.values.size() ? s.values[Ix(c.a)].name : "?"; };
  switch (c.means) {
    case Means::kNothing:
      return "nothing of this iteration";
    case Means::kTile:
      return tile() + (c.b == 0 ? " as the iteration began" : " as of this step");
    case Means::kCodes:
      return "codes of " + tile() + (c.b == 0 ? " as the iteration began" : " made in this iteration");
    case Means::kBranch:
      return tile() + (c.b < 0 ? " for every branch" : " of branch " + std::to_string(c.b));
    case Means::kValue:
      return "value " + value() + (c.b < 0 ? "" : " of branch " + std::to_string(c.b)) +
             (c.c < 0 ? "" : " and micro batch " + std::to_string(c.c));
    case Means::kInput:
      return "input " + value();
    case Means::kConstant:
      return "constant " + value();
    case Means::kControl:
      return "the step's control";
    case Means::kRecord:
      return "the step's record";
    case Means::kPartial:
      return "parts of a value";
  }
  return "?";
}

Status VerifyMeaning(ProgramFacts* facts) {
  for (auto* list : {&facts->master_writes, &facts->code_writes, &facts->master_reads, &facts->code_reads})
    list->assign(facts->schedule->tiles.size(), 0);
  for (int r = 0; r < facts->program->period; ++r) ZO2_TRY(Iteration(*facts, r).Run(facts));
  return Status();
}

}  // namespace zo2::internal
