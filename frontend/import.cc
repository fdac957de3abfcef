#include "frontend/import.h"

#include <onnx/checker.h>

#include <algorithm>
#include <cstring>
#include <exception>
#include <map>
#include <set>

#include "frontend/identity.h"
#include "frontend/lower.h"
#include "frontend/onnx_file.h"
#include "ir/support/hash.h"

namespace zo2 {
namespace {

std::string Describe(const onnx::NodeProto& node, int64_t version) {
  std::string text = node.name().empty() ? (node.output_size() > 0 ? node.output(0) : "?") : node.name();
  return text + " (" + node.op_type() + ", domain " + (node.domain().empty() ? "ai.onnx" : node.domain()) +
         ", version " + std::to_string(version) + ")";
}

// Every node that nobody supports, those in bodies of If, Loop and Scan too.
void ListUnsupported(const OnnxFile& file, const onnx::GraphProto& graph, std::vector<std::string>* list) {
  for (const auto& node : graph.node()) {
    if (FindLowering(node.domain(), node.op_type()) == nullptr) {
      int64_t version = node.domain().empty() ? file.opset() : 0;
      for (const auto& set : file.model().opset_import())
        if (set.domain() == node.domain()) version = set.version();
      list->push_back(Describe(node, version));
    }
    for (const auto& attribute : node.attribute())
      if (attribute.has_g()) ListUnsupported(file, attribute.g(), list);
  }
}

// Whether nobody supports the node or one in its bodies.
bool IsMissing(const onnx::NodeProto& node) {
  if (FindLowering(node.domain(), node.op_type()) == nullptr) return true;
  return std::any_of(node.attribute().begin(), node.attribute().end(), [](const auto& attribute) {
    const auto& nodes = attribute.g().node();
    return std::any_of(nodes.begin(), nodes.end(), IsMissing);
  });
}

// ONNX's own checker on everything but the tensors' data, which OnnxFile has checked.
Result<void> RunChecker(const OnnxFile& file) {
  onnx::ModelProto bare;
  bare.set_ir_version(file.model().ir_version());
  *bare.mutable_opset_import() = file.model().opset_import();
  onnx::GraphProto* graph = bare.mutable_graph();
  graph->set_name(file.graph().name().empty() ? "graph" : file.graph().name());
  *graph->mutable_node() = file.graph().node();
  *graph->mutable_output() = file.graph().output();
  for (auto& output :
       *graph->mutable_output())  // declared shapes of outputs do not count, so they need not be there
    if (output.type().has_tensor_type()) output.mutable_type()->mutable_tensor_type()->mutable_shape();
  std::set<std::string> declared;
  for (const auto& input : file.graph().input()) {
    *graph->add_input() = input;
    declared.insert(input.name());
  }
  for (const auto& initializer : file.graph().initializer()) {
    if (!declared.insert(initializer.name()).second) continue;
    auto* input = graph->add_input();
    input->set_name(initializer.name());
    auto* type = input->mutable_type()->mutable_tensor_type();
    type->set_elem_type(initializer.data_type());
    type->mutable_shape();
    for (int64_t d : initializer.dims()) type->mutable_shape()->add_dim()->set_dim_value(d);
  }
  try {
    onnx::checker::check_model(bare);
  } catch (const std::exception& e) {
    std::string why = e.what();
    std::replace(why.begin(), why.end(), '\n', ' ');
    return Invalid(file.path(), " is not a valid ONNX model: ", why);
  }
  return {};
}

class Importer {
 public:
  Importer(OnnxFile file, const ImportOptions& options)
      : file_(std::move(file)), options_(options), lowering_(&graph_, options.max_fold_bytes) {}

  Result<Graph> Run() {
    graph_.name = file_.graph().name();
    ListUnsupported(file_, file_.graph(), &problems_);
    missing_ = problems_.size();
    if (missing_ > 0) {
      // Ops of no registry fail the checker, and sizes that are missing are the lesser trouble.
      if (!RunChecker(file_).ok()) return Problems();
    } else {
      ZO2_TRY(RunChecker(file_));
    }
    ZO2_ASSIGN(identity_, Identify(file_));
    if (!options_.weights.empty())
      ZO2_TRY(ApplyOverrides(options_.weights, &identity_.weights, &identity_.notes));
    graph_.weights = identity_.weights;
    graph_.notes = identity_.notes;
    for (const auto& [place, operand] : identity_.operands)
      if (operand.chain.empty()) roots_[operand.root] = {operand.weight, operand.transposed};
    if (auto added = AddInputs(); !added.ok()) return problems_.empty() ? added.status() : Problems();
    lowering_.opset = file_.opset();
    lowering_.body = [this](const onnx::GraphProto& body, const std::vector<ValueId>& inputs) {
      return LowerBody(body, inputs);
    };
    for (int i = 0; i < file_.graph().node_size(); ++i) {
      const auto& node = file_.graph().node(i);
      if (identity_.views.count(i) > 0) continue;
      if (IsMissing(node) || IsUnknown(node)) {
        for (const std::string& output : node.output()) scopes_[0][output] = kUnknown;
        continue;
      }
      if (auto lowered = LowerNode(node, i); !lowered.ok()) {
        if (lowered.status().code() != Code::kInvalid) return lowered.status();
        problems_.push_back(lowered.status().message());
        for (const std::string& output : node.output()) scopes_[0][output] = kUnknown;
      }
    }
    if (!problems_.empty()) return Problems();
    ZO2_TRY(AddOutputs());
    NoteNarrowFloats();
    ZO2_TRY(RemoveDeadCode(graph_));
    ZO2_TRY(AssignTensorIds(graph_));
    SetDigest();
    ZO2_TRY(VerifyGraph(graph_));
    return std::move(graph_);
  }

 private:
  // What stands for the results of a node that could not be lowered.
  static constexpr ValueId kUnknown = -2;

  // All that keeps the model from being imported.
  Status Problems() const {
    if (problems_.size() == 1 && missing_ == 0) return Invalid(file_.path(), ": ", problems_[0]);
    std::string list;
    for (const std::string& problem : problems_) list += (list.empty() ? "" : "; ") + problem;
    return Invalid(file_.path(), " has ", problems_.size(), problems_.size() == 1 ? " node" : " nodes",
                   " that zo2 does not support: ", list);
  }

  // Whether an operand of the node is a result of one that could not be lowered.
  bool IsUnknown(const onnx::NodeProto& node) const {
    return std::any_of(node.input().begin(), node.input().end(), [this](const std::string& name) {
      auto it = scopes_[0].find(name);
      return it != scopes_[0].end() && it->second == kUnknown;
    });
  }

  static DType Compute(DType t) { return t == DType::kF16 || t == DType::kBF16 ? DType::kF32 : t; }

  ValueId AddValue(ValueKind kind, TensorType type, const std::string& name) {
    Value value;
    value.kind = kind;
    value.type = std::move(type);
    value.name = name;
    graph_.values.push_back(std::move(value));
    return static_cast<ValueId>(graph_.values.size()) - 1;
  }

  Result<void> AddInputs() {
    std::set<std::string> names;    // symbolic dimensions of the file
    std::vector<std::string> open;  // those that nobody bound, in order
    std::set<std::string> used;
    for (const auto& input : file_.graph().input()) {
      if (file_.Find(input.name()) != nullptr) continue;  // old files list initializers as inputs
      if (!input.type().has_tensor_type())
        return Invalid(file_.path(), ": input ", input.name(), " is not a tensor, which is not supported");
      const auto& declared = input.type().tensor_type();
      auto dtype = FromOnnxType(declared.elem_type());
      if (!dtype)
        return Invalid(file_.path(), ": input ", input.name(), " has ONNX element type ",
                       declared.elem_type(), ", which is not supported");
      if (BindScalar(input.name(), *dtype, declared)) {
        used.insert(input.name());
        continue;
      }
      TensorType type{Compute(*dtype), {}};
      for (int axis = 0; axis < declared.shape().dim_size(); ++axis) {
        const auto& dim = declared.shape().dim(axis);
        const std::string place = input.name() + "." + std::to_string(axis);
        const std::string usual = declared.shape().dim_size() != 2 ? "" : axis == 0 ? "batch" : "seq";
        if (!dim.has_dim_value()) {
          const std::string name = dim.has_dim_param() && !dim.dim_param().empty() ? dim.dim_param() : place;
          names.insert(name);
          const std::string* key = options_.bind.count(name) > 0    ? &name
                                   : options_.bind.count(place) > 0 ? &place
                                   : options_.bind.count(usual) > 0 ? &usual
                                                                    : nullptr;
          if (key == nullptr) {
            if (std::find(open.begin(), open.end(), name) == open.end()) open.push_back(name);
            type.shape.push_back(1);
            continue;
          }
          used.insert(*key);
          const int64_t size = options_.bind.at(*key);
          if (size < 1 || size > int64_t{1} << 31)
            return Invalid("dimension ", *key, " cannot be bound to ", size);
          type.shape.push_back(size);
        } else {
          if (dim.dim_value() < 1)
            return Invalid(file_.path(), ": input ", input.name(), " has size ", dim.dim_value(),
                           " along axis ", axis);
          type.shape.push_back(dim.dim_value());
          for (const std::string& key : {usual, place}) {
            auto it = options_.bind.find(key);
            if (it == options_.bind.end()) continue;
            used.insert(key);
            if (it->second != dim.dim_value() && names.count(key) == 0)
              return Invalid(file_.path(), ": ", key, " is fixed at ", dim.dim_value(), " in input ",
                             input.name(), " and cannot be bound to ", it->second,
                             ": export the model with a dynamic ", key);
          }
        }
      }
      if (!IsCountable(type.shape))
        return Invalid(file_.path(), ": input ", input.name(), " would have more than 2^48 elements");
      scopes_[0][input.name()] = AddValue(ValueKind::kInput, type, input.name());
      graph_.inputs.push_back(scopes_[0][input.name()]);
    }
    auto join = [](const auto& list) {
      std::string text;
      for (const std::string& s : list) text += (text.empty() ? "" : ", ") + s;
      return text;
    };
    if (!open.empty()) {
      std::string example, unknown;
      for (const std::string& s : open) example += (example.empty() ? "" : ",") + s + "=N";
      for (const auto& [name, size] : options_.bind)
        if (used.count(name) == 0) unknown += (unknown.empty() ? "; it has no dimension named " : ", ") + name;
      return Invalid(file_.path(), " has dimensions without a size: ", join(open), "; bind them with --bind ",
                     example, unknown);
    }
    for (const auto& [name, size] : options_.bind)
      if (used.count(name) == 0)
        return Invalid(file_.path(), " has no dimension named ", name,
                       names.empty() ? "; all its dimensions are fixed" : "; it has " + join(names));
    return {};
  }

  // An input that is one whole number for all examples (logits_to_keep) is the constant that it is bound to.
  bool BindScalar(const std::string& name, DType dtype, const onnx::TypeProto::Tensor& declared) {
    if (dtype != DType::kI64 || !declared.has_shape() || declared.shape().dim_size() > 0) return false;
    auto it = options_.bind.find(name);
    if (it == options_.bind.end()) {
      graph_.notes.push_back("input: " + name + " is one number for all examples; fix it with --bind " + name + "=N");
      return false;
    }
    scopes_[0][name] = lowering_.Constant(HostTensor::Of<int64_t>(dtype, {}, {it->second}), name);
    graph_.notes.push_back("input: " + name + " is fixed at " + std::to_string(it->second));
    return true;
  }

  ValueId WeightValue(WeightId id) {
    auto [it, added] = weight_values_.emplace(id, -1);
    if (added) {
      const Weight& weight = graph_.weights[static_cast<size_t>(id)];
      it->second = AddValue(ValueKind::kWeight, {Compute(weight.dtype), weight.shape}, weight.name);
      graph_.value(it->second).weight = id;
    }
    return it->second;
  }

  // The value of a name: an input, a result, or a constant of the file. Inner names hide outer ones.
  Result<ValueId> ValueOf(const std::string& name) {
    for (size_t i = scopes_.size(); i-- > 0;) {
      auto it = scopes_[i].find(name);
      if (it == scopes_[i].end()) continue;
      if (it->second == kUnknown) return Invalid("operand ", name, " comes from a node that is not supported");
      return it->second;
    }
    if (file_.Find(name) == nullptr) return Invalid("operand ", name, " is not defined before its use");
    ZO2_ASSIGN(HostTensor tensor, file_.Read(name));
    if (Compute(tensor.type.dtype) != tensor.type.dtype) tensor = ToF32(tensor);
    return scopes_[0][name] = lowering_.Constant(tensor, name);
  }

  // Operand `k` of a node; `index` is the node's in the main graph, -1 within a body.
  Result<NodeOperand> OperandOf(const onnx::NodeProto& node, int index, int k) {
    auto weight = identity_.operands.find({index, k});
    if (weight != identity_.operands.end())
      return NodeOperand{WeightValue(weight->second.weight), true, weight->second.transposed};
    NodeOperand operand;
    const std::string& name = node.input(k);
    if (name.empty()) return operand;
    if (auto root = roots_.find(name); index < 0 && root != roots_.end()) {
      const bool hidden = std::any_of(scopes_.begin() + 1, scopes_.end(), [&](auto& s) { return s.count(name) > 0; });
      if (!hidden) return NodeOperand{WeightValue(root->second.first), true, root->second.second};
    }
    ZO2_ASSIGN(operand.id, ValueOf(name));
    return operand;
  }

  Result<void> LowerNode(const onnx::NodeProto& node, int index) {
    auto annotate = [&](const Status& s) {
      return Error(s.code(), Describe(node, file_.opset()), ": ", s.message());
    };
    if (index >= 0 && node.op_type() == "Constant" && file_.Find(node.output(0)) != nullptr)
      return {};  // read where it is used
    lowering_.node = &node;
    lowering_.operands.clear();
    lowering_.results.clear();
    std::vector<NodeOperand> operands;
    for (int k = 0; k < node.input_size(); ++k) {
      auto operand = OperandOf(node, index, k);
      if (!operand.ok()) return annotate(operand.status());
      operands.push_back(*operand);
    }
    lowering_.operands = std::move(operands);
    if (auto done = FindLowering(node.domain(), node.op_type())(lowering_); !done.ok())
      return annotate(done.status());
    for (int k = 0; k < node.output_size(); ++k) {
      if (node.output(k).empty()) continue;
      if (static_cast<size_t>(k) >= lowering_.results.size() || lowering_.results[static_cast<size_t>(k)] < 0)
        return annotate(Invalid("its output ", k, " (", node.output(k), ") is not supported"));
      const ValueId id = lowering_.results[static_cast<size_t>(k)];
      scopes_.back()[node.output(k)] = id;
      if (graph_.value(id).name.empty()) graph_.value(id).name = node.output(k);
    }
    return {};
  }

  // One run through a body: its outputs for these inputs. Names of a body are its own.
  Result<std::vector<ValueId>> LowerBody(const onnx::GraphProto& body, const std::vector<ValueId>& inputs) {
    constexpr size_t kDeepest = 32;
    constexpr int64_t kMostNodes = 200000;
    if (scopes_.size() > kDeepest) return Invalid("bodies are nested more than ", kDeepest, " deep");
    if ((body_nodes_ += body.node_size() + 1) > kMostNodes)
      return Invalid("its bodies come to more than ", kMostNodes, " nodes when they are unrolled");
    if (static_cast<size_t>(body.input_size()) != inputs.size())
      return Invalid("its body takes ", body.input_size(), " operands, not ", inputs.size());
    const onnx::NodeProto* node = lowering_.node;
    const std::vector<NodeOperand> operands = lowering_.operands;
    scopes_.emplace_back();
    auto outputs = [&]() -> Result<std::vector<ValueId>> {
      for (int i = 0; i < body.input_size(); ++i) scopes_.back()[body.input(i).name()] = inputs[static_cast<size_t>(i)];
      for (const auto& initializer : body.initializer()) {
        if (initializer.data_location() == onnx::TensorProto::EXTERNAL)
          return Invalid("initializer ", initializer.name(), " of a body is in another file, which is not supported");
        ZO2_ASSIGN(HostTensor tensor, ReadProto(initializer));
        if (Compute(tensor.type.dtype) != tensor.type.dtype) tensor = ToF32(tensor);
        scopes_.back()[initializer.name()] = lowering_.Constant(tensor, initializer.name());
      }
      for (const auto& inner : body.node()) ZO2_TRY(LowerNode(inner, -1));
      std::vector<ValueId> values;
      for (const auto& output : body.output()) {
        ZO2_ASSIGN(ValueId id, ValueOf(output.name()));
        values.push_back(id);
      }
      return values;
    }();
    scopes_.pop_back();
    lowering_.node = node;
    lowering_.operands = operands;
    lowering_.results.clear();
    return outputs;
  }

  Result<void> AddOutputs() {
    for (const auto& output : file_.graph().output()) {
      auto id = ValueOf(output.name());
      if (!id.ok()) return Invalid(file_.path(), ": output ", output.name(), " is not computed by any node");
      if (graph_.value(*id).kind != ValueKind::kActivation) {
        graph_.notes.push_back("output: " + output.name() + " does not depend on the inputs; it is left out");
        continue;
      }
      if (graph_.value(*id).type.elements() == 0)
        return Invalid(file_.path(), ": output ", output.name(), " has no elements");
      if (std::find(graph_.outputs.begin(), graph_.outputs.end(), *id) != graph_.outputs.end()) continue;
      graph_.value(*id).name = output.name();
      graph_.outputs.push_back(*id);
    }
    if (graph_.outputs.empty()) return Invalid(file_.path(), " has no output that depends on its inputs");
    return {};
  }

  void NoteNarrowFloats() {
    std::map<DType, int> narrow;
    for (const Weight& weight : graph_.weights)
      if (Compute(weight.dtype) != weight.dtype) ++narrow[weight.dtype];
    for (const auto& [dtype, count] : narrow)
      graph_.notes.push_back("dtype: " + std::to_string(count) + " weights are " +
                             std::string(Name(dtype)) + " in their file");
  }

  // A canonical text of the graph and its weight table. The weights' values are not in it, nor where they are
  // stored.
  void SetDigest() {
    Sha256 hash;
    auto add = [&hash](const auto&... parts) {
      std::ostringstream text;
      (text << ... << parts);
      hash.Update(text.str());
    };
    auto add_type = [&](const TensorType& type) {
      add(Name(type.dtype));
      for (int64_t d : type.shape) add(",", d);
      add(";");
    };
    for (const Weight& w : graph_.weights) {
      add("weight ", w.name, " ", w.tensor_id, " ");
      add_type({w.dtype, w.shape});
    }
    for (size_t i = 0; i < graph_.values.size(); ++i) {
      const Value& value = graph_.values[i];
      add("value ", i, " ", static_cast<int>(value.kind), " ", value.weight, " ");
      add_type(value.type);
      if (value.kind == ValueKind::kInput) add(value.name, ";");
      if (value.data != nullptr) hash.Update(*value.data);
    }
    for (const Node& node : graph_.nodes) {
      add("node ", Name(node.op));
      for (ValueId id : node.inputs) add(" ", id);
      add(" ->");
      for (ValueId id : node.outputs) add(" ", id);
      for (const auto& [name, attr] : node.attrs) {
        add(" ", name, "=");
        if (auto* i = std::get_if<int64_t>(&attr)) add(*i);
        if (auto* d = std::get_if<double>(&attr))
          hash.Update(std::string_view(reinterpret_cast<const char*>(d), sizeof *d));
        if (auto* s = std::get_if<std::string>(&attr)) add(*s);
        if (auto* v = std::get_if<std::vector<int64_t>>(&attr))
          for (int64_t i : *v) add(i, ",");
      }
      add("\n");
    }
    for (ValueId id : graph_.outputs) add("output ", id, " ", graph_.value(id).name, "\n");
    graph_.model_digest = hash.Hex();
  }

  OnnxFile file_;
  const ImportOptions& options_;
  Graph graph_;
  Lowering lowering_;
  Identity identity_;
  std::vector<std::map<std::string, ValueId>> scopes_ = {{}};  // values by name: the main graph's, then of open bodies
  std::map<std::string, std::pair<WeightId, bool>> roots_;     // initializers that are weights; true: transposed
  std::vector<std::string> problems_;                          // nodes that could not be lowered
  size_t missing_ = 0;                                         // of them: whose op there is no lowering for
  int64_t body_nodes_ = 0;                                     // of bodies, counted each time
  std::map<WeightId, ValueId> weight_values_;
};

template <typename T>
void CopyTransposed(const std::byte* from, std::byte* to, int64_t rows, int64_t cols) {
  // from is [cols, rows], to is [rows, cols]; blocks keep both within the cache.
  constexpr int64_t kBlock = 64;
  const T* in = reinterpret_cast<const T*>(from);
  T* out = reinterpret_cast<T*>(to);
  for (int64_t r0 = 0; r0 < rows; r0 += kBlock)
    for (int64_t c0 = 0; c0 < cols; c0 += kBlock)
      for (int64_t r = r0; r < std::min(rows, r0 + kBlock); ++r)
        for (int64_t c = c0; c < std::min(cols, c0 + kBlock); ++c)
          std::memcpy(out + r * cols + c, in + c * rows + r, sizeof(T));
}

}  // namespace

Result<Graph> ImportOnnx(const std::string& path, const ImportOptions& options) {
  ZO2_ASSIGN(OnnxFile file, OnnxFile::Open(path, options.max_inlined_nodes));
  return Importer(std::move(file), options).Run();
}

Result<void> LoadWeight(const Weight& weight, const std::string& model_dir, void* out) {
  if (weight.places.empty()) return Internal("weight ", weight.name, " has no place");
  const Place& place = weight.places[0];
  if (!place.present)
    return Invalid("the values of weight ", weight.name, " are in ", place.range.file,
                   ", which is not there");
  const int64_t size = SizeOf(weight.dtype);
  if (place.dtype != weight.dtype || place.range.bytes != static_cast<uint64_t>(weight.elements() * size))
    return Internal("weight ", weight.name, " does not agree with its place ", place.name);
  ZO2_ASSIGN(MappedFile file, MappedFile::Open(JoinPath(model_dir, place.range.file)));
  ZO2_ASSIGN(std::span<const std::byte> bytes, file.Range(place.range.offset, place.range.bytes));
  auto* to = static_cast<std::byte*>(out);
  if (!place.transposed) {
    if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
    return {};
  }
  if (weight.shape.size() != 2)
    return Internal("weight ", weight.name, " is transposed but has ", weight.shape.size(), " axes");
  if (size == 2)
    CopyTransposed<uint16_t>(bytes.data(), to, weight.shape[0], weight.shape[1]);
  else if (size == 4)
    CopyTransposed<uint32_t>(bytes.data(), to, weight.shape[0], weight.shape[1]);
  else
    CopyTransposed<uint64_t>(bytes.data(), to, weight.shape[0], weight.shape[1]);
  return {};
}

}  // namespace zo2
