// What every kernel here does with its call: arena views as ATen tensors, axes, attributes, the guard around
// it.
#ifndef ZO2_RUNTIME_ATEN_CALL_H_
#define ZO2_RUNTIME_ATEN_CALL_H_

#include <ATen/core/Tensor.h>
#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "runtime/aten/workspace_allocator.h"
#include "runtime/kernel_table.h"

namespace zo2::aten {

at::ScalarType ToAten(DType dtype);
// The view's memory as a tensor; nothing is copied, strides must not be negative.
at::Tensor ToTensor(const TensorView& view);
// The same memory with other sizes and strides (elements) and `offset` elements further on.
at::Tensor ToTensor(const TensorView& view, const Shape& shape, const std::vector<int64_t>& strides,
                    int64_t offset = 0);

// Calls f(T()) with the C++ type of a float dtype; an error for others.
template <typename F>
Status ByFloat(DType dtype, const F& f) {
  switch (dtype) {
    case DType::kF32:
      return f(float());
    case DType::kF64:
      return f(double());
    case DType::kBF16:
      return f(c10::BFloat16());
    case DType::kF16:
      return f(c10::Half());
    default:
      return Internal("there is no such kernel for ", Name(dtype));
  }
}

// Operand `i`, or nullptr where it is absent or left off.
const TensorView* Optional(const KernelCall& call, size_t i);
// "f32[2,16,48]"
std::string ToString(const TensorView& view);
std::string AttrString(const Attrs& attrs, const std::string& name, const std::string& fallback);
// attr `name` as an axis in [0, rank).
int64_t AttrAxis(const Attrs& attrs, const std::string& name, int64_t fallback, size_t rank);
// Product of shape[begin, end).
int64_t Product(const Shape& shape, size_t begin, size_t end);
// Row-major strides.
std::vector<int64_t> DenseStrides(const Shape& shape);
// Strides of `view` seen as `shape` (numpy broadcasting): 0 along broadcast axes.
std::vector<int64_t> BroadcastStrides(const TensorView& view, const Shape& shape);
// Rows of a view whose leading axes collapse into one: `shape` = [rows..., columns].
struct Rows {
  int64_t rows = 0, columns = 0;
  int64_t stride = 0;  // elements from row to row; columns are adjacent
};
// An error that names the operand where the view has no such form.
Result<Rows> AsRows(const TensorView& view);
// True where the elements lie row-major without gaps.
bool IsDense(const TensorView& view);
// Error unless every operand is dense.
Status NeedDense(const KernelCall& call);

// Runs f on pieces [begin, end) of [0, n) on the lane's threads. `ns`: about how many nanoseconds one index
// takes one thread; pieces are large enough to be worth handing out, and small jobs stay on the calling
// thread. What f computes for an index must not depend on the piece that it is in: pieces depend on the
// thread count.
void Parallel(const KernelCall& call, int64_t n, double ns,
              const std::function<void(int64_t begin, int64_t end)>& f);
// Lets ATen use so many threads of its own, of OpenMP, in this call: for what we cannot cut ourselves. It is
// 1 otherwise.
void UseAtenThreads(int threads);

// The table's entries: ATen on one thread, workspace bound, exceptions turned into a Status.
Status RunGuarded(Status (*kernel)(const KernelCall&), const KernelCall& call);
template <Status (*kernel)(const KernelCall&)>
Status Guarded(const KernelCall& call) {
  return RunGuarded(kernel, call);
}

}  // namespace zo2::aten

#endif  // ZO2_RUNTIME_ATEN_CALL_H_
