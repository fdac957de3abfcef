#include <algorithm>
#include <nlohmann/json.hpp>

#include "ir/support/safetensors.h"
#include "tests/fuzz/readers.h"

namespace zo2::fuzz {
namespace {

using Json = nlohmann::json;
// A tensor takes some 60 bytes of header and is held as JSON (a map node per key, 24 bytes per array element and up)
// and as an entry; the worst is a header of nested empty objects.
constexpr Allowance kAllowance{64 << 10, 96};

// Its header and what is behind it.
struct Parts {
  std::string header, data;
};
Parts Split(const std::string& input) {
  if (input.size() < 8) return {"", ""};
  const size_t length = static_cast<size_t>(std::min<uint64_t>(Get<uint64_t>(input, 0), input.size() - 8));
  return {input.substr(8, length), input.substr(8 + length)};
}
std::string Join(const Parts& parts) {
  std::string out;
  Put(static_cast<uint64_t>(parts.header.size()), &out);
  return out + parts.header + parts.data;
}

// Tensors one behind the other, each as long as its shape and dtype say where that is not absurd.
void LayOut(Json* header, std::string* data) {
  uint64_t at = 0;
  for (auto& tensor : *header) {
    if (!tensor.is_object() || !tensor.contains("data_offsets") || !tensor.contains("shape") ||
        !tensor["shape"].is_array())
      continue;
    uint64_t bytes = 1;
    for (const Json& d : tensor["shape"])
      if (d.is_number_unsigned() && d.get<uint64_t>() <= 1 << 12)
        bytes = std::min<uint64_t>(bytes * d.get<uint64_t>(), 1 << 14);
    const std::string dtype = tensor.contains("dtype") && tensor["dtype"].is_string() ? tensor["dtype"] : Json("F32");
    const uint64_t width = dtype.find("64") != std::string::npos   ? 8
                           : dtype.find("32") != std::string::npos ? 4
                           : dtype.find("16") != std::string::npos ? 2
                                                                   : 1;
    tensor["data_offsets"] = {at, at + bytes * width};
    at += bytes * width;
    if (at > kMostBytes) break;
  }
  data->resize(std::min<size_t>(static_cast<size_t>(at), kMostBytes));
}

void Look(const std::string& path) {
  Result<SafetensorsFile> file = SafetensorsFile::Open(path);
  if (!file.ok()) return CheckError(file.status());
  for (const SafetensorsEntry& tensor : file->header().tensors) {
    Result<std::span<const std::byte>> data = file->Data(tensor.name);
    Require(data.ok() && data->size() == tensor.bytes, "a tensor of the header cannot be read");
    Touch(*data);
  }
}

// What an index may point to.
void WriteShard() {
  auto writer =
      SafetensorsWriter::Create(Folder() + "/shard.safetensors", {{"a", DType::kF32, {2, 3}}, {"b", DType::kU8, {5}}});
  if (!writer.ok() || !writer->Append(std::as_bytes(std::span("twenty-nine bytes in all ...", 29))).ok() ||
      !writer->Finish().ok())
    Fail("cannot write the shard");
}

}  // namespace

int FuzzSafetensors(const uint8_t* data, size_t size) {
  static const bool shard = (WriteShard(), true);
  static InputFile file("input.safetensors"), index("input.safetensors.index.json");
  const bool is_index = shard && size > 0 && data[0] == '{';
  InputFile& input = is_index ? index : file;
  input.Set({reinterpret_cast<const char*>(data), size});
  const MemoryLimit limit(kAllowance, size);
  if (!is_index) Look(input.path());
  auto list = ListSafetensors(input.path());
  if (!list.ok()) {
    CheckError(list.status());
    return 0;
  }
  ++TotalCounts().accepted;
  return 0;
}

void MutateSafetensors(std::string* input, Random& random) {
  if (!input->empty() && input->front() == '{') return MutateJson(input, random);
  Parts parts = Split(*input);
  if (random.OneIn(8)) {
    MutateBytes(&parts.data, random);
  } else {
    MutateJson(&parts.header, random);
  }
  *input = Join(parts);
}

void RepairSafetensors(std::string* input) {
  if (!input->empty() && input->front() == '{') return;
  Parts parts = Split(*input);
  Json header = Json::parse(parts.header, nullptr, /*allow_exceptions=*/false);
  if (header.is_object()) {
    LayOut(&header, &parts.data);
    parts.header = header.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  *input = Join(parts);
}

}  // namespace zo2::fuzz
