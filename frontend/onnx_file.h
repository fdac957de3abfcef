// An ONNX file as bytes: the parsed model, and where each tensor's values lie in which file.
//
// protobuf hands out values but not their offsets, so the file's wire format is walked once beside the parser
// to find them; weights are then references into the file and are never copied. External data is taken as
// hostile: locations must stay inside the model's folder, offsets and lengths inside their file, lengths
// equal to what the shape needs.
#ifndef ZO2_FRONTEND_ONNX_FILE_H_
#define ZO2_FRONTEND_ONNX_FILE_H_

#include <onnx/onnx_pb.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "frontend/evaluate.h"
#include "ir/graph/graph.h"
#include "ir/support/file.h"
#include "ir/support/status.h"

namespace zo2 {

// The zo2 dtype of an ONNX element type, nullopt where there is none (strings, complex, packed 4-bit, ...).
std::optional<DType> FromOnnxType(int onnx_type);
int ToOnnxType(DType dtype);

// Where the values of an initializer (or of a Constant node's tensor) are.
struct StoredTensor {
  DType dtype = DType::kF32;
  Shape shape;
  FileRange range;       // range.bytes == 0: only inside `proto` (typed fields), or empty
  bool in_file = false;  // range names its bytes
  bool external = false;
  bool present = true;  // false: external and the file is not there
  const onnx::TensorProto* proto = nullptr;
  int initializer = -1;  // index in graph.initializer, -1 for a Constant node
};

class OnnxFile {
 public:
  // Reads, parses and checks structure: one main graph, known opset (13 to 24), local functions inlined,
  // tensors whose sizes agree with their shapes. Does not look at op types. max_inlined_nodes: see ImportOptions.
  static Result<OnnxFile> Open(const std::string& path, int64_t max_inlined_nodes = 100000);

  const onnx::ModelProto& model() const { return *model_; }
  onnx::ModelProto& mutable_model() { return *model_; }
  const onnx::GraphProto& graph() const { return model_->graph(); }
  const std::string& path() const { return path_; }
  const std::string& dir() const { return dir_; }
  int64_t opset() const { return opset_; }  // of the default domain
  // By value name: initializers, and Constant nodes of the main graph that hold a tensor.
  const std::map<std::string, StoredTensor>& tensors() const { return tensors_; }
  const StoredTensor* Find(const std::string& name) const;
  // The values of a tensor, in the file's dtype; an error when its data is absent.
  Result<HostTensor> Read(const std::string& name) const;
  // Mapped bytes of a tensor that is in a file and present; empty otherwise.
  Result<std::span<const std::byte>> Bytes(const StoredTensor& tensor) const;

 private:
  Result<void> Locate(const std::string& name, const onnx::TensorProto& proto, uint64_t raw_offset,
                      int initializer);
  Result<const MappedFile*> Map(const std::string& file) const;

  std::string path_, dir_, base_;
  std::unique_ptr<onnx::ModelProto> model_;
  int64_t opset_ = 0;
  std::map<std::string, StoredTensor> tensors_;
  mutable std::map<std::string, MappedFile> maps_;
  mutable uint64_t read_ = 0;  // bytes of external tensors so far
};

// The tensor's values from its typed fields or raw_data (not external).
Result<HostTensor> ReadProto(const onnx::TensorProto& proto);

}  // namespace zo2

#endif  // ZO2_FRONTEND_ONNX_FILE_H_
