#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

double GeluErf(double x) { return 0.5 * x * (1 + std::erf(x / std::sqrt(2.0))); }
double GeluTanh(double x) {
  return 0.5 * x * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
}
double Silu(double x) { return x / (1 + std::exp(-x)); }

void CheckActivation(Op op, const Attrs& attrs, double (*f)(double)) {
  Random random(1);
  for (const Shape& shape : {Shape{}, {1}, {15}, {16}, {3, 33}, {2, 50, 129}}) {
    Array x = random.Normal(shape, 4);
    const Array expected = Make(x.dtype, shape, [&](int64_t i) { return f(x[i]); });
    const Outcome y = RunOp(op, attrs, {x});
    for (const auto& run : y)
      for (size_t i = 0; i < x.v.size(); ++i)
        EXPECT_NEAR(run[0].v[i], expected.v[i], 4e-7 * std::max(1.0, std::abs(x.v[i])))
            << Name(op) << "(" << x.v[i] << ")";
    ExpectSame(y, RunOp(op, attrs, {x}, {{}, true}));  // in place
  }
  // From far below where e^x vanishes to far above where it overflows, in fine steps.
  const Array line =
      Make(DType::kF32, {40001}, [](int64_t i) { return 0.01 * static_cast<double>(i - 20000); });
  ExpectNear(RunOp(op, attrs, {line}), Make(DType::kF32, line.shape, [&](int64_t i) { return f(line[i]); }),
             1e-7);
  const Array special = Make(DType::kF32, {4}, [](int64_t i) {
    return std::vector<double>{NAN, INFINITY, 0, 3e38}[static_cast<size_t>(i)];
  });
  for (const auto& run : RunOp(op, attrs, {special})) {
    EXPECT_TRUE(std::isnan(run[0][0]));
    // With device kernels, ATen's own vector loop: it makes erf of infinity NaN (on a CPU alone).
    const bool vector_erf = FlavourUnderTest() == KernelFlavour::kDevice && op == Op::kGelu && attrs.empty();
    EXPECT_TRUE(run[0][1] == INFINITY || vector_erf) << run[0][1];
    EXPECT_EQ(run[0][2], 0);
    EXPECT_GE(run[0][3], 2.9e38);
  }
  for (const auto& [dtype, tolerance] :
       {std::pair{DType::kF64, 1e-14}, {DType::kBF16, 4e-3}, {DType::kF16, 1e-3}}) {
    const Array x = random.Normal({7, 21}, 2, dtype);
    ExpectNear(RunOp(op, attrs, {x}), Make(dtype, x.shape, [&](int64_t i) { return f(x[i]); }), tolerance);
  }
}

TEST(Activation, Gelu) { CheckActivation(Op::kGelu, {}, GeluErf); }
TEST(Activation, GeluTanh) { CheckActivation(Op::kGelu, {{"tanh", int64_t{1}}}, GeluTanh); }
TEST(Activation, Silu) { CheckActivation(Op::kSilu, {}, Silu); }

TEST(Activation, AnElementsBitsDoNotDependOnItsPlace) {
  Random random(2);
  const Array x = random.Normal({1000}, 3);
  for (const Op op : {Op::kGelu, Op::kSilu}) {
    const Outcome all = RunOp(op, {}, {x});
    const int64_t begin = 7, n = 501;
    const Array some = Make(DType::kF32, {n}, [&](int64_t i) { return x[begin + i]; });
    for (const auto& run : RunOp(op, {}, {some}))
      for (int64_t i = 0; i < n; ++i) ASSERT_EQ(run[0][i], all[0][0][begin + i]);
  }
}

Array RotaryReference(const Array& x, const Array& cos, const Array& sin, bool interleaved) {
  const int64_t d = x.shape[3], half = d / 2;
  return Make(x.dtype, x.shape, [&](int64_t i) {
    const int64_t at = i % d;
    const double other =
        interleaved ? (at % 2 == 0 ? -x[i + 1] : x[i - 1]) : (at < half ? -x[i + half] : x[i - half]);
    return x[i] * cos[BroadcastIndex(x.shape, i, cos.shape)] +
           other * sin[BroadcastIndex(x.shape, i, sin.shape)];
  });
}

TEST(Rotary, TablesBroadcast) {
  Random random(3);
  const Shape shape = {2, 3, 5, 12};
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kBF16, DType::kF16})
    for (const bool interleaved : {false, true})
      for (const auto& [c, s] : {std::pair<Shape, Shape>{{5, 12}, {5, 12}},
                                 {{2, 1, 5, 12}, {1, 1, 5, 12}},
                                 {{1, 3, 1, 12}, {2, 3, 5, 1}},
                                 {{1}, {12}}}) {
        const Array x = random.Normal(shape, 1, dtype), cos = random.Normal(c, 1, dtype),
                    sin = random.Normal(s, 1, dtype);
        const double tolerance = dtype == DType::kBF16 ? 1e-2 : dtype == DType::kF16 ? 2e-3 : 3e-7;
        ExpectNear(RunOp(Op::kRotary, {{"interleaved", int64_t{interleaved}}}, {x, cos, sin}),
                   RotaryReference(x, cos, sin, interleaved), tolerance);
      }
}

}  // namespace
}  // namespace zo2
