// Element types of stored, transferred and computed tensors.
#ifndef ZO2_IR_SUPPORT_DTYPE_H_
#define ZO2_IR_SUPPORT_DTYPE_H_

#include <cstdint>
#include <optional>
#include <string_view>

namespace zo2 {

// The numbers are part of the schedule format: append, never renumber.
enum class DType : uint8_t { kF32 = 0, kBF16 = 1, kF16 = 2, kF64 = 3, kI64 = 4, kI32 = 5, kI16 = 6, kI8 = 7, kU8 = 8, kBool = 9 };

// Bytes of one element.
constexpr int64_t SizeOf(DType t) {
  switch (t) {
    case DType::kF64: case DType::kI64: return 8;
    case DType::kF32: case DType::kI32: return 4;
    case DType::kBF16: case DType::kF16: case DType::kI16: return 2;
    default: return 1;
  }
}
constexpr bool IsFloat(DType t) { return t == DType::kF32 || t == DType::kBF16 || t == DType::kF16 || t == DType::kF64; }
// "f32", "bf16", "f16", "f64", "i64", "i32", "i16", "i8", "u8", "bool".
std::string_view Name(DType t);
std::optional<DType> ParseDType(std::string_view name);
// The bits of a float in 16 bits, to nearest even; what is too large becomes infinite, a NaN stays one. Kernels have
// their own (runtime/kernels/noise_core.h), which devices run too.
uint16_t ToBF16(float value);
uint16_t ToF16(float value);

}  // namespace zo2

#endif  // ZO2_IR_SUPPORT_DTYPE_H_
