// Partition: cuts a model's weights into tiles.
//
// A function of the model alone, in the precision asked for (precision.h), and of the user's --tile: it decides bits, so
// nothing that the planner may choose freely - budget, residency, slots, link - goes in.
//
// The tile target T is clamp(2^ceil(log2(total bytes / 4096)), 1 MiB, 32 MiB) of storage. A weight larger than T is cut
// along its tile axis into parts of equal size (multiples of 64 rows where that many fit; the last may be smaller) when
// every op that uses it can work part by part. The bias of a projection rides in the same tile as its rows. Small
// weights that neighbours in the same layer use share one tile.
#ifndef ZO2_PLANNER_PARTITION_H_
#define ZO2_PLANNER_PARTITION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/schedule/schedule.h"
#include "planner/machine.h"
#include "planner/options.h"

namespace zo2 {

// One part of a weight: segment `segment` of tile `tile` holds [begin, end) along the weight's tile axis.
struct Part {
  TileId tile = -1;
  int32_t segment = -1;
  int64_t begin = 0, end = 0;
};

struct Partition {
  uint64_t target = 0;              // T, bytes
  std::vector<PlanWeight> weights;  // index = WeightId
  std::vector<Tile> tiles;          // in order of first use; master not set
  std::vector<bool> grouped;        // per tile: small weights, prepared once per pass
  std::vector<std::string> layer;   // per tile: numbered-layer prefix of its first weight ("model.layers.3."), or ""
  std::vector<std::vector<Part>> parts;  // per weight, in order; one whole part when it is not cut
  std::vector<bool> cut;                 // per weight: more than one part
  std::vector<bool> coded;               // per tile: in wire form on the link; frozen, also on the device (wire.h)
  int classes = 0;                       // tiles of one class have equal bytes, role, kind and wire format
};

// For each value: the value whose bytes it is (reshapes are never called).
std::vector<ValueId> RootValues(const Graph& graph);
// "model.layers.3.fc1.weight" -> "model.layers.3."; "" when no component of the name is a number.
std::string LayerPrefix(const std::string& name);
// The tile target for a model of `total` bytes of weights.
uint64_t TileTarget(uint64_t total);

Result<Partition> MakePartition(const Graph& graph, const Machine& machine, const PlanOptions& options);

}  // namespace zo2

#endif  // ZO2_PLANNER_PARTITION_H_
