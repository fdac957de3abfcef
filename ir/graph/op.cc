#include "ir/graph/op.h"

#include <array>
#include <limits>
#include <unordered_map>

#include "ir/graph/op_cost.h"
#include "ir/graph/op_infer.h"

namespace zo2 {
namespace {

using namespace internal;  // NOLINT: the infer and flops functions of the rows below

constexpr WeightUse Use(int operand, WeightRole role, TileMode mode) { return {operand, role, mode}; }
const AttrSpec kTransW = {"trans_w", AttrType::kInt, false};
const AttrSpec kShift = {"shift", AttrType::kInt, false};
const AttrSpec kAxis = {"axis", AttrType::kInt, false};
const AttrSpec kAxisRequired = {"axis", AttrType::kInt, true};
const AttrSpec kEps = {"eps", AttrType::kDouble, true};
const AttrSpec kLayout = {"layout", AttrType::kString, false};
const AttrSpec kKeepDims = {"keepdims", AttrType::kInt, false};
const AttrSpec kShapeAttr = {"shape", AttrType::kInts, true};

// Rows that only differ by their op. Aliasing needs equal types, which the planner checks.
OpRow Elementwise(Op op, int inputs, int alias, decltype(OpRow::infer) infer,
                  std::vector<AttrSpec> attrs = {}) {
  return {op,
          "",
          inputs,
          inputs,
          1,
          std::move(attrs),
          {},
          alias,
          false,
          true,
          true,
          infer,
          inputs == 1 ? FlopsPerInput : FlopsBinary};
}
OpRow Unary(Op op) { return Elementwise(op, 1, 0, InferUnary); }
OpRow FloatUnary(Op op) { return Elementwise(op, 1, 0, InferFloatUnary); }
OpRow Arithmetic(Op op) { return Elementwise(op, 2, 0, InferArithmetic); }
OpRow Compare(Op op) { return Elementwise(op, 2, -1, InferCompare); }
OpRow Logic(Op op) { return Elementwise(op, 2, 0, InferLogic); }
OpRow Reduce(Op op) {
  return {op,           "", 1,     1,     1,     {{"axes", AttrType::kInts, false}, kKeepDims},
          {},           -1, false, false, false, InferReduce,
          FlopsPerInput};
}
// Ops that move elements; stacking or cutting them would need other attributes.
OpRow Move(Op op, int min_inputs, int max_inputs, std::vector<AttrSpec> attrs, decltype(OpRow::infer) infer) {
  return {op, "", min_inputs, max_inputs, 1, std::move(attrs), {}, -1, false, false, false, infer, FlopsNone};
}

std::vector<OpRow> MakeRows() {
  constexpr auto kWhole = TileMode::kWhole;
  constexpr auto kSlice = TileMode::kOutputSlice;
  constexpr auto kParts = TileMode::kAccumulate;
  constexpr auto kMatrix = WeightRole::kMatrix;
  constexpr auto kBias = WeightRole::kBias;
  constexpr auto kScale = WeightRole::kNormScale;
  // op, name (from ZO2_OPS), inputs min max, outputs, attrs, weights, alias, reshape only, leading axis
  // independent, token independent, infer, flops
  std::vector<OpRow> rows = {
      {Op::kLinear,
       "",
       2,
       3,
       1,
       {kTransW},
       {Use(1, kMatrix, kSlice), Use(2, kBias, kSlice)},
       -1,
       false,
       true,
       true,
       InferLinear,
       FlopsLinear},
      {Op::kEmbedding,
       "",
       2,
       2,
       1,
       {{"to", AttrType::kInt, false}},
       {Use(1, WeightRole::kEmbedding, kParts)},
       -1,
       false,
       true,
       true,
       InferEmbedding,
       FlopsNone},
      {Op::kLayerNorm,
       "",
       2,
       3,
       1,
       {kEps},
       {Use(1, kScale, kWhole), Use(2, kBias, kWhole)},
       -1,
       false,
       true,
       true,
       InferLayerNorm,
       FlopsNorm},
      {Op::kRmsNorm,
       "",
       2,
       2,
       1,
       {kEps},
       {Use(1, kScale, kWhole)},
       -1,
       false,
       true,
       true,
       InferRmsNorm,
       FlopsNorm},
      {Op::kGelu,
       "",
       1,
       1,
       1,
       {{"tanh", AttrType::kInt, false}},
       {},
       0,
       false,
       true,
       true,
       InferFloatUnary,
       FlopsActivation},
      {Op::kSilu, "", 1, 1, 1, {}, {}, 0, false, true, true, InferFloatUnary, FlopsActivation},
      {Op::kRotary,
       "",
       3,
       3,
       1,
       {{"interleaved", AttrType::kInt, false}, kLayout},
       {},
       -1,
       false,
       true,
       false,
       InferRotary,
       FlopsRotary},
      {Op::kAttention,
       "",
       3,
       4,
       1,
       {kLayout,
        {"scale", AttrType::kDouble, false},
        {"causal", AttrType::kInt, false},
        {"zero_masked_rows", AttrType::kInt, false}},
       {},
       -1,
       false,
       true,
       false,
       InferAttention,
       FlopsAttention},
      {Op::kCausalLmLoss,
       "",
       3,
       4,
       2,
       {kTransW, kShift},
       {Use(2, kMatrix, kParts), Use(3, kBias, kParts)},
       -1,
       false,
       true,
       false,
       InferCausalLmLoss,
       FlopsCausalLmLoss},
      {Op::kTokenLoss, "", 2, 2, 2, {kShift}, {}, -1, false, true, false, InferTokenLoss, FlopsPerInput},
      {Op::kClassifyLoss, "", 2, 2, 2, {}, {}, -1, false, true, false, InferClassifyLoss, FlopsPerInput},
      {Op::kMseLoss, "", 2, 2, 2, {}, {}, -1, false, true, false, InferMseLoss, FlopsPerInput},
      {Op::kOutputLoss, "", 1, 1, 2, {}, {}, -1, false, true, false, InferOutputLoss, FlopsPerInput},
      {Op::kMatMul, "", 2, 2, 1, {}, {}, -1, false, true, false, InferMatMul, FlopsMatMul},
      Arithmetic(Op::kAdd),
      Arithmetic(Op::kSub),
      Arithmetic(Op::kMul),
      Arithmetic(Op::kDiv),
      Arithmetic(Op::kPow),
      Arithmetic(Op::kMin),
      Arithmetic(Op::kMax),
      Elementwise(Op::kMod, 2, 0, InferArithmetic, {{"fmod", AttrType::kInt, false}}),
      Logic(Op::kAnd),
      Logic(Op::kOr),
      Logic(Op::kXor),
      Compare(Op::kEqual),
      Compare(Op::kLess),
      Compare(Op::kLessEqual),
      Compare(Op::kGreater),
      Compare(Op::kGreaterEqual),
      Unary(Op::kNeg),
      Unary(Op::kAbs),
      FloatUnary(Op::kSqrt),
      FloatUnary(Op::kRsqrt),
      FloatUnary(Op::kReciprocal),
      FloatUnary(Op::kExp),
      FloatUnary(Op::kLog),
      FloatUnary(Op::kTanh),
      FloatUnary(Op::kErf),
      FloatUnary(Op::kSigmoid),
      Unary(Op::kRelu),
      FloatUnary(Op::kSin),
      FloatUnary(Op::kCos),
      FloatUnary(Op::kFloor),
      FloatUnary(Op::kCeil),
      FloatUnary(Op::kRound),
      Unary(Op::kSign),
      Elementwise(Op::kNot, 1, 0, InferNot),
      Elementwise(Op::kIsNan, 1, -1, InferIsNan),
      Elementwise(Op::kWhere, 3, 1, InferWhere),
      Elementwise(Op::kCast, 1, -1, InferCast, {{"to", AttrType::kInt, true}}),
      {Op::kSoftmax, "", 1, 1, 1, {kAxis}, {}, -1, false, false, false, InferSoftmax, FlopsNorm},
      {Op::kLogSoftmax, "", 1, 1, 1, {kAxis}, {}, -1, false, false, false, InferSoftmax, FlopsNorm},
      Reduce(Op::kReduceSum),
      Reduce(Op::kReduceMean),
      Reduce(Op::kReduceMax),
      Reduce(Op::kReduceMin),
      Reduce(Op::kReduceProd),
      {Op::kArgMax, "", 1, 1, 1, {kAxis, kKeepDims}, {}, -1, false, false, false, InferArgMax, FlopsPerInput},
      {Op::kCumSum,
       "",
       1,
       1,
       1,
       {kAxisRequired, {"exclusive", AttrType::kInt, false}, {"reverse", AttrType::kInt, false}},
       {},
       -1,
       false,
       false,
       false,
       InferCumSum,
       FlopsPerInput},
      {Op::kReshape, "", 1, 1, 1, {kShapeAttr}, {}, 0, true, false, false, InferReshape, FlopsNone},
      Move(Op::kTranspose, 1, 1, {{"perm", AttrType::kInts, true}}, InferTranspose),
      Move(Op::kSlice, 1, 1,
           {{"starts", AttrType::kInts, true},
            {"ends", AttrType::kInts, true},
            {"axes", AttrType::kInts, true},
            {"steps", AttrType::kInts, false}},
           InferSlice),
      Move(Op::kConcat, 1, -1, {kAxisRequired}, InferConcat),
      Move(Op::kGather, 2, 2, {kAxis}, InferGather),
      Move(Op::kGatherNd, 2, 2, {{"batch_dims", AttrType::kInt, false}}, InferGatherNd),
      Move(Op::kGatherElements, 2, 2, {kAxis}, InferGatherElements),
      Move(Op::kExpand, 1, 1, {kShapeAttr}, InferExpand),
      Move(Op::kPad, 1, 1, {{"pads", AttrType::kInts, true}, {"value", AttrType::kDouble, false}}, InferPad),
      Move(Op::kTile, 1, 1, {{"repeats", AttrType::kInts, true}}, InferTile),
      Move(Op::kTrilu, 1, 1, {{"upper", AttrType::kInt, false}, {"k", AttrType::kInt, false}}, InferTrilu),
  };
#define ZO2_OP_NAME(id, number, printed) rows[number].name = printed;
  ZO2_OPS(ZO2_OP_NAME)
#undef ZO2_OP_NAME
  return rows;
}

const std::vector<OpRow>& Rows() {
  static const auto& rows = *new std::vector<OpRow>(MakeRows());
  return rows;
}

bool HasType(const AttrValue& value, AttrType type) { return value.index() == static_cast<size_t>(type); }
static_assert(std::is_same_v<std::variant_alternative_t<0, AttrValue>, int64_t> &&
                  std::is_same_v<std::variant_alternative_t<3, AttrValue>, std::vector<int64_t>>,
              "AttrType numbers the alternatives of AttrValue");

}  // namespace

// Saturates at 2^59, which no memory holds, so that bytes() of a hostile shape cannot overflow.
int64_t NumElements(std::span<const int64_t> shape) {
  constexpr int64_t kLimit = int64_t{1} << 59;
  int64_t n = 1;
  for (int64_t d : shape) {
    if (d <= 0) return 0;
  }
  for (int64_t d : shape) {
    if (__builtin_mul_overflow(n, d, &n) || n > kLimit) return kLimit;
  }
  return n;
}

int64_t AttrInt(const Attrs& attrs, const std::string& name, int64_t fallback) {
  auto it = attrs.find(name);
  const auto* value = it == attrs.end() ? nullptr : std::get_if<int64_t>(&it->second);
  return value == nullptr ? fallback : *value;
}

double AttrDouble(const Attrs& attrs, const std::string& name, double fallback) {
  auto it = attrs.find(name);
  const auto* value = it == attrs.end() ? nullptr : std::get_if<double>(&it->second);
  return value == nullptr ? fallback : *value;
}

std::vector<int64_t> AttrInts(const Attrs& attrs, const std::string& name) {
  auto it = attrs.find(name);
  const auto* value = it == attrs.end() ? nullptr : std::get_if<std::vector<int64_t>>(&it->second);
  return value == nullptr ? std::vector<int64_t>{} : *value;
}

std::string_view Name(WeightRole role) {
  switch (role) {
    case WeightRole::kMatrix:
      return "matrix";
    case WeightRole::kEmbedding:
      return "embedding";
    case WeightRole::kBias:
      return "bias";
    case WeightRole::kNormScale:
      return "norm scale";
    case WeightRole::kOther:
      return "other";
  }
  return "?";
}

const OpRow& Row(Op op) { return Rows()[static_cast<size_t>(op)]; }
std::span<const OpRow> AllRows() { return Rows(); }

std::optional<Op> ParseOp(std::string_view name) {
  static const auto& ops = *[] {
    auto* map = new std::unordered_map<std::string_view, Op>;
    for (const OpRow& row : AllRows()) map->emplace(row.name, row.op);
    return map;
  }();
  auto it = ops.find(name);
  if (it == ops.end()) return std::nullopt;
  return it->second;
}

int TileAxis(Op op, int operand, const Attrs& attrs) {
  bool projection = (op == Op::kLinear && operand == 1) || (op == Op::kCausalLmLoss && operand == 2);
  return projection && AttrInt(attrs, "trans_w", 1) == 0 ? 1 : 0;
}

Result<void> CheckNode(Op op, const Attrs& attrs, std::span<const TensorType* const> inputs,
                       std::span<const TensorType> outputs) {
  if (static_cast<size_t>(op) >= Rows().size()) {
    return Invalid("op number ", static_cast<int>(op), " is not in the registry");
  }
  const OpRow& row = Row(op);
  const auto count = static_cast<int>(inputs.size());
  if (count < row.min_inputs || (row.max_inputs >= 0 && count > row.max_inputs)) {
    return Invalid(row.name, " takes ", row.min_inputs, " to ",
                   row.max_inputs < 0 ? std::string("any number of") : std::to_string(row.max_inputs),
                   " operands, not ", count);
  }
  for (int i = 0; i < count; ++i) {
    bool required = i < row.min_inputs || row.max_inputs < 0;
    if (inputs[i] == nullptr && required)
      return Invalid(row.name, ": operand ", i, " is absent but required");
    for (int64_t d : inputs[i] == nullptr ? Shape{} : inputs[i]->shape) {
      if (d < 0) return Invalid(row.name, ": operand ", i, " has a negative dimension ", d);
    }
  }
  for (const auto& [name, value] : attrs) {
    bool known = false;
    for (const AttrSpec& spec : row.attrs) {
      if (name != spec.name) continue;
      known = true;
      if (!HasType(value, spec.type)) return Invalid(row.name, ": attribute ", name, " has the wrong type");
    }
    if (!known) return Invalid(row.name, " has no attribute ", name);
  }
  for (const AttrSpec& spec : row.attrs) {
    if (spec.required && !attrs.contains(spec.name))
      return Invalid(row.name, " lacks its attribute ", spec.name);
  }
  // infer() may look at every operand it has: absent trailing ones are null.
  std::vector<const TensorType*> padded(inputs.begin(), inputs.end());
  if (row.max_inputs > count) padded.resize(static_cast<size_t>(row.max_inputs), nullptr);
  auto inferred = row.infer(padded, attrs);
  if (!inferred.ok()) return Error(inferred.status().code(), row.name, ": ", inferred.status().message());
  if (outputs.size() != inferred->size()) {
    return Invalid(row.name, " has ", inferred->size(), " outputs, not ", outputs.size());
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] == (*inferred)[i]) continue;
    return Invalid(row.name, ": output ", i, " is ", ToString(outputs[i]), " but must be ",
                   ToString((*inferred)[i]));
  }
  return {};
}

}  // namespace zo2
