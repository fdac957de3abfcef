// A file of examples as it is: named fields of numbers, one row of each per example. What they mean to a model is the
// business of dataset.h.
//
// .npy, raw and .safetensors files stay where they are, memory-mapped. A .jsonl file is parsed once, line by line, and
// kept as 4-byte numbers: at most twice the size of the file (a number takes at least two bytes of text), 48 bytes per
// list, and what parsing its longest line takes.
#ifndef ZO2_RUNTIME_DATA_FILE_H_
#define ZO2_RUNTIME_DATA_FILE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ir/graph/op.h"
#include "ir/support/file.h"
#include "ir/support/status.h"
#include "runtime/number.h"

namespace zo2 {

struct Numbers {
  const std::byte* data = nullptr;
  int64_t count = 0;  // elements
};

// Rows that lie one after the other in a mapped file (`dense`), or lists of any length.
struct Field {
  std::string name;
  Number type = Number::kI64;
  const std::byte* dense = nullptr;
  Shape row_shape;  // of each row; dense only
  std::vector<std::vector<int32_t>> integers;
  std::vector<std::vector<float>> reals;

  bool is_dense() const { return integers.empty() && reals.empty(); }
  Numbers At(int64_t example) const;
};

struct DataFile {
  MappedFile file;
  std::vector<Field> fields;
  int64_t examples = 0;        // >= 1
  std::vector<int64_t> lines;  // .jsonl: the line of each example, from 1
  std::vector<std::string> notes;

  const Field* Find(const std::string& name) const;
  std::string Where(int64_t example) const;  // "line 7" or "example 6"
  std::string FieldNames() const;            // "input_ids, labels"
};

// What a file's reader must know of the model.
struct DataRequest {
  struct Input {
    std::string name;
    bool is_float = false;
  };
  std::vector<Input> inputs;  // others are not read
  std::string ids;            // the one that a file without names holds; "" = there is none
  int64_t ids_length = 0;     // elements of its rows
};

// By the path's ending. Errors: an ending that is not known, a file that is damaged or has no example.
Result<DataFile> OpenDataFile(const std::string& path, const DataRequest& request);

}  // namespace zo2

#endif  // ZO2_RUNTIME_DATA_FILE_H_
