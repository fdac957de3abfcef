// Pass: GELU and SiLU written out become gelu and silu.
//   0.5 x (1 + erf(x / sqrt(2)))                           -> gelu {tanh=0}
//   0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))        -> gelu {tanh=1}, x^3 as pow or products, the last
//   factor
//                                                             also as x (1 + 0.044715 x^2)
//   x sigmoid(x)                                           -> silu
// Products are read in any order and grouping.
#ifndef ZO2_FRONTEND_FUSE_ACTIVATION_H_
#define ZO2_FRONTEND_FUSE_ACTIVATION_H_

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

Result<void> FuseActivation(Graph& graph);

}  // namespace zo2

#endif  // ZO2_FRONTEND_FUSE_ACTIVATION_H_
