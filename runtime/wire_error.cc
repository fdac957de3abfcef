#include "runtime/wire_error.h"

#include <algorithm>
#include <cmath>
#include <mutex>

#include "runtime/kernels/codec.h"
#include "runtime/number.h"
#include "runtime/worker_pool.h"

namespace zo2 {
namespace {

constexpr int64_t kBandElements = 1 << 16;  // stay in the second-level cache

struct alignas(64) Line {
  std::byte bytes[64];
};

}  // namespace

void WireError::Add(const WireError& other) {
  elements += other.elements;
  not_finite += other.not_finite;
  lost += other.lost;
  error_squares += other.error_squares;
  value_squares += other.value_squares;
  largest_error = std::max(largest_error, other.largest_error);
  largest_value = std::max(largest_value, other.largest_value);
}

double WireError::rms() const { return value_squares > 0 ? std::sqrt(error_squares / value_squares) : 0; }
double WireError::largest() const { return largest_value > 0 ? largest_error / largest_value : 0; }
double WireError::lost_share() const {
  return elements > 0 ? static_cast<double>(lost) / static_cast<double>(elements) : 0;
}

WireError RectangleWireError(WireFormat format, DType storage, const std::byte* values, int64_t rows, int64_t cols) {
  WireError error;
  error.format = format;
  error.elements = rows * cols;
  const auto n = static_cast<size_t>(rows * cols);
  std::vector<Line> coded(WireBytes(format, rows, cols) / sizeof(Line) + 1);
  std::vector<float> arrived(n), wanted(n);
  kernels::Encode({format, rows, cols, 0, rows, storage, values, cols, coded.data()});
  kernels::Decode({format, rows, cols, 0, rows, coded.data(), arrived.data(), cols});
  Convert(NumberOf(storage), values, rows * cols, DType::kF32, reinterpret_cast<std::byte*>(wanted.data()));
  for (size_t i = 0; i < n; ++i) {
    const double value = double{wanted[i]}, off = double{arrived[i]} - value;
    if (!std::isfinite(value)) {
      ++error.not_finite;
      continue;
    }
    error.lost += value != 0 && arrived[i] == 0;
    error.error_squares += off * off;
    error.value_squares += value * value;
    error.largest_error = std::max(error.largest_error, std::fabs(off));
    error.largest_value = std::max(error.largest_value, std::fabs(value));
  }
  return error;
}

Result<std::vector<WireError>> MeasureWireErrors(const Schedule& schedule, int32_t w, const WeightReader& read,
                                                 std::span<const WireFormat> formats, int64_t elements, int threads) {
  const PlanWeight& weight = schedule.weights[static_cast<size_t>(w)];
  const DType storage = weight.components[0].storage;
  const int64_t rows = weight.rows(), cols = weight.cols();
  std::vector<WireError> total(formats.size());
  for (size_t f = 0; f < formats.size(); ++f) total[f].format = formats[f];
  if (rows == 0 || cols == 0) return total;
  // `bands` of them are looked at, of all that the weight has.
  const int64_t band_rows = std::clamp<int64_t>(kBandElements / cols, 1, rows);
  const int64_t all = (rows + band_rows - 1) / band_rows;
  const int64_t band = band_rows * cols;
  const int64_t bands = std::clamp<int64_t>(elements / band + (elements % band != 0), 1, all);
  std::vector<WireError> parts(static_cast<size_t>(bands) * formats.size());
  std::mutex mutex;
  Status status;
  WorkerPool workers(std::max(1, threads));
  workers.Run(bands, [&](int64_t i) {
    const int64_t begin = all * i / bands * band_rows, end = std::min(rows, begin + band_rows);
    std::vector<std::byte> values(static_cast<size_t>((end - begin) * cols * SizeOf(storage)));
    const Status got = read(w, begin, end, 0, cols, values.data());
    if (!got.ok()) {
      const std::lock_guard lock(mutex);
      if (status.ok()) status = got;
      return;
    }
    for (size_t f = 0; f < formats.size(); ++f)
      parts[static_cast<size_t>(i) * formats.size() + f] =
          RectangleWireError(formats[f], storage, values.data(), end - begin, cols);
  });
  ZO2_TRY(status);
  for (size_t i = 0; i < parts.size(); ++i) total[i % formats.size()].Add(parts[i]);
  return total;
}

}  // namespace zo2
