#include "tests/property/interpreter.h"

#include <algorithm>
#include <bitset>
#include <set>

namespace zo2::symbolic {
namespace {

constexpr size_t kMaxNodes = 1024;
using NodeSet = std::bitset<kMaxNodes>;
using Blocks = std::bitset<1024>;  // 64-byte blocks, all arenas one after the other modulo 1024

// Its effect leaves the device: the host sees what it writes in every iteration.
bool SeenByHost(const Schedule& s, const Instruction& i) {
  if (i.kind == InstrKind::kGradient) return true;
  if (i.kind != InstrKind::kCopy || i.operands[1].buffer < 0) return false;
  const Buffer& to = s.buffers[U(i.operands[1].buffer)];
  return s.arenas[U(to.arena)].tier == Tier::kHost && to.kind != BufferKind::kMaster &&
         to.kind != BufferKind::kCodes;
}

struct Node {
  const Instruction* instruction;
  int64_t iteration;
  int64_t seq;
  size_t lane;
  bool seen;  // by the host
  std::vector<Range> ranges;
  Blocks reads, writes;
  NodeSet before;  // must have run
  NodeSet races;   // touch a common byte, in no fixed order
};

// All running instructions of a window, in lanes.
class Unrolled {
 public:
  Unrolled(const Schedule& s, const Program& p, const Setting& setting, const Machine& machine) {
    const int64_t end = setting.first + setting.iterations;
    lanes.resize(p.lanes.size());
    // last_at[l][t][index]: the last running node of the lane at or before that instruction of iteration t.
    std::vector<std::vector<std::vector<int>>> last_at(p.lanes.size());
    for (size_t l = 0; l < p.lanes.size(); ++l) {
      int last = -1;
      for (int64_t t = setting.first; t < end; ++t) {
        last_at[l].emplace_back();
        for (const Instruction& i : p.lanes[l].instructions) {
          if (RunsAt(p, i, t) && nodes.size() < kMaxNodes) {
            Node node{&i, t, i.seq, l, SeenByHost(s, i), machine.Footprint(i, t), {}, {}, {}, {}};
            inside = inside && machine.Inside(node.ranges);
            for (const Range& r : node.ranges)
              for (uint64_t b = r.begin / 64;
                   b <= (r.end - 1) / 64 && r.end > r.begin && b < r.begin / 64 + 1024; ++b)
                (r.write ? node.writes : node.reads).set((b + r.arena * 512) % 1024);
            if (last >= 0) direct.push_back({last, static_cast<int>(nodes.size())});
            last = static_cast<int>(nodes.size());
            lanes[l].push_back(last);
            nodes.push_back(std::move(node));
          }
          last_at[l].back().push_back(last);
        }
      }
    }
    overflow = nodes.size() >= kMaxNodes;
    for (const Edge& e : p.edges) {
      for (int64_t t = setting.first; t < end; ++t) {
        const Instruction& to = p.lanes[U(e.to_lane)].instructions[U(e.to)];
        if (!RunsAt(p, to, t) || t - e.back < setting.first) continue;
        const int from = last_at[U(e.from_lane)][U(t - e.back - setting.first)][U(e.from)];
        const int node = last_at[U(e.to_lane)][U(t - setting.first)][U(e.to)];
        // An instruction that waits for a later one of its own lane never runs: from == node then closes a
        // cycle.
        if (from >= 0) direct.push_back({from, node});
      }
    }
    Order();
    if (!cyclic) FindRaces();
  }

  std::vector<Node> nodes;
  std::vector<std::vector<int>> lanes;
  std::vector<std::pair<int, int>> direct;
  std::vector<int> topological;
  bool inside = true, cyclic = false, overflow = false;

 private:
  void Order() {
    std::vector<std::vector<int>> next(nodes.size());
    std::vector<int> missing(nodes.size());
    for (const auto& [from, to] : direct) {
      next[U(from)].push_back(to);
      ++missing[U(to)];
    }
    std::set<std::pair<std::pair<int64_t, int64_t>, int>> ready;  // by serial order
    const auto key = [&](int n) { return std::pair(std::pair(nodes[U(n)].iteration, nodes[U(n)].seq), n); };
    for (size_t n = 0; n < nodes.size(); ++n)
      if (missing[n] == 0) ready.insert(key(static_cast<int>(n)));
    while (!ready.empty()) {
      const int n = ready.begin()->second;
      ready.erase(ready.begin());
      topological.push_back(n);
      for (const int to : next[U(n)]) {
        nodes[U(to)].before |= nodes[U(n)].before;
        nodes[U(to)].before.set(U(n));
        if (--missing[U(to)] == 0) ready.insert(key(to));
      }
    }
    cyclic = topological.size() < nodes.size();
  }

  static bool Conflict(const Node& a, const Node& b) {
    if (!((a.writes & b.writes) | (a.writes & b.reads) | (a.reads & b.writes)).any()) return false;
    for (const Range& x : a.ranges)
      for (const Range& y : b.ranges)
        if ((x.write || y.write) && x.arena == y.arena && x.begin < y.end && y.begin < x.end) return true;
    return false;
  }
  void FindRaces() {
    for (size_t a = 0; a < nodes.size(); ++a) {
      for (size_t b = 0; b < a; ++b) {
        if (nodes[a].before[b] || nodes[b].before[a] || !Conflict(nodes[a], nodes[b])) continue;
        nodes[a].races.set(b);
        nodes[b].races.set(a);
      }
    }
  }
};

class Explorer {
 public:
  Explorer(const Machine& machine, const Unrolled& u, const Trace& right, bool reduce, int64_t max_states)
      : machine_(machine), u_(u), right_(right), reduce_(reduce), max_states_(max_states) {}

  Verdict Run(const Memory& memory) {
    Walk(memory, NodeSet(), std::vector<size_t>(u_.lanes.size(), 0));
    return std::move(verdict_);
  }

 private:
  bool Stop() const { return verdict_.harmful || verdict_.undecided; }

  // Runs node n; false when it read something else than it should.
  bool Step(int n, Memory* m, NodeSet* done) {
    const Node& node = u_.nodes[U(n)];
    const uint64_t read = machine_.Execute(*node.instruction, node.iteration, m);
    done->set(U(n));
    if (node.instruction->seconds == 0) return true;
    const auto it = right_.reads.find({node.iteration, node.instruction->seconds});
    if (it == right_.reads.end() ? !node.seen : it->second == read) return true;
    verdict_.harmful = true;
    verdict_.why = "the " + std::string(Name(node.instruction->kind)) + " with seq " +
                   std::to_string(node.instruction->seq) + " of iteration " + std::to_string(node.iteration) +
                   (it == right_.reads.end() ? " should not run" : " read something else");
    return false;
  }

  void Walk(Memory m, NodeSet done, std::vector<size_t> at) {
    while (!Stop()) {
      std::vector<size_t> enabled;  // lanes
      size_t alone = u_.lanes.size();
      for (size_t l = 0; l < at.size(); ++l) {
        if (at[l] >= u_.lanes[l].size()) continue;
        const Node& node = u_.nodes[U(u_.lanes[l][at[l]])];
        if ((node.before & ~done).any()) continue;
        enabled.push_back(l);
        if (alone == u_.lanes.size() && (node.races & ~done).none()) alone = l;
      }
      if (enabled.empty()) {
        if (done.count() != u_.nodes.size()) {
          verdict_.harmful = true;
          verdict_.why = "deadlock";
        } else if (++verdict_.runs; machine_.Left(m) != right_.left) {
          verdict_.harmful = true;
          verdict_.why = "masters or what the host sees differ";
        }
        return;
      }
      if (reduce_ && alone < u_.lanes.size()) enabled = {alone};
      if (enabled.size() == 1) {
        const size_t l = enabled[0];
        if (!Step(u_.lanes[l][at[l]++], &m, &done)) return;
        continue;
      }
      uint64_t h = 7;
      for (const size_t a : at) h = Mix(h, a);
      for (const auto& arena : m)
        for (const uint64_t symbol : arena) h = Mix(h, symbol);
      if (!seen_.insert(h).second) return;
      if (++verdict_.states > max_states_) {
        verdict_.undecided = true;
        return;
      }
      for (const size_t l : enabled) {
        Memory copy = m;
        NodeSet with = done;
        std::vector<size_t> next = at;
        if (!Step(u_.lanes[l][next[l]++], &copy, &with)) return;
        Walk(std::move(copy), with, std::move(next));
        if (Stop()) return;
      }
      return;
    }
  }

  const Machine& machine_;
  const Unrolled& u_;
  const Trace& right_;
  bool reduce_;
  int64_t max_states_;
  Verdict verdict_;
  std::set<uint64_t> seen_;
};

}  // namespace

Memory InitialMemory(const Schedule& s) {
  Memory m;
  for (const Arena& a : s.arenas) m.emplace_back(a.bytes, 0);
  const auto fill = [&](BufferId id, uint64_t bytes, uint64_t tag) {
    if (id < 0) return;
    const Buffer& b = s.buffers[U(id)];
    for (uint64_t i = 0; i < bytes; ++i)
      if (b.offset + i < m[U(b.arena)].size()) m[U(b.arena)][b.offset + i] = Mix(tag, i);
  };
  for (const Tile& tile : s.tiles) {
    for (const Segment& g : tile.segments) {
      const Component& component = s.weights[U(g.weight)].components[0];
      std::vector<uint64_t> loaded;
      for (int64_t n = 0; n < g.elements(); ++n)
        for (int64_t k = 0; k < SizeOf(component.storage); ++k)
          loaded.push_back(Loaded(g.weight, Element(s, g, n), k));
      const auto put = [&](BufferId id, uint64_t offset, const std::vector<uint64_t>& symbols) {
        if (id < 0) return;
        std::vector<uint64_t>& arena = m[U(s.buffers[U(id)].arena)];
        const uint64_t begin = s.buffers[U(id)].offset + offset;
        for (size_t k = 0; k < symbols.size() && begin + k < arena.size(); ++k) arena[begin + k] = symbols[k];
      };
      put(tile.master, g.offset, loaded);
      if (tile.codes >= 0) put(tile.codes, g.wire_offset, Encode(component, g, loaded));
    }
  }
  for (size_t v = 0; v < s.values.size(); ++v)
    if (s.values[v].kind == ValueKind::kConstant)
      fill(s.values[v].constant, s.values[v].data.size(), Hash("constant", v));
  return m;
}

bool RunSerially(const Schedule& s, const Program& p, const Setting& setting, Memory* memory, Trace* trace) {
  const Machine machine(s, p, setting);
  std::vector<const Instruction*> order;
  for (const Lane& lane : p.lanes)
    for (const Instruction& i : lane.instructions) order.push_back(&i);
  std::sort(order.begin(), order.end(), [](auto* a, auto* b) { return a->seq < b->seq; });
  for (int64_t t = setting.first; t < setting.first + setting.iterations; ++t) {
    for (const Instruction* i : order) {
      if (!RunsAt(p, *i, t)) continue;
      if (!machine.Inside(machine.Footprint(*i, t))) return false;
      trace->reads[{t, i->seconds}] = machine.Execute(*i, t, memory);
      if (SeenByHost(s, *i)) trace->seen.insert({t, i->seconds});
    }
  }
  trace->left = machine.Left(*memory);
  return true;
}

Versions VersionsAfter(const Schedule& s, const Program& train, const Setting& setting) {
  const Machine machine(s, train, setting);
  const int64_t end = setting.first + setting.iterations;
  Versions versions;
  for (size_t t = 0; t < s.tiles.size(); ++t) {
    versions.masters.push_back(machine.Version(static_cast<TileId>(t), end));
    versions.codes.push_back(machine.CodeVersion(static_cast<TileId>(t), end));
  }
  return versions;
}

Verdict Judge(const Schedule& s, const Program& p, const Setting& setting, const Memory& memory,
              const Trace& right, bool reduce, int64_t max_states) {
  const Machine machine(s, p, setting);
  const Unrolled unrolled(s, p, setting, machine);
  Verdict verdict;
  if (unrolled.overflow) {
    verdict.undecided = true;
  } else if (!unrolled.inside) {
    verdict.harmful = true;
    verdict.why = "leaves an arena";
  } else if (unrolled.cyclic) {
    verdict.harmful = true;
    verdict.why = "deadlock";
  } else {
    std::set<std::pair<int64_t, double>> missing = right.seen;
    for (const Node& node : unrolled.nodes) missing.erase({node.iteration, node.instruction->seconds});
    if (!missing.empty()) {
      verdict.harmful = true;
      verdict.why =
          "what the host should see of iteration " + std::to_string(missing.begin()->first) + " never comes";
      return verdict;
    }
    verdict = Explorer(machine, unrolled, right, reduce, max_states).Run(memory);
  }
  return verdict;
}

}  // namespace zo2::symbolic
