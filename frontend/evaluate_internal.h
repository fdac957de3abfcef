// What the two halves of the interpreter share.
#ifndef ZO2_FRONTEND_EVALUATE_INTERNAL_H_
#define ZO2_FRONTEND_EVALUATE_INTERNAL_H_

#include <cmath>
#include <limits>
#include <memory>
#include <span>
#include <type_traits>
#include <vector>

#include "frontend/evaluate.h"

namespace zo2::internal {

using Inputs = std::span<const HostTensor* const>;

// A tensor under construction.
struct Output {
  TensorType type;
  std::shared_ptr<std::vector<std::byte>> data;

  explicit Output(const TensorType& t)
      : type(t), data(std::make_shared<std::vector<std::byte>>(static_cast<size_t>(t.bytes()))) {}
  template <typename T>
  T* as() {
    return reinterpret_cast<T*>(data->data());
  }
  HostTensor Done() && { return {std::move(type), std::move(data)}; }
};

// Calls f.operator()<T>() with the C++ type of `dtype`; false when there is none.
template <typename F>
bool Dispatch(DType dtype, F&& f) {
  switch (dtype) {
    case DType::kF32:
      f.template operator()<float>();
      return true;
    case DType::kF64:
      f.template operator()<double>();
      return true;
    case DType::kI64:
      f.template operator()<int64_t>();
      return true;
    case DType::kI32:
      f.template operator()<int32_t>();
      return true;
    case DType::kI16:
      f.template operator()<int16_t>();
      return true;
    case DType::kI8:
      f.template operator()<int8_t>();
      return true;
    case DType::kU8:
    case DType::kBool:
      f.template operator()<uint8_t>();
      return true;
    default:
      return false;
  }
}

// A number as a T: what an integer cannot hold becomes the nearest it can, NaN 0 (C++ leaves both open).
template <typename T, typename V>
T Saturate(V value) {
  if constexpr (std::is_integral_v<T> && std::is_floating_point_v<V>) {
    if (std::isnan(value)) return 0;
    if (value <= static_cast<V>(std::numeric_limits<T>::min())) return std::numeric_limits<T>::min();
    if (value >= static_cast<V>(std::numeric_limits<T>::max())) return std::numeric_limits<T>::max();
  }
  return static_cast<T>(value);
}

// Row-major strides, in elements.
std::vector<int64_t> Strides(const Shape& shape);
// Strides of `shape` seen as `out` (numpy broadcasting): 0 along broadcast axes.
std::vector<int64_t> BroadcastStrides(const Shape& shape, const Shape& out);

// Calls f(out_row, offsets) for every row along the last axis of `out`; offsets[i] is where input i's row
// starts.
template <typename F>
void ForEachRow(const Shape& out, const std::vector<std::vector<int64_t>>& strides, F&& f) {
  const size_t rank = out.size(), n = strides.size();
  for (int64_t d : out)
    if (d == 0) return;
  std::vector<int64_t> index(rank, 0), offsets(n, 0);
  const int64_t row = rank == 0 ? 1 : out[rank - 1];
  for (int64_t at = 0;; at += row) {
    f(at, offsets);
    size_t axis = rank < 2 ? 0 : rank - 1;
    bool done = true;
    while (axis-- > 0) {
      for (size_t i = 0; i < n; ++i) offsets[i] += strides[i][axis];
      if (++index[axis] < out[axis]) {
        done = false;
        break;
      }
      for (size_t i = 0; i < n; ++i) offsets[i] -= strides[i][axis] * out[axis];
      index[axis] = 0;
    }
    if (done) return;
  }
}

Status EvaluateGather(Op op, const Attrs& attrs, const HostTensor& x, const HostTensor& ids, Output& out);
// The model ops: linear, embedding, norms, activations, rotary, attention, matmul, softmax.
Result<std::vector<HostTensor>> EvaluateModelOp(Op op, const Attrs& attrs, Inputs in,
                                                std::span<const TensorType> out);
bool IsModelOp(Op op);

}  // namespace zo2::internal

#endif  // ZO2_FRONTEND_EVALUATE_INTERNAL_H_
