// Layout: which nodes a program calls, and where its temporary device memory is.
//
// Activations, weights of branches, states and workspaces are touched by the compute lane alone, which runs in order:
// they are packed by their lifetimes and need no edges. Time is the index of the call in one pass; every pass of an
// iteration uses the same places. Nothing here depends on decisions (residency, slots, K): whatever the planner decides,
// the layout stays.
#ifndef ZO2_PLANNER_LAYOUT_H_
#define ZO2_PLANNER_LAYOUT_H_

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/schedule/schedule.h"
#include "planner/machine.h"
#include "planner/options.h"
#include "planner/partition.h"

namespace zo2 {

// A place in the temporary memory of one program.
struct Temp {
  std::string name;
  BufferKind kind = BufferKind::kActivation;
  int64_t begin = 0, end = 0;  // calls of a pass, half open
  uint64_t bytes = 0;          // of one copy
  uint32_t ring = 1;
  uint64_t offset = 0;         // from the start of the program's temporary memory
};

using PerBranch = std::array<int, 2>;  // index of a Temp for the first and second branch of a pass; -1: none

struct Layout {
  Purpose purpose = Purpose::kTrain;
  int branches = 2;                     // of one pass
  std::vector<NodeId> calls;            // in order
  std::vector<bool> variant;            // per value: differs from branch to branch
  std::vector<Temp> temps;
  std::vector<PerBranch> value;         // per value (roots only): activations
  std::map<TileId, PerBranch> group;    // grouped tiles
  std::map<std::pair<NodeId, int>, PerBranch> scratch;  // (node, weight operand): the part being worked on
  std::map<NodeId, PerBranch> state;
  std::map<NodeId, int> workspace;
  std::map<ValueId, int> input;         // kInput values
  std::vector<int> loss_sum, loss_count;  // per branch of the program
  int control = -1;
  std::vector<ValueId> outputs;         // evaluate: values copied to the host
  std::vector<ValueId> constants;       // roots that some call (or output) reads
  uint64_t bytes = 0;                   // of all temporary memory
  uint64_t lower_bound = 0;             // no packing is smaller
  // The most bytes of one kind that live at once, for reports. Outputs count as activations, states as workspace, and
  // control and losses as inputs.
  std::map<BufferKind, uint64_t> peak;
};

// A frozen tile is read where it is (slot or master) when it is not coded and storage and compute dtype agree.
bool NeedsPrepare(const Partition& partition, TileId tile);
// Weight operands of a call and the parts they are cut into. Empty when no operand is a weight.
struct WeightOperand {
  int operand = -1;
  WeightId weight = -1;
};
std::vector<WeightOperand> WeightOperands(const Graph& graph, const std::vector<ValueId>& roots, NodeId node);
// Whether a streamed frozen tile of this node may be read in its slot: when it is the only one the node needs at once
// (grouped tiles apart, which are prepared), so that two slots are never held together.
bool ReadsInSlot(const Partition& partition, const std::vector<WeightOperand>& operands, TileId tile);
// Parts in which a node works: 1 when nothing is cut.
int NumParts(const Partition& partition, const std::vector<WeightOperand>& operands);

// kInvalid where the graph lacks what the purpose needs (a loss that trained weights reach, for train).
Result<Layout> MakeLayout(const Graph& graph, const Partition& partition, const Machine& machine,
                          const PlanOptions& options, Purpose purpose, bool with_outputs);

}  // namespace zo2

#endif  // ZO2_PLANNER_LAYOUT_H_
