// Training and evaluation data: a file of examples, and which of them make up each batch.
//
// Files, by their ending:
//   .npy          [N, S] of an integer dtype: token ids, one example per row
//   .u16 .u32 .bin  raw little-endian ids (.bin: uint16), one stream cut into rows of the model's sequence length; a
//                 rest that fills no row is left out and said
//   .jsonl        one example per line: an array of ids, or an object {"input_ids": [...], "labels": [...] or a number,
//                 any other model input by name}
//   .safetensors  tensors named like the model's inputs, and "labels", one example per leading index
// Numbers of other dtypes become the model's where that loses nothing (integers in range; floats are rounded).
// Labels are as Hugging Face has them: at the position of their token (the loss shifts), -100 ignored. Without labels a
// causal model learns its input_ids, apart from those whose attention_mask is 0. Rows shorter than the bound shape are
// filled up: ids, masks and every other input with 0, labels with -100 (regression targets must be whole). Inputs that
// the file does not have: attention_mask is 1 for real and 0 for filled tokens, token_type_ids are 0, position_ids 0,
// 1, 2, ...; any other is an error. Rows that are longer are an error that names them (how many, the first, its
// length), or are cut (`truncate`). An error is also an id outside [0, vocabulary) where the vocabulary is known (rows
// of the embedding that looks it up), a label outside its range, a float that is not one, and a file without any label
// to learn.
#ifndef ZO2_RUNTIME_DATASET_H_
#define ZO2_RUNTIME_DATASET_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"

namespace zo2 {

// Examples in the layout of a program's inputs.
class Dataset {
 public:
  struct Options {
    bool truncate = false;
  };
  // `program`: whose inputs (values of `schedule`) the examples must fill; shapes are of one micro-batch, axis 0 is the
  // example. Checks the whole file once.
  static Result<std::unique_ptr<Dataset>> Open(const std::string& path, const Schedule& schedule,
                                               const Program& program, const Options& options);
  virtual ~Dataset() = default;

  virtual int64_t examples() const = 0;  // >= 1
  // Writes example `example` as row `row` of each input; inputs[i] is the staging memory of program.inputs[i].
  virtual void Fill(int64_t example, int64_t row, std::span<std::byte* const> inputs) const = 0;

  const std::string& path() const { return path_; }
  const std::string& digest() const { return digest_; }             // SHA-256 of the file, hex
  const std::vector<std::string>& notes() const { return notes_; }  // what a person should know

 protected:
  std::string path_, digest_;
  std::vector<std::string> notes_;
};

enum class DataOrder : uint8_t { kRandom = 0, kSequential = 1 };
Result<DataOrder> ParseDataOrder(const std::string& name);  // "random", "sequential"

// Which examples a step takes: counter-based, so a resumed run sees the same batches and any step can be asked for.
// kSequential: file order, wrapping. kRandom: epoch e is a permutation of the file (a keyed bijection of
// [0, examples), made from (seed, e) by a Feistel network with cycle walking: no memory, O(1) per example), so every
// example comes once per epoch; batches run on across epochs.
class Sampler {
 public:
  Sampler(DataOrder order, uint64_t seed, int64_t examples, int64_t batch_rows);
  // Example at row `row` of the batch of `step`.
  int64_t At(int64_t step, int64_t row) const;

 private:
  DataOrder order_;
  uint64_t seed_;
  int64_t examples_, rows_;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_DATASET_H_
