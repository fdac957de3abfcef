// The typed static graph: what the frontend makes of an ONNX file and what the planner reads.
//
// A graph is values, nodes in topological order, and weights apart from activations. A weight has one canonical name,
// one logical layout (the framework's) and a list of places where files hold it; a value of kind kWeight stands for
// it in that logical layout. Transposition happens at load and export only: an op that wants the transpose says so by
// an attribute (linear's trans_w).
#ifndef ZO2_IR_GRAPH_GRAPH_H_
#define ZO2_IR_GRAPH_GRAPH_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ir/graph/op.h"
#include "ir/support/status.h"

namespace zo2 {

using ValueId = int32_t;   // index into Graph::values; -1 = absent optional operand
using NodeId = int32_t;    // index into Graph::nodes
using WeightId = int32_t;  // index into Graph::weights

// A range of bytes of a file. `file` is relative to the model's folder or absolute; never read by the planner.
struct FileRange {
  std::string file;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  bool operator==(const FileRange&) const = default;
};

// One place where a file holds a weight's values, dense and row-major.
struct Place {
  std::string name;         // the initializer's or safetensors tensor's own name
  FileRange range;
  DType dtype = DType::kF32;
  bool transposed = false;  // holds the transpose of the logical layout (2-d weights)
  bool present = true;      // false: the file is not there (a graph can still be planned)
};

struct Weight {
  std::string name;                  // canonical
  std::vector<std::string> aliases;  // other names of the same parameter (tied, exporter's own)
  Shape shape;                       // logical layout, row-major
  DType dtype = DType::kF32;         // storage dtype
  uint32_t tensor_id = 0;            // zo-noise v1 id, see AssignTensorIds
  WeightRole role = WeightRole::kOther;
  bool trainable = true;
  bool decay = true;                 // by role; see WeightRole
  std::vector<Place> places;         // places[0] is where values are loaded from; all are written at export
  // Rows and columns of the 2-d view in which tiles are cut: 1-d weights are one row, n-d ones shape[0] rows.
  int64_t rows() const { return shape.size() < 2 ? 1 : shape[0]; }
  int64_t cols() const { return NumElements(shape) / (rows() == 0 ? 1 : rows()); }
  int64_t elements() const { return NumElements(shape); }
};

enum class ValueKind : uint8_t { kInput = 0, kActivation = 1, kConstant = 2, kWeight = 3 };

struct Value {
  std::string name;
  ValueKind kind = ValueKind::kActivation;
  TensorType type;
  WeightId weight = -1;                                // kWeight only
  std::shared_ptr<const std::vector<std::byte>> data;  // kConstant only: dense, row-major, host byte order
};

struct Node {
  Op op;
  std::string name;
  std::vector<ValueId> inputs;
  std::vector<ValueId> outputs;
  Attrs attrs;
};

// How the loss was chosen, for the report.
struct LossInfo {
  std::string kind;       // "causal-lm", "classify", "mse", "output:NAME", "none"
  std::string cause;      // why `auto` chose it
  NodeId node = -1;       // the loss node; its outputs are sum[batch], count[batch]
  ValueId labels = -1;    // the input it added, -1 when none
};

struct Graph {
  std::string name;
  std::vector<Value> values;
  std::vector<Node> nodes;
  std::vector<Weight> weights;
  std::vector<ValueId> inputs;   // kInput values that are used, in the model's order, labels last
  std::vector<ValueId> outputs;  // what an evaluation may return (the model's outputs that are kept)
  LossInfo loss;
  std::string model_digest;      // hex digest of the model's graph and weight table, part of the fingerprint
  std::vector<std::string> notes;  // everything a person should know: ties, separations, dropped biases, choices

  const Value& value(ValueId id) const { return values[static_cast<size_t>(id)]; }
  Value& value(ValueId id) { return values[static_cast<size_t>(id)]; }
};

// Every operand exists and precedes its use, every value has one producer, types agree with the registry, weights
// are used only where the registry allows (any operand of a generic op counts as WeightRole::kOther).
Result<void> VerifyGraph(const Graph& graph);
// One line per node, weights by name: `%7 = linear(%6, @model.fc1.weight, @model.fc1.bias) {trans_w=1} : f32[2,16,48]`.
std::string PrintGraph(const Graph& graph);
// Removes nodes whose outputs nobody reads and values, inputs and weights that nothing uses; renumbers.
// Keeps graph.outputs and the loss node.
Result<void> RemoveDeadCode(Graph& graph);
// CRC-32 of the canonical names in byte order, with the collision rule of zo-noise v1 (docs/NOISE.md, "Words").
Result<void> AssignTensorIds(Graph& graph);

}  // namespace zo2

#endif  // ZO2_IR_GRAPH_GRAPH_H_
