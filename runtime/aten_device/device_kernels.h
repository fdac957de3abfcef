// A second table of kernels, for a GPU: every op through plain calls of ATen, which run on any device that ATen has.
// Compiled for the CPU (where tests run it) and for CUDA (ZO2_CUDA=1, the CUDA module).
//
// Ops mean what ir/graph/op.h says, with these differences from the CPU's own table, because a GPU's call is launched
// before anybody knows its data:
//  - A label that is neither -100 nor a class makes its example's loss NaN, where the CPU's table returns an error.
//  - An id outside of its table gives NaN: in the row (embedding, gather, gather_nd) or element (gather_elements) that
//    it names. Integers and bools have no NaN: such an id gives the nearest that there is.
//  - An integer divided by zero gives 0, and so does the remainder.
//  - Attention adds -infinity to the scores of masked keys: a NaN in a masked key shows.
// Logits of causal_lm_loss are f32 (f64 for f64), also where hidden and W have 16 bits. Losses are summed in f64 in an
// order that depends on shapes only: results are the same from run to run on one machine.
#ifndef ZO2_RUNTIME_ATEN_DEVICE_DEVICE_KERNELS_H_
#define ZO2_RUNTIME_ATEN_DEVICE_DEVICE_KERNELS_H_

#include "runtime/kernel_table.h"

namespace zo2 {

// Calls need WorkspaceBytes(..., KernelFlavour::kDevice). `threads` of a call is ignored: ATen works on one.
const KernelTable& DeviceKernels();

}  // namespace zo2

#endif  // ZO2_RUNTIME_ATEN_DEVICE_DEVICE_KERNELS_H_
