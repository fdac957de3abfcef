// safetensors: u64 little-endian header length N, N bytes of JSON {name: {dtype, shape, data_offsets: [begin,
// end)}}, then the data. Offsets count from the end of the header. The reader trusts nothing: lengths,
// offsets, shapes and dtypes must agree with each other and with the file's size, and no two tensors may
// overlap.
#ifndef ZO2_IR_SUPPORT_SAFETENSORS_H_
#define ZO2_IR_SUPPORT_SAFETENSORS_H_

#include <cstddef>
#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "ir/support/dtype.h"
#include "ir/support/file.h"
#include "ir/support/status.h"

namespace zo2 {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  std::string file;     // path of the file as it was opened
  uint64_t offset = 0;  // bytes from the start of the file
  uint64_t bytes = 0;
};

// The tensors of one file, in the order of their data, and its "__metadata__".
struct SafetensorsHeader {
  std::vector<SafetensorsEntry> tensors;
  std::map<std::string, std::string> metadata;
  const SafetensorsEntry* Find(const std::string& name) const;
};

Result<SafetensorsHeader> ReadSafetensorsHeader(const std::string& path);

// All tensors under `path`: one .safetensors file; an index .json whose "weight_map" names shards beside it;
// or a folder, from its *.safetensors.index.json if it has one, else from every *.safetensors file in it. A
// name that stands in two files is an error.
Result<std::vector<SafetensorsEntry>> ListSafetensors(const std::string& path);

// A file open for reading: header and mapped data.
class SafetensorsFile {
 public:
  static Result<SafetensorsFile> Open(const std::string& path);
  const SafetensorsHeader& header() const { return header_; }
  // Bytes of one tensor; an error that names file and tensor when there is none.
  Result<std::span<const std::byte>> Data(const std::string& name) const;
  void Passed(uint64_t bytes) const { file_.Passed(bytes); }

 private:
  SafetensorsHeader header_;
  MappedFile file_;
};

// Streaming, atomic writer: declare every tensor, then append their data in that order, in pieces of any
// size.
class SafetensorsWriter {
 public:
  struct Tensor {
    std::string name;
    DType dtype = DType::kF32;
    std::vector<int64_t> shape;
  };
  static Result<SafetensorsWriter> Create(const std::string& path, std::vector<Tensor> tensors,
                                          const std::map<std::string, std::string>& metadata = {});
  Status Append(std::span<const std::byte> bytes) { return file_.Append(bytes); }
  // Refuses when less or more was appended than was declared; then renames the file to its final name.
  Status Finish();

 private:
  AtomicFile file_;
  uint64_t expected_ = 0;  // size of the finished file
};

}  // namespace zo2

#endif  // ZO2_IR_SUPPORT_SAFETENSORS_H_
