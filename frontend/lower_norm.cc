// Normalisations.
#include <cmath>
#include <numeric>

#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

// Axes [from, rank).
List AxesFrom(int64_t from, int64_t rank) {
  List axes(static_cast<size_t>(std::max<int64_t>(0, rank - from)));
  std::iota(axes.begin(), axes.end(), from);
  return axes;
}

// A vector with one number per channel (axis 1), as it broadcasts to x.
ValueId PerChannel(Build& b, ValueId vector, ValueId x) {
  Shape shape(static_cast<size_t>(b.rank(x)), 1);
  if (shape.size() < 2 || b.shape(vector) != Shape{b.dim(x, 1)}) {
    b.Fail("its scale, bias, mean or variance is not one number per channel");
    return -1;
  }
  shape[1] = b.dim(x, 1);
  return b.Reshape(vector, std::move(shape));
}

// A scale or bias of the normalised axes as one vector; -1 where it is not dense over them.
ValueId AsVector(Build& b, ValueId v, const Shape& normalised) {
  Shape given = b.shape(v);
  while (given.size() < normalised.size()) given.insert(given.begin(), 1);
  return given == normalised ? b.Reshape(v, {NumElements(normalised)}) : -1;
}

ValueId Ones(Build& b, int64_t n) {
  if (!b.MayMake({n})) return -1;
  return b.Constant(HostTensor::Of<float>(DType::kF32, {n}, std::vector<float>(static_cast<size_t>(n), 1)));
}

// Over axes [axis, rank): mean (layer) and deviation to 1. The model op works on the last axis, so several
// become one.
template <bool layer>
Result<void> LayerNorm(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  ValueId scale = b.In(1), bias = layer ? b.Optional(2) : -1;
  const int64_t axis = b.Axis(l.Int("axis", -1), b.rank(x));
  if (!b.ok()) return b.status();
  const Shape shape = b.shape(x), normalised(shape.begin() + axis, shape.end());
  const int64_t n = NumElements(normalised);
  const double eps = l.Float("epsilon", 1e-5f);
  const ValueId flat_scale = AsVector(b, scale, normalised),
                flat_bias = bias < 0 ? -1 : AsVector(b, bias, normalised);
  const bool fits = flat_scale >= 0 && (bias < 0 || flat_bias >= 0);
  const Shape rows = {n == 0 ? 0 : NumElements(shape) / n, n};
  ValueId y = axis + 1 == b.rank(x) ? x : b.Reshape(x, rows);
  const ValueId vector = fits ? flat_scale : Ones(b, n);
  y = layer ? b(Op::kLayerNorm, {y, vector, fits ? flat_bias : -1}, {{"eps", eps}})
            : b(Op::kRmsNorm, {y, vector}, {{"eps", eps}});
  y = b.Reshape(y, shape);
  if (!fits) {
    y = b.Mul(y, scale);
    if (bias >= 0) y = b.Add(y, bias);
  }
  std::vector<ValueId> results = {y};
  if (b.Wants(1) || b.Wants(2)) {
    const List axes = AxesFrom(axis, b.rank(x));
    const ValueId mean = b.Mean(x, axes), centred = b.Sub(x, mean);
    const ValueId variance = b.Mean(b.Mul(centred, centred), axes);
    results.push_back(mean);
    results.push_back(b.Unary(Op::kRsqrt, b.AddNumber(variance, eps)));
  }
  return b.Done(std::move(results));
}

// (x - mean) scale / sqrt(variance + epsilon) + bias with the statistics that training left.
Result<void> BatchNorm(Lowering& l) {
  if (l.Int("training_mode", 0) != 0)
    return Invalid(
        "batch normalization in training mode is not supported; export the model in evaluation mode");
  Build b(l);
  const ValueId x = b.In(0), scale = b.In(1), bias = b.In(2), mean = b.In(3), variance = b.In(4);
  const ValueId factor = b.Mul(scale, b.Unary(Op::kRsqrt, b.AddNumber(variance, l.Float("epsilon", 1e-5f))));
  const ValueId y = b.Mul(b.Sub(x, PerChannel(b, mean, x)), PerChannel(b, factor, x));
  return b.Done({b.Add(y, PerChannel(b, bias, x))});
}

// Mean 0 and deviation 1 within each of `groups` groups of channels of each example.
ValueId WithinGroups(Build& b, ValueId x, int64_t groups, double eps) {
  const Shape shape = b.shape(x);
  const int64_t n = b.ok() ? shape[0] * groups : 0, each = n == 0 ? 0 : NumElements(shape) / n;
  return b.Reshape(b(Op::kLayerNorm, {b.Reshape(x, {n, each}), Ones(b, each)}, {{"eps", eps}}), shape);
}

Result<void> InstanceNorm(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0), scale = b.In(1), bias = b.In(2);
  if (b.ok() && b.rank(x) < 3) return Invalid("its operand has ", b.rank(x), " axes, not three or more");
  const ValueId y = WithinGroups(b, x, b.dim(x, 1), l.Float("epsilon", 1e-5f));
  return b.Done({b.Add(b.Mul(y, PerChannel(b, scale, x)), PerChannel(b, bias, x))});
}

// Opset 18 scales per group, opset 21 per channel.
Result<void> GroupNorm(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const int64_t groups = l.Int("num_groups", 0), channels = b.dim(x, 1);
  if (b.ok() && (b.rank(x) < 2 || groups <= 0 || channels % groups != 0))
    return Invalid(groups, " groups do not divide ", channels, " channels");
  ValueId y = WithinGroups(b, x, groups, l.Float("epsilon", 1e-5f));
  for (size_t i : {1u, 2u}) {
    ValueId v = b.In(i);
    if (groups != channels && b.shape(v) == Shape{groups})
      v = b.Reshape(b.Expand(b.Reshape(v, {groups, 1}), {groups, channels / groups}), {channels});
    y = i == 1 ? b.Mul(y, PerChannel(b, v, x)) : b.Add(y, PerChannel(b, v, x));
  }
  return b.Done({y});
}

// x / norm, with the NaN of 0 / 0 that ONNX's tests expect.
Result<void> LpNorm(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const int64_t axis = b.Axis(l.Int("axis", -1), b.rank(x)), p = l.Int("p", 2);
  if (p != 1 && p != 2) return Invalid("a norm with p=", p, " is not supported");
  ValueId norm = b.Reduce(Op::kReduceSum, p == 1 ? b.Unary(Op::kAbs, x) : b.Mul(x, x), {axis});
  if (p == 2) norm = b.Unary(Op::kSqrt, norm);
  return b.Done({b.Div(x, norm)});
}

// (x - mean) / (deviation + 1e-9)
Result<void> MeanVarianceNorm(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  List axes = l.IntList("axes").value_or(List{0, 2, 3});
  for (int64_t& a : axes) a = b.Axis(a, b.rank(x));
  const ValueId centred = b.Sub(x, b.Mean(x, axes));
  const ValueId deviation = b.Unary(Op::kSqrt, b.Mean(b.Mul(centred, centred), axes));
  return b.Done({b.Div(centred, b.AddNumber(deviation, 1e-9))});
}

// x / (bias + alpha / size * sum of squares of `size` channels around)^beta
Result<void> LocalResponseNorm(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const int64_t size = l.Int("size", 1), channels = b.dim(x, 1);
  if (b.ok() && (b.rank(x) < 2 || size < 1 || size > 64))
    return Invalid("a window of ", size, " channels is not supported");
  List pads(static_cast<size_t>(2 * b.rank(x)), 0);
  if (b.ok()) {
    pads[1] = (size - 1) / 2;
    pads[1 + static_cast<size_t>(b.rank(x))] = size / 2;
  }
  const ValueId squares = b.Pad(b.Mul(x, x), pads, 0);
  ValueId sum = b.Slice(squares, 1, 0, channels);
  for (int64_t i = 1; i < size; ++i) sum = b.Add(sum, b.Slice(squares, 1, i, i + channels));
  const ValueId base =
      b.AddNumber(b.Scale(sum, l.Float("alpha", 1e-4) / static_cast<double>(size)), l.Float("bias", 1));
  return b.Done({b.Div(x, b(Op::kPow, {base, b.Number(b.dtype(x), l.Float("beta", 0.75))}))});
}

}  // namespace

void AddNorms(LowerTable* table) {
  LowerTable& t = *table;
  t["BatchNormalization"] = BatchNorm;
  t["GroupNormalization"] = GroupNorm;
  t["InstanceNormalization"] = InstanceNorm;
  t["LayerNormalization"] = LayerNorm<true>;
  t["LpNormalization"] = LpNorm;
  t["LRN"] = LocalResponseNorm;
  t["MeanVarianceNormalization"] = MeanVarianceNorm;
  t["RMSNormalization"] = LayerNorm<false>;
}

}  // namespace zo2::internal
