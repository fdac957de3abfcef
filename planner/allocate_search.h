// Exact packing by branch and bound: the hard core of allocate.h.
//
// Time is cut into *sections*: moments between which no item begins or ends (those whose items all live in a neighbour
// too are dropped). Each section has a floor, the top of what is placed in it. Items are placed from below, each at
// rest on floors; so only packings are looked at in which nothing can be moved down with the rest where it is, and one
// of least total offset is among them.
//
// A node of the search asks: what is next above the floor of section s? Were `rest` bytes of unplaced items in s and
// capacity C, its offset is at most U = C - rest. Whatever may be next, with all that may be squeezed below it (items
// that live with it, or with one another, and end below U), is a set R; the lowest of R in any packing rests on floors
// alone, so its offset is known. One branch per member of R; it leaves to all others of R a lower limit, so no packing
// is visited twice. Sections are picked by few branches over many failures (a weight that grows where the search
// fails), members by least offset and best fit to their neighbours' heights. Offsets that cannot be next push one
// another up first, which often leaves one branch, or none. Parts of time that no unplaced item bridges are packed one
// by one. After a number of nodes the search starts anew with another order and the weights learnt. Deterministic.
//
// Section-wise bounds, rest from below and dominance are those of MiniMalloc (Moffitt, ASPLOS 2023); weights are those
// of constraint solvers (Boussemart et al., ECAI 2004).
#ifndef ZO2_PLANNER_ALLOCATE_SEARCH_H_
#define ZO2_PLANNER_ALLOCATE_SEARCH_H_

#include <cstdint>
#include <span>
#include <vector>

#include "planner/allocate.h"

namespace zo2 {

enum class PackAnswer { kPacked, kImpossible, kGaveUp };

// Offsets of all items within `capacity`. Alignment is that of the item that asks for most, for all. Gives up when
// `work` - items times their sections over all nodes, and looks at what may be in the way; roughly 1e8 in a second -
// is used up; what is used is taken off.
// kImpossible: no packing at that alignment exists.
PackAnswer PackWithin(std::span<const ArenaItem> items, uint64_t capacity, double* work,
                      std::vector<uint64_t>* offsets);

}  // namespace zo2

#endif  // ZO2_PLANNER_ALLOCATE_SEARCH_H_
