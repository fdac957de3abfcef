// Where a run's base weights come from: the files that the plan's places name, or safetensors files that go before them
// (weight_override.h).
//
// A place may hold the transpose of the logical layout and may have another dtype than the plan's storage dtype;
// reading makes it the logical layout and the storage dtype (a narrowing read rounds once, to nearest even; widening is
// exact). Files are memory-mapped and never written. Places with a relative file are found from Schedule::model_dir.
#ifndef ZO2_RUNTIME_WEIGHT_SOURCE_H_
#define ZO2_RUNTIME_WEIGHT_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/file.h"
#include "ir/support/status.h"
#include "runtime/weight_reader.h"

namespace zo2 {

class WeightSource {
 public:
  // `weights`: a .safetensors file, an index .json or a folder whose tensors go before the places, by name; "" = none.
  // Names in it that no weight has are an error only where none matches at all; otherwise notes() says them. Errors: a
  // weight with no file anywhere (how many, and the first), a file too short for its range, a shape that does not fit.
  static Result<WeightSource> Open(const Schedule& schedule, const std::string& weights);

  // Rows [row_begin, row_end) x columns [col_begin, col_end) of component 0 of weight w, packed row-major, storage
  // dtype. An error where a finite value is past the largest of the storage dtype. Several threads may read at a time.
  Status Read(int32_t weight, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end,
              std::byte* out) const;

  // DigestWeights (weight_reader.h) of every weight in the plan's order. Reads everything once, `threads` weights at a
  // time; the digest does not depend on `threads`.
  Result<std::string> Digest(int threads) const;
  // Read as a WeightReader; this must outlive it.
  WeightReader reader() const {
    return [this](int32_t w, int64_t r0, int64_t r1, int64_t c0, int64_t c1, std::byte* out) {
      return Read(w, r0, r1, c0, c1, out);
    };
  }
  const std::vector<std::string>& notes() const { return notes_; }

 private:
  struct Source {
    size_t file = 0;      // index into files_
    uint64_t offset = 0;  // of the tensor's first byte
    DType dtype = DType::kF32;
    bool transposed = false;
  };
  const Schedule* schedule_ = nullptr;  // must outlive this
  std::vector<MappedFile> files_;
  std::vector<Source> sources_;  // per weight
  std::vector<std::string> notes_;
};

}  // namespace zo2

#endif  // ZO2_RUNTIME_WEIGHT_SOURCE_H_
