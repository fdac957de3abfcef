// The exact strategy: the best class counts by closed form, found by Z3.
//
// For each number of slots, settings of K and slot size are searched best first (class_search.h): the least T
// of each over reals says whether it can beat what is known, and if so, the least T over integers is found by
// bisection on "is there a decision with T <= t?". What is known at first is the greedy strategy's closed
// form, so that only what greedy misses is looked for: mixtures of classes that no single order of residents
// gives, and K that are not in its list. Tiles of a class are then spread evenly over the order of use.
//
// The closed form is blind to that order; choose.h simulates what comes out, beside what greedy found.
#ifndef ZO2_PLANNER_EXACT_H_
#define ZO2_PLANNER_EXACT_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "planner/strategy.h"

namespace zo2 {

// How far Z3 came.
struct ExactSearch {
  bool ran = false;
  int programs = 0;   // least T over reals
  int decisions = 0;  // questions over integers
  int undecided = 0;  // of both: given up for effort or time
  bool out_of_time = false;
  double closed_form = 0;  // of the best decision known, greedy's included; seconds
  double proved = 0;  // no class counts with 1, 2, 3, 4, 6 or 8 slots (or those forced) have a shorter closed form
  double seconds = 0;  // that it took
};

inline constexpr uint32_t kAutoEffort = 20000;  // for a question, where Z3 was not asked for; see z3_solver.h

// Decisions that are better than `seeds` by closed form, best first, at most `most`; empty when there are
// none. Stops at in.deadline.
std::vector<Candidate> DecideExactly(const PlanInput& input, const Demand& demand,
                                     const std::vector<Candidate>& seeds, int most, uint32_t effort,
                                     ExactSearch* search);

// Strategy "z3": these, then greedy's. Null where the build has no Z3.
std::unique_ptr<Strategy> MakeExact();

}  // namespace zo2

#endif  // ZO2_PLANNER_EXACT_H_
