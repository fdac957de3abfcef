// Counts what a test program takes from the system, by replacing malloc and its kin and mmap for the whole
// program. Only this test program links it. Sanitizers replace them themselves: there it counts nothing.
#ifndef ZO2_TESTS_UNIT_ATEN_ALLOCATION_COUNTER_H_
#define ZO2_TESTS_UNIT_ATEN_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace zo2 {

struct Allocations {
  uint64_t calls = 0;
  uint64_t bytes = 0;    // asked for, on all threads
  uint64_t largest = 0;  // of one
};

bool CanCountAllocations();
// Starts at zero, for all threads, until Stop.
void StartCounting();
Allocations StopCounting();

}  // namespace zo2

#endif  // ZO2_TESTS_UNIT_ATEN_ALLOCATION_COUNTER_H_
