#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

Array Reference(const Array& x, const Array& scale, const Operand& bias, double eps, bool centre) {
  const int64_t d = x.shape.back();
  return Make(x.dtype, x.shape, [&](int64_t i) {
    const int64_t row = i / d * d;
    double mean = 0, square = 0;
    for (int64_t k = 0; centre && k < d; ++k) mean += x[row + k] / static_cast<double>(d);
    for (int64_t k = 0; k < d; ++k)
      square += (x[row + k] - mean) * (x[row + k] - mean) / static_cast<double>(d);
    return (x[i] - mean) / std::sqrt(square + eps) * scale[i % d] + (bias ? (*bias)[i % d] : 0);
  });
}

TEST(Norm, LayerNormMatchesScalarLoop) {
  Random random(1);
  for (const Shape& shape :
       {Shape{1}, {3, 5}, {2, 3, 16}, {4, 47}, {1, 130, 384}, {2, 768}, {0, 8}, {65, 1025}})
    for (const bool with_bias : {false, true}) {
      Array x = random.Normal(shape, 3);
      for (double& v : x.v) v = Round(DType::kF32, v + 10);  // a mean well away from 0
      const Array scale = random.Normal({shape.back()});
      Operand bias;
      if (with_bias) bias = random.Normal({shape.back()});
      // The mean is 10 standard deviations from 0 in places: f32 inputs themselves carry that error.
      ExpectNear(RunOp(Op::kLayerNorm, {{"eps", 1e-5}}, {x, scale, bias}),
                 Reference(x, scale, bias, 1e-5, true), 4e-6);
    }
}

TEST(Norm, RmsNormMatchesScalarLoop) {
  Random random(2);
  for (const Shape& shape : {Shape{1}, {3, 5}, {2, 3, 16}, {4, 47}, {1, 130, 384}, {65, 1025}}) {
    const Array x = random.Normal(shape, 0.02), scale = random.Normal({shape.back()});
    ExpectNear(RunOp(Op::kRmsNorm, {{"eps", 1e-6}}, {x, scale}), Reference(x, scale, {}, 1e-6, false), 1e-6);
  }
}

TEST(Norm, OtherDtypesAndF32Scales) {
  Random random(3);
  for (const auto& [dtype, tolerance] :
       {std::pair{DType::kF64, 1e-14}, {DType::kBF16, 4e-3}, {DType::kF16, 5e-4}})
    for (const DType weight : {dtype, DType::kF32}) {
      const Array x = random.Normal({5, 37}, 1, dtype), scale = random.Normal({37}, 1, weight),
                  bias = random.Normal({37}, 1, weight);
      ExpectNear(RunOp(Op::kLayerNorm, {{"eps", 1e-5}}, {x, scale, bias}),
                 Reference(x, scale, bias, 1e-5, true), tolerance);
      ExpectNear(RunOp(Op::kRmsNorm, {{"eps", 1e-5}}, {x, scale}), Reference(x, scale, {}, 1e-5, false),
                 tolerance);
    }
}

TEST(Norm, NanStaysInItsRow) {
  Random random(4);
  Array x = random.Normal({6, 33});
  x[40] = NAN;
  x[5 * 33] = INFINITY;
  const Array scale = random.Normal({33});
  for (const Op op : {Op::kLayerNorm, Op::kRmsNorm}) {
    std::vector<Operand> inputs = {x, scale};
    const Outcome y = RunOp(op, {{"eps", 1e-5}}, inputs);
    for (const auto& run : y)
      for (int64_t i = 0; i < 6 * 33; ++i) {
        const bool bad_row = i / 33 == 1 || (op == Op::kLayerNorm && i / 33 == 5);
        const bool infinite = i == 5 * 33;  // inf * rsqrt(inf) = inf * 0
        EXPECT_EQ(std::isnan(run[0][i]), bad_row || infinite) << Name(op) << " " << i;
      }
  }
}

}  // namespace
}  // namespace zo2
