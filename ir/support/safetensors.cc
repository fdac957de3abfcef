#include "ir/support/safetensors.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

namespace zo2 {
namespace {

using Json = nlohmann::json;
constexpr uint64_t kMaxHeader = uint64_t{100} << 20;  // the format's own limit
static_assert(std::endian::native == std::endian::little, "safetensors and ONNX raw data are little-endian");

constexpr std::pair<const char*, DType> kTypes[] = {
    {"F32", DType::kF32}, {"BF16", DType::kBF16}, {"F16", DType::kF16}, {"F64", DType::kF64},
    {"I64", DType::kI64}, {"I32", DType::kI32},   {"I16", DType::kI16}, {"I8", DType::kI8},
    {"U8", DType::kU8},   {"BOOL", DType::kBool}};

const char* TypeName(DType t) {
  for (const auto& [name, type] : kTypes)
    if (type == t) return name;
  return "?";
}

// Bytes of a dense tensor; false when the shape is negative or too large to count.
bool CountBytes(const std::vector<int64_t>& shape, DType dtype, uint64_t* bytes) {
  uint64_t n = static_cast<uint64_t>(SizeOf(dtype));
  bool zero = false;
  for (int64_t d : shape) {
    if (d < 0) return false;
    if (d == 0) zero = true;
    if (d > 0 && __builtin_mul_overflow(n, static_cast<uint64_t>(d), &n)) return false;
  }
  *bytes = zero ? 0 : n;
  return *bytes <= uint64_t{1} << 62;
}

Result<SafetensorsHeader> ParseHeader(const MappedFile& file) {
  const std::string& path = file.path();
  const uint64_t size = file.bytes().size();
  if (size < 8) return Invalid(path, " is not a safetensors file: it has only ", size, " bytes");
  uint64_t length;
  std::memcpy(&length, file.bytes().data(), 8);
  if (length > kMaxHeader || length > size - 8)
    return Invalid(path, " is not a whole safetensors file: its header claims ", length, " bytes of ", size);
  const char* text = reinterpret_cast<const char*>(file.bytes().data()) + 8;
  Json json = Json::parse(text, text + length, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Invalid(path, " has a safetensors header that is not a JSON object");

  SafetensorsHeader header;
  const uint64_t data_size = size - 8 - length;
  for (const auto& [name, entry] : json.items()) {
    if (name == "__metadata__") {
      if (!entry.is_object()) return Invalid(path, " has a __metadata__ that is not an object");
      for (const auto& [key, value] : entry.items())
        if (value.is_string()) header.metadata[key] = value.get<std::string>();
      continue;
    }
    SafetensorsEntry tensor;
    tensor.name = name;
    tensor.file = path;
    if (!entry.is_object() || !entry.contains("dtype") || !entry["dtype"].is_string() ||
        !entry.contains("shape") || !entry["shape"].is_array() || !entry.contains("data_offsets") ||
        !entry["data_offsets"].is_array() || entry["data_offsets"].size() != 2 ||
        !entry["data_offsets"][0].is_number_unsigned() || !entry["data_offsets"][1].is_number_unsigned())
      return Invalid(path, ": tensor ", name, " lacks a dtype, a shape or two data_offsets");
    const std::string type = entry["dtype"].get<std::string>();
    bool known = false;
    for (const auto& [type_name, dtype] : kTypes)
      if (type == type_name) tensor.dtype = dtype, known = true;
    if (!known) return Invalid(path, ": tensor ", name, " has dtype ", type, ", which is not supported");
    for (const Json& d : entry["shape"]) {
      if (!d.is_number_unsigned() || d.get<uint64_t>() > uint64_t{1} << 62)
        return Invalid(path, ": tensor ", name, " has a shape that is not a list of sizes");
      tensor.shape.push_back(d.get<int64_t>());
    }
    const uint64_t begin = entry["data_offsets"][0].get<uint64_t>(),
                   end = entry["data_offsets"][1].get<uint64_t>();
    if (begin > end || end > data_size)
      return Invalid(path, ": tensor ", name, " lies at [", begin, ", ", end, ") of ", data_size,
                     " bytes of data: the file is truncated or damaged");
    uint64_t bytes = 0;
    if (!CountBytes(tensor.shape, tensor.dtype, &bytes) || bytes != end - begin)
      return Invalid(path, ": tensor ", name, " has ", end - begin,
                     " bytes, which is not what its shape and dtype need");
    tensor.offset = 8 + length + begin;
    tensor.bytes = bytes;
    header.tensors.push_back(std::move(tensor));
  }
  std::sort(header.tensors.begin(), header.tensors.end(), [](const auto& a, const auto& b) {
    return std::pair(a.offset, a.bytes) < std::pair(b.offset, b.bytes);
  });
  for (size_t i = 1; i < header.tensors.size(); ++i) {
    const SafetensorsEntry &a = header.tensors[i - 1], &b = header.tensors[i];
    if (a.offset + a.bytes > b.offset)
      return Invalid(path, ": tensors ", a.name, " and ", b.name, " overlap");
  }
  return header;
}

Status AddFile(const std::string& path, std::set<std::string>* seen, std::vector<SafetensorsEntry>* all) {
  auto header = ReadSafetensorsHeader(path);
  if (!header.ok()) return header.status();
  for (SafetensorsEntry& tensor : header->tensors) {
    if (!seen->insert(tensor.name).second)
      return Invalid("tensor ", tensor.name, " stands in ", path,
                     " and in another file beside it: name one file");
    all->push_back(std::move(tensor));
  }
  return Status();
}

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

Result<std::vector<SafetensorsEntry>> ListIndexed(const std::string& path) {
  ZO2_ASSIGN(std::string text, ReadFile(path));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("weight_map") || !json["weight_map"].is_object())
    return Invalid(path, " is not an index of safetensors files: it has no \"weight_map\"");
  std::map<std::string, std::string> where;  // tensor -> file
  std::set<std::string> files;
  for (const auto& [name, file] : json["weight_map"].items()) {
    if (!file.is_string()) return Invalid(path, ": the file of tensor ", name, " is not a string");
    where[name] = file.get<std::string>();
    if (where[name].find('/') != std::string::npos)
      return Invalid(path, ": tensor ", name, " points outside the index's folder (", where[name], ")");
    files.insert(where[name]);
  }
  std::vector<SafetensorsEntry> all;
  for (const std::string& file : files) {
    ZO2_ASSIGN(SafetensorsHeader header, ReadSafetensorsHeader(JoinPath(DirName(path), file)));
    for (SafetensorsEntry& tensor : header.tensors) {
      auto it = where.find(tensor.name);
      if (it == where.end() || it->second != file) continue;
      where.erase(it);
      all.push_back(std::move(tensor));
    }
  }
  if (!where.empty())
    return Invalid(path, ": tensor ", where.begin()->first, " is not in ", where.begin()->second);
  return all;
}

}  // namespace

const SafetensorsEntry* SafetensorsHeader::Find(const std::string& name) const {
  for (const SafetensorsEntry& tensor : tensors)
    if (tensor.name == name) return &tensor;
  return nullptr;
}

Result<SafetensorsHeader> ReadSafetensorsHeader(const std::string& path) {
  ZO2_ASSIGN(MappedFile file, MappedFile::Open(path));
  return ParseHeader(file);
}

Result<std::vector<SafetensorsEntry>> ListSafetensors(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return Invalid("there is no file or folder ", path);
  std::vector<SafetensorsEntry> all;
  std::set<std::string> seen;
  if (!S_ISDIR(info.st_mode)) {
    if (EndsWith(path, ".json")) return ListIndexed(path);
    if (Status s = AddFile(path, &seen, &all); !s.ok()) return s;
    return all;
  }
  std::vector<std::string> files, indices;
  DIR* dir = ::opendir(path.c_str());
  if (dir == nullptr) return Invalid("cannot list the folder ", path);
  while (dirent* entry = ::readdir(dir)) {
    std::string name = entry->d_name;
    if (EndsWith(name, ".safetensors")) files.push_back(JoinPath(path, name));
    if (EndsWith(name, ".safetensors.index.json")) indices.push_back(JoinPath(path, name));
  }
  ::closedir(dir);
  if (indices.size() == 1) return ListIndexed(indices[0]);
  if (files.empty()) return Invalid("the folder ", path, " holds no .safetensors file");
  std::sort(files.begin(), files.end());
  for (const std::string& file : files)
    if (Status s = AddFile(file, &seen, &all); !s.ok()) return s;
  return all;
}

Result<SafetensorsFile> SafetensorsFile::Open(const std::string& path) {
  SafetensorsFile result;
  ZO2_ASSIGN(result.file_, MappedFile::Open(path));
  ZO2_ASSIGN(result.header_, ParseHeader(result.file_));
  return result;
}

Result<std::span<const std::byte>> SafetensorsFile::Data(const std::string& name) const {
  const SafetensorsEntry* tensor = header_.Find(name);
  if (tensor == nullptr) return Invalid(file_.path(), " has no tensor ", name);
  return file_.Range(tensor->offset, tensor->bytes);
}

Result<SafetensorsWriter> SafetensorsWriter::Create(const std::string& path, std::vector<Tensor> tensors,
                                                    const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json json = nlohmann::ordered_json::object();
  if (!metadata.empty()) json["__metadata__"] = metadata;
  uint64_t offset = 0;
  for (const Tensor& tensor : tensors) {
    uint64_t bytes = 0;
    if (!CountBytes(tensor.shape, tensor.dtype, &bytes) || offset + bytes < offset)
      return Invalid("tensor ", tensor.name, " for ", path, " has an impossible shape");
    if (tensor.name == "__metadata__" || json.contains(tensor.name))
      return Invalid("tensor ", tensor.name, " for ", path, " is named twice");
    json[tensor.name] = {{"dtype", TypeName(tensor.dtype)},
                         {"shape", tensor.shape},
                         {"data_offsets", {offset, offset + bytes}}};
    offset += bytes;
  }
  std::string text = json.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  text.resize((text.size() + 7) / 8 * 8, ' ');  // data starts aligned to 8 bytes
  const uint64_t length = text.size();
  SafetensorsWriter writer;
  ZO2_ASSIGN(writer.file_, AtomicFile::Create(path));
  ZO2_TRY(writer.file_.Append(std::string_view(reinterpret_cast<const char*>(&length), 8)));
  ZO2_TRY(writer.file_.Append(text));
  writer.expected_ = 8 + length + offset;
  return writer;
}

Status SafetensorsWriter::Finish() {
  if (file_.size() != expected_)
    return Internal("a safetensors file got ", file_.size(), " bytes where its header declares ", expected_);
  return file_.Commit();
}

}  // namespace zo2
