// The kernels of the device's table, by the file that has them. What each op means stands in ir/graph/op.h; where the
// device differs stands in device_kernels.h.
#ifndef ZO2_RUNTIME_ATEN_DEVICE_KERNELS_H_
#define ZO2_RUNTIME_ATEN_DEVICE_KERNELS_H_

#include "runtime/kernel_table.h"

namespace zo2::aten_device {

// linear.cc
Status Linear(const KernelCall& call);
Status MatMul(const KernelCall& call);
// norm.cc
Status LayerNorm(const KernelCall& call);
Status RmsNorm(const KernelCall& call);
// activation.cc
Status Gelu(const KernelCall& call);
Status Silu(const KernelCall& call);
Status Rotary(const KernelCall& call);
// attention.cc
Status Attention(const KernelCall& call);
// loss.cc
Status CausalLmLoss(const KernelCall& call);
Status TokenLoss(const KernelCall& call);
Status ClassifyLoss(const KernelCall& call);
Status MseLoss(const KernelCall& call);
Status OutputLoss(const KernelCall& call);
// elementwise.cc
Status Binary(const KernelCall& call);
Status Unary(const KernelCall& call);
Status Where(const KernelCall& call);
Status Cast(const KernelCall& call);
// reduce.cc
Status Softmax(const KernelCall& call);  // and log_softmax
Status Reduce(const KernelCall& call);
Status ArgMax(const KernelCall& call);
Status CumSum(const KernelCall& call);
// move.cc
Status Transpose(const KernelCall& call);
Status Slice(const KernelCall& call);
Status Concat(const KernelCall& call);
Status Expand(const KernelCall& call);
Status Pad(const KernelCall& call);
Status Tile(const KernelCall& call);
Status Trilu(const KernelCall& call);
// gather.cc
Status Embedding(const KernelCall& call);
Status Gather(const KernelCall& call);
Status GatherNd(const KernelCall& call);
Status GatherElements(const KernelCall& call);

}  // namespace zo2::aten_device

#endif  // ZO2_RUNTIME_ATEN_DEVICE_KERNELS_H_
