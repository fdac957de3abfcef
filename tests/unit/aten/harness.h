// Runs kernels of a table as the executor does and watches what they touch. Every call is made with 1 and 2
// threads, at several 64-byte-aligned addresses, twice each: bits must agree. Canaries stand around inputs,
// outputs, state and a workspace of exactly WorkspaceBytes(). What the numbers should be is each test's own
// affair.
//
// Compiled with ZO2_TEST_DEVICE_TABLE=1 it is the device's table that runs (runtime/aten_device), on one thread, and
// nothing that ATen allocates may lie outside of the workspace.
#ifndef ZO2_TESTS_UNIT_ATEN_HARNESS_H_
#define ZO2_TESTS_UNIT_ATEN_HARNESS_H_

#include <functional>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "runtime/kernel_table.h"

namespace zo2 {

// The table that the tests of this program are about, and the flavour of its kernels.
const KernelTable& TableUnderTest();
KernelFlavour FlavourUnderTest();

// A tensor as a test sees it: values that `dtype` holds exactly, row-major, as doubles.
struct Array {
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<double> v;
  double& operator[](int64_t i) { return v[static_cast<size_t>(i)]; }
  double operator[](int64_t i) const { return v[static_cast<size_t>(i)]; }
};
using Operand = std::optional<Array>;  // absent where nullopt

// The nearest value that `dtype` holds.
double Round(DType dtype, double x);
Array Make(DType dtype, Shape shape, const std::function<double(int64_t)>& f);

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  Array Normal(Shape shape, double scale = 1, DType dtype = DType::kF32);
  // Integers in [low, high], of any dtype.
  Array Integers(Shape shape, int64_t low, int64_t high, DType dtype = DType::kI64);
  int64_t Integer(int64_t low, int64_t high);

 private:
  std::mt19937_64 engine_;
};

// Position in an operand of `from` (numpy broadcasting) of element `at` of `shape`.
int64_t BroadcastIndex(const Shape& shape, int64_t at, const Shape& from);
// Coordinates of element `at`, and back.
Shape Coordinates(const Shape& shape, int64_t at);
int64_t Flat(const Shape& shape, const Shape& at);

struct RunOptions {
  std::vector<int64_t> cuts;  // part by part, cut at these rows of the tiled axis
  bool in_place = false;      // output 0 shares the memory of the registry's alias_input
};
// Outputs for each number of threads: 1 and 2, or 1 alone where the table knows no others.
using Outcome = std::vector<std::vector<Array>>;
Outcome RunOp(Op op, const Attrs& attrs, const std::vector<Operand>& inputs, const RunOptions& options = {});
// The error of one call that must fail; canaries are checked all the same.
Status RunToError(Op op, const Attrs& attrs, const std::vector<Operand>& inputs,
                  const RunOptions& options = {});

// Every element of output `index` of every run within `tolerance` times the largest finite magnitude expected
// (or exactly equal where it is 0); NaN and infinities must be in the same places.
void ExpectNear(const Outcome& outcome, const Array& expected, double tolerance, size_t index = 0);
// Output 0 of every run has these bits.
void ExpectSame(const Outcome& a, const Outcome& b);

}  // namespace zo2

#endif  // ZO2_TESTS_UNIT_ATEN_HARNESS_H_
