// Random models, machines and options for the planner's property tests.
//
// Graphs are small but have everything a real one may bring: chains and residual blocks, attention, norms, tied
// embeddings, one weight used by several ops and in several roles, weights that generic ops read (also reshaped),
// frozen parts, weights that nothing uses, constants, odd sizes, every loss, outputs. Machines go from absurdly slow to
// absurdly fast in each rate. A seed gives the same case on every machine.
#ifndef ZO2_TESTS_PROPERTY_PLANNER_RANDOM_GRAPH_H_
#define ZO2_TESTS_PROPERTY_PLANNER_RANDOM_GRAPH_H_

#include <cstdint>
#include <random>

#include "ir/graph/graph.h"
#include "planner/machine.h"
#include "planner/options.h"

namespace zo2 {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  // Uniform in [low, high].
  int64_t Int(int64_t low, int64_t high) {
    return low + static_cast<int64_t>(engine_() % static_cast<uint64_t>(high - low + 1));
  }
  double Real(double low, double high) { return low + (high - low) * static_cast<double>(engine_() >> 11) * 0x1p-53; }
  // 10^x with x uniform.
  double Power(double low, double high);
  bool Chance(double p) { return Real(0, 1) < p; }

 private:
  std::mt19937_64 engine_;
};

struct GraphSize {
  int blocks = 4;      // at most
  int64_t width = 64;  // at most
  bool loss = true;    // always one; otherwise now and then none
};
Graph RandomGraph(Random& random, const GraphSize& size = {});
Machine RandomMachine(Random& random);
// Choices that decide bits: tile, q, micro-batches, rounding, dtypes.
PlanOptions RandomNumerics(Random& random, const Machine& machine);

}  // namespace zo2

#endif  // ZO2_TESTS_PROPERTY_PLANNER_RANDOM_GRAPH_H_
