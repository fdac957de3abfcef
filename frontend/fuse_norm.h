// Pass: layer and RMS normalisation over the last axis written out in elementwise ops become layer_norm and
// rms_norm.
//   RMS: x * rsqrt(mean(x^2) + eps) * @scale, the root as rsqrt, reciprocal(sqrt) or a division, x^2 as pow
//   or mul,
//        with or without casts to f32 around.
//   Layer: d = x - mean(x);  d / sqrt(mean(d^2) + eps) * @scale + @bias, the same forms.
#ifndef ZO2_FRONTEND_FUSE_NORM_H_
#define ZO2_FRONTEND_FUSE_NORM_H_

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

Result<void> FuseNorm(Graph& graph);

}  // namespace zo2

#endif  // ZO2_FRONTEND_FUSE_NORM_H_
