// The graph and tiles of a tiny schedule. Private to tests/tools.
#ifndef ZO2_TESTS_TOOLS_TINY_MODEL_H_
#define ZO2_TESTS_TOOLS_TINY_MODEL_H_

#include <vector>

#include "tests/tools/tiny_schedules.h"

namespace zo2::tiny {

// One part of a weight that a node multiplies, looks up or adds: range [begin, end) of its tiled axis, in a
// tile.
struct Part {
  TileId tile;
  int64_t begin, end;
};

struct Model {
  Schedule schedule;  // values, nodes, weights, tiles, loss; no memory and no programs
  int64_t batch = 0;
  int32_t x = -1, labels = -1, logits = -1;  // values; logits -1 with lm_head
  std::vector<bool> trained;                 // per value: some trained weight reaches it
  std::vector<int32_t> root;                 // per value: whose bytes it is (reshapes)
  std::vector<std::vector<Part>> parts;      // per weight that leads a tile
  std::vector<Keep> keep;                    // per tile
};
Model MakeModel(const Options& options);

}  // namespace zo2::tiny

#endif  // ZO2_TESTS_TOOLS_TINY_MODEL_H_
