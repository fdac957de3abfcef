#include "frontend/export.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "frontend/identity.h"
#include "frontend/onnx_file.h"

namespace zo2 {
namespace {

using Bytes = std::vector<std::byte>;

Result<Bytes> Convert(const Bytes& from, DType have, DType want, const std::string& name) {
  if (have == want) return from;
  const int64_t n = static_cast<int64_t>(from.size()) / SizeOf(have);
  const HostTensor f32 = ToF32({{have, {n}}, std::make_shared<Bytes>(from)});
  Bytes to(static_cast<size_t>(n * SizeOf(want)));
  for (int64_t i = 0; i < n; ++i) {
    const float v = f32.as<float>()[i];
    if (want == DType::kF32) std::memcpy(to.data() + 4 * i, &v, 4);
    const double d = v;
    if (want == DType::kF64) std::memcpy(to.data() + 8 * i, &d, 8);
    const uint16_t h = want == DType::kF16 ? ToF16(v) : ToBF16(v);
    if (SizeOf(want) == 2) std::memcpy(to.data() + 2 * i, &h, 2);
  }
  if (!IsFloat(want) || !IsFloat(have))
    return Invalid("cannot store ", Name(have), " values in ", name, ", which is ", Name(want));
  return to;
}

// [rows, cols] -> [cols, rows]
Bytes Transposed(const Bytes& from, int64_t rows, int64_t cols, int64_t size) {
  Bytes to(from.size());
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c)
      std::memcpy(to.data() + (c * rows + r) * size, from.data() + (r * cols + c) * size,
                  static_cast<size_t>(size));
  return to;
}

class Exporter {
 public:
  Exporter(OnnxFile file, std::string output) : file_(std::move(file)), output_(std::move(output)) {}

  Result<ExportReport> Run(const std::string& weights_path) {
    ZO2_ASSIGN(identity_, Identify(file_));
    ZO2_ASSIGN(entries_, ListSafetensors(weights_path));
    std::map<std::string, const SafetensorsEntry*> by_name;
    for (const SafetensorsEntry& entry : entries_) by_name[entry.name] = &entry;
    std::set<const SafetensorsEntry*> used;
    std::vector<Override> tuned;
    for (const Weight& weight : identity_.weights) {
      ZO2_ASSIGN(Override found, FindOverride(weight, by_name));
      if (found.entry != nullptr)
        ++report_.replaced, used.insert(found.entry);
      else
        report_.notes.push_back(weight.name + " keeps its values: " + weights_path + " has no such tensor");
      tuned.push_back(found);
    }
    if (report_.replaced == 0)
      return Invalid(weights_path, " has no tensor that is named like a weight of ", file_.path());
    for (const SafetensorsEntry& entry : entries_)
      if (used.count(&entry) == 0)
        report_.notes.push_back("tensor " + entry.name + " of " + weights_path +
                                " names no weight of the model");

    // The weights that each initializer holds, by its uses.
    std::map<std::string, std::set<WeightId>> holds;
    for (const auto& [where, operand] : identity_.operands) holds[operand.root].insert(operand.weight);
    for (const auto& [root, ids] : holds) ZO2_TRY(Replace(root, ids, tuned));
    ZO2_TRY(Write());
    return report_;
  }

 private:
  // The tuned values as `place` stores them; the initializer's own where the file has none for the weight.
  Result<Bytes> ValuesFor(WeightId id, const std::string& root, const Override& tuned) {
    const Weight& weight = identity_.weights[static_cast<size_t>(id)];
    const StoredTensor& stored = *file_.Find(root);
    if (tuned.entry == nullptr) {
      ZO2_ASSIGN(HostTensor own, file_.Read(root));
      return *own.data;
    }
    ZO2_ASSIGN(MappedFile map, MappedFile::Open(tuned.entry->file));
    ZO2_ASSIGN(auto span, map.Range(tuned.entry->offset, tuned.entry->bytes));
    Bytes values(span.begin(), span.end());
    bool place_transposed = false;
    for (const Place& place : weight.places)
      if (place.name == root) place_transposed = place.transposed;
    if (tuned.transposed != place_transposed) {
      const Shape& s = tuned.entry->shape;
      values = Transposed(values, s[0], s[1], SizeOf(tuned.entry->dtype));
    }
    if (tuned.entry->dtype != stored.dtype)
      report_.notes.push_back(weight.name + " is converted from " + std::string(Name(tuned.entry->dtype)) +
                              " to " + std::string(Name(stored.dtype)));
    return Convert(values, tuned.entry->dtype, stored.dtype, root);
  }

  Result<void> Replace(const std::string& root, const std::set<WeightId>& ids,
                       const std::vector<Override>& tuned) {
    const bool any = std::any_of(
        ids.begin(), ids.end(), [&](WeightId id) { return tuned[static_cast<size_t>(id)].entry != nullptr; });
    if (!any) return {};
    std::vector<std::pair<WeightId, Bytes>> values;
    for (WeightId id : ids) {
      ZO2_ASSIGN(Bytes bytes, ValuesFor(id, root, tuned[static_cast<size_t>(id)]));
      values.emplace_back(id, std::move(bytes));
    }
    // The weight of the initializer's own name keeps it.
    std::stable_partition(values.begin(), values.end(), [&](const auto& v) {
      return identity_.weights[static_cast<size_t>(v.first)].name == root;
    });
    const Bytes kept = values[0].second;
    new_values_[root] = std::move(values[0].second);
    for (size_t i = 1; i < values.size(); ++i) {
      if (values[i].second == kept) continue;
      ZO2_TRY(SplitOff(values[i].first, root, std::move(values[i].second)));
    }
    return {};
  }

  // A new initializer for one of several parameters that shared `root`, and its uses pointed there.
  Result<void> SplitOff(WeightId id, const std::string& root, Bytes values) {
    onnx::GraphProto* graph = file_.mutable_model().mutable_graph();
    const Weight& weight = identity_.weights[static_cast<size_t>(id)];
    const StoredTensor& stored = *file_.Find(root);
    // The legacy exporter keeps a merged parameter's name as the output of an Identity node: the initializer
    // takes its place. Otherwise the weight's name is free, unless a node happens to use it.
    std::set<int> replaced;
    for (const auto& [where, operand] : identity_.operands)
      for (int link : operand.chain)
        if (operand.weight == id && operand.root == root && graph->node(link).op_type() == "Identity" &&
            graph->node(link).output(0) == weight.name)
          replaced.insert(link);
    removed_.insert(replaced.begin(), replaced.end());
    std::string name = weight.name;
    while (replaced.empty() && Taken(name)) name += "_split";
    onnx::TensorProto* made = graph->add_initializer();
    made->set_name(name);
    made->set_data_type(ToOnnxType(stored.dtype));
    for (int64_t d : stored.shape) made->add_dims(d);
    new_values_[name] = std::move(values);
    for (const auto& [where, operand] : identity_.operands) {
      if (operand.weight != id || operand.root != root) continue;
      if (std::any_of(operand.chain.begin(), operand.chain.end(),
                      [&](int link) { return replaced.count(link) > 0; }))
        continue;
      std::string from = name;
      for (int link : operand.chain) {  // copies of the Cast or Identity nodes on the way
        onnx::NodeProto copy = graph->node(link);
        copy.set_name(copy.name() + "_" + name + "_" + std::to_string(where.first) + "_" +
                      std::to_string(where.second));
        copy.set_input(0, from);
        from = copy.output(0) + "_" + name + "_" + std::to_string(where.first) + "_" +
               std::to_string(where.second);
        copy.set_output(0, from);
        prologue_.push_back(std::move(copy));
      }
      graph->mutable_node(where.first)->set_input(where.second, from);
    }
    report_.notes.push_back(weight.name + " has its own initializer now; the exporter had merged it into " +
                            root);
    return {};
  }

  bool Taken(const std::string& name) {
    if (file_.Find(name) != nullptr || new_values_.count(name) > 0) return true;
    for (const auto& node : file_.graph().node())
      for (const auto& out : node.output())
        if (out == name) return true;
    return false;
  }

  Result<void> Write() {
    onnx::ModelProto& model = file_.mutable_model();
    onnx::GraphProto* graph = model.mutable_graph();
    bool external = false;
    uint64_t total = 0;
    for (const auto& [name, tensor] : file_.tensors()) {
      external = external || tensor.external;
      total += static_cast<uint64_t>(NumElements(tensor.shape) * SizeOf(tensor.dtype));
    }
    external = external || total > uint64_t{3} << 29;  // protobuf stops at 2 GiB
    const std::string base =
        output_.substr(output_.rfind('/') == std::string::npos ? 0 : output_.rfind('/') + 1);
    AtomicFile data;
    if (external) {
      ZO2_ASSIGN(data, AtomicFile::Create(output_ + ".data"));
    }
    for (auto& initializer : *graph->mutable_initializer())
      ZO2_TRY(Store(&initializer, initializer.name(), external ? &data : nullptr, base + ".data"));
    for (auto& node : *graph->mutable_node())
      for (auto& attribute : *node.mutable_attribute())
        if (node.op_type() == "Constant" && node.output_size() == 1 && attribute.has_t())
          ZO2_TRY(Store(attribute.mutable_t(), node.output(0), nullptr, ""));
    google::protobuf::RepeatedPtrField<onnx::NodeProto> nodes;
    for (auto& node : prologue_) *nodes.Add() = std::move(node);
    for (int i = 0; i < graph->node_size(); ++i)
      if (removed_.count(i) == 0) *nodes.Add() = std::move(*graph->mutable_node(i));
    *graph->mutable_node() = std::move(nodes);
    std::string text;
    if (!model.SerializeToString(&text)) return Invalid(output_, " would be larger than protobuf can hold");
    ZO2_ASSIGN(AtomicFile out, AtomicFile::Create(output_));
    ZO2_TRY(out.Append(text));
    if (external) ZO2_TRY(data.Commit());
    ZO2_TRY(out.Commit());
    return {};
  }

  // Puts the tensor of value `name` in its new form: its new bytes if it has some; in `data` (called
  // `location`) if there is such a file and it is large.
  Result<void> Store(onnx::TensorProto* tensor, const std::string& name, AtomicFile* data,
                     const std::string& location) {
    auto it = new_values_.find(name);
    const StoredTensor* stored = file_.Find(name);
    Bytes own;
    const Bytes* bytes = it != new_values_.end() ? &it->second : nullptr;
    const bool big = data != nullptr && stored != nullptr && stored->in_file;
    if (bytes == nullptr && !big) return {};
    if (bytes == nullptr) {
      if (stored->external && !stored->present)
        return Invalid("cannot write ", output_, ": the values of ", name, " are in ", stored->range.file,
                       ", which is not there, and the tuned weights do not hold them");
      ZO2_ASSIGN(HostTensor read, file_.Read(name));
      own = *read.data;
      bytes = &own;
    }
    tensor->clear_float_data();
    tensor->clear_double_data();
    tensor->clear_int32_data();
    tensor->clear_int64_data();
    tensor->clear_raw_data();
    tensor->clear_external_data();
    tensor->clear_data_location();
    if (data == nullptr || bytes->size() < 1024) {
      tensor->set_raw_data(bytes->data(), bytes->size());
      return {};
    }
    static const Bytes kPadding(64);  // offsets are multiples of 64
    if (data->size() % 64 != 0) ZO2_TRY(data->Append(std::span(kPadding).first(64 - data->size() % 64)));
    auto add = [&](const char* key, const std::string& text) {
      auto* entry = tensor->add_external_data();
      entry->set_key(key);
      entry->set_value(text);
    };
    tensor->set_data_location(onnx::TensorProto::EXTERNAL);
    add("location", location);
    add("offset", std::to_string(data->size()));
    add("length", std::to_string(bytes->size()));
    ZO2_TRY(data->Append(*bytes));
    return {};
  }

  OnnxFile file_;
  std::string output_;
  Identity identity_;
  std::vector<SafetensorsEntry> entries_;
  std::map<std::string, Bytes> new_values_;  // initializer -> bytes as it stores them
  std::vector<onnx::NodeProto> prologue_;    // nodes that read initializers only, before all others
  std::set<int> removed_;                    // Identity nodes whose output is an initializer now
  ExportReport report_;
};

}  // namespace

Result<ExportReport> ExportOnnx(const std::string& model, const std::string& weights,
                                const std::string& output) {
  ZO2_ASSIGN(OnnxFile file, OnnxFile::Open(model));
  return Exporter(std::move(file), output).Run(weights);
}

}  // namespace zo2
