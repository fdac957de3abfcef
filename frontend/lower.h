// One ONNX node -> nodes of the registry, folded where every operand is known.
//
// Emit() is the only way nodes come into being: it evaluates a node whose operands are all constants, returns
// the earlier value where the same op was applied to the same operands, skips moves that move nothing, and
// infers types. Lowering functions therefore say what an op means and nothing about folding.
#ifndef ZO2_FRONTEND_LOWER_H_
#define ZO2_FRONTEND_LOWER_H_

#include <onnx/onnx_pb.h>

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "frontend/evaluate.h"
#include "ir/graph/graph.h"
#include "ir/support/status.h"

namespace zo2 {

// An operand of the node being lowered.
struct NodeOperand {
  ValueId id = -1;  // -1: absent
  bool weight = false;
  bool transposed = false;  // weights only: the operand is the transpose of value `id`
};

class Lowering {
 public:
  // max_fold_bytes: see ImportOptions.
  Lowering(Graph* graph, int64_t max_fold_bytes) : graph_(*graph), max_fold_bytes_(max_fold_bytes) {}

  // ---- building ----
  Result<ValueId> Emit(Op op, std::vector<ValueId> inputs, Attrs attrs = {});
  ValueId Constant(const HostTensor& tensor, const std::string& name = "");
  ValueId Scalar(DType dtype, double value);
  ValueId Int64s(const std::vector<int64_t>& values);  // 1-d
  Result<ValueId> Reshape(ValueId x, Shape shape);
  Result<ValueId> Cast(ValueId x, DType to);
  Result<ValueId> Slice(ValueId x, int64_t axis, int64_t begin, int64_t end);
  // An operand as a plain value: a transposed weight becomes a transpose node.
  Result<ValueId> Plain(const NodeOperand& operand);

  // ---- asking ----
  // -1 stands for what an error kept from being made (lower_build.h): an f32 number that is not known.
  const TensorType& type(ValueId id) const {
    static const TensorType none;
    return id < 0 ? none : graph_.value(id).type;
  }
  const Shape& shape(ValueId id) const { return type(id).shape; }
  bool IsConstant(ValueId id) const { return id >= 0 && graph_.value(id).kind == ValueKind::kConstant; }
  bool IsWeight(ValueId id) const { return id >= 0 && graph_.value(id).kind == ValueKind::kWeight; }
  HostTensor Tensor(ValueId id) const { return {type(id), graph_.value(id).data}; }
  // Elements of an integer constant; an error that names the node where the value is only known at run time.
  Result<std::vector<int64_t>> Ints(ValueId id, const char* what) const;
  // The one element of a constant as a double.
  Result<double> Number(ValueId id, const char* what) const;

  // ---- the node at hand, set by the importer ----
  const onnx::NodeProto* node = nullptr;
  int64_t opset = 0;
  std::vector<NodeOperand> operands;
  std::vector<ValueId> results;  // filled by the lowering function, one per output of the node
  // One run through a body (of If, Loop, Scan) with these values as its inputs; sets node and operands back.
  std::function<Result<std::vector<ValueId>>(const onnx::GraphProto& body, const std::vector<ValueId>& inputs)> body;

  bool Has(size_t i) const { return i < operands.size() && operands[i].id >= 0; }
  Result<ValueId> In(size_t i);
  int64_t Int(const char* attribute, int64_t fallback) const;
  double Float(const char* attribute, double fallback) const;
  std::string String(const char* attribute, const std::string& fallback) const;
  std::optional<std::vector<int64_t>> IntList(const char* attribute) const;
  const onnx::AttributeProto* Attribute(const char* name) const;
  Graph& graph() { return graph_; }
  int64_t max_fold_bytes() const { return max_fold_bytes_; }

 private:
  std::optional<ValueId> Trivial(Op op, const std::vector<ValueId>& inputs, const TensorType& out,
                                 const Attrs& attrs);
  ValueId NewValue(ValueKind kind, TensorType type);
  // Whether a node whose operands are known is evaluated, and counts it.
  bool Affordable(Op op, const std::vector<const TensorType*>& inputs, const TensorType& out, const Attrs& attrs);
  Graph& graph_;
  int64_t max_fold_bytes_;
  double folded_bytes_ = 0, fold_work_ = 0;  // so far: bytes of results, operations
  std::unordered_map<std::string, ValueId> known_;      // op, operands and attributes -> value
  std::unordered_map<std::string, ValueId> constants_;  // type and digest of the bytes -> value
};

// Whether products of a shape's sizes, zeros left out, stay far from overflow: at most 2^48.
bool IsCountable(const Shape& shape);

// Lowers lowering.node. Error codes: kInvalid with a sentence that starts with what is wrong (the caller adds
// the node).
using LowerFunction = Result<void> (*)(Lowering&);
// nullptr: nobody supports it.
LowerFunction FindLowering(const std::string& domain, const std::string& op_type);

namespace internal {
using LowerTable = std::map<std::string, LowerFunction>;
void AddActivations(LowerTable* table);
void AddAttention(LowerTable* table);
void AddControl(LowerTable* table);
void AddEinsum(LowerTable* table);
void AddElementwise(LowerTable* table);
void AddIndexing(LowerTable* table);
void AddLosses(LowerTable* table);
void AddNorms(LowerTable* table);
void AddProducts(LowerTable* table);
void AddQuantization(LowerTable* table);
void AddRecurrent(LowerTable* table);
void AddReductions(LowerTable* table);
void AddResize(LowerTable* table);
void AddScatters(LowerTable* table);
void AddShapes(LowerTable* table);
void AddWindows(LowerTable* table);
}  // namespace internal

}  // namespace zo2

#endif  // ZO2_FRONTEND_LOWER_H_
