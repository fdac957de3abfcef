// Z3 behind one door: the least T of a ClassProgram over reals, and whether some T can be had over integers.
//
// Minimising over integers is left alone: with 16 classes Z3 does not come back from it, while the same
// program over reals takes milliseconds, and so does an integer question against a T that is a little more
// than that.
//
// Rates are rounded to integers of a small unit of time: down for the least T, which so stays a lower bound,
// up for decisions, which so keep the T that they were asked for. A build without Z3 (-DZO2_Z3=OFF) answers
// kNotBuilt.
#ifndef ZO2_PLANNER_Z3_SOLVER_H_
#define ZO2_PLANNER_Z3_SOLVER_H_

#include <chrono>
#include <cstdint>
#include <memory>
#include <vector>

#include "planner/class_model.h"

namespace zo2 {

using Deadline = std::chrono::steady_clock::time_point;

enum class Answer : uint8_t {
  kYes = 0,
  kNo = 1,         // there is no such x
  kUndecided = 2,  // the effort or the time was too little
  kNotBuilt = 3,
};

// What one of these has been asked changes nothing in what it answers, but may change which of several x it
// finds.
class Z3Solver {
 public:
  static bool IsBuilt();

  Z3Solver();
  ~Z3Solver();
  Z3Solver(const Z3Solver&) = delete;
  Z3Solver& operator=(const Z3Solver&) = delete;

  // The least T over reals, at most 1e-8 of itself below the true one, and an x that has it. kNo: no x is
  // within the limits.
  Answer Minimise(const ClassProgram& program, Deadline deadline, double* seconds, std::vector<double>* x);
  // Integers x with T <= seconds. `effort`: of Z3's resource units, the same on every machine and in every
  // run; 0: until the deadline.
  Answer Decide(const ClassProgram& program, double seconds, uint32_t effort, Deadline deadline,
                std::vector<int64_t>* x);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace zo2

#endif  // ZO2_PLANNER_Z3_SOLVER_H_
