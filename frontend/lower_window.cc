// Convolutions and pooling through their windows: every axis [n] of positions is gathered as [outputs,
// kernel], so that pooling is a reduction and a convolution one product per group. A window's elements are
// copied once for each output that reads them.
#include <algorithm>
#include <cmath>
#include <limits>

#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

// One axis of positions.
struct Axis {
  int64_t size = 0, kernel = 1, stride = 1, dilation = 1, before = 0, after = 0;  // pads
  int64_t outputs = 0;
  int64_t reach() const { return (kernel - 1) * dilation + 1; }
};

// kernel_shape, strides, dilations, pads or auto_pad of the node, for x [N, C, positions...].
std::vector<Axis> ReadAxes(Lowering& l, Build& b, ValueId x, const Shape& kernel) {
  const auto count = static_cast<size_t>(std::max<int64_t>(0, b.rank(x) - 2));
  std::vector<Axis> axes(count);
  const auto strides = l.IntList("strides"), dilations = l.IntList("dilations"), pads = l.IntList("pads");
  const std::string mode = l.String("auto_pad", "NOTSET");
  const bool ceil_mode = l.Int("ceil_mode", 0) != 0;
  const bool fits = b.rank(x) >= 3 && kernel.size() == count && (!strides || strides->size() == count) &&
                    (!dilations || dilations->size() == count) && (!pads || pads->size() == 2 * count);
  if (!fits) b.Fail("its kernel, strides, dilations or pads do not fit ", b.rank(x), " axes");
  for (size_t i = 0; b.ok() && i < count; ++i) {
    Axis& a = axes[i];
    a.size = b.dim(x, static_cast<int64_t>(i) + 2);
    a.kernel = kernel[i];
    if (strides) a.stride = (*strides)[i];
    if (dilations) a.dilation = (*dilations)[i];
    if (pads) a.before = (*pads)[i], a.after = (*pads)[i + count];
    constexpr int64_t kMost = int64_t{1} << 24;
    for (int64_t n : {a.kernel, a.stride, a.dilation})
      if (n < 1 || n > kMost) b.Fail("a kernel, stride or dilation of ", n, " is not supported");
    for (int64_t n : {a.before, a.after})
      if (n < 0 || n > kMost) b.Fail("a pad of ", n, " is not supported");
    if (!b.ok()) break;
    if (mode == "SAME_UPPER" || mode == "SAME_LOWER") {
      const int64_t outputs = (a.size + a.stride - 1) / a.stride;
      const int64_t all = std::max<int64_t>(0, (outputs - 1) * a.stride + a.reach() - a.size);
      a.before = mode == "SAME_UPPER" ? all / 2 : all - all / 2;
      a.after = all - a.before;
    } else if (mode == "VALID") {
      a.before = a.after = 0;
    }
    const int64_t room = a.size + a.before + a.after - a.reach();
    if (room < 0) b.Fail("a kernel that reaches over ", a.reach(), " does not fit an axis of ", a.size);
    a.outputs = room / a.stride + 1;
    // One more where the last window would otherwise miss elements, unless it starts in the padding.
    if (ceil_mode && room % a.stride != 0 && a.outputs * a.stride < a.size + a.before) ++a.outputs;
  }
  return axes;
}

// x [N, C, n1, n2, ...] -> [N, C, outputs1, kernel1, outputs2, kernel2, ...]; padding has `value`.
ValueId Windows(Build& b, ValueId x, const std::vector<Axis>& axes, double value) {
  const auto rank = static_cast<size_t>(b.rank(x));
  List pads(2 * rank, 0);
  for (size_t i = 0; i < axes.size() && b.ok(); ++i) {
    const Axis& a = axes[i];
    pads[i + 2] = a.before;
    pads[rank + i + 2] = std::max(a.after, (a.outputs - 1) * a.stride + a.reach() - a.size - a.before);
  }
  ValueId y = b.Pad(x, pads, value);
  for (size_t i = 0; i < axes.size() && b.ok(); ++i) {
    const Axis& a = axes[i];
    if (!b.MayMake({a.outputs, a.kernel})) return -1;
    List ids;
    for (int64_t o = 0; o < a.outputs; ++o)
      for (int64_t k = 0; k < a.kernel; ++k) ids.push_back(o * a.stride + k * a.dilation);
    y = b.Gather(y, ids, {a.outputs, a.kernel}, static_cast<int64_t>(2 * i + 2));
  }
  return y;
}

// The kernel axes of Windows().
List KernelAxes(const std::vector<Axis>& axes) {
  List list;
  for (size_t i = 0; i < axes.size(); ++i) list.push_back(static_cast<int64_t>(2 * i + 3));
  return list;
}

double Lowest(DType t) {
  return t == DType::kU8   ? 0
         : t == DType::kI8 ? -128
         : IsFloat(t)      ? -std::numeric_limits<double>::infinity()
                           : std::numeric_limits<int32_t>::min();
}

Result<void> MaxPool(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const auto axes = ReadAxes(l, b, x, l.IntList("kernel_shape").value_or(List()));
  return b.Done({b.Reduce(Op::kReduceMax, Windows(b, x, axes, Lowest(b.dtype(x))), KernelAxes(axes), false)});
}

Result<void> AveragePool(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const auto axes = ReadAxes(l, b, x, l.IntList("kernel_shape").value_or(List()));
  const bool with_padding = l.Int("count_include_pad", 0) != 0;
  ValueId y = b.Reduce(Op::kReduceSum, Windows(b, x, axes, 0), KernelAxes(axes), false);
  // How many elements each window has is a product over axes.
  for (size_t i = 0; b.ok() && i < axes.size(); ++i) {
    const Axis& a = axes[i];
    std::vector<float> counts;
    for (int64_t o = 0; b.MayMake({a.outputs, a.kernel}) && o < a.outputs; ++o) {
      int64_t n = 0;
      for (int64_t k = 0; k < a.kernel; ++k) {
        const int64_t at = o * a.stride + k * a.dilation - a.before;
        n += with_padding ? at < a.size + a.after : at >= 0 && at < a.size;
      }
      counts.push_back(static_cast<float>(std::max<int64_t>(1, n)));
    }
    Shape shape(static_cast<size_t>(b.rank(x)), 1);
    shape[i + 2] = a.outputs;
    y = b.Div(y, b.Cast(b.Constant(HostTensor::Of<float>(DType::kF32, shape, counts)), b.dtype(y)));
  }
  return b.Done({y});
}

// (sum of |x|^p)^(1/p)
ValueId Norm(Build& b, ValueId x, const List& axes, double p, bool keep) {
  const ValueId a = b.Unary(Op::kAbs, x), powers = p == 1 ? a : b(Op::kPow, {a, b.Number(b.dtype(x), p)});
  const ValueId sum = b.Reduce(Op::kReduceSum, powers, axes, keep);
  return p == 1 ? sum : b(Op::kPow, {sum, b.Number(b.dtype(x), 1 / p)});
}

Result<void> LpPool(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const auto axes = ReadAxes(l, b, x, l.IntList("kernel_shape").value_or(List()));
  const auto p = static_cast<double>(l.Int("p", 2));
  if (p < 1) return Invalid("a norm with p=", p, " is not supported");
  return b.Done({Norm(b, Windows(b, x, axes, 0), KernelAxes(axes), p, false)});
}

enum class Global { kMean, kMax, kNorm };

// Over all positions, whose axes stay with a size of 1.
template <Global kind>
Result<void> GlobalPool(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  List axes;
  for (int64_t i = 2; i < b.rank(x); ++i) axes.push_back(i);
  if (kind == Global::kNorm) return b.Done({Norm(b, x, axes, static_cast<double>(l.Int("p", 2)), true)});
  return b.Done({b.Reduce(kind == Global::kMean ? Op::kReduceMean : Op::kReduceMax, x, axes)});
}

// x [N, C, positions...] by w [M, C / groups, kernel...] -> [N, M, outputs...]
ValueId Convolve(Build& b, ValueId x, ValueId w, const std::vector<Axis>& axes, int64_t groups) {
  const int64_t n = b.dim(x, 0), channels = b.dim(x, 1), filters = b.dim(w, 0);
  if (b.ok() &&
      (groups < 1 || channels % groups != 0 || filters % groups != 0 || b.dim(w, 1) != channels / groups))
    b.Fail("its ", groups, " groups do not fit ", channels, " channels and ", filters, " filters");
  const auto count = static_cast<int64_t>(axes.size());
  List perm = {0, 1};  // channels, kernel, outputs
  for (int64_t i = 0; i < count; ++i) perm.push_back(2 * i + 3);
  for (int64_t i = 0; i < count; ++i) perm.push_back(2 * i + 2);
  const ValueId windows = b.Transpose(Windows(b, x, axes, 0), perm);
  if (!b.ok()) return -1;
  int64_t kernel = 1, outputs = 1;
  Shape shape = {n, filters};
  for (const Axis& a : axes) {
    kernel *= a.kernel, outputs *= a.outputs;
    shape.push_back(a.outputs);
  }
  const int64_t depth = channels / groups * kernel;
  const ValueId patches = b.Reshape(windows, {n, groups, depth, outputs});
  const ValueId matrix = b.Reshape(w, {groups, filters / groups, depth});
  return b.Reshape(b.MatMul(matrix, patches), shape);
}

ValueId AddBias(Build& b, ValueId y, ValueId bias) {
  if (bias < 0 || !b.ok()) return y;
  Shape shape(static_cast<size_t>(b.rank(y)), 1);
  shape[1] = b.dim(bias, 0);
  return b.Add(y, b.Reshape(bias, shape));
}

Shape KernelOf(Build& b, ValueId w) {
  const Shape shape = b.shape(w);
  return shape.size() < 3 ? Shape() : Shape(shape.begin() + 2, shape.end());
}

Result<void> Conv(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0), w = b.In(1), bias = b.Optional(2);
  const auto axes = ReadAxes(l, b, x, KernelOf(b, w));
  return b.Done({AddBias(b, Convolve(b, x, w, axes, l.Int("group", 1)), bias)});
}

// Integers less their zero points, in binary64, where their sums are exact.
Result<void> ConvInteger(Lowering& l) {
  Build b(l);
  ValueId x = b.Cast(b.In(0), DType::kF64), w = b.Cast(b.In(1), DType::kF64);
  if (const ValueId zero = b.Optional(2); zero >= 0) x = b.Sub(x, b.Cast(zero, DType::kF64));
  if (const ValueId zero = b.Optional(3); zero >= 0) {
    Shape shape(static_cast<size_t>(b.rank(w)), 1);
    if (b.ok() && b.rank(zero) == 1) shape[0] = b.dim(zero, 0);
    w = b.Sub(w, b.Reshape(b.Cast(zero, DType::kF64), shape));
  }
  const auto axes = ReadAxes(l, b, x, KernelOf(b, w));
  return b.Done({b.Cast(Convolve(b, x, w, axes, l.Int("group", 1)), DType::kI32)});
}

// The convolution by the turned kernel of an input with stride - 1 zeros between its elements.
Result<void> ConvTranspose(Lowering& l) {
  Build b(l);
  ValueId x = b.In(0), w = b.In(1);
  const ValueId bias = b.Optional(2);
  const Shape kernel = KernelOf(b, w);
  const int64_t groups = l.Int("group", 1), channels = b.dim(x, 1), count = b.rank(x) - 2;
  const auto strides = l.IntList("strides"), dilations = l.IntList("dilations"), pads = l.IntList("pads"),
             extra = l.IntList("output_padding"), wanted = l.IntList("output_shape");
  const std::string mode = l.String("auto_pad", "NOTSET");
  const auto at = [](const std::optional<List>& list, int64_t i, int64_t fallback) {
    return list && i < static_cast<int64_t>(list->size()) ? (*list)[static_cast<size_t>(i)] : fallback;
  };
  if (b.ok() && (count < 1 || static_cast<int64_t>(kernel.size()) != count || groups < 1 ||
                 channels % groups != 0 || b.dim(w, 0) != channels))
    return Invalid("its kernel and groups do not fit its operand");
  std::vector<Axis> axes;
  List crop_before, sizes;
  for (int64_t i = 0; b.ok() && i < count; ++i) {
    const int64_t axis = i + 2, n = b.dim(x, axis), stride = at(strides, i, 1), given = at(extra, i, 0);
    Axis a;
    a.kernel = kernel[static_cast<size_t>(i)], a.dilation = at(dilations, i, 1);
    if (stride < 1 || stride > 1 << 15 || a.dilation < 1 || a.dilation > 1 << 15 || a.kernel < 1 || n < 1 ||
        given < 0)
      return Invalid("its stride, dilation or kernel is not supported");
    // [n] -> [n, stride] with zeros behind each element -> [n * stride] without the last zeros
    Shape split = b.shape(x), joined = split;
    split.insert(split.begin() + axis + 1, 1);
    List zeros(2 * split.size(), 0);
    zeros[split.size() + static_cast<size_t>(axis) + 1] = stride - 1;
    joined[static_cast<size_t>(axis)] = n * stride;
    x = b.Slice(b.Reshape(b.Pad(b.Reshape(x, split), zeros, 0), joined), axis, 0, (n - 1) * stride + 1);
    const int64_t full = (n - 1) * stride + a.reach();
    int64_t before = at(pads, i, 0), after = at(pads, i + count, 0), more = given;
    if (wanted) more = std::max(more, at(wanted, i, 0) - full);  // a size beyond what the elements reach
    if (more > 1 << 15) return Invalid("an output of ", at(wanted, i, 0), " is not supported");
    if (wanted || mode == "SAME_UPPER" || mode == "SAME_LOWER") {
      const int64_t size = wanted ? at(wanted, i, 0) : n * stride,
                    all = std::max<int64_t>(0, full + more - size);
      before = mode == "SAME_UPPER" ? all / 2 : all - all / 2;
      after = all - before;
    } else if (mode == "VALID") {
      before = after = 0;
    }
    a.size = (n - 1) * stride + 1;
    a.before = a.reach() - 1, a.after = a.reach() - 1 + std::max<int64_t>(0, more - after);
    a.outputs = a.size + a.before + a.after - a.reach() + 1;
    axes.push_back(a);
    crop_before.push_back(before);
    sizes.push_back(full + more - before - after);
    if (before < 0 || sizes.back() < 0 || before + sizes.back() > a.outputs)
      return Invalid("its pads do not fit its operand");
    w = b.Flip(w, axis);
  }
  // w [C, M / groups, kernel] -> [M, C / groups, kernel]
  const int64_t filters = b.dim(w, 1) * groups, depth = groups < 1 ? 0 : channels / groups;
  Shape split = {groups, depth, b.dim(w, 1)}, joined = {filters, depth};
  split.insert(split.end(), kernel.begin(), kernel.end());
  joined.insert(joined.end(), kernel.begin(), kernel.end());
  List perm = {0, 2, 1};
  for (int64_t i = 0; i < count; ++i) perm.push_back(i + 3);
  w = b.Reshape(b.Transpose(b.Reshape(w, split), perm), joined);
  ValueId y = Convolve(b, x, w, axes, groups);
  for (int64_t i = 0; b.ok() && i < count; ++i) {
    const auto k = static_cast<size_t>(i);
    y = b.Slice(y, i + 2, crop_before[k], crop_before[k] + sizes[k]);
  }
  return b.Done({AddBias(b, y, bias)});
}

}  // namespace

void AddWindows(LowerTable* table) {
  LowerTable& t = *table;
  t["AveragePool"] = AveragePool;
  t["Conv"] = Conv;
  t["ConvInteger"] = ConvInteger;
  t["ConvTranspose"] = ConvTranspose;
  t["GlobalAveragePool"] = GlobalPool<Global::kMean>;
  t["GlobalLpPool"] = GlobalPool<Global::kNorm>;
  t["GlobalMaxPool"] = GlobalPool<Global::kMax>;
  t["LpPool"] = LpPool;
  t["MaxPool"] = MaxPool;
}

}  // namespace zo2::internal
