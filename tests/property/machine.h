// Executes single instructions of a tiny schedule on symbols. See interpreter.h.
#ifndef ZO2_TESTS_PROPERTY_MACHINE_H_
#define ZO2_TESTS_PROPERTY_MACHINE_H_

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "ir/schedule/schedule.h"

namespace zo2::symbolic {

using Memory = std::vector<std::vector<uint64_t>>;  // per arena, per byte

// Per tile: the step its master and its codes are current through.
struct Versions {
  std::vector<int64_t> masters, codes;
};

struct Setting {
  int64_t first = 0;  // first iteration
  int64_t iterations = 3;
  int64_t step = 0;            // of programs other than train
  Versions entry;              // empty: nothing is pending
};

inline uint64_t Mix(uint64_t h, uint64_t v) {
  h ^= v + 0x9e3779b97f4a7c15ull + (h << 6) + (h >> 2);
  h *= 0xff51afd7ed558ccdull;
  return h ^ (h >> 32);
}
template <typename... T>
uint64_t Hash(const char* what, T... values) {
  uint64_t h = 0;
  for (const char* c = what; *c != 0; ++c) h = Mix(h, static_cast<uint64_t>(*c));
  ((h = Mix(h, static_cast<uint64_t>(values))), ...);
  return h;
}
inline size_t U(int64_t i) { return static_cast<size_t>(i); }

struct Range {
  size_t arena;
  uint64_t begin, end;
  bool write;
};

// What byte k of an element of a weight is at step 0.
uint64_t Loaded(int32_t weight, int64_t element, int64_t k);
// Number of element n of a segment in its weight.
int64_t Element(const Schedule& schedule, const Segment& segment, int64_t n);
// The codes of a segment's stored bytes, and what they decode to, a symbol an element.
std::vector<uint64_t> Encode(const Component& component, const Segment& segment,
                             const std::vector<uint64_t>& stored);
std::vector<uint64_t> Decode(const Component& component, const Segment& segment,
                             const std::vector<uint64_t>& codes);

class Machine {
 public:
  Machine(const Schedule& schedule, const Program& program, const Setting& setting);

  // The step a tile's master, or its codes, are current through when iteration t begins.
  int64_t Version(TileId tile, int64_t t) const;
  int64_t CodeVersion(TileId tile, int64_t t) const;
  // All bytes an instruction touches.
  std::vector<Range> Footprint(const Instruction& instruction, int64_t t) const;
  // They are within their arenas, and these within their budgets.
  bool Inside(const std::vector<Range>& ranges) const;
  // Runs it; the hash of all it read.
  uint64_t Execute(const Instruction& instruction, int64_t t, Memory* memory) const;
  // Hashes of what the weights' elements are in their masters (but after a flush: with what is pending) and
  // codes, and of what the host sees of the last iteration.
  std::vector<uint64_t> Left(const Memory& memory) const;

 private:
  // A segment's bytes in an operand of a prepare.
  enum class Form { kMaster, kCodes, kBranch };

  int64_t Step(int64_t t) const { return p_.purpose == Purpose::kTrain ? t : set_.step; }
  uint64_t Address(BufferId id, uint64_t offset, int64_t copy) const;
  size_t ArenaOf(BufferId id) const { return U(s_.buffers[U(id)].arena); }
  std::vector<Range> View(const Operand& o, int64_t t, bool write) const;
  Range Piece(const Operand& o, const Segment& segment, Form form, int64_t t, bool write) const;
  bool Accumulates(const Instruction& i) const;
  BufferId Records() const;
  // The records of the updates that an instruction applies, in order.
  std::vector<Range> Pending(const Instruction& i, int64_t t) const;
  uint64_t Symbol(const Memory& m, size_t arena, uint64_t at, int64_t t) const;
  uint64_t Digest(const Memory& m, const std::vector<Range>& ranges, int64_t t) const;
  static void Fill(Memory* m, const std::vector<Range>& ranges, uint64_t tag);
  uint64_t Copy(const Instruction& i, int64_t t, Memory* m) const;
  uint64_t Prepare(const Instruction& i, int64_t t, Memory* m) const;
  uint64_t HostUpdate(const Instruction& i, int64_t t, Memory* m) const;
  uint64_t Call(const Instruction& i, int64_t t, Memory* m) const;
  uint64_t Gradient(const Instruction& i, int64_t t, Memory* m) const;

  const Schedule& s_;
  const Program& p_;
  const Setting& set_;
  std::vector<std::pair<BufferId, uint64_t>> staged_;  // what the host fills, and with what
};

}  // namespace zo2::symbolic

#endif  // ZO2_TESTS_PROPERTY_MACHINE_H_
