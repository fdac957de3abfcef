// A plain interpreter of the registry's ops on the host: the judge of this stage's rewrites, and what folds
// constants.
//
// It is written for clarity, one case per op and no fusion, shares no code with the runtime's kernels, and
// computes float32 in float32 (sums in binary64). Integer division by zero and indices out of range are
// errors.
#ifndef ZO2_FRONTEND_EVALUATE_H_
#define ZO2_FRONTEND_EVALUATE_H_

#include <cstddef>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

// A dense row-major tensor in host memory; the bytes are shared and never change.
struct HostTensor {
  TensorType type;
  std::shared_ptr<const std::vector<std::byte>> data;

  template <typename T>
  const T* as() const {
    return reinterpret_cast<const T*>(data->data());
  }
  template <typename T>
  static HostTensor Of(DType dtype, Shape shape, const std::vector<T>& values) {
    auto bytes = std::make_shared<std::vector<std::byte>>(values.size() * sizeof(T));
    if (!values.empty()) std::memcpy(bytes->data(), values.data(), bytes->size());
    return {{dtype, std::move(shape)}, std::move(bytes)};
  }
};

// The outputs of one op, of the types that the registry's infer() gave. `inputs[i]` is nullptr where an
// optional operand is absent. kInternal for an op or dtype that it does not know (losses).
Result<std::vector<HostTensor>> Evaluate(Op op, const Attrs& attrs, std::span<const HostTensor* const> inputs,
                                         std::span<const TensorType> outputs);

// The values of graph.outputs for the given inputs (by name). Weights not in `weights` (by canonical name,
// f32, logical layout) are read from their files. For small models: every value stays in memory.
Result<std::vector<HostTensor>> EvaluateGraph(const Graph& graph, const std::string& model_dir,
                                              const std::map<std::string, HostTensor>& inputs,
                                              const std::map<std::string, HostTensor>& weights = {});

// A float tensor of any dtype as f32.
HostTensor ToF32(const HostTensor& tensor);

}  // namespace zo2

#endif  // ZO2_FRONTEND_EVALUATE_H_
