// Packs buffers with lifetimes into one arena.
//
// Dynamic storage allocation: items with a half-open lifetime [begin, end) and a size get offsets so that two items
// that live at the same time share no byte; the height reached is to be small. NP-hard. Best fit in several orders
// comes first; where that is above the lower bound (the most bytes that live at once), an exact search
// (allocate_search.h) looks for packings at the bound and between. It stops after a fixed amount of work, never by the
// clock: the same items always get the same offsets.
#ifndef ZO2_PLANNER_ALLOCATE_H_
#define ZO2_PLANNER_ALLOCATE_H_

#include <cstdint>
#include <span>
#include <vector>

namespace zo2 {

struct ArenaItem {
  int64_t begin = 0, end = 0;  // lifetime, half open
  uint64_t size = 0;           // bytes
  uint64_t align = 1;          // offsets are multiples of it
};

struct ArenaPacking {
  std::vector<uint64_t> offsets;  // per item
  uint64_t height = 0;            // bytes
  uint64_t lower_bound = 0;       // the most bytes that live at once: no packing is lower
};

// `enough`: no packing lower than that is looked for; 0: the lowest that is found. `effort`: of the search's usual work
// (one to three seconds of a core where it does not find its goal), above 0.
ArenaPacking AllocateArena(std::span<const ArenaItem> items, uint64_t enough = 0, double effort = 1);

}  // namespace zo2

#endif  // ZO2_PLANNER_ALLOCATE_H_
