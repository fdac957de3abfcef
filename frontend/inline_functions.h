// Local functions of an ONNX file are macros: they are expanded before anything else looks at the graph.
#ifndef ZO2_FRONTEND_INLINE_FUNCTIONS_H_
#define ZO2_FRONTEND_INLINE_FUNCTIONS_H_

#include <onnx/onnx_pb.h>

#include <cstdint>

#include "ir/support/status.h"

namespace zo2 {

// Errors (kInvalid): functions that call themselves or are nested more than 64 deep; more than `max_nodes` nodes after
// expansion, where the file has fewer (forty functions that call the next one twice make 2^40).
Result<void> InlineFunctions(onnx::ModelProto* model, int64_t max_nodes);

}  // namespace zo2

#endif  // ZO2_FRONTEND_INLINE_FUNCTIONS_H_
