// How far a weight's values are from what arrives when they cross the link in each wire format: what a choice of
// formats under an error budget is made from. Values are encoded and decoded by the kernels that a run uses.
#ifndef ZO2_RUNTIME_WIRE_ERROR_H_
#define ZO2_RUNTIME_WIRE_ERROR_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/dtype.h"
#include "ir/support/status.h"
#include "ir/support/wire_format.h"
#include "runtime/weight_reader.h"

namespace zo2 {

// Sums of which the figures are made; those of parts add up. Values that are not finite are counted and are in no sum
// (their group arrives as zeros, which is in the sums).
struct WireError {
  WireFormat format = WireFormat::kF32;
  int64_t elements = 0, not_finite = 0;
  int64_t lost = 0;                                  // values that are not zero and arrive as zero
  double error_squares = 0, value_squares = 0;       // sums of (arrived - value)^2 and value^2
  double largest_error = 0, largest_value = 0;       // magnitudes
  void Add(const WireError& other);

  double rms() const;         // sqrt(error_squares / value_squares); 0 where all values are zero
  double largest() const;     // largest_error / largest_value; likewise
  double lost_share() const;  // lost / elements
};

// Of `rows` x `cols` values, packed, storage kF32, kBF16 or kF16, as one rectangle. On the calling thread.
WireError RectangleWireError(WireFormat format, DType storage, const std::byte* values, int64_t rows, int64_t cols);

// Of weight `w` (index into Schedule::weights), in the order of `formats`; groups run along whole rows, so tiles that
// are cut at other columns than multiples of 128 differ a little. At most about `elements` of the weight, in bands of
// whole rows spread evenly, are read, by `threads` threads at a time. Bits do not depend on `threads`. Errors: those
// of `read`.
Result<std::vector<WireError>> MeasureWireErrors(const Schedule& schedule, int32_t w, const WeightReader& read,
                                                 std::span<const WireFormat> formats, int64_t elements, int threads);

}  // namespace zo2

#endif  // ZO2_RUNTIME_WIRE_ERROR_H_
