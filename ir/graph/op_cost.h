// FLOPs per op (multiply-adds count 2), and the workspace of device kernels. Private to ir/graph: everyone else reads
// Row(op).flops and WorkspaceBytes().
#ifndef ZO2_IR_GRAPH_OP_COST_H_
#define ZO2_IR_GRAPH_OP_COST_H_

#include "ir/graph/op_infer.h"

namespace zo2::internal {

double FlopsNone(Types in, const Attrs& attrs);        // moves bytes only
double FlopsPerInput(Types in, const Attrs& attrs);    // 1 per element of operand 0
double FlopsBinary(Types in, const Attrs& attrs);      // 1 per element of the broadcast output
double FlopsNorm(Types in, const Attrs& attrs);        // about 8 per element
double FlopsActivation(Types in, const Attrs& attrs);  // about 10 per element
double FlopsRotary(Types in, const Attrs& attrs);      // 4 per element
double FlopsLinear(Types in, const Attrs& attrs);
double FlopsMatMul(Types in, const Attrs& attrs);
double FlopsAttention(Types in, const Attrs& attrs);  // every key of every query, masked or not
double FlopsCausalLmLoss(Types in, const Attrs& attrs);

// Columns of the projection W[out,in] or W[in,out]; 0 where W has another rank.
int64_t ProjectionOutputs(const TensorType& w, const Attrs& attrs);
// attr layout is "bshd".
bool IsBshd(const Attrs& attrs);
// WorkspaceBytes() of the device's kernels (device_workspace.cc). An absent operand is nullptr or left off.
int64_t DeviceWorkspaceBytes(Op op, Types in, const Attrs& attrs, int64_t part_rows);

}  // namespace zo2::internal

#endif  // ZO2_IR_GRAPH_OP_COST_H_
