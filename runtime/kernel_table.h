// What the executor knows of kernels: a table it is handed. It can be tested, and run under sanitizers, with a table
// of its own and without LibTorch.
#ifndef ZO2_RUNTIME_KERNEL_TABLE_H_
#define ZO2_RUNTIME_KERNEL_TABLE_H_

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "ir/graph/op.h"
#include "ir/support/dtype.h"
#include "ir/support/status.h"

namespace zo2 {

// A view of arena memory. Strides in elements. data == nullptr: an absent optional operand.
struct TensorView {
  void* data = nullptr;
  DType dtype = DType::kF32;
  Shape shape;
  std::vector<int64_t> strides;
  bool contiguous() const;
};

// One call of an op. For a weight cut into parts (TileMode), `inputs` holds the part (weight rows [begin, end) along
// the tiled axis, and the same range of the bias); for kOutputSlice the output view is that slice already (its last
// axis has end - begin elements, strided); for kAccumulate the output is whole and `state` carries between parts.
struct KernelCall {
  Op op;
  const Attrs* attrs = nullptr;
  std::span<const TensorView> inputs;
  std::span<const TensorView> outputs;
  int64_t part_begin = 0, part_end = 0;  // both 0: whole
  bool first_part = true, last_part = true;
  void* state = nullptr;                 // StateBytes(), 64-byte aligned
  void* workspace = nullptr;             // temporary memory for this call, 64-byte aligned
  int64_t workspace_bytes = 0;
  int threads = 1;                       // fixed per lane: it changes bits
};
using Kernel = Status (*)(const KernelCall&);

struct KernelTable {
  std::array<Kernel, kNumOps> call{};  // by Op number; null = this build has no kernel for it
  std::string_view library;            // whose kernels: name and version, which decide bits
};

// The table backed by ATen (runtime/aten).
const KernelTable& AtenKernels();

}  // namespace zo2

#endif  // ZO2_RUNTIME_KERNEL_TABLE_H_
