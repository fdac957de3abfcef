#include "frontend/onnx_file.h"

#include <charconv>
#include <utility>

#include "frontend/inline_functions.h"

namespace zo2 {
namespace {

using onnx::TensorProto;

// ---- the wire walk ----

struct Field {
  uint32_t number = 0, type = 0;
  uint64_t begin = 0, size = 0;  // payload of a length-delimited field, as offsets in the file
};

// Fields of the message at [at, end). The parser has accepted the bytes, so damage here is a bug or a race.
class Wire {
 public:
  Wire(std::span<const std::byte> bytes, uint64_t at, uint64_t end) : bytes_(bytes), at_(at), end_(end) {}
  bool Next(Field* field) {
    uint64_t key;
    if (at_ >= end_ || !Varint(&key)) return false;
    field->number = static_cast<uint32_t>(key >> 3);
    field->type = key & 7;
    switch (field->type) {
      case 0:
        return Varint(&field->size);
      case 1:
        return Skip(8);
      case 5:
        return Skip(4);
      case 2:
        if (!Varint(&field->size) || field->size > end_ - at_) return false;
        field->begin = at_;
        return Skip(field->size);
      default:
        return false;
    }
  }

 private:
  bool Skip(uint64_t n) {
    if (n > end_ - at_) return false;
    at_ += n;
    return true;
  }
  bool Varint(uint64_t* value) {
    *value = 0;
    for (int shift = 0; shift < 70; shift += 7) {
      if (at_ >= end_) return false;
      const auto byte = std::to_integer<uint64_t>(bytes_[at_++]);
      if (shift < 64) *value |= (byte & 127) << shift;
      if (byte < 128) return true;
    }
    return false;
  }
  std::span<const std::byte> bytes_;
  uint64_t at_, end_;
};

// Offset of the bytes of a TensorProto's raw_data (9), float_data (4) or double_data (10, both packed: the
// same bytes); 0 when there is none or it comes in pieces.
uint64_t RawOffset(std::span<const std::byte> bytes, const Field& tensor) {
  Wire wire(bytes, tensor.begin, tensor.begin + tensor.size);
  uint64_t offset = 0;
  int pieces = 0;
  for (Field f; wire.Next(&f);)
    if ((f.number == 9 || f.number == 4 || f.number == 10) && f.type == 2) {
      offset = f.begin;
      ++pieces;
    }
  return pieces == 1 ? offset : 0;
}

struct Offsets {
  std::vector<uint64_t> initializers;  // by index
  std::vector<uint64_t> nodes;         // by index: the tensor in a Constant's attribute
};

Offsets FindOffsets(std::span<const std::byte> bytes) {
  Offsets result;
  Wire model(bytes, 0, bytes.size());
  for (Field g; model.Next(&g);) {
    if (g.number != 7 || g.type != 2) continue;
    Wire graph(bytes, g.begin, g.begin + g.size);
    for (Field f; graph.Next(&f);) {
      if (f.type != 2) continue;
      if (f.number == 5) result.initializers.push_back(RawOffset(bytes, f));
      if (f.number != 1) continue;
      uint64_t offset = 0;
      Wire node(bytes, f.begin, f.begin + f.size);
      for (Field a; node.Next(&a);) {
        if (a.number != 5 || a.type != 2) continue;
        Wire attribute(bytes, a.begin, a.begin + a.size);
        for (Field t; attribute.Next(&t);)
          if (t.number == 5 && t.type == 2) offset = RawOffset(bytes, t);
      }
      result.nodes.push_back(offset);
    }
  }
  return result;
}

bool ParseNumber(const std::string& text, uint64_t* value) {
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *value);
  return error == std::errc() && end == text.data() + text.size();
}

// A location that stays in the model's folder.
bool IsInside(const std::string& location) {
  if (location.empty() || location[0] == '/') return false;
  size_t at = 0;
  while (at <= location.size()) {
    size_t slash = std::min(location.find('/', at), location.size());
    if (location.compare(at, slash - at, "..") == 0) return false;
    at = slash + 1;
  }
  return true;
}

}  // namespace

std::optional<DType> FromOnnxType(int type) {
  switch (type) {
    case TensorProto::FLOAT:
      return DType::kF32;
    case TensorProto::BFLOAT16:
      return DType::kBF16;
    case TensorProto::FLOAT16:
      return DType::kF16;
    case TensorProto::DOUBLE:
      return DType::kF64;
    case TensorProto::INT64:
      return DType::kI64;
    case TensorProto::INT32:
      return DType::kI32;
    case TensorProto::INT16:
      return DType::kI16;
    case TensorProto::INT8:
      return DType::kI8;
    case TensorProto::UINT8:
      return DType::kU8;
    case TensorProto::BOOL:
      return DType::kBool;
    default:
      return std::nullopt;
  }
}

int ToOnnxType(DType dtype) {
  for (int type = 1; type <= 16; ++type)
    if (FromOnnxType(type) == dtype) return type;
  return 0;
}

Result<HostTensor> ReadProto(const TensorProto& proto) {
  auto dtype = FromOnnxType(proto.data_type());
  if (!dtype)
    return Invalid("tensor ", proto.name(), " has ONNX element type ", proto.data_type(), ", unsupported");
  auto tensor = HostTensor{{*dtype, Shape(proto.dims().begin(), proto.dims().end())}, nullptr};
  for (int64_t d : tensor.type.shape)
    if (d < 0) return Invalid("tensor ", proto.name(), " has a negative dimension");
  const int64_t n = tensor.type.elements(), size = SizeOf(*dtype);
  auto wrong = [&](int64_t have) {
    return Invalid("tensor ", proto.name(), " holds ", have, " values where its shape needs ", n);
  };
  if (n >= int64_t{1} << 40) return Invalid("tensor ", proto.name(), " is impossibly large");
  if (proto.has_raw_data()) {
    if (static_cast<int64_t>(proto.raw_data().size()) != n * size)
      return wrong(static_cast<int64_t>(proto.raw_data().size()) / size);
    auto bytes = std::make_shared<std::vector<std::byte>>(static_cast<size_t>(n * size));
    if (n > 0) std::memcpy(bytes->data(), proto.raw_data().data(), bytes->size());
    tensor.data = std::move(bytes);
    return tensor;
  }
  auto fill = [&]<typename T>(const auto& field) -> Result<HostTensor> {
    if (field.size() != n) return wrong(field.size());
    std::vector<T> values;
    for (auto v : field) values.push_back(static_cast<T>(v));
    return HostTensor::Of<T>(*dtype, tensor.type.shape, values);
  };
  switch (*dtype) {
    case DType::kF32:
      return fill.operator()<float>(proto.float_data());
    case DType::kF64:
      return fill.operator()<double>(proto.double_data());
    case DType::kI64:
      return fill.operator()<int64_t>(proto.int64_data());
    case DType::kI32:
      return fill.operator()<int32_t>(proto.int32_data());
    case DType::kI16:
      return fill.operator()<int16_t>(proto.int32_data());
    case DType::kF16:
    case DType::kBF16:
      return fill.operator()<uint16_t>(proto.int32_data());
    default:
      return fill.operator()<uint8_t>(proto.int32_data());
  }
}

Result<OnnxFile> OnnxFile::Open(const std::string& path, int64_t max_inlined_nodes) {
  OnnxFile file;
  file.path_ = path;
  file.dir_ = DirName(path);
  file.base_ = path.substr(path.rfind('/') == std::string::npos ? 0 : path.rfind('/') + 1);
  ZO2_ASSIGN(MappedFile bytes, MappedFile::Open(path));
  file.model_ = std::make_unique<onnx::ModelProto>();
  if (bytes.bytes().size() >= uint64_t{1} << 31)
    return Invalid(path, " is larger than 2 GiB, which protobuf cannot hold: export it with external data");
  // 63 levels of nesting at most are expected; protobuf's own limit guards against more.
  if (bytes.bytes().empty() ||
      !file.model_->ParseFromArray(bytes.bytes().data(), static_cast<int>(bytes.bytes().size())) ||
      !file.model_->has_graph())
    return Invalid(path, " is not an ONNX model, or it is truncated");
  for (const auto& set : file.model_->opset_import())
    if (set.domain().empty() || set.domain() == "ai.onnx") file.opset_ = set.version();
  if (file.opset_ < 13 || file.opset_ > 24)
    return Invalid(path, " uses ONNX opset ", file.opset_,
                   "; supported are 13 to 24: export it with one of those");
  if (file.graph().sparse_initializer_size() > 0)
    return Invalid(path, " has sparse initializers, which are unsupported");

  const Offsets offsets = FindOffsets(bytes.bytes());
  if (offsets.initializers.size() != static_cast<size_t>(file.graph().initializer_size()) ||
      offsets.nodes.size() != static_cast<size_t>(file.graph().node_size()))
    return Invalid(path, " is not a plainly encoded ONNX model: save it again with onnx.save");
  // Offsets of Constant nodes are by name from here on: inlining moves nodes.
  std::map<std::string, uint64_t> constants;
  for (int i = 0; i < file.graph().node_size(); ++i) {
    const auto& node = file.graph().node(i);
    if (node.op_type() == "Constant" && node.output_size() == 1)
      constants[node.output(0)] = offsets.nodes[static_cast<size_t>(i)];
  }
  if (auto inlined = InlineFunctions(file.model_.get(), max_inlined_nodes); !inlined.ok())
    return Error(inlined.status().code(), path, ": ", inlined.status().message());
  for (int i = 0; i < file.graph().initializer_size(); ++i) {
    const TensorProto& proto = file.graph().initializer(i);
    if (file.tensors_.count(proto.name()) > 0)
      return Invalid(path, " has two initializers named ", proto.name());
    ZO2_TRY(file.Locate(proto.name(), proto, offsets.initializers[static_cast<size_t>(i)], i));
  }
  for (const auto& node : file.graph().node()) {
    if (node.op_type() != "Constant" || node.output_size() != 1) continue;
    for (const auto& attribute : node.attribute())
      if (attribute.name() == "value" && attribute.has_t())
        ZO2_TRY(file.Locate(node.output(0), attribute.t(), constants[node.output(0)], -1));
  }
  return file;
}

Result<void> OnnxFile::Locate(const std::string& name, const TensorProto& proto, uint64_t raw_offset,
                              int initializer) {
  auto where = [&] { return path_ + ": initializer " + name; };
  auto dtype = FromOnnxType(proto.data_type());
  if (!dtype) return Invalid(where(), " has ONNX element type ", proto.data_type(), ", which is unsupported");
  StoredTensor tensor;
  tensor.dtype = *dtype;
  tensor.shape.assign(proto.dims().begin(), proto.dims().end());
  tensor.proto = &proto;
  tensor.initializer = initializer;
  uint64_t need = static_cast<uint64_t>(SizeOf(*dtype));
  bool empty = false;
  for (int64_t d : tensor.shape) {
    if (d < 0 || d > int64_t{1} << 48) return Invalid(where(), " has an impossible dimension ", d);
    empty = empty || d == 0;
    if (d > 0 && (__builtin_mul_overflow(need, static_cast<uint64_t>(d), &need) || need > uint64_t{1} << 50))
      return Invalid(where(), " is impossibly large");
  }
  if (empty) need = 0;
  if (proto.data_location() == TensorProto::EXTERNAL) {
    tensor.external = tensor.in_file = true;
    std::string location;
    uint64_t offset = 0, length = need;
    for (const auto& entry : proto.external_data()) {
      if (entry.key() == "location") location = entry.value();
      if (entry.key() == "offset" && !ParseNumber(entry.value(), &offset))
        return Invalid(where(), " has an external offset that is not a number: ", entry.value());
      if (entry.key() == "length" && !ParseNumber(entry.value(), &length))
        return Invalid(where(), " has an external length that is not a number: ", entry.value());
    }
    if (!IsInside(location))
      return Invalid(where(), " keeps its data in '", location, "', which is not inside the model's folder");
    if (length != need)
      return Invalid(where(), " has ", length, " bytes of external data where its shape needs ", need);
    tensor.range = {location, offset, length};
    const std::string data_path = JoinPath(dir_, location);
    tensor.present = FileExists(data_path);
    if (tensor.present) {
      ZO2_ASSIGN(uint64_t size, FileSize(data_path));
      if (offset > size || length > size - offset)
        return Invalid(where(), " lies at bytes [", offset, ", ", offset, "+", length, ") of ", data_path,
                       ", which has only ", size, ": the file is truncated or belongs to another model");
    }
  } else {
    const bool bytes = proto.has_raw_data() || proto.float_data_size() > 0 || proto.double_data_size() > 0;
    if (proto.has_raw_data() && proto.raw_data().size() != need)
      return Invalid(where(), " has ", proto.raw_data().size(), " bytes of data where its shape needs ",
                     need);
    const bool fits = proto.has_raw_data() || (*dtype == DType::kF32 && proto.float_data_size() > 0) ||
                      (*dtype == DType::kF64 && proto.double_data_size() > 0);
    if (bytes && fits && raw_offset != 0) {
      tensor.in_file = true;
      tensor.range = {base_, raw_offset, need};
    }
    if (!proto.has_raw_data()) ZO2_TRY(ReadProto(proto));  // counts the typed values
  }
  tensors_[name] = std::move(tensor);
  return {};
}

const StoredTensor* OnnxFile::Find(const std::string& name) const {
  auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

Result<const MappedFile*> OnnxFile::Map(const std::string& file) const {
  auto it = maps_.find(file);
  if (it == maps_.end()) {
    ZO2_ASSIGN(MappedFile map, MappedFile::Open(JoinPath(dir_, file)));
    it = maps_.emplace(file, std::move(map)).first;
  }
  return &it->second;
}

Result<std::span<const std::byte>> OnnxFile::Bytes(const StoredTensor& tensor) const {
  if (!tensor.in_file || !tensor.present) return std::span<const std::byte>();
  ZO2_ASSIGN(const MappedFile* file, Map(tensor.range.file));
  return file->Range(tensor.range.offset, tensor.range.bytes);
}

Result<HostTensor> OnnxFile::Read(const std::string& name) const {
  const StoredTensor* tensor = Find(name);
  if (tensor == nullptr) return Internal("no tensor ", name, " in ", path_);
  if (!tensor->external) return ReadProto(*tensor->proto);
  if (!tensor->present)
    return Invalid(path_, ": the constant ", name, " is needed to plan, but its file ", tensor->range.file,
                   " is not there");
  ZO2_ASSIGN(std::span<const std::byte> bytes, Bytes(*tensor));
  // A constant is copied, and any number of them may lie in the same bytes.
  uint64_t files = 1 << 20;
  for (const auto& [file, map] : maps_) files += map.bytes().size();
  read_ += bytes.size();
  if (read_ > 4 * files)
    return Invalid(path_, ": its constants overlap in ", tensor->range.file, ", so often that they are ",
                   "larger than all its files: save the model again with onnx.save");
  return HostTensor{{tensor->dtype, tensor->shape},
                    std::make_shared<std::vector<std::byte>>(bytes.begin(), bytes.end())};
}

}  // namespace zo2
