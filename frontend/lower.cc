#include "frontend/lower.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "frontend/evaluate_internal.h"
#include "ir/support/hash.h"

namespace zo2 {
namespace {

void AppendKey(std::string* key, const AttrValue& value) {
  *key += static_cast<char>('0' + value.index());
  if (auto* i = std::get_if<int64_t>(&value)) *key += std::to_string(*i);
  if (auto* d = std::get_if<double>(&value)) key->append(reinterpret_cast<const char*>(d), sizeof *d);
  if (auto* s = std::get_if<std::string>(&value)) *key += *s;
  if (auto* v = std::get_if<std::vector<int64_t>>(&value))
    for (int64_t i : *v) *key += std::to_string(i) + ",";
  *key += ';';
}

// Model ops take weights at certain places, generic ones everywhere.
bool TakesWeight(Op op, size_t operand) {
  if (op >= Op::kMatMul) return true;
  for (const WeightUse& use : Row(op).weights)
    if (use.operand == static_cast<int>(operand)) return true;
  return false;
}

bool AllTrue(const HostTensor& tensor) {
  return tensor.type.dtype == DType::kBool &&
         std::all_of(tensor.data->begin(), tensor.data->end(), [](std::byte b) { return b != std::byte{0}; });
}

}  // namespace

ValueId Lowering::NewValue(ValueKind kind, TensorType type) {
  Value value;
  value.kind = kind;
  value.type = std::move(type);
  graph_.values.push_back(std::move(value));
  return static_cast<ValueId>(graph_.values.size()) - 1;
}

ValueId Lowering::Constant(const HostTensor& tensor, const std::string& name) {
  // Exporters write the same mask or shape once per layer; equal constants are one value.
  Sha256 hash;
  hash.Update(*tensor.data);
  std::string key(Name(tensor.type.dtype));
  for (int64_t d : tensor.type.shape) key += "," + std::to_string(d);
  key += hash.Hex();
  auto [it, added] = constants_.emplace(key, -1);
  if (added) {
    it->second = NewValue(ValueKind::kConstant, tensor.type);
    graph_.value(it->second).data = tensor.data;
    graph_.value(it->second).name = name.empty() ? "constant_" + std::to_string(it->second) : name;
  }
  return it->second;
}

ValueId Lowering::Scalar(DType dtype, double value) {
  switch (dtype) {
    case DType::kF64:
      return Constant(HostTensor::Of<double>(dtype, {}, {value}));
    case DType::kI64:
      return Constant(HostTensor::Of<int64_t>(dtype, {}, {internal::Saturate<int64_t>(value)}));
    case DType::kI32:
      return Constant(HostTensor::Of<int32_t>(dtype, {}, {internal::Saturate<int32_t>(value)}));
    default:
      return Constant(HostTensor::Of<float>(DType::kF32, {}, {static_cast<float>(value)}));
  }
}

ValueId Lowering::Int64s(const std::vector<int64_t>& values) {
  return Constant(HostTensor::Of<int64_t>(DType::kI64, {static_cast<int64_t>(values.size())}, values));
}

// A value that is known to equal the result without computing anything.
std::optional<ValueId> Lowering::Trivial(Op op, const std::vector<ValueId>& inputs, const TensorType& out,
                                         const Attrs& attrs) {
  const ValueId x = inputs[0];
  switch (op) {
    case Op::kReshape:
    case Op::kExpand:
    case Op::kCast:
    case Op::kSlice:
    case Op::kTile:
    case Op::kPad:
      if (op == Op::kSlice)
        for (int64_t step : AttrInts(attrs, "steps"))
          if (step != 1) return std::nullopt;
      if (type(x) == out) return x;
      break;
    case Op::kTranspose: {
      auto perm = AttrInts(attrs, "perm");
      if (std::is_sorted(perm.begin(), perm.end())) return x;
      break;
    }
    case Op::kConcat:
      if (inputs.size() == 1) return x;
      break;
    case Op::kAnd:  // a mask that lets everything through
      for (int i = 0; i < 2; ++i)
        if (IsConstant(inputs[1 - i]) && type(inputs[i]) == out && AllTrue(Tensor(inputs[1 - i])))
          return inputs[i];
      break;
    case Op::kWhere:
      if (IsConstant(x) && type(inputs[1]) == out && AllTrue(Tensor(x))) return inputs[1];
      break;
    default:
      break;
  }
  return std::nullopt;
}

bool IsCountable(const Shape& shape) {
  Shape sizes;
  for (int64_t d : shape) sizes.push_back(std::max<int64_t>(d, 1));
  return NumElements(sizes) <= int64_t{1} << 48;
}

// A file of a few bytes can ask for many large results, or for little that takes long: both are bounded.
bool Lowering::Affordable(Op op, const std::vector<const TensorType*>& inputs, const TensorType& out,
                          const Attrs& attrs) {
  constexpr double kResults = 16;  // times max_fold_bytes: all results together, and all operations
  const double most = kResults * static_cast<double>(max_fold_bytes_);
  double work = Row(op).flops(inputs, attrs) + static_cast<double>(out.elements());
  for (const TensorType* input : inputs)
    work += input == nullptr ? 0 : static_cast<double>(input->elements());
  const auto bytes = static_cast<double>(out.bytes());
  if (out.bytes() > max_fold_bytes_ || folded_bytes_ + bytes > most || fold_work_ + work > most) return false;
  folded_bytes_ += bytes;
  fold_work_ += work;
  return true;
}

Result<ValueId> Lowering::Emit(Op op, std::vector<ValueId> inputs, Attrs attrs) {
  while (!inputs.empty() && inputs.back() < 0) inputs.pop_back();
  std::string key(Name(op));
  for (ValueId id : inputs) key += "," + std::to_string(id);
  for (const auto& [name, value] : attrs) {
    key += "|" + name + "=";
    AppendKey(&key, value);
  }
  if (auto it = known_.find(key); it != known_.end()) return it->second;

  const OpRow& row = Row(op);
  std::vector<const TensorType*> types;
  bool constant = true;
  for (ValueId id : inputs) {
    types.push_back(id < 0 ? nullptr : &type(id));
    constant = constant && (id < 0 || IsConstant(id));
  }
  ZO2_ASSIGN(std::vector<TensorType> out, row.infer(types, attrs));
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i] >= 0 && IsWeight(inputs[i]) && !TakesWeight(op, i))
      return Invalid("operand ", i, " of ", row.name, " is the parameter ", graph_.value(inputs[i]).name,
                     ", which is not supported");
  if (out.size() != 1) return Internal(row.name, " with ", out.size(), " outputs in the importer");
  if (!IsCountable(out[0].shape)) return Invalid("its result would have more than 2^48 elements");
  ValueId result = -1;
  if (auto same = Trivial(op, inputs, out[0], attrs)) {
    result = *same;
  } else if (constant && Affordable(op, types, out[0], attrs)) {
    std::vector<HostTensor> tensors;
    for (ValueId id : inputs) tensors.push_back(id < 0 ? HostTensor{} : Tensor(id));
    std::vector<const HostTensor*> pointers;
    for (size_t i = 0; i < inputs.size(); ++i) pointers.push_back(inputs[i] < 0 ? nullptr : &tensors[i]);
    ZO2_ASSIGN(std::vector<HostTensor> values, Evaluate(op, attrs, pointers, out));
    result = Constant(values[0]);
  } else {
    result = NewValue(ValueKind::kActivation, out[0]);
    Node made;
    made.op = op;
    made.name = node != nullptr ? node->name() : "";
    made.inputs = std::move(inputs);
    made.outputs = {result};
    made.attrs = std::move(attrs);
    graph_.nodes.push_back(std::move(made));
  }
  known_[key] = result;
  return result;
}

Result<ValueId> Lowering::Reshape(ValueId x, Shape shape) {
  return Emit(Op::kReshape, {x}, {{"shape", std::move(shape)}});
}

Result<ValueId> Lowering::Cast(ValueId x, DType to) {
  return Emit(Op::kCast, {x}, {{"to", static_cast<int64_t>(to)}});
}

Result<ValueId> Lowering::Slice(ValueId x, int64_t axis, int64_t begin, int64_t end) {
  using List = std::vector<int64_t>;
  return Emit(Op::kSlice, {x},
              {{"starts", List{begin}}, {"ends", List{end}}, {"axes", List{axis}}, {"steps", List{1}}});
}

Result<ValueId> Lowering::Plain(const NodeOperand& operand) {
  if (!operand.transposed) return operand.id;
  return Emit(Op::kTranspose, {operand.id}, {{"perm", std::vector<int64_t>{1, 0}}});
}

Result<ValueId> Lowering::In(size_t i) {
  if (!Has(i)) return Invalid("operand ", i, " is missing");
  return Plain(operands[i]);
}

Result<std::vector<int64_t>> Lowering::Ints(ValueId id, const char* what) const {
  if (!IsConstant(id))
    return Invalid("its ", what,
                   " depends on the values of the inputs; shapes must follow from the bound dimensions");
  const HostTensor tensor = Tensor(id);
  std::vector<int64_t> values;
  for (int64_t i = 0, n = tensor.type.elements(); i < n; ++i) {
    if (tensor.type.dtype == DType::kI64)
      values.push_back(tensor.as<int64_t>()[i]);
    else if (tensor.type.dtype == DType::kI32)
      values.push_back(tensor.as<int32_t>()[i]);
    else
      return Invalid("its ", what, " is not an integer tensor");
  }
  return values;
}

Result<double> Lowering::Number(ValueId id, const char* what) const {
  if (!IsConstant(id) || type(id).elements() != 1) return Invalid("its ", what, " is not one known number");
  const HostTensor t = Tensor(id);
  switch (t.type.dtype) {
    case DType::kF32:
      return static_cast<double>(t.as<float>()[0]);
    case DType::kF64:
      return t.as<double>()[0];
    case DType::kI64:
      return static_cast<double>(t.as<int64_t>()[0]);
    case DType::kI32:
      return static_cast<double>(t.as<int32_t>()[0]);
    case DType::kBool:
      return static_cast<double>(t.as<uint8_t>()[0]);
    default:
      return Invalid("its ", what, " is not a number");
  }
}

const onnx::AttributeProto* Lowering::Attribute(const char* name) const {
  for (const auto& attribute : node->attribute())
    if (attribute.name() == name) return &attribute;
  return nullptr;
}

int64_t Lowering::Int(const char* name, int64_t fallback) const {
  const auto* a = Attribute(name);
  return a != nullptr ? a->i() : fallback;
}

double Lowering::Float(const char* name, double fallback) const {
  const auto* a = Attribute(name);
  return a != nullptr ? static_cast<double>(a->f()) : fallback;
}

std::string Lowering::String(const char* name, const std::string& fallback) const {
  const auto* a = Attribute(name);
  return a != nullptr ? a->s() : fallback;
}

std::optional<std::vector<int64_t>> Lowering::IntList(const char* name) const {
  const auto* a = Attribute(name);
  if (a == nullptr) return std::nullopt;
  return std::vector<int64_t>(a->ints().begin(), a->ints().end());
}

LowerFunction FindLowering(const std::string& domain, const std::string& op_type) {
  static const internal::LowerTable kTable = [] {
    internal::LowerTable table;
    for (auto* add :
         {internal::AddActivations, internal::AddAttention, internal::AddControl, internal::AddEinsum,
          internal::AddElementwise, internal::AddIndexing, internal::AddLosses, internal::AddNorms,
          internal::AddProducts, internal::AddQuantization, internal::AddRecurrent, internal::AddReductions,
          internal::AddResize, internal::AddScatters, internal::AddShapes, internal::AddWindows})
      add(&table);
    return table;
  }();
  if (!domain.empty() && domain != "ai.onnx") return nullptr;
  auto it = kTable.find(op_type);
  return it == kTable.end() ? nullptr : it->second;
}

}  // namespace zo2
