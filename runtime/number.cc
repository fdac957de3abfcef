#include "runtime/number.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "runtime/kernels/noise_core.h"

namespace zo2 {
namespace {

struct Bool {
  uint8_t bits;
};
struct Half {
  uint16_t bits;
};
struct Brain {
  uint16_t bits;
};

template <typename T>
constexpr bool kIsFloat = std::is_same_v<T, Half> || std::is_same_v<T, Brain> || std::is_floating_point_v<T>;

template <typename T>
T Load(const std::byte* data, int64_t i) {
  T value;
  std::memcpy(&value, data + i * static_cast<int64_t>(sizeof(T)), sizeof(T));
  return value;
}

// The number itself: int64_t, or the narrowest of float and double.
inline int64_t Value(Bool v) { return v.bits != 0; }
inline float Value(Half v) { return kernels::WidenF16(v.bits); }
inline float Value(Brain v) { return kernels::WidenBf16(v.bits); }
inline float Value(float v) { return v; }
inline double Value(double v) { return v; }
template <typename T>
requires std::is_integral_v<T> int64_t Value(T v) { return v; }

// f(T()) with the type of the elements.
template <typename F>
auto Visit(Number type, F&& f) {
  switch (type) {
    case Number::kBool: return f(Bool());
    case Number::kU8: return f(uint8_t());
    case Number::kI8: return f(int8_t());
    case Number::kU16: return f(uint16_t());
    case Number::kI16: return f(int16_t());
    case Number::kU32: return f(uint32_t());
    case Number::kI32: return f(int32_t());
    case Number::kI64: return f(int64_t());
    case Number::kF16: return f(Half());
    case Number::kBF16: return f(Brain());
    case Number::kF32: return f(float());
    case Number::kF64: break;
  }
  return f(double());
}

// Rounded so that rounding once more, to a 16-bit type, gives what one rounding would have given: toward zero, and the
// last bit set where something was lost (Boldo and Melquiond, "Emulation of FMA and correctly rounded sums", 2008).
float RoundToOdd(double value) {
  const float nearest = static_cast<float>(value);
  if (static_cast<double>(nearest) == value || std::isnan(value)) return nearest;
  uint32_t bits = std::bit_cast<uint32_t>(nearest);
  if (std::abs(static_cast<double>(nearest)) > std::abs(value)) --bits;
  return std::bit_cast<float>(bits | 1);
}
inline float ForNarrowing(float value) { return value; }
inline float ForNarrowing(double value) { return RoundToOdd(value); }
inline float ForNarrowing(int64_t value) {
  // Exact in a double below 2^53; files' integers for float inputs are checked to be.
  return RoundToOdd(static_cast<double>(value));
}

template <typename To, typename V>
To Narrow(V value) {
  if constexpr (std::is_same_v<To, Half>) {
    return Half{kernels::NarrowF16(ForNarrowing(value))};
  } else if constexpr (std::is_same_v<To, Brain>) {
    return Brain{kernels::NarrowBf16(ForNarrowing(value))};
  } else if constexpr (std::is_same_v<To, Bool>) {
    return Bool{static_cast<uint8_t>(value != 0)};
  } else {
    return static_cast<To>(value);
  }
}

template <typename To, typename From>
bool ConvertAll(const std::byte* source, int64_t n, std::byte* out) {
  bool fits = true;
  for (int64_t i = 0; i < n; ++i) {
    const auto value = Value(Load<From>(source, i));
    const To narrow = Narrow<To>(value);
    if constexpr (kIsFloat<To> && sizeof(To) < sizeof(value)) {
      if (!std::isfinite(Value(narrow)) && std::isfinite(static_cast<double>(value))) fits = false;
    }
    std::memcpy(out + i * static_cast<int64_t>(sizeof(To)), &narrow, sizeof(To));
  }
  return fits;
}

}  // namespace

Number NumberOf(DType dtype) {
  switch (dtype) {
    case DType::kF32: return Number::kF32;
    case DType::kBF16: return Number::kBF16;
    case DType::kF16: return Number::kF16;
    case DType::kF64: return Number::kF64;
    case DType::kI64: return Number::kI64;
    case DType::kI32: return Number::kI32;
    case DType::kI16: return Number::kI16;
    case DType::kI8: return Number::kI8;
    case DType::kU8: return Number::kU8;
    case DType::kBool: break;
  }
  return Number::kBool;
}

int64_t SizeOf(Number type) {
  return Visit(type, [](auto v) { return static_cast<int64_t>(sizeof(v)); });
}

std::string_view Name(Number type) {
  constexpr std::string_view kNames[] = {"bool", "u8",  "i8",  "u16",  "i16", "u32",
                                         "i32",  "i64", "f16", "bf16", "f32", "f64"};
  return kNames[static_cast<size_t>(type)];
}

int64_t IntegerAt(Number type, const std::byte* data, int64_t i) {
  return Visit(type, [&](auto v) { return static_cast<int64_t>(Value(Load<decltype(v)>(data, i))); });
}

double RealAt(Number type, const std::byte* data, int64_t i) {
  return Visit(type, [&](auto v) { return static_cast<double>(Value(Load<decltype(v)>(data, i))); });
}

int64_t FirstOutside(Number type, const std::byte* data, int64_t n, int64_t low, int64_t high, int64_t also) {
  return Visit(type, [&](auto v) -> int64_t {
    using T = decltype(v);
    if constexpr (kIsFloat<T>) {
      return n;
    } else {
      const auto outside = [&](int64_t i) {
        const int64_t value = Value(Load<T>(data, i));
        return ((value < low) | (value > high)) & (value != also);
      };
      bool any = false;  // a loop without a way out is several times faster, and finds nothing in most files
      for (int64_t i = 0; i < n; ++i) any |= outside(i);
      if (!any) return n;
      int64_t i = 0;
      while (!outside(i)) ++i;
      return i;
    }
  });
}

int64_t FirstNotFinite(Number type, const std::byte* data, int64_t n) {
  return Visit(type, [&](auto v) -> int64_t {
    using T = decltype(v);
    for (int64_t i = 0; i < n; ++i)
      if (!std::isfinite(static_cast<double>(Value(Load<T>(data, i))))) return i;
    return n;
  });
}

bool Convert(Number from, const std::byte* source, int64_t n, DType to, std::byte* out) {
  if (from == NumberOf(to) && from != Number::kBool) {
    if (n > 0) std::memcpy(out, source, static_cast<size_t>(n * SizeOf(to)));
    return true;
  }
  return Visit(from, [&](auto v) {
    using From = decltype(v);
    return Visit(NumberOf(to), [&](auto w) {
      using To = decltype(w);
      if constexpr (kIsFloat<From> && !kIsFloat<To>) {
        return false;
      } else {
        return ConvertAll<To, From>(source, n, out);
      }
    });
  });
}

}  // namespace zo2
