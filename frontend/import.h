// ONNX file -> typed static graph of generic ops, everything foldable folded.
//
// One forward walk over the nodes does the work: once the symbolic dimensions are bound, every operand is
// either a known constant or a value with a static type, so shape arithmetic, masks and rotary tables are
// evaluated as the walk meets them (frontend/fold.h), and every other node becomes nodes of the registry
// (frontend/lower.h). Constant, Shape, Identity, Range, ConstantOfShape, Flatten, Squeeze, Unsqueeze and
// Split never survive. Then the floating-point initializers that are parameters become weights with one
// identity each (frontend/identity.h).
//
// What passes may rely on:
//  * MatMul and Gemm by a 2-d weight come out as `linear` (without a bias unless Gemm had one); its bias Add
//  follows as
//    `add`. Every other use of a weight is a generic op on the weight's value; an embedding lookup is
//    `gather` axis 0.
//  * ONNX LayerNormalization, RMSNormalization, Gelu, Attention and RotaryEmbedding come out as the model ops
//  of op.h.
//  * float16 and bfloat16 graphs compute in f32: every float activation and constant is f32 and a kWeight
//  value's type
//    is f32 with the weight's logical shape; only Weight::dtype (storage) keeps the file's type. Casts
//    between float types narrower than f64 are gone.
//
// Weights are references (file, offset, length, dtype); their bytes are read only where identity needs them
// (equal bytes of an embedding and a projection) and where they are there. A model whose weight files are
// absent imports.
#ifndef ZO2_FRONTEND_IMPORT_H_
#define ZO2_FRONTEND_IMPORT_H_

#include <cstdint>
#include <map>
#include <string>

#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

struct ImportOptions {
  // Symbolic input dimension -> size, by the name the file declares ("batch", "sequence"). A dimension
  // without a name is bound as INPUT.AXIS ("input_ids.1"). An input of rank 2 whose dims are called otherwise
  // also takes "batch" for axis 0 and "seq" for axis 1 where no dimension of that name exists. An int64 input
  // without axes becomes the constant that its name is bound to.
  std::map<std::string, int64_t> bind;
  // A .safetensors file, an index .json of shards, or a folder of them, whose tensors override the file's
  // weights by name (any alias or place name, as is or transposed). Empty: none.
  std::string weights;
  // A folded constant larger than this is not made: the nodes stay in the graph. Nor is one that would take all
  // folded constants together past 16 times this, in bytes or in operations.
  int64_t max_fold_bytes = int64_t{64} << 20;
  // Local functions may not make more nodes than this, unless the file has as many.
  int64_t max_inlined_nodes = 100000;
};

// Reads, checks and lowers the model at `path`. Errors (kInvalid), one sentence each: a file that is not
// ONNX, external data that is truncated or out of range, dimensions that nobody bound (all listed), ops
// nobody supports (all listed with name, type, domain and version). FileRange::file of the result is relative
// to the model's folder, "" never.
Result<Graph> ImportOnnx(const std::string& path, const ImportOptions& options);

// Reads the values of a weight into `out` (logical layout, storage dtype, elements() * SizeOf(dtype) bytes)
// from places[0]: transposes where the place is transposed. `model_dir` is what relative files are relative
// to.
Result<void> LoadWeight(const Weight& weight, const std::string& model_dir, void* out);

}  // namespace zo2

#endif  // ZO2_FRONTEND_IMPORT_H_
