// What each instruction costs on a machine, in seconds. One model for every strategy, every candidate and the report.
//
// A measured call (Machine::calls) goes first, then measured shapes (gemm_table), then rates: a call takes the larger
// of its arithmetic and its memory traffic, plus the call's overhead.
#ifndef ZO2_PLANNER_COST_H_
#define ZO2_PLANNER_COST_H_

#include <cstdint>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/schedule/schedule.h"
#include "planner/machine.h"

namespace zo2 {

class CostModel {
 public:
  CostModel(const Graph& graph, const Machine& machine, int samples)
      : graph_(graph), machine_(machine), samples_(samples) {}

  // A copy over the link. `busy` is the share of its time during which the other direction runs too.
  double Upload(uint64_t bytes, double busy = 0) const;
  double Download(uint64_t bytes, double busy = 0) const;
  // One branch of a node, over the whole weight or a part [begin, end) of the tiled axis (end 0: whole).
  double Call(NodeId node, int64_t begin, int64_t end) const;
  // The fused pass over a tile: `pending` updates (an average), `branches` outputs, perturbed or not. `coded`: from its
  // wire form.
  double Prepare(const Tile& tile, const std::vector<PlanWeight>& weights, double pending, int branches, bool perturbed,
                 bool write, bool coded = false) const;
  // A host update of a tile: `pending` updates applied to its master, which is encoded when `encode`.
  double HostUpdate(const Tile& tile, const std::vector<PlanWeight>& weights, double pending, bool encode) const;
  double Gradient() const { return machine_.call_overhead_s; }
  // Arithmetic of one branch of the node, multiply-adds count 2.
  double Flops(NodeId node) const;

 private:
  const Graph& graph_;
  const Machine& machine_;
  int samples_;
};

// Types of a node's inputs (null: absent), padded to the op's most.
std::vector<const TensorType*> InputTypes(const Graph& graph, NodeId node);
// Axis on which parts of operand `operand` are ranges.
int PartAxis(const Node& node, int operand, const TensorType& type);
// Whether a part of the node takes only a range of this operand.
bool IsSliced(Op op, int operand);

}  // namespace zo2

#endif  // ZO2_PLANNER_COST_H_
