// Whole graphs through the interpreter, and narrow floats as f32.
#include <cmath>
#include <limits>

#include "frontend/evaluate.h"
#include "frontend/evaluate_internal.h"
#include "frontend/import.h"

namespace zo2 {

HostTensor ToF32(const HostTensor& tensor) {
  if (tensor.type.dtype == DType::kF32) return tensor;
  internal::Output out({DType::kF32, tensor.type.shape});
  const int64_t n = tensor.type.elements();
  for (int64_t i = 0; i < n; ++i) {
    float& to = out.as<float>()[i];
    switch (tensor.type.dtype) {
      case DType::kF64:
        to = static_cast<float>(tensor.as<double>()[i]);
        break;
      case DType::kBF16: {
        const uint32_t bits = static_cast<uint32_t>(tensor.as<uint16_t>()[i]) << 16;
        std::memcpy(&to, &bits, 4);
        break;
      }
      case DType::kF16: {
        const uint16_t h = tensor.as<uint16_t>()[i];
        const int exponent = h >> 10 & 31;
        const float mantissa = static_cast<float>(h & 1023);
        float v = exponent == 0    ? std::ldexp(mantissa, -24)
                  : exponent == 31 ? (mantissa != 0 ? std::numeric_limits<float>::quiet_NaN()
                                                    : std::numeric_limits<float>::infinity())
                                   : std::ldexp(1024 + mantissa, exponent - 25);
        to = h & 0x8000 ? -v : v;
        break;
      }
      default:
        to = 0;
    }
  }
  return std::move(out).Done();
}

Result<std::vector<HostTensor>> EvaluateGraph(const Graph& graph, const std::string& model_dir,
                                              const std::map<std::string, HostTensor>& inputs,
                                              const std::map<std::string, HostTensor>& weights) {
  std::vector<HostTensor> values(graph.values.size());
  for (size_t i = 0; i < graph.values.size(); ++i) {
    const Value& value = graph.values[i];
    if (value.kind == ValueKind::kConstant) values[i] = {value.type, value.data};
    if (value.kind == ValueKind::kInput) {
      auto it = inputs.find(value.name);
      if (it == inputs.end()) continue;
      if (it->second.type != value.type) return Invalid("input ", value.name, " has another dtype or shape");
      values[i] = it->second;
    }
    if (value.kind == ValueKind::kWeight) {
      const Weight& weight = graph.weights[static_cast<size_t>(value.weight)];
      if (auto it = weights.find(weight.name); it != weights.end()) {
        values[i] = it->second;
        continue;
      }
      internal::Output out({weight.dtype, weight.shape});
      ZO2_TRY(LoadWeight(weight, model_dir, out.data->data()));
      values[i] = ToF32(std::move(out).Done());
    }
  }
  for (const Node& node : graph.nodes) {
    std::vector<const HostTensor*> in;
    for (ValueId id : node.inputs) {
      in.push_back(id < 0 ? nullptr : &values[static_cast<size_t>(id)]);
      if (id >= 0 && in.back()->data == nullptr)
        return Invalid(Name(node.op), " needs the value of ", graph.value(id).name, ", which was not given");
    }
    std::vector<TensorType> types;
    for (ValueId id : node.outputs) types.push_back(graph.value(id).type);
    auto out = Evaluate(node.op, node.attrs, in, types);
    if (!out.ok()) return Error(out.status().code(), node.name, ": ", out.status().message());
    for (size_t i = 0; i < out->size(); ++i)
      values[static_cast<size_t>(node.outputs[i])] = std::move((*out)[i]);
  }
  std::vector<HostTensor> results;
  for (ValueId id : graph.outputs) results.push_back(values[static_cast<size_t>(id)]);
  return results;
}

}  // namespace zo2
