// The op registry: one row per op. The graph verifier, the printer, the planner's cost model and the
// runtime's kernel table all go by that row; a test proves that no op is in one and missing in another.
//
// Shapes are static everywhere. Broadcasting is numpy's. "..." is any number of leading axes.
#ifndef ZO2_IR_GRAPH_OP_H_
#define ZO2_IR_GRAPH_OP_H_

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ir/support/dtype.h"
#include "ir/support/status.h"

namespace zo2 {

using Shape = std::vector<int64_t>;
int64_t NumElements(std::span<const int64_t> shape);

// dtype and static shape of one operand.
struct TensorType {
  DType dtype = DType::kF32;
  Shape shape;
  int64_t elements() const { return NumElements(shape); }
  int64_t bytes() const { return elements() * SizeOf(dtype); }
  bool operator==(const TensorType&) const = default;
};

// Typed attributes by name; an op's row lists which it has. Absent = the row's default.
using AttrValue = std::variant<int64_t, double, std::string, std::vector<int64_t>>;
using Attrs = std::map<std::string, AttrValue>;
int64_t AttrInt(const Attrs& attrs, const std::string& name, int64_t fallback);
double AttrDouble(const Attrs& attrs, const std::string& name, double fallback);
std::vector<int64_t> AttrInts(const Attrs& attrs, const std::string& name);

// The numbers are part of the schedule format: append, never renumber.
// Column 2 is the printed name. Operands, attributes and outputs:
//
// ---- model ops (what fusion produces) ----
// linear      x[...,in], W, b[out]?  -> y[...,out].  attr trans_w: 1 = W[out,in] (default), 0 = W[in,out].
//             W in bf16 where x is f32: x is rounded to bf16 for the product, sums and y are f32. causal_lm_loss too.
// embedding   ids[...] int64, W[V,D] -> [...,D].     attr to (DType number, default W's). every id in [0,V). Part by part (kAccumulate): a part holds rows
//             [begin, end) of W and fills the output rows of the ids in that range, leaving the others alone.
// layer_norm  x[...,D], scale[D], bias[D]? -> same.  attr eps
// rms_norm    x[...,D], scale[D] -> same.            attr eps.  y = x * rsqrt(mean(x^2) + eps) * scale
// gelu        x -> same.                             attr tanh: 0 = erf form (default), 1 = tanh form
// silu        x -> same.                             x * sigmoid(x)
// rotary      x, cos, sin -> same as x.              attr interleaved (0), layout (as attention; x is q or k).
//             cos and sin broadcast to x.            y = x*cos + rotate_half(x)*sin (interleaved=0)
// attention   q, k, v, mask? -> like q.              attr layout: "bhsd" (default) or "bshd"; scale; causal (0/1);
//             zero_masked_rows (0/1: a row with every key masked gives zeros, otherwise what softmax gives).
//             Hkv divides Hq (grouped heads). mask broadcasts to [B,Hq,Sq,Skv]: bool (true = attend) or float (added).
// ---- losses: per-example (sum, count) pairs, f64[batch] each ----
// causal_lm_loss  hidden[B,S,H], labels[B,S] i64, W, b[V]? -> sum, count.  attr trans_w as linear; shift (1: labels
//             stand at their token and are shifted inside). label -100 is ignored. Works through V in tiles with a
//             running log-sum-exp; needs `state`.
// token_loss  logits[B,S,V], labels[B,S] i64 -> sum, count.   attr shift. (logits that exist already)
// classify_loss  logits[B,C], labels[B] i64 -> sum, count.    label -100 is ignored
// mse_loss    pred[B,...], labels[B,...] float -> sum, count. count = elements per example
// output_loss value[B,...] or scalar -> sum, count.           the model computed its loss itself
// ---- generic ops ----
// matmul      a[...,m,k], b[...,k,n] -> [...,m,n] (numpy matmul, batch broadcasting)
// elementwise binary: add sub mul div pow min max mod (attr fmod) and or xor equal less less_equal greater greater_equal
// elementwise unary: neg abs sqrt rsqrt reciprocal exp log tanh erf sigmoid relu sin cos floor ceil round sign not isnan
// where       cond bool, a, b -> broadcast
// cast        x -> attr to (DType number)
// softmax     x -> same.  attr axis;  log_softmax the same
// reduce_sum/mean/max/min/prod x -> attr axes, keepdims;  argmax: attr axis, keepdims, -> int64
// cumsum      x -> same. attr axis, exclusive, reverse
// reshape     x -> attr shape (static, no -1); aliases its input
// transpose   x -> attr perm
// slice       x -> attr starts, ends, axes, steps (normalised to in-range, steps != 0)
// concat      x... -> attr axis
// gather      x, ids int64 -> attr axis (ONNX Gather; negative ids count from the end)
// gather_nd   x, ids -> attr batch_dims;  gather_elements  x, ids -> attr axis
// expand      x -> attr shape (broadcast copy)
// pad         x -> attr pads (begin..., end...), value (double);  tile x -> attr repeats;  trilu x -> attr upper, k
// Constants, Shape, Range, ConstantOfShape, Identity, Flatten, Squeeze, Unsqueeze, Split never survive import:
// they fold or become reshape / slice.
#define ZO2_OPS(X)                                                                                            \
  X(kLinear, 0, "linear") X(kEmbedding, 1, "embedding") X(kLayerNorm, 2, "layer_norm")                        \
  X(kRmsNorm, 3, "rms_norm") X(kGelu, 4, "gelu") X(kSilu, 5, "silu") X(kRotary, 6, "rotary")                  \
  X(kAttention, 7, "attention") X(kCausalLmLoss, 8, "causal_lm_loss") X(kTokenLoss, 9, "token_loss")          \
  X(kClassifyLoss, 10, "classify_loss") X(kMseLoss, 11, "mse_loss") X(kOutputLoss, 12, "output_loss")         \
  X(kMatMul, 13, "matmul") X(kAdd, 14, "add") X(kSub, 15, "sub") X(kMul, 16, "mul") X(kDiv, 17, "div")        \
  X(kPow, 18, "pow") X(kMin, 19, "min") X(kMax, 20, "max") X(kMod, 21, "mod") X(kAnd, 22, "and")              \
  X(kOr, 23, "or") X(kXor, 24, "xor") X(kEqual, 25, "equal") X(kLess, 26, "less")                             \
  X(kLessEqual, 27, "less_equal") X(kGreater, 28, "greater") X(kGreaterEqual, 29, "greater_equal")            \
  X(kNeg, 30, "neg") X(kAbs, 31, "abs") X(kSqrt, 32, "sqrt") X(kRsqrt, 33, "rsqrt")                           \
  X(kReciprocal, 34, "reciprocal") X(kExp, 35, "exp") X(kLog, 36, "log") X(kTanh, 37, "tanh")                 \
  X(kErf, 38, "erf") X(kSigmoid, 39, "sigmoid") X(kRelu, 40, "relu") X(kSin, 41, "sin") X(kCos, 42, "cos")    \
  X(kFloor, 43, "floor") X(kCeil, 44, "ceil") X(kRound, 45, "round") X(kSign, 46, "sign") X(kNot, 47, "not")  \
  X(kIsNan, 48, "isnan") X(kWhere, 49, "where") X(kCast, 50, "cast") X(kSoftmax, 51, "softmax")               \
  X(kLogSoftmax, 52, "log_softmax") X(kReduceSum, 53, "reduce_sum") X(kReduceMean, 54, "reduce_mean")         \
  X(kReduceMax, 55, "reduce_max") X(kReduceMin, 56, "reduce_min") X(kReduceProd, 57, "reduce_prod")           \
  X(kArgMax, 58, "argmax") X(kCumSum, 59, "cumsum") X(kReshape, 60, "reshape") X(kTranspose, 61, "transpose") \
  X(kSlice, 62, "slice") X(kConcat, 63, "concat") X(kGather, 64, "gather") X(kGatherNd, 65, "gather_nd")      \
  X(kGatherElements, 66, "gather_elements") X(kExpand, 67, "expand") X(kPad, 68, "pad") X(kTile, 69, "tile")  \
  X(kTrilu, 70, "trilu")

enum class Op : uint16_t {
#define ZO2_OP_ENUM(id, number, name) id = number,
  ZO2_OPS(ZO2_OP_ENUM)
#undef ZO2_OP_ENUM
};
inline constexpr int kNumOps = 71;

// What a weight operand is to its op. Decides decay (matrices and embeddings decay; biases and norm scales do not)
// and is printed; kOther is a weight used by a generic op.
enum class WeightRole : uint8_t { kMatrix = 0, kEmbedding = 1, kBias = 2, kNormScale = 3, kOther = 4 };
std::string_view Name(WeightRole role);

// How an op works with a part of a weight operand.
enum class TileMode : uint8_t {
  kWhole,        // needs all of the weight at once
  kOutputSlice,  // a range of the weight's tiled axis gives the same range of the output's last axis, and of its bias
  kAccumulate,   // parts come in order; the first initialises the output (and state), the last completes it
};

// How operand `operand` may be a weight.
struct WeightUse {
  int operand = -1;
  WeightRole role = WeightRole::kOther;
  TileMode mode = TileMode::kWhole;
};

enum class AttrType : uint8_t { kInt, kDouble, kString, kInts };
struct AttrSpec {
  const char* name;
  AttrType type;
  bool required;
};

struct OpRow {
  Op op;
  std::string_view name;
  int min_inputs, max_inputs;  // max_inputs -1 = any; an optional operand may be absent in the middle
  int outputs;
  std::vector<AttrSpec> attrs;
  std::vector<WeightUse> weights;
  int alias_input;        // output 0 may share the memory of this input (elementwise, reshape); -1 = none
  bool reshape_only;      // output 0 is the same bytes as input 0: needs no kernel when it aliases
  bool leading_axis_independent;  // branches may run as one call, stacked along the leading axis
  bool token_independent;         // can run in chunks of the token axis (axis 1)
  // Types of the outputs from those of the inputs; an error names the op and what is wrong.
  // inputs[i] is nullptr where an optional operand is absent.
  Result<std::vector<TensorType>> (*infer)(std::span<const TensorType* const> inputs, const Attrs& attrs);
  // Multiply-adds count 2. `inputs` as above.
  double (*flops)(std::span<const TensorType* const> inputs, const Attrs& attrs);
};

// Row of an op; every Op has one.
const OpRow& Row(Op op);
std::span<const OpRow> AllRows();
std::optional<Op> ParseOp(std::string_view name);
inline std::string_view Name(Op op) { return Row(op).name; }

// Axis of a tiled weight operand along which it is cut: 0 (rows) or 1 (columns of W[in,out]).
// Only meaningful where the use's mode is not kWhole.
int TileAxis(Op op, int operand, const Attrs& attrs);
// Bytes of the state that a kAccumulate op carries from part to part; 0 for others.
int64_t StateBytes(Op op, std::span<const TensorType* const> inputs, const Attrs& attrs);
// Whose kernels run a call: kHost are those of runtime/aten, on a CPU; kDevice those of runtime/aten_device, on a GPU.
enum class KernelFlavour : uint8_t { kHost, kDevice };
// Bytes of temporary memory that a call of the op needs at most, for a weight part of `part_rows` rows along the
// tiled axis (0 = whole). The runtime's kernels of that flavour stay within it.
int64_t WorkspaceBytes(Op op, std::span<const TensorType* const> inputs, const Attrs& attrs, int64_t part_rows,
                       KernelFlavour flavour = KernelFlavour::kHost);
// Checks attribute names and types, operand count and infer(); outputs must equal what infer() says.
Result<void> CheckNode(Op op, const Attrs& attrs, std::span<const TensorType* const> inputs,
                       std::span<const TensorType> outputs);

}  // namespace zo2

#endif  // ZO2_IR_GRAPH_OP_H_
