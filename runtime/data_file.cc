#include "runtime/data_file.h"

#include <cstring>
#include <string_view>
#include <utility>

#include "ir/support/safetensors.h"
#include "runtime/json_lines.h"
#include "runtime/npy.h"

namespace zo2 {
namespace {

Status NeedsIds(const std::string& path, const DataRequest& request) {
  if (!request.ids.empty()) return Status();
  return Invalid(
      path, " holds token ids, but the model has no input of ids: use a .safetensors or .jsonl file of its inputs");
}

Field IdsField(const DataRequest& request, Number type, const std::byte* data, int64_t length) {
  Field field;
  field.name = request.ids;
  field.type = type;
  field.dense = data;
  field.row_shape = {length};
  return field;
}

Status ReadNpy(const DataRequest& request, DataFile* file) {
  ZO2_TRY(NeedsIds(file->file.path(), request));
  ZO2_ASSIGN(const NpyArray array, ParseNpy(file->file));
  if (array.shape.size() != 2)
    return Invalid(file->file.path(), " has ", array.shape.size(), " axes; ids have two: examples and tokens");
  file->examples = array.shape[1] == 0 ? 0 : array.shape[0];
  file->fields.push_back(IdsField(request, array.type, file->file.bytes().data() + array.offset, array.shape[1]));
  return Status();
}

Status ReadRaw(const DataRequest& request, Number type, DataFile* file) {
  const std::string& path = file->file.path();
  ZO2_TRY(NeedsIds(path, request));
  const int64_t size = SizeOf(type), bytes = static_cast<int64_t>(file->file.bytes().size());
  if (bytes % size != 0)
    return Invalid(path, " has ", bytes, " bytes, which is not a whole number of ", size, "-byte ids");
  const int64_t ids = bytes / size, length = request.ids_length;
  file->examples = ids / length;
  if (ids > 0 && file->examples == 0) return Invalid(path, " has ", ids, " ids, fewer than one example of ", length);
  if (ids % length != 0)
    file->notes.push_back("the last " + std::to_string(ids % length) + " of " + std::to_string(ids) +
                          " ids fill no example of " + std::to_string(length) + " and are left out");
  file->fields.push_back(IdsField(request, type, file->file.bytes().data(), length));
  return Status();
}

Status ReadTensors(const DataRequest& request, DataFile* file) {
  const std::string& path = file->file.path();
  ZO2_ASSIGN(const SafetensorsHeader header, ReadSafetensorsHeader(path));
  std::string others;
  for (const SafetensorsEntry& tensor : header.tensors) {
    bool wanted = tensor.name == "input_ids" && !request.ids.empty();
    for (const DataRequest::Input& input : request.inputs) wanted = wanted || input.name == tensor.name;
    if (!wanted) {
      others += (others.empty() ? "" : ", ") + tensor.name;
      continue;
    }
    if (tensor.shape.empty()) return Invalid(path, ": tensor ", tensor.name, " has no axis of examples");
    if (file->fields.empty()) file->examples = tensor.shape[0];
    if (tensor.shape[0] != file->examples)
      return Invalid(path, ": tensor ", tensor.name, " has ", tensor.shape[0], " examples, but ", file->fields[0].name,
                     " has ", file->examples);
    ZO2_ASSIGN(const std::span<const std::byte> data, file->file.Range(tensor.offset, tensor.bytes));
    Field field;
    field.name = tensor.name;
    field.type = NumberOf(tensor.dtype);
    field.dense = data.data();
    field.row_shape.assign(tensor.shape.begin() + 1, tensor.shape.end());
    file->fields.push_back(std::move(field));
  }
  if (file->fields.empty())
    return Invalid(path, " has no tensor named like an input of the model; it has ", others.empty() ? "none" : others);
  if (!others.empty()) file->notes.push_back("the model has no input for: " + others);
  return Status();
}

}  // namespace

Numbers Field::At(int64_t example) const {
  const size_t i = static_cast<size_t>(example);
  if (!integers.empty())
    return {reinterpret_cast<const std::byte*>(integers[i].data()), static_cast<int64_t>(integers[i].size())};
  if (!reals.empty())
    return {reinterpret_cast<const std::byte*>(reals[i].data()), static_cast<int64_t>(reals[i].size())};
  const int64_t count = NumElements(row_shape);
  return {dense + example * count * SizeOf(type), count};
}

const Field* DataFile::Find(const std::string& name) const {
  for (const Field& field : fields)
    if (field.name == name) return &field;
  return nullptr;
}

std::string DataFile::Where(int64_t example) const {
  if (lines.empty()) return "example " + std::to_string(example);
  return "line " + std::to_string(lines[static_cast<size_t>(example)]);
}

std::string DataFile::FieldNames() const {
  std::string names;
  for (const Field& field : fields) names += (names.empty() ? "" : ", ") + field.name;
  return names;
}

Result<DataFile> OpenDataFile(const std::string& path, const DataRequest& request) {
  DataFile file;
  ZO2_ASSIGN(file.file, MappedFile::Open(path));
  const auto ends = [&](std::string_view ending) { return std::string_view(path).ends_with(ending); };
  Status status;
  if (ends(".npy")) {
    status = ReadNpy(request, &file);
  } else if (ends(".u16") || ends(".bin")) {
    status = ReadRaw(request, Number::kU16, &file);
  } else if (ends(".u32")) {
    status = ReadRaw(request, Number::kU32, &file);
  } else if (ends(".jsonl")) {
    status = ReadJsonLines(request, &file);
  } else if (ends(".safetensors")) {
    status = ReadTensors(request, &file);
  } else {
    status = Invalid("data file ", path, " ends in none of .npy, .u16, .bin, .u32, .jsonl, .safetensors");
  }
  ZO2_TRY(status);
  if (file.examples == 0) return Invalid(path, " has no examples");
  return file;
}

}  // namespace zo2
