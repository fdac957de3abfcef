// Resize: along every axis each output is a fixed combination of inputs, so an axis is a gather (nearest) or
// a product with a constant matrix (linear, cubic).
#include <algorithm>
#include <cmath>

#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

struct Mode {
  std::string coordinates, interpolation, nearest;
  double cubic = -0.75;
  bool exclude_outside = false, antialias = false;
};

// One axis: n elements become `outputs`. `start` and `end` bound the region of tf_crop_and_resize.
struct Axis {
  int64_t n = 0, outputs = 0;
  double scale = 1, start = 0, end = 1;

  // Where output `i` lies among the inputs.
  double At(const Mode& mode, int64_t i) const {
    const auto o = static_cast<double>(i), in = static_cast<double>(n), out = static_cast<double>(outputs),
               exact = scale * in;  // the size before it was rounded, by which ONNX places the corners
    const std::string& m = mode.coordinates;
    if (m == "align_corners") return exact == 1 ? 0 : o * (in - 1) / (exact - 1);
    if (m == "asymmetric") return o / scale;
    if (m == "pytorch_half_pixel") return outputs == 1 ? 0 : (o + 0.5) / scale - 0.5;
    if (m == "tf_crop_and_resize")
      return outputs == 1 ? 0.5 * (start + end) * (in - 1)
                          : start * (in - 1) + o * (end - start) * (in - 1) / (out - 1);
    const double half = (o + 0.5) / scale - 0.5;
    if (m == "half_pixel_symmetric") return in / 2 * (1 - out / (scale * in)) + half;
    return half;
  }
};

double Cubic(double x, double a) {
  x = std::abs(x);
  if (x <= 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? ((a * x - 5 * a) * x + 8 * a) * x - 4 * a : 0;
}

int64_t Nearest(const std::string& mode, double x) {
  const double rounded = mode == "floor"               ? std::floor(x)
                         : mode == "ceil"              ? std::ceil(x)
                         : mode == "round_prefer_ceil" ? std::floor(x + 0.5)
                                                       : std::ceil(x - 0.5);
  return static_cast<int64_t>(rounded);
}

// Row `i` of the axis's matrix [outputs, n].
void Weights(const Axis& axis, const Mode& mode, int64_t i, float* row) {
  const double x = axis.At(mode, i), left = std::ceil(x) - 1, ratio = x - left;  // in (0, 1]
  const double scale = mode.antialias ? std::min(axis.scale, 1.0) : 1;  // a wider kernel where it shrinks
  const int reach = mode.interpolation == "cubic" ? 2 : 1;
  const auto first = static_cast<int64_t>(std::floor(-reach / scale)) + 1;
  std::vector<std::pair<int64_t, double>> taps;
  double sum = 0;
  for (int64_t k = first; k < 2 - first; ++k) {
    const double d = (static_cast<double>(k) - ratio) * scale;
    double weight = reach == 2 ? Cubic(d, mode.cubic) : std::clamp(1 - std::abs(d), 0.0, 1.0);
    const auto at = static_cast<int64_t>(left) + k;
    if (mode.exclude_outside && (at < 0 || at >= axis.n)) weight = 0;
    taps.emplace_back(std::clamp<int64_t>(at, 0, axis.n - 1), weight);
    sum += weight;
  }
  const bool normalise = mode.exclude_outside || mode.antialias;
  for (const auto& [at, weight] : taps)
    row[at] += static_cast<float>(normalise && sum != 0 ? weight / sum : weight);
}

ValueId ResizeAxis(Build& b, ValueId x, int64_t at, const Axis& axis, const Mode& mode) {
  if (mode.interpolation == "nearest") {
    List ids;
    for (int64_t i = 0; b.MayMake({axis.outputs}) && i < axis.outputs; ++i)
      ids.push_back(std::clamp<int64_t>(Nearest(mode.nearest, axis.At(mode, i)), 0, axis.n - 1));
    return b.Gather(x, ids, {axis.outputs}, at);
  }
  Shape shape = b.shape(x);
  if (!b.MayMake({axis.n, axis.outputs})) return -1;
  std::vector<float> matrix(static_cast<size_t>(axis.n * axis.outputs), 0);
  for (int64_t i = 0; i < axis.outputs; ++i) Weights(axis, mode, i, matrix.data() + i * axis.n);
  int64_t outer = 1, inner = 1;
  for (int64_t i = 0; i < b.rank(x); ++i)
    (i < at ? outer : i > at ? inner : shape[static_cast<size_t>(at)]) *= i == at ? 1 : b.dim(x, i);
  const ValueId m =
      b.Cast(b.Constant(HostTensor::Of<float>(DType::kF32, {axis.outputs, axis.n}, matrix)), b.dtype(x));
  shape[static_cast<size_t>(at)] = axis.outputs;
  return b.Reshape(b.MatMul(m, b.Reshape(x, {outer, axis.n, inner})), shape);
}

// Numbers of a constant operand.
std::vector<double> Numbers(Lowering& l, Build& b, size_t operand, const char* what) {
  std::vector<double> values;
  const ValueId id = b.In(operand);
  if (!b.ok()) return values;
  if (!l.IsConstant(id)) {
    b.Fail("its ", what, " depend on the values of the inputs; shapes must follow from the bound dimensions");
    return values;
  }
  const HostTensor t = l.Tensor(l.IsConstant(id) && IsFloat(b.dtype(id)) ? b.Cast(id, DType::kF64) : id);
  if (t.type.dtype != DType::kF64) {
    for (int64_t v : b.Take(l.Ints(id, what))) values.push_back(static_cast<double>(v));
    return values;
  }
  values.assign(t.as<double>(), t.as<double>() + t.type.elements());
  return values;
}

// Sizes and scales of the axes, from the operands.
std::vector<Axis> ReadAxes(Lowering& l, Build& b, ValueId x, const List& axes, size_t scales_at) {
  std::vector<Axis> result(axes.size());
  const bool has_sizes = l.Has(scales_at + 1);
  std::vector<double> given =
      Numbers(l, b, has_sizes ? scales_at + 1 : scales_at, has_sizes ? "sizes" : "scales");
  std::vector<double> roi;
  if (scales_at == 2 && l.Has(1) && l.String("coordinate_transformation_mode", "") == "tf_crop_and_resize")
    roi = Numbers(l, b, 1, "region");
  if (b.ok() && given.size() != axes.size())
    b.Fail("it has ", given.size(), " sizes or scales for ", axes.size(), " axes");
  if (b.ok() && !roi.empty() && roi.size() != 2 * axes.size()) b.Fail("its region does not fit its axes");
  const std::string policy = l.String("keep_aspect_ratio_policy", "stretch");
  double common = 0;
  for (size_t i = 0; b.ok() && has_sizes && i < axes.size(); ++i) {
    const double scale = given[i] / static_cast<double>(b.dim(x, axes[i]));
    common = i == 0 ? scale : policy == "not_larger" ? std::min(common, scale) : std::max(common, scale);
  }
  for (size_t i = 0; b.ok() && i < axes.size(); ++i) {
    Axis& a = result[i];
    a.n = b.dim(x, axes[i]);
    const auto n = static_cast<double>(a.n);
    double outputs = has_sizes ? given[i] : std::floor(n * given[i]);
    a.scale = has_sizes ? given[i] / n : given[i];
    if (has_sizes && policy != "stretch") {
      a.scale = common;
      outputs = std::floor(n * common + 0.5);
    }
    if (!(outputs >= 1 && outputs <= 1 << 24) || a.n < 1)
      b.Fail("resizing ", a.n, " elements to ", outputs, " is not supported");
    if (!b.ok()) break;
    a.outputs = static_cast<int64_t>(outputs);
    if (!roi.empty()) a.start = roi[i], a.end = roi[i + axes.size()];
  }
  return result;
}

Result<void> ResizeFrom(Lowering& l, size_t scales_at, Mode mode) {
  Build b(l);
  ValueId x = b.In(0);
  static const char* const kCoordinates[] = {"half_pixel",    "half_pixel_symmetric", "pytorch_half_pixel",
                                             "align_corners", "asymmetric",           "tf_crop_and_resize"};
  if (std::find(std::begin(kCoordinates), std::end(kCoordinates), mode.coordinates) == std::end(kCoordinates))
    return Invalid("coordinate_transformation_mode ", mode.coordinates, " is not supported");
  if (mode.interpolation != "nearest" && mode.interpolation != "linear" && mode.interpolation != "cubic")
    return Invalid("mode ", mode.interpolation, " is not supported");
  List axes = l.IntList("axes").value_or(List());
  for (int64_t& a : axes) a = b.Axis(a, b.rank(x));
  for (int64_t i = 0; axes.empty() && i < b.rank(x);) {
    axes.resize(static_cast<size_t>(b.rank(x)));
    for (; i < b.rank(x); ++i) axes[static_cast<size_t>(i)] = i;
  }
  const std::vector<Axis> sizes = ReadAxes(l, b, x, axes, scales_at);
  const DType dtype = b.dtype(x);
  if (!IsFloat(dtype) && mode.interpolation != "nearest") x = b.Cast(x, DType::kF32);
  ValueId inside = -1;  // outputs within the input, for tf_crop_and_resize
  for (size_t i = 0; b.ok() && i < axes.size(); ++i) {
    const Axis& a = sizes[i];
    const bool crop = mode.coordinates == "tf_crop_and_resize";
    if (a.outputs == a.n && a.scale == 1 && !crop) continue;
    x = ResizeAxis(b, x, axes[i], a, mode);
    if (!crop) continue;
    std::vector<uint8_t> within;
    for (int64_t o = 0; b.MayMake({a.outputs}) && o < a.outputs; ++o) {
      const double at = a.At(mode, o);
      within.push_back(at >= 0 && at <= static_cast<double>(a.n - 1));
    }
    Shape shape(static_cast<size_t>(b.rank(x)), 1);
    shape[static_cast<size_t>(axes[i])] = a.outputs;
    const ValueId mask = b.Constant(HostTensor::Of<uint8_t>(DType::kBool, shape, within));
    inside = inside < 0 ? mask : b(Op::kAnd, {inside, mask});
  }
  if (inside >= 0) x = b.Where(inside, x, b.Number(b.dtype(x), l.Float("extrapolation_value", 0)));
  return b.Done({b.Cast(x, dtype)});
}

Result<void> Resize(Lowering& l) {
  return ResizeFrom(l, 2,
                    {l.String("coordinate_transformation_mode", "half_pixel"), l.String("mode", "nearest"),
                     l.String("nearest_mode", "round_prefer_floor"), l.Float("cubic_coeff_a", -0.75),
                     l.Int("exclude_outside", 0) != 0, l.Int("antialias", 0) != 0});
}

}  // namespace

void AddResize(LowerTable* table) { (*table)["Resize"] = Resize; }

}  // namespace zo2::internal
