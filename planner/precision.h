// Precision: in which dtype each weight is stored, and in which dtype kernels see it.
//
// Storage. A weight of two and more axes is stored as --storage says: as its file has it, or converted when
// the base weights are loaded (to nearest even; widening is exact). A weight of one axis (norm scales,
// biases) is stored in f32, whatever its file holds: there are few of them, and around 1 a step of bf16 is
// larger than most updates.
// --storage-for goes before both, weight by weight. An fp32 master of weights that a file holds in 16 bits is
// therefore --storage fp32. What crosses the link is the storage dtype.
//
// Compute. On a CPU kernels see f32, unless --compute bf16 (or --compute-for, weight by weight) has the
// branches of matrices emitted in bf16: weights of two axes that linear and causal_lm_loss read, and at most
// lookups beside them. Products round their other operand to bf16 too, and add in f32; every activation stays
// f32. A table that is only looked up gains nothing by bf16 and stays f32 unless --compute-for names it. On a
// GPU matrices, activations and constants take the 16-bit dtype of the weights.
//
// All of it decides bits, and is in the numeric fingerprint through the weights' dtypes and the graph's
// types.
#ifndef ZO2_PLANNER_PRECISION_H_
#define ZO2_PLANNER_PRECISION_H_

#include <string>

#include "ir/graph/graph.h"
#include "ir/support/dtype.h"
#include "ir/support/status.h"
#include "planner/machine.h"
#include "planner/options.h"

namespace zo2 {

// "fp32", "bf16", "fp16" (also "f32", "f16"), or as_is, which is no dtype.
Result<std::optional<DType>> ParseFloat(const std::string& flag, const std::string& text,
                                        const std::string& as_is);
// "REGEX=TYPE" of --storage-for and --compute-for.
Result<TypeRule> ParseTypeRule(const std::string& flag, const std::string& text, const std::string& as_is);

// The graph with the storage dtypes and value types that the options ask for, and notes on what they change.
// Errors: a regular expression that is none or that no weight's name contains; a rule of --compute-for that
// matches nothing that can be computed in bf16; on a GPU two 16-bit types.
Result<Graph> ApplyPrecision(const Graph& graph, const Machine& machine, const PlanOptions& options);

}  // namespace zo2

#endif  // ZO2_PLANNER_PRECISION_H_
