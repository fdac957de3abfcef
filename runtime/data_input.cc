#include "runtime/data_input.h"

#include <algorithm>
#include <limits>
#include <tuple>
#include <utility>

#include "runtime/evaluate.h"

namespace zo2 {
namespace {

const TensorType& TypeOf(const Schedule& schedule, int32_t value) {
  return schedule.values[static_cast<size_t>(value)].type;
}

// What an integer of the dtype may be. For a float input: what it holds exactly.
std::pair<int64_t, int64_t> DtypeRange(DType dtype) {
  switch (dtype) {
    case DType::kI64: return {std::numeric_limits<int64_t>::min(), std::numeric_limits<int64_t>::max()};
    case DType::kI32: return {std::numeric_limits<int32_t>::min(), std::numeric_limits<int32_t>::max()};
    case DType::kI16: return {std::numeric_limits<int16_t>::min(), std::numeric_limits<int16_t>::max()};
    case DType::kI8: return {-128, 127};
    case DType::kU8: return {0, 255};
    case DType::kBool: return {0, 1};
    case DType::kF64: return {-(int64_t{1} << 53), int64_t{1} << 53};
    case DType::kF32: return {-(int64_t{1} << 24), int64_t{1} << 24};
    case DType::kF16: return {-2048, 2048};
    case DType::kBF16: break;
  }
  return {-256, 256};
}

void Narrow(DataInput* input, int64_t low, int64_t high, const std::string& range_of) {
  if (high < input->high) input->range_of = range_of;
  input->low = std::max(input->low, low);
  input->high = std::min(input->high, high);
}

// Tables that are looked up by `value`, also through reshapes and casts.
void NarrowByLookups(const Schedule& schedule, int32_t value, DataInput* input) {
  std::vector<int32_t> same = {value};
  for (const PlanNode& node : schedule.nodes) {
    const auto uses = [&](size_t operand) {
      return operand < node.inputs.size() && std::find(same.begin(), same.end(), node.inputs[operand]) != same.end();
    };
    if ((node.op == Op::kReshape || node.op == Op::kCast) && uses(0)) same.push_back(node.outputs[0]);
    if (node.op == Op::kEmbedding && uses(0) && node.inputs.size() > 1) {
      Narrow(input, 0, TypeOf(schedule, node.inputs[1]).shape[0] - 1, "rows of the embedding");
    } else if (node.op == Op::kGather && uses(1)) {
      const Shape& shape = TypeOf(schedule, node.inputs[0]).shape;
      const int64_t axis = AttrInt(node.attrs, "axis", 0), rank = static_cast<int64_t>(shape.size());
      const int64_t place = axis < 0 ? axis + rank : axis;
      if (place < 0 || place >= rank) continue;
      const int64_t size = shape[static_cast<size_t>(place)];
      Narrow(input, -size, size - 1, "the table that it looks up");
    }
  }
}

// The label range of the loss that reads `value`.
void NarrowByLoss(const Schedule& schedule, int32_t value, DataInput* input) {
  for (const PlanNode& node : schedule.nodes) {
    if (node.inputs.size() < 2 || node.inputs[1] != value) continue;
    if (node.op == Op::kCausalLmLoss && node.inputs.size() > 2) {
      const Shape& shape = TypeOf(schedule, node.inputs[2]).shape;
      Narrow(input, 0, shape[AttrInt(node.attrs, "trans_w", 1) != 0 ? 0 : 1] - 1, "the vocabulary");
    } else if (node.op == Op::kTokenLoss || node.op == Op::kClassifyLoss) {
      Narrow(input, 0, TypeOf(schedule, node.inputs[0]).shape.back() - 1,
             node.op == Op::kTokenLoss ? "the vocabulary" : "the classes");
    } else {
      continue;
    }
    input->no_label = true;
  }
}

bool IsIds(const DataInput& input) {
  return !IsFloat(input.row.dtype) && input.row.dtype != DType::kBool && input.row.shape.size() == 1;
}

// "input_ids", or the only one that can be.
int FindIds(const std::vector<DataInput>& inputs) {
  int only = -1, count = 0;
  for (size_t i = 0; i < inputs.size(); ++i) {
    const DataInput& input = inputs[i];
    if (!IsIds(input) || input.labels) continue;
    if (input.name == "input_ids") return static_cast<int>(i);
    if (input.name == "attention_mask" || input.name == "token_type_ids" || input.name == "position_ids") continue;
    only = static_cast<int>(i);
    ++count;
  }
  return count == 1 ? only : -1;
}

}  // namespace

DataRequest DataInputs::Request() const {
  DataRequest request;
  for (const DataInput& input : inputs) request.inputs.push_back({input.name, IsFloat(input.row.dtype)});
  if (ids >= 0) {
    request.ids = inputs[static_cast<size_t>(ids)].name;
    request.ids_length = inputs[static_cast<size_t>(ids)].elements;
  }
  return request;
}

Result<DataInputs> FindDataInputs(const Schedule& schedule, const Program& program) {
  if (program.inputs.empty()) return Invalid("the plan's ", program.name, " program has no inputs");
  const int64_t batch = BatchRows(schedule, program) / std::max(1, program.micro_batches);
  DataInputs result;
  for (const ProgramInput& program_input : program.inputs) {
    const PlanValue& value = schedule.values[static_cast<size_t>(program_input.value)];
    const Shape& shape = value.type.shape;
    if (shape.empty() || (batch > 0 && shape[0] != batch) || value.type.elements() == 0)
      return Invalid("input ", value.name,
                     " of the model has no axis of examples, so a data file cannot fill it: export the "
                     "model without it");
    DataInput input;
    input.name = value.name;
    input.row = {value.type.dtype, Shape(shape.begin() + 1, shape.end())};
    input.elements = input.row.elements();
    input.step = input.row.shape.empty() ? 1 : input.elements / input.row.shape[0];
    std::tie(input.low, input.high) = DtypeRange(value.type.dtype);
    input.range_of = std::string(Name(value.type.dtype));
    input.labels = program_input.value == schedule.loss.labels || value.name == "labels";
    input.exact = input.row.shape.empty() || (input.labels && IsFloat(value.type.dtype));
    if (!IsFloat(value.type.dtype)) {
      NarrowByLookups(schedule, program_input.value, &input);
      NarrowByLoss(schedule, program_input.value, &input);
      if (input.labels) input.fill = -100;
      // Labels of a model that computes its loss itself, and would look -100 up.
      if (input.fill < input.low && !input.no_label) input.exact = true;
    }
    result.inputs.push_back(std::move(input));
  }
  result.ids = FindIds(result.inputs);
  return result;
}

}  // namespace zo2
