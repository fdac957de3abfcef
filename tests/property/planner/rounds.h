// How long property tests run.
#ifndef ZO2_TESTS_PROPERTY_PLANNER_ROUNDS_H_
#define ZO2_TESTS_PROPERTY_PLANNER_ROUNDS_H_

#include <algorithm>
#include <cstdlib>

namespace zo2 {

// `usual` times ZO2_PROPERTY_ROUNDS of the environment (a number from 0.01 on; absent: 1).
inline int Rounds(int usual) {
  const char* text = std::getenv("ZO2_PROPERTY_ROUNDS");
  const double factor = text == nullptr ? 1 : std::max(0.01, std::atof(text));
  return std::max(1, static_cast<int>(usual * factor));
}
// Seeds of failures are reproduced with ZO2_PROPERTY_SEED=first.
inline int FirstSeed() {
  const char* text = std::getenv("ZO2_PROPERTY_SEED");
  return text == nullptr ? 1 : std::atoi(text);
}

}  // namespace zo2

#endif  // ZO2_TESTS_PROPERTY_PLANNER_ROUNDS_H_
