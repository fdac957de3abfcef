// Numbers as files hold them: the plan's dtypes and NumPy's unsigned ones, and their conversions.
#ifndef ZO2_RUNTIME_NUMBER_H_
#define ZO2_RUNTIME_NUMBER_H_

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "ir/support/dtype.h"

namespace zo2 {

enum class Number : uint8_t { kBool, kU8, kI8, kU16, kI16, kU32, kI32, kI64, kF16, kBF16, kF32, kF64 };

Number NumberOf(DType dtype);
int64_t SizeOf(Number type);
std::string_view Name(Number type);  // "u16", "f32", ...
constexpr bool IsFloat(Number type) { return type >= Number::kF16; }

// Little-endian elements, dense, at any address. bool: any byte but 0 is 1.
int64_t IntegerAt(Number type, const std::byte* data, int64_t i);  // not for floats
double RealAt(Number type, const std::byte* data, int64_t i);

// Index of the first of n integers (or bools) that is neither in [low, high] nor `also`; n if there is none.
int64_t FirstOutside(Number type, const std::byte* data, int64_t n, int64_t low, int64_t high, int64_t also);
// Index of the first of n floats that is not finite; n if there is none.
int64_t FirstNotFinite(Number type, const std::byte* data, int64_t n);

// Writes n elements as `to`. Integers must fit `to`; what becomes a float is rounded once, to nearest even; what
// becomes a bool is 1 where it is not 0. Floats do not become integers. False when a finite value became infinite.
bool Convert(Number from, const std::byte* source, int64_t n, DType to, std::byte* out);

}  // namespace zo2

#endif  // ZO2_RUNTIME_NUMBER_H_
