// Two things that every file of the planner needs.
#ifndef ZO2_PLANNER_ARITH_H_
#define ZO2_PLANNER_ARITH_H_

#include <cstddef>
#include <cstdint>

namespace zo2 {

// An id as an index.
inline size_t Ix(int64_t id) { return static_cast<size_t>(id); }
// `n` rounded up to a multiple of `align`.
inline uint64_t AlignUp(uint64_t n, uint64_t align) { return (n + align - 1) / align * align; }

}  // namespace zo2

#endif  // ZO2_PLANNER_ARITH_H_
