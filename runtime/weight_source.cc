#include "runtime/weight_source.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "runtime/number.h"
#include "runtime/weight_override.h"

namespace zo2 {
namespace {

// Bytes of a dense float tensor; an error in words where there is no such tensor.
Result<uint64_t> CountBytes(const PlanWeight& weight, const Shape& shape, DType dtype) {
  uint64_t bytes = static_cast<uint64_t>(SizeOf(dtype));
  bool fits = IsFloat(dtype);
  for (const int64_t d : shape)
    fits = fits && d > 0 && !__builtin_mul_overflow(bytes, static_cast<uint64_t>(d), &bytes);
  if (!fits || bytes > uint64_t{1} << 62)
    return Invalid("weight ", weight.name, " of the plan has an impossible shape or dtype");
  return bytes;
}

// out[r, c] = in[c, r] for elements of `size` bytes; rows of `in` are `in_stride` elements apart, those of `out`
// `out_stride`.
template <typename T>
void Transpose(const std::byte* in, int64_t in_stride, int64_t rows, int64_t cols, std::byte* out, int64_t out_stride) {
  const int64_t size = sizeof(T);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t c = 0; c < cols; ++c) {
      T value;
      std::memcpy(&value, in + (c * in_stride + r) * size, sizeof(T));
      std::memcpy(out + (r * out_stride + c) * size, &value, sizeof(T));
    }
}
void Transpose(int64_t size, const std::byte* in, int64_t in_stride, int64_t rows, int64_t cols, std::byte* out,
               int64_t out_stride) {
  if (size == 2) return Transpose<uint16_t>(in, in_stride, rows, cols, out, out_stride);
  if (size == 4) return Transpose<uint32_t>(in, in_stride, rows, cols, out, out_stride);
  Transpose<uint64_t>(in, in_stride, rows, cols, out, out_stride);
}

// Rows [r0, r1) x columns [c0, c1) of the transpose of the dense [.., rows] matrix at `source`.
bool ReadTransposed(const std::byte* source, DType from, int64_t rows, int64_t r0, int64_t r1, int64_t c0, int64_t c1,
                    DType to, std::byte* out) {
  constexpr int64_t kBlock = 64;  // of either axis: both sides stay in the cache
  std::byte block[kBlock * kBlock * 8];
  const int64_t width = c1 - c0, from_size = SizeOf(from), size = SizeOf(to);
  bool fits = true;
  for (int64_t c = c0; c < c1; c += kBlock)
    for (int64_t r = r0; r < r1; r += kBlock) {
      const int64_t height = std::min(kBlock, r1 - r), wide = std::min(kBlock, c1 - c);
      for (int64_t k = 0; k < wide; ++k)
        fits &=
            Convert(NumberOf(from), source + ((c + k) * rows + r) * from_size, height, to, block + k * kBlock * size);
      Transpose(size, block, kBlock, height, wide, out + ((r - r0) * width + (c - c0)) * size, width);
    }
  return fits;
}

// The first few names, and how many more.
std::string FewOf(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < std::min<size_t>(3, names.size()); ++i) text += (i > 0 ? ", " : "") + names[i];
  if (names.size() > 3) text += " and " + std::to_string(names.size() - 3) + " more";
  return text;
}

}  // namespace

Result<WeightSource> WeightSource::Open(const Schedule& schedule, const std::string& weights) {
  WeightSource result;
  result.schedule_ = &schedule;
  WeightOverrides overrides;
  if (!weights.empty()) {
    ZO2_ASSIGN(overrides, FindOverrides(schedule.weights, weights));
    result.notes_ = overrides.notes;
  }
  std::map<std::string, size_t> opened;
  std::vector<std::string> missing;
  std::set<std::string> missing_files;
  for (size_t w = 0; w < schedule.weights.size(); ++w) {
    const PlanWeight& weight = schedule.weights[w];
    if (weight.components.size() != 1)
      return Invalid("weight ", weight.name, " of the plan has ", weight.components.size(),
                     " components; one can be loaded");
    ZO2_TRY(CountBytes(weight, weight.shape, weight.components[0].storage));
    Place place;
    if (!overrides.places.empty() && overrides.places[w].has_value()) {
      place = *overrides.places[w];
    } else {
      if (weight.places.empty() || weight.places[0].range.file.empty()) {
        missing.push_back(weight.name);
        continue;
      }
      place = weight.places[0];
      place.range.file = JoinPath(schedule.model_dir, place.range.file);
    }
    // A file that was not there when the plan was made may be there now.
    if (!FileExists(place.range.file)) {
      missing.push_back(weight.name);
      missing_files.insert(place.range.file);
      continue;
    }
    ZO2_ASSIGN(const uint64_t bytes, CountBytes(weight, weight.shape, place.dtype));
    if (place.range.bytes != bytes)
      return Invalid("weight ", weight.name, " needs ", bytes, " bytes of ", Name(place.dtype),
                     ", but the plan gives it ", place.range.bytes, " of ", place.range.file);
    if (place.transposed && weight.shape.size() != 2)
      return Invalid("weight ", weight.name, " of the plan is transposed but has ", weight.shape.size(), " axes");
    auto it = opened.find(place.range.file);
    if (it == opened.end()) {
      ZO2_ASSIGN(MappedFile file, MappedFile::Open(place.range.file));
      it = opened.emplace(place.range.file, result.files_.size()).first;
      result.files_.push_back(std::move(file));
    }
    if (Result<std::span<const std::byte>> range = result.files_[it->second].Range(place.range.offset, bytes);
        !range.ok())
      return Invalid("weight ", weight.name, ": ", range.status().message());
    result.sources_.push_back({it->second, place.range.offset, place.dtype, place.transposed});
  }
  if (missing.empty()) return result;
  return Invalid("the values of ", missing.size(), " of ", schedule.weights.size(), " weights are nowhere (",
                 FewOf(missing), ")",
                 missing_files.empty() ? "" : ": there is no " + FewOf({missing_files.begin(), missing_files.end()}),
                 "; name safetensors files that hold them with --weights");
}

Status WeightSource::Read(int32_t index, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end,
                          std::byte* out) const {
  if (index < 0 || static_cast<size_t>(index) >= sources_.size())
    return Internal("there is no weight ", index, " to read");
  const PlanWeight& weight = schedule_->weights[static_cast<size_t>(index)];
  const Source& source = sources_[static_cast<size_t>(index)];
  const int64_t rows = weight.rows(), cols = weight.cols();
  if (row_begin < 0 || row_begin > row_end || row_end > rows || col_begin < 0 || col_begin > col_end || col_end > cols)
    return Internal("rows [", row_begin, ", ", row_end, ") and columns [", col_begin, ", ", col_end, ") of weight ",
                    weight.name, ", which has ", rows, " and ", cols);
  const DType to = weight.components[0].storage;
  const std::byte* data = files_[source.file].bytes().data() + source.offset;
  const int64_t width = col_end - col_begin, from_size = SizeOf(source.dtype);
  bool fits = true;
  if (source.transposed) {
    fits = ReadTransposed(data, source.dtype, rows, row_begin, row_end, col_begin, col_end, to, out);
  } else if (width == cols) {
    fits = Convert(NumberOf(source.dtype), data + row_begin * cols * from_size, (row_end - row_begin) * cols, to, out);
  } else {
    for (int64_t r = row_begin; r < row_end; ++r)
      fits &= Convert(NumberOf(source.dtype), data + (r * cols + col_begin) * from_size, width, to,
                      out + (r - row_begin) * width * SizeOf(to));
  }
  files_[source.file].Passed(static_cast<uint64_t>((row_end - row_begin) * width * from_size));
  if (!fits)
    return Invalid("weight ", weight.name, " has values in ", files_[source.file].path(), " that are too large for ",
                   Name(to));
  return Status();
}

Result<std::string> WeightSource::Digest(int threads) const {
  return DigestWeights(*schedule_, AllWeights(*schedule_), reader(), threads);
}

}  // namespace zo2
