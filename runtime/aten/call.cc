#include "runtime/aten/call.h"

#include <ATen/Parallel.h>
#include <ATen/ops/from_blob.h>
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <sstream>

#include "runtime/worker_pool.h"

namespace zo2::aten {
at::ScalarType ToAten(DType dtype) {
  switch (dtype) {
    case DType::kF32:
      return at::kFloat;
    case DType::kBF16:
      return at::kBFloat16;
    case DType::kF16:
      return at::kHalf;
    case DType::kF64:
      return at::kDouble;
    case DType::kI64:
      return at::kLong;
    case DType::kI32:
      return at::kInt;
    case DType::kI16:
      return at::kShort;
    case DType::kI8:
      return at::kChar;
    case DType::kU8:
      return at::kByte;
    case DType::kBool:
      return at::kBool;
  }
  return at::ScalarType::Undefined;
}

at::Tensor ToTensor(const TensorView& view) { return ToTensor(view, view.shape, view.strides); }

at::Tensor ToTensor(const TensorView& view, const Shape& shape, const std::vector<int64_t>& strides,
                    int64_t offset) {
  void* data = static_cast<std::byte*>(view.data) + offset * SizeOf(view.dtype);
  return at::from_blob(data, shape, strides, at::TensorOptions().dtype(ToAten(view.dtype)));
}

const TensorView* Optional(const KernelCall& call, size_t i) {
  return i < call.inputs.size() && call.inputs[i].data != nullptr ? &call.inputs[i] : nullptr;
}

std::string ToString(const TensorView& view) {
  std::ostringstream out;
  out << Name(view.dtype) << "[";
  for (size_t i = 0; i < view.shape.size(); ++i) out << (i > 0 ? "," : "") << view.shape[i];
  out << "]";
  return out.str();
}

std::string AttrString(const Attrs& attrs, const std::string& name, const std::string& fallback) {
  auto it = attrs.find(name);
  const auto* value = it == attrs.end() ? nullptr : std::get_if<std::string>(&it->second);
  return value == nullptr ? fallback : *value;
}

int64_t AttrAxis(const Attrs& attrs, const std::string& name, int64_t fallback, size_t rank) {
  const int64_t axis = AttrInt(attrs, name, fallback);
  return axis < 0 ? axis + static_cast<int64_t>(rank) : axis;
}

int64_t Product(const Shape& shape, size_t begin, size_t end) {
  int64_t n = 1;
  for (size_t i = begin; i < end; ++i) n *= shape[i];
  return n;
}

std::vector<int64_t> DenseStrides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<int64_t>(1, shape[i]);
  return strides;
}

std::vector<int64_t> BroadcastStrides(const TensorView& view, const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 0);
  const size_t skip = shape.size() - view.shape.size();
  for (size_t i = 0; i < view.shape.size(); ++i)
    if (view.shape[i] != 1) strides[skip + i] = view.strides[i];
  return strides;
}

Result<Rows> AsRows(const TensorView& view) {
  const size_t rank = view.shape.size();
  if (rank == 0) return Rows{1, 1, 1};
  Rows rows{Product(view.shape, 0, rank - 1), view.shape[rank - 1], view.shape[rank - 1]};
  bool good = view.shape[rank - 1] <= 1 || view.strides[rank - 1] == 1;
  int64_t expect = -1;  // stride that the next axis outwards must have
  for (size_t i = rank - 1; i-- > 0;) {
    if (view.shape[i] == 1) continue;
    if (expect < 0)
      rows.stride = view.strides[i];
    else
      good = good && view.strides[i] == expect;
    expect = view.strides[i] * view.shape[i];
  }
  if (rows.rows * rows.columns == 0) return rows;
  if (!good) return Internal("an operand ", ToString(view), " is laid out in a way that kernels cannot read");
  return rows;
}

bool IsDense(const TensorView& view) {
  int64_t expect = 1;
  for (size_t i = view.shape.size(); i-- > 0;) {
    if (view.shape[i] == 0) return true;
    if (view.shape[i] != 1 && view.strides[i] != expect) return false;
    expect *= view.shape[i];
  }
  return true;
}

Status NeedDense(const KernelCall& call) {
  for (const auto& views : {call.inputs, call.outputs})
    for (const TensorView& view : views)
      if (view.data != nullptr && !IsDense(view))
        return Internal(Name(call.op), ": operand ", ToString(view), " must be dense");
  return Status();
}

void Parallel(const KernelCall& call, int64_t n, double ns, const std::function<void(int64_t, int64_t)>& f) {
  constexpr double kWorthHandingOut = 2000;
  const double pieces = std::min(ns * static_cast<double>(n) / kWorthHandingOut, 8.0 * call.threads);
  if (call.threads <= 1 || pieces < 2 || n < 2) {
    if (n > 0) f(0, n);
    return;
  }
  const int64_t each = std::max<int64_t>(1, static_cast<int64_t>(static_cast<double>(n) / pieces));
  WorkerPool::Mine(call.threads).Run((n + each - 1) / each, [&](int64_t i) {
    f(i * each, std::min(n, (i + 1) * each));
  });
}

// OpenMP's and MKL's thread counts are of the calling thread, so lanes do not disturb each other.
void UseAtenThreads(int threads) {
  thread_local int current = 0;
  if (threads == current) return;
  at::get_num_threads();  // ATen's own first-use setting must come before ours
  at::set_num_threads(threads);
  current = threads;
}

Status RunGuarded(Status (*kernel)(const KernelCall&), const KernelCall& call) {
  try {
    c10::InferenceMode no_autograd;
    UseAtenThreads(1);
    WorkspaceScope scope(call.workspace, call.workspace_bytes);
    return kernel(call);
  } catch (const c10::Error& e) {
    return Internal(Name(call.op), ": ", e.what_without_backtrace());
  } catch (const std::exception& e) {
    return Internal(Name(call.op), ": ", e.what());
  }
}

}  // namespace zo2::aten
