// Shape rules of the op registry, one function per family. Private to ir/graph: everyone else reads
// Row(op).infer.
#ifndef ZO2_IR_GRAPH_OP_INFER_H_
#define ZO2_IR_GRAPH_OP_INFER_H_

#include <span>
#include <vector>

#include "ir/graph/op.h"
#include "ir/support/status.h"

namespace zo2::internal {

using Types = std::span<const TensorType* const>;
using InferResult = Result<std::vector<TensorType>>;

// Numpy broadcasting of two shapes; false when they do not broadcast.
bool Broadcast(const Shape& a, const Shape& b, Shape* out);
// True when `from` broadcasts to exactly `to`.
bool BroadcastsTo(const Shape& from, const Shape& to);
// "f32[2,16,48]"
std::string ToString(const TensorType& type);

InferResult InferLinear(Types in, const Attrs& attrs);
InferResult InferEmbedding(Types in, const Attrs& attrs);
InferResult InferLayerNorm(Types in, const Attrs& attrs);
InferResult InferRmsNorm(Types in, const Attrs& attrs);
InferResult InferRotary(Types in, const Attrs& attrs);
InferResult InferAttention(Types in, const Attrs& attrs);
InferResult InferCausalLmLoss(Types in, const Attrs& attrs);
InferResult InferTokenLoss(Types in, const Attrs& attrs);
InferResult InferClassifyLoss(Types in, const Attrs& attrs);
InferResult InferMseLoss(Types in, const Attrs& attrs);
InferResult InferOutputLoss(Types in, const Attrs& attrs);

InferResult InferMatMul(Types in, const Attrs& attrs);
InferResult InferArithmetic(Types in, const Attrs& attrs);  // same dtype in and out, not bool
InferResult InferLogic(Types in, const Attrs& attrs);       // bool or integer, same dtype out
InferResult InferCompare(Types in, const Attrs& attrs);     // bool out
InferResult InferUnary(Types in, const Attrs& attrs);       // same type out
InferResult InferFloatUnary(Types in, const Attrs& attrs);  // same, floating point only
InferResult InferNot(Types in, const Attrs& attrs);
InferResult InferIsNan(Types in, const Attrs& attrs);
InferResult InferWhere(Types in, const Attrs& attrs);
InferResult InferCast(Types in, const Attrs& attrs);
InferResult InferSoftmax(Types in, const Attrs& attrs);
InferResult InferReduce(Types in, const Attrs& attrs);
InferResult InferArgMax(Types in, const Attrs& attrs);
InferResult InferCumSum(Types in, const Attrs& attrs);
InferResult InferReshape(Types in, const Attrs& attrs);
InferResult InferTranspose(Types in, const Attrs& attrs);
InferResult InferSlice(Types in, const Attrs& attrs);
InferResult InferConcat(Types in, const Attrs& attrs);
InferResult InferGather(Types in, const Attrs& attrs);
InferResult InferGatherNd(Types in, const Attrs& attrs);
InferResult InferGatherElements(Types in, const Attrs& attrs);
InferResult InferExpand(Types in, const Attrs& attrs);
InferResult InferPad(Types in, const Attrs& attrs);
InferResult InferTile(Types in, const Attrs& attrs);
InferResult InferTrilu(Types in, const Attrs& attrs);

}  // namespace zo2::internal

#endif  // ZO2_IR_GRAPH_OP_INFER_H_
