// The judge of the verifier: runs a tiny schedule on symbols, in every order that its lanes and edges allow.
//
// Memory holds one symbol a byte. What an instruction writes are symbols made (by hashing) from what it is
// and from all it read, so two runs that end with equal symbols did the same computation on the same data.
// The trace of a run is what every instruction of every iteration read, and what masters and the host have at
// its end. A trace that lacks an instruction (an upload of bytes that are there already), or has another one
// run more often, is still the right one if everything else reads and leaves the same, unless the host misses
// something or sees more.
//
// Shares no code with the verifier or the planner; goes by schedule.h alone.
#ifndef ZO2_TESTS_PROPERTY_INTERPRETER_H_
#define ZO2_TESTS_PROPERTY_INTERPRETER_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ir/schedule/schedule.h"
#include "tests/property/machine.h"

namespace zo2::symbolic {

struct Trace {
  // (iteration, identity) -> hash of what it read. The identity of an instruction is its `seconds`, which
  // says nothing to a run and stays with the instruction when a mutation moves it. One without (0) is an
  // addition of a mutation: it may read anything as long as nobody else reads something else for it.
  std::map<std::pair<int64_t, double>, uint64_t> reads;
  std::set<std::pair<int64_t, double>> seen;  // of these, gradients and copies to the host
  std::vector<uint64_t> left;  // hashes of masters and of what the host sees of the last iteration
};

// Masters and codes as loaded, constants; nothing else.
Memory InitialMemory(const Schedule& schedule);

// One run in the serial order. False: it left an arena.
bool RunSerially(const Schedule& schedule, const Program& program, const Setting& setting, Memory* memory,
                 Trace* trace);

// What masters and codes are current through after a run of train.
Versions VersionsAfter(const Schedule& schedule, const Program& train, const Setting& setting);

struct Verdict {
  bool harmful = false;
  bool undecided = false;  // too many states
  std::string why;
  int64_t states = 0;
  int64_t runs = 0;  // complete ones
};
// All runs of the program from `memory`: harmful if any is stuck, leaves an arena or has another trace than
// `right`.
//
// `reduce`: where an instruction that can run touches no byte in common with an instruction that no path
// orders against it, it is run at once and the others later: any order of theirs gives the same trace (a
// persistent set of one). Without it, every interleaving is walked.
Verdict Judge(const Schedule& schedule, const Program& program, const Setting& setting, const Memory& memory,
              const Trace& right, bool reduce = true, int64_t max_states = 20000);

}  // namespace zo2::symbolic

#endif  // ZO2_TESTS_PROPERTY_INTERPRETER_H_
