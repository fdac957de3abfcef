// FLOPs per op (multiply-adds count 2). Private to ir/graph: everyone else reads Row(op).flops.
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

}  // namespace zo2::internal

#endif  // ZO2_IR_GRAPH_OP_COST_H_
