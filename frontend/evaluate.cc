#include "frontend/evaluate.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

#include "frontend/evaluate_internal.h"

namespace zo2 {
namespace internal {

std::vector<int64_t> Strides(const Shape& shape) {
  std::vector<int64_t> strides(shape.size());
  int64_t n = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    strides[i] = n;
    n *= shape[i];
  }
  return strides;
}

std::vector<int64_t> BroadcastStrides(const Shape& shape, const Shape& out) {
  std::vector<int64_t> result(out.size(), 0), own = Strides(shape);
  const size_t skip = out.size() - shape.size();
  for (size_t i = 0; i < shape.size(); ++i)
    if (shape[i] != 1 || out[skip + i] == 1) result[skip + i] = own[i];
  return result;
}

namespace {

int64_t LastOf(const std::vector<int64_t>& v) { return v.empty() ? 0 : v.back(); }

template <typename In, typename Out, typename F>
void Binary(const HostTensor& a, const HostTensor& b, Output& out, F f) {
  auto sa = BroadcastStrides(a.type.shape, out.type.shape),
       sb = BroadcastStrides(b.type.shape, out.type.shape);
  const int64_t row = out.type.shape.empty() ? 1 : out.type.shape.back(), da = LastOf(sa), db = LastOf(sb);
  const In *pa = a.as<In>(), *pb = b.as<In>();
  Out* po = out.as<Out>();
  ForEachRow(out.type.shape, {sa, sb}, [&](int64_t at, const std::vector<int64_t>& o) {
    for (int64_t i = 0; i < row; ++i) po[at + i] = static_cast<Out>(f(pa[o[0] + i * da], pb[o[1] + i * db]));
  });
}

template <typename T>
T PythonMod(T a, T b) {
  if constexpr (std::is_floating_point_v<T>) {
    T r = std::fmod(a, b);
    return r != 0 && ((r < 0) != (b < 0)) ? r + b : r;
  } else {
    T r = static_cast<T>(a % b);
    return r != 0 && ((r < 0) != (b < 0)) ? static_cast<T>(r + b) : r;
  }
}

template <typename T>
Status BinaryOp(Op op, const Attrs& attrs, const HostTensor& a, const HostTensor& b, Output& out) {
  constexpr bool kInt = std::is_integral_v<T>;
  if constexpr (kInt) {
    if (op == Op::kDiv || op == Op::kMod)
      for (int64_t i = 0; i < b.type.elements(); ++i)
        if (b.as<T>()[i] == 0) return Invalid("an integer ", Name(op), " divides by zero");
  }
  // Integers wrap as ONNX's do; unsigned arithmetic avoids undefined overflow.
  auto wrap = [](auto f) {
    return [f](T x, T y) {
      if constexpr (kInt)
        return static_cast<T>(f(static_cast<uint64_t>(x), static_cast<uint64_t>(y)));
      else
        return f(x, y);
    };
  };
  switch (op) {
    case Op::kAdd:
      Binary<T, T>(a, b, out, wrap([](auto x, auto y) { return x + y; }));
      break;
    case Op::kSub:
      Binary<T, T>(a, b, out, wrap([](auto x, auto y) { return x - y; }));
      break;
    case Op::kMul:
      Binary<T, T>(a, b, out, wrap([](auto x, auto y) { return x * y; }));
      break;
    case Op::kDiv:
      Binary<T, T>(a, b, out, [](T x, T y) {
        if constexpr (kInt)
          return y == T(-1) ? static_cast<T>(0 - static_cast<uint64_t>(x)) : static_cast<T>(x / y);
        else
          return x / y;
      });
      break;
    case Op::kPow:
      Binary<T, T>(a, b, out, [](T x, T y) { return Saturate<T>(std::pow(x, y)); });
      break;
    case Op::kMin:
      Binary<T, T>(a, b, out, [](T x, T y) { return x < y || x != x ? x : y; });
      break;
    case Op::kMax:
      Binary<T, T>(a, b, out, [](T x, T y) { return x > y || x != x ? x : y; });
      break;
    case Op::kMod: {
      const bool c_style = AttrInt(attrs, "fmod", 0) != 0;
      Binary<T, T>(a, b, out, [c_style](T x, T y) {
        if constexpr (kInt) {
          if (y == T(-1)) return T(0);
          return c_style ? static_cast<T>(x % y) : PythonMod(x, y);
        } else {
          return c_style ? static_cast<T>(std::fmod(x, y)) : PythonMod(x, y);
        }
      });
      break;
    }
    case Op::kAnd:
      Binary<T, T>(a, b, out, [](T x, T y) { return T(x != 0 && y != 0); });
      break;
    case Op::kOr:
      Binary<T, T>(a, b, out, [](T x, T y) { return T(x != 0 || y != 0); });
      break;
    case Op::kXor:
      Binary<T, T>(a, b, out, [](T x, T y) { return T((x != 0) != (y != 0)); });
      break;
    case Op::kEqual:
      Binary<T, uint8_t>(a, b, out, [](T x, T y) { return x == y; });
      break;
    case Op::kLess:
      Binary<T, uint8_t>(a, b, out, [](T x, T y) { return x < y; });
      break;
    case Op::kLessEqual:
      Binary<T, uint8_t>(a, b, out, [](T x, T y) { return x <= y; });
      break;
    case Op::kGreater:
      Binary<T, uint8_t>(a, b, out, [](T x, T y) { return x > y; });
      break;
    case Op::kGreaterEqual:
      Binary<T, uint8_t>(a, b, out, [](T x, T y) { return x >= y; });
      break;
    default:
      return Internal("not a binary op: ", Name(op));
  }
  return Status();
}

// Integers wrap, in arithmetic that may.
template <typename T>
using Wrap = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;

template <typename T>
Status UnaryOp(Op op, const HostTensor& x, Output& out) {
  const int64_t n = x.type.elements();
  const T* in = x.as<T>();
  auto map = [&](auto f) {
    for (int64_t i = 0; i < n; ++i) out.as<T>()[i] = Saturate<T>(f(in[i]));
  };
  switch (op) {
    case Op::kNeg:
      map([](T v) { return Wrap<T>(0) - Wrap<T>(v); });
      break;
    case Op::kAbs:
      map([](T v) { return v < 0 ? static_cast<T>(Wrap<T>(0) - Wrap<T>(v)) : v; });
      break;
    case Op::kSqrt:
      map([](T v) { return std::sqrt(v); });
      break;
    case Op::kRsqrt:
      map([](T v) { return static_cast<T>(1 / std::sqrt(v)); });
      break;
    case Op::kReciprocal:
      map([](T v) { return 1.0 / static_cast<double>(v); });
      break;
    case Op::kExp:
      map([](T v) { return std::exp(v); });
      break;
    case Op::kLog:
      map([](T v) { return std::log(v); });
      break;
    case Op::kTanh:
      map([](T v) { return std::tanh(v); });
      break;
    case Op::kErf:
      map([](T v) { return std::erf(v); });
      break;
    case Op::kSigmoid:
      map([](T v) { return 1.0 / (1.0 + std::exp(-static_cast<double>(v))); });
      break;
    case Op::kRelu:
      map([](T v) { return v < 0 ? T(0) : v; });
      break;
    case Op::kSin:
      map([](T v) { return std::sin(v); });
      break;
    case Op::kCos:
      map([](T v) { return std::cos(v); });
      break;
    case Op::kFloor:
      map([](T v) { return std::floor(v); });
      break;
    case Op::kCeil:
      map([](T v) { return std::ceil(v); });
      break;
    case Op::kRound:
      map([](T v) { return std::nearbyint(v); });
      break;
    case Op::kSign:
      map([](T v) { return v > 0 ? 1 : v < 0 ? -1 : 0; });
      break;
    case Op::kNot:
      map([](T v) { return v == 0; });
      break;
    case Op::kIsNan:
      for (int64_t i = 0; i < n; ++i) out.as<uint8_t>()[i] = in[i] != in[i];
      break;
    default:
      return Internal("not a unary op: ", Name(op));
  }
  return Status();
}

// Copies elements of any type: f(out_index) gives the input index.
void Move(DType dtype, const HostTensor& in, Output& out, const Shape& shape,
          const std::vector<int64_t>& strides, int64_t start) {
  auto copy = [&]<typename T>() {
    const int64_t row = shape.empty() ? 1 : shape.back(), step = LastOf(strides);
    const T* from = in.as<T>() + start;
    T* to = out.as<T>();
    ForEachRow(shape, {strides}, [&](int64_t at, const std::vector<int64_t>& o) {
      for (int64_t i = 0; i < row; ++i) to[at + i] = from[o[0] + i * step];
    });
  };
  switch (SizeOf(dtype)) {
    case 1:
      copy.operator()<uint8_t>();
      break;
    case 2:
      copy.operator()<uint16_t>();
      break;
    case 4:
      copy.operator()<uint32_t>();
      break;
    default:
      copy.operator()<uint64_t>();
      break;
  }
}

int64_t Axis(const Attrs& attrs, size_t rank, int64_t fallback) {
  int64_t axis = AttrInt(attrs, "axis", fallback);
  return axis < 0 ? axis + static_cast<int64_t>(rank) : axis;
}

int64_t Product(const Shape& shape, size_t begin, size_t end) {
  int64_t n = 1;
  for (size_t i = begin; i < end; ++i) n *= shape[i];
  return n;
}

template <typename T>
void Reduce(Op op, const Attrs& attrs, const HostTensor& x, Output& out) {
  const Shape& shape = x.type.shape;
  std::vector<bool> reduced(shape.size(), false);
  auto axes = AttrInts(attrs, "axes");
  for (int64_t a : axes)
    reduced[static_cast<size_t>(a < 0 ? a + static_cast<int64_t>(shape.size()) : a)] = true;
  if (axes.empty()) reduced.assign(shape.size(), true);
  std::vector<int64_t> to(shape.size(), 0);  // stride in the output of each input axis
  int64_t n = 1, count = 1;
  for (size_t i = shape.size(); i-- > 0;) {
    if (reduced[i]) {
      count *= shape[i];
    } else {
      to[i] = n;
      n *= shape[i];
    }
  }
  using Sum = std::conditional_t<std::is_floating_point_v<T>, double, int64_t>;
  Sum first = 0;
  if (op == Op::kReduceProd) first = 1;
  if (op == Op::kReduceMax) first = std::numeric_limits<Sum>::lowest();
  if (op == Op::kReduceMin) first = std::numeric_limits<Sum>::max();
  std::vector<Sum> sums(static_cast<size_t>(n), first);
  const int64_t row = shape.empty() ? 1 : shape.back(), step = LastOf(to);
  ForEachRow(shape, {to}, [&](int64_t at, const std::vector<int64_t>& o) {
    for (int64_t i = 0; i < row; ++i) {
      Sum& s = sums[static_cast<size_t>(o[0] + i * step)];
      const Sum v = static_cast<Sum>(x.as<T>()[at + i]);
      switch (op) {
        case Op::kReduceMax:
          s = v > s || v != v ? v : s;
          break;
        case Op::kReduceMin:
          s = v < s || v != v ? v : s;
          break;
        case Op::kReduceProd:
          s = static_cast<Sum>(static_cast<Wrap<Sum>>(s) * static_cast<Wrap<Sum>>(v));
          break;
        default:
          s = static_cast<Sum>(static_cast<Wrap<Sum>>(s) + static_cast<Wrap<Sum>>(v));
      }
    }
  });
  for (int64_t i = 0; i < n; ++i) {
    Sum s = sums[static_cast<size_t>(i)];
    if (op == Op::kReduceMean) s = count == 0 ? s : s / static_cast<Sum>(count);
    out.as<T>()[i] = static_cast<T>(s);
  }
}

template <typename T>
void ArgMax(const Attrs& attrs, const HostTensor& x, Output& out) {
  const auto axis = static_cast<size_t>(Axis(attrs, x.type.shape.size(), 0));
  const int64_t outer = Product(x.type.shape, 0, axis), size = x.type.shape[axis],
                inner = Product(x.type.shape, axis + 1, x.type.shape.size());
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      int64_t best = 0;
      for (int64_t k = 1; k < size; ++k)
        if (x.as<T>()[(o * size + k) * inner + i] > x.as<T>()[(o * size + best) * inner + i]) best = k;
      out.as<int64_t>()[o * inner + i] = best;
    }
}

template <typename T>
void CumSum(const Attrs& attrs, const HostTensor& x, Output& out) {
  const auto axis = static_cast<size_t>(Axis(attrs, x.type.shape.size(), 0));
  const bool exclusive = AttrInt(attrs, "exclusive", 0) != 0, reverse = AttrInt(attrs, "reverse", 0) != 0;
  const int64_t outer = Product(x.type.shape, 0, axis), size = x.type.shape[axis],
                inner = Product(x.type.shape, axis + 1, x.type.shape.size());
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      T sum = 0;
      for (int64_t k = 0; k < size; ++k) {
        const int64_t at = (o * size + (reverse ? size - 1 - k : k)) * inner + i;
        if (exclusive) out.as<T>()[at] = sum;
        sum = static_cast<T>(static_cast<Wrap<T>>(sum) + static_cast<Wrap<T>>(x.as<T>()[at]));
        if (!exclusive) out.as<T>()[at] = sum;
      }
    }
}

template <typename T>
void Pad(const Attrs& attrs, const HostTensor& x, Output& out) {
  const Shape &from = x.type.shape, &to = out.type.shape;
  const auto pads = AttrInts(attrs, "pads");
  const T value = Saturate<T>(AttrDouble(attrs, "value", 0));
  const auto strides = Strides(from), own = Strides(to);
  const int64_t n = out.type.elements();
  for (int64_t i = 0; i < n; ++i) {
    int64_t rest = i, offset = 0;
    bool inside = true;
    for (size_t k = 0; k < to.size(); ++k) {
      int64_t at;
      inside = inside && !__builtin_sub_overflow(rest / own[k], pads[k], &at) && at >= 0 && at < from[k];
      rest %= own[k];
      if (inside) offset += at * strides[k];
    }
    out.as<T>()[i] = inside ? x.as<T>()[offset] : value;
  }
}

void Concat(const Attrs& attrs, Inputs in, Output& out) {
  const auto axis = static_cast<size_t>(Axis(attrs, out.type.shape.size(), 0));
  const int64_t outer = Product(out.type.shape, 0, axis), bytes = SizeOf(out.type.dtype);
  const int64_t total = Product(out.type.shape, axis, out.type.shape.size()) * bytes;
  int64_t at = 0;
  for (const HostTensor* t : in) {
    const int64_t part = Product(t->type.shape, axis, t->type.shape.size()) * bytes;
    for (int64_t o = 0; part > 0 && o < outer; ++o)
      std::memcpy(out.data->data() + o * total + at, t->data->data() + o * part, static_cast<size_t>(part));
    at += part;
  }
}

Status Cast(const HostTensor& x, Output& out) {
  const int64_t n = x.type.elements();
  bool known = Dispatch(x.type.dtype, [&]<typename From>() {
    bool inner = Dispatch(out.type.dtype, [&]<typename To>() {
      for (int64_t i = 0; i < n; ++i) {
        const From v = x.as<From>()[i];
        if (out.type.dtype == DType::kBool) {
          out.as<To>()[i] = static_cast<To>(v != 0);
        } else if constexpr (std::is_floating_point_v<From> && std::is_integral_v<To>) {
          // Out of range is implementation-defined in ONNX; saturate, which is defined in C++.
          out.as<To>()[i] = Saturate<To>(static_cast<double>(v));
        } else {
          out.as<To>()[i] = static_cast<To>(v);
        }
      }
    });
    if (!inner) std::fill(out.data->begin(), out.data->end(), std::byte{0});
  });
  if (!known || out.type.dtype == DType::kF16 || out.type.dtype == DType::kBF16)
    return Internal("cannot cast ", Name(x.type.dtype), " to ", Name(out.type.dtype), " on the host");
  return Status();
}

Status Where(Inputs in, Output& out) {
  const Shape& shape = out.type.shape;
  auto sc = BroadcastStrides(in[0]->type.shape, shape), sa = BroadcastStrides(in[1]->type.shape, shape),
       sb = BroadcastStrides(in[2]->type.shape, shape);
  const int64_t row = shape.empty() ? 1 : shape.back(), dc = LastOf(sc), da = LastOf(sa), db = LastOf(sb);
  bool known = Dispatch(out.type.dtype, [&]<typename T>() {
    const uint8_t* c = in[0]->as<uint8_t>();
    const T *a = in[1]->as<T>(), *b = in[2]->as<T>();
    ForEachRow(shape, {sc, sa, sb}, [&](int64_t at, const std::vector<int64_t>& o) {
      for (int64_t i = 0; i < row; ++i)
        out.as<T>()[at + i] = c[o[0] + i * dc] ? a[o[1] + i * da] : b[o[2] + i * db];
    });
  });
  return known ? Status() : Internal("where on ", Name(out.type.dtype), " is not done on the host");
}

Status Generic(Op op, const Attrs& attrs, Inputs in, Output& out) {
  const HostTensor& x = *in[0];
  const size_t rank = x.type.shape.size();
  bool known = true;
  Status status;
  switch (op) {
    case Op::kWhere:
      return Where(in, out);
    case Op::kCast:
      return Cast(x, out);
    case Op::kGather:
    case Op::kGatherNd:
    case Op::kGatherElements:
      return EvaluateGather(op, attrs, x, *in[1], out);
    case Op::kConcat:
      Concat(attrs, in, out);
      break;
    case Op::kReshape:
      *out.data = *x.data;
      break;
    case Op::kExpand:
      Move(x.type.dtype, x, out, out.type.shape, BroadcastStrides(x.type.shape, out.type.shape), 0);
      break;
    case Op::kTranspose: {
      auto perm = AttrInts(attrs, "perm"), own = Strides(x.type.shape), strides = own;
      for (size_t i = 0; i < perm.size(); ++i) strides[i] = own[static_cast<size_t>(perm[i])];
      Move(x.type.dtype, x, out, out.type.shape, strides, 0);
      break;
    }
    case Op::kSlice: {
      auto starts = AttrInts(attrs, "starts"), axes = AttrInts(attrs, "axes"),
           steps = AttrInts(attrs, "steps");
      auto own = Strides(x.type.shape), strides = own;
      int64_t start = 0;
      for (size_t i = 0; i < starts.size(); ++i) {
        const int64_t a = axes.empty() ? static_cast<int64_t>(i) : axes[i];
        const auto axis = static_cast<size_t>(a < 0 ? a + static_cast<int64_t>(rank) : a);
        start += starts[i] * own[axis];
        const bool moves = out.type.shape[axis] > 1;  // a step that is not taken may be any number
        strides[axis] = moves ? own[axis] * (steps.empty() ? 1 : steps[i]) : 0;
      }
      Move(x.type.dtype, x, out, out.type.shape, strides, start);
      break;
    }
    case Op::kTile: {
      const auto strides = Strides(x.type.shape), own = Strides(out.type.shape);
      const int64_t bytes = SizeOf(x.type.dtype);
      for (int64_t i = 0, n = out.type.elements(); i < n; ++i) {
        int64_t rest = i, offset = 0;
        for (size_t k = 0; k < rank; ++k) {
          offset += rest / own[k] % x.type.shape[k] * strides[k];
          rest %= own[k];
        }
        std::memcpy(out.data->data() + i * bytes, x.data->data() + offset * bytes,
                    static_cast<size_t>(bytes));
      }
      break;
    }
    case Op::kTrilu: {
      const bool upper = AttrInt(attrs, "upper", 1) != 0;
      const int64_t k = AttrInt(attrs, "k", 0), rows = x.type.shape[rank - 2], cols = x.type.shape[rank - 1],
                    bytes = SizeOf(x.type.dtype);
      for (int64_t i = 0, n = x.type.elements(); i < n; ++i) {
        const int64_t c = i % cols, r = i / cols % rows;
        if (upper ? c - r >= k : c - r <= k)
          std::memcpy(out.data->data() + i * bytes, x.data->data() + i * bytes, static_cast<size_t>(bytes));
      }
      break;
    }
    case Op::kReduceSum:
    case Op::kReduceMean:
    case Op::kReduceMax:
    case Op::kReduceMin:
    case Op::kReduceProd:
      known = Dispatch(x.type.dtype, [&]<typename T>() { Reduce<T>(op, attrs, x, out); });
      break;
    case Op::kArgMax:
      known = Dispatch(x.type.dtype, [&]<typename T>() { ArgMax<T>(attrs, x, out); });
      break;
    case Op::kCumSum:
      known = Dispatch(x.type.dtype, [&]<typename T>() { CumSum<T>(attrs, x, out); });
      break;
    case Op::kPad:
      known = Dispatch(x.type.dtype, [&]<typename T>() { Pad<T>(attrs, x, out); });
      break;
    default:
      if (in.size() == 2)
        known =
            Dispatch(x.type.dtype, [&]<typename T>() { status = BinaryOp<T>(op, attrs, x, *in[1], out); });
      else
        known = Dispatch(x.type.dtype, [&]<typename T>() { status = UnaryOp<T>(op, x, out); });
  }
  if (!known) return Internal(Name(op), " on ", Name(x.type.dtype), " is not evaluated on the host");
  return status;
}

}  // namespace
}  // namespace internal

Result<std::vector<HostTensor>> Evaluate(Op op, const Attrs& attrs, std::span<const HostTensor* const> inputs,
                                         std::span<const TensorType> outputs) {
  // Nothing of nothing; operands without elements may have axes of any length.
  if (outputs.size() == 1 && outputs[0].elements() == 0)
    return std::vector<HostTensor>{internal::Output(outputs[0]).Done()};
  if (internal::IsModelOp(op)) return internal::EvaluateModelOp(op, attrs, inputs, outputs);
  if (outputs.size() != 1 || inputs.empty()) return Internal(Name(op), " is not evaluated on the host");
  for (const HostTensor* t : inputs)
    if (t == nullptr || t->data == nullptr) return Internal(Name(op), " lacks an operand");
  internal::Output out(outputs[0]);
  if (Status s = internal::Generic(op, attrs, inputs, out); !s.ok()) return s;
  std::vector<HostTensor> result;
  result.push_back(std::move(out).Done());
  return result;
}

}  // namespace zo2
