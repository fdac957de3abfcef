#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

constexpr double kExact = 2e-6;  // of the largest magnitude

Array LinearReference(const Array& x, const Array& w, const Operand& bias, bool trans) {
  const int64_t k = x.shape.back(), n = w.shape[trans ? 0 : 1];
  Shape shape = x.shape;
  shape.back() = n;
  return Make(x.dtype, shape, [&](int64_t i) {
    double sum = bias ? (*bias)[i % n] : 0;
    for (int64_t p = 0; p < k; ++p) sum += x[i / n * k + p] * w[trans ? i % n * k + p : p * n + i % n];
    return sum;
  });
}

TEST(Linear, WholeMatchesScalarLoop) {
  Random random(1);
  const struct {
    Shape x;
    int64_t out;
  } cases[] = {{{2, 3, 5}, 7},    {{1}, 1},        {{17}, 33},      {{1, 1, 48}, 16},
               {{3, 29, 64}, 50}, {{2, 130}, 131}, {{70, 96}, 200}, {{4, 33, 257}, 129},
               {{0, 5}, 3},       {{6, 0}, 3},     {{5, 513}, 1}};
  for (const auto& c : cases)
    for (const bool trans : {true, false})
      for (const bool with_bias : {false, true}) {
        SCOPED_TRACE(testing::Message() << "k=" << c.x.back() << " n=" << c.out << " trans_w=" << trans);
        const Array x = random.Normal(c.x),
                    w = random.Normal(trans ? Shape{c.out, c.x.back()} : Shape{c.x.back(), c.out});
        Operand bias;
        if (with_bias) bias = random.Normal({c.out});
        const Outcome y = RunOp(Op::kLinear, {{"trans_w", int64_t{trans}}}, {x, w, bias});
        ExpectNear(y, LinearReference(x, w, bias, trans), kExact);
      }
}

TEST(Linear, PartsFillTheirColumns) {
  Random random(2);
  for (const bool trans : {true, false}) {
    const Array x = random.Normal({2, 19, 40}), bias = random.Normal({112});
    const Array w = random.Normal(trans ? Shape{112, 40} : Shape{40, 112});
    for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{48}, {16, 32, 96}, {5, 6, 77}}) {
      const Outcome y = RunOp(Op::kLinear, {{"trans_w", int64_t{trans}}}, {x, w, bias}, {cuts});
      ExpectNear(y, LinearReference(x, w, bias, trans), kExact);
    }
  }
}

TEST(Linear, NanAndInfinityStay) {
  Random random(3);
  Array x = random.Normal({4, 8});
  x[9] = NAN;
  x[20] = INFINITY;
  const Array w = random.Normal({5, 8});
  ExpectNear(RunOp(Op::kLinear, {}, {x, w, std::nullopt}), LinearReference(x, w, {}, true), kExact);
}

TEST(Linear, OtherFloatDtypes) {
  Random random(4);
  for (const auto& [dtype, tolerance] :
       {std::pair{DType::kF64, 1e-14}, {DType::kBF16, 1e-2}, {DType::kF16, 2e-3}}) {
    const Array x = random.Normal({3, 20}, 1, dtype), w = random.Normal({9, 20}, 1, dtype);
    for (const DType bias_dtype : {dtype, DType::kF32}) {
      const Array bias = random.Normal({9}, 1, bias_dtype);
      ExpectNear(RunOp(Op::kLinear, {}, {x, w, bias}), LinearReference(x, w, bias, true), tolerance);
    }
  }
}

TEST(Linear, MixedMatrixDtypesAreRefused) {
  Random random(5);
  const Status status = RunToError(
      Op::kLinear, {}, {random.Normal({3, 4}), random.Normal({5, 4}, 1, DType::kF16), std::nullopt});
  EXPECT_NE(status.message().find("f32[3,4] by f16[5,4]"), std::string::npos) << status.message();
}

// The other operand is rounded to bf16, sums and results are f32.
TEST(Linear, AMatrixInBf16) {
  Random random(7);
  const struct {
    Shape x;
    int64_t out;
  } cases[] = {{{2, 3, 5}, 7}, {{1}, 1}, {{1, 1, 48}, 16}, {{3, 29, 64}, 50}, {{2, 130}, 131}, {{4, 33, 257}, 129},
               {{0, 5}, 3},    {{6, 0}, 3}, {{5, 2500}, 1}};
  for (const auto& c : cases)
    for (const bool trans : {true, false})
      for (const bool with_bias : {false, true}) {
        SCOPED_TRACE(testing::Message() << "k=" << c.x.back() << " n=" << c.out << " trans_w=" << trans);
        const Array x = random.Normal(c.x);
        const Array w =
            random.Normal(trans ? Shape{c.out, c.x.back()} : Shape{c.x.back(), c.out}, 1, DType::kBF16);
        Operand bias;
        if (with_bias) bias = random.Normal({c.out});
        Array rounded = Make(DType::kF32, c.x, [&](int64_t i) { return Round(DType::kBF16, x[i]); });
        const Array expected = LinearReference(rounded, w, bias, trans);
        ExpectNear(RunOp(Op::kLinear, {{"trans_w", int64_t{trans}}}, {x, w, bias}), expected, kExact);
        if (c.out > 40)
          ExpectNear(RunOp(Op::kLinear, {{"trans_w", int64_t{trans}}}, {x, w, bias}, {{7, 32}}), expected, kExact);
      }
}

Array MatMulReference(const Array& a, const Array& b, const Shape& shape) {
  const int64_t k = a.shape.back();
  const bool row = a.shape.size() == 1, column = b.shape.size() == 1;
  Shape as = a.shape, bs = b.shape, full = shape;
  if (row) as.insert(as.begin(), 1);
  if (column) bs.push_back(1);
  if (row) full.insert(full.end() - (column ? 0 : 1), 1);
  if (column) full.push_back(1);
  return Make(a.dtype, shape, [&](int64_t i) {
    Shape at = Coordinates(full, i);
    double sum = 0;
    for (int64_t p = 0; p < k; ++p) {
      Shape ia(as.size()), ib(bs.size());
      for (size_t d = 0; d + 2 < as.size(); ++d) ia[d] = as[d] == 1 ? 0 : at[d + full.size() - as.size()];
      for (size_t d = 0; d + 2 < bs.size(); ++d) ib[d] = bs[d] == 1 ? 0 : at[d + full.size() - bs.size()];
      ia[as.size() - 2] = at[full.size() - 2];
      ia[as.size() - 1] = ib[bs.size() - 2] = p;
      ib[bs.size() - 1] = at[full.size() - 1];
      sum += a[Flat(as, ia)] * b[Flat(bs, ib)];
    }
    return sum;
  });
}

TEST(MatMul, BroadcastsBatchAxes) {
  Random random(6);
  const struct {
    Shape a, b, y;
  } cases[] = {
      {{3, 4}, {4, 5}, {3, 5}},
      {{4}, {4}, {}},
      {{4}, {4, 5}, {5}},
      {{3, 4}, {4}, {3}},
      {{2, 3, 4}, {4}, {2, 3}},
      {{4}, {2, 4, 5}, {2, 5}},
      {{2, 3, 4}, {2, 4, 5}, {2, 3, 5}},
      {{2, 3, 4}, {4, 5}, {2, 3, 5}},
      {{3, 4}, {6, 4, 5}, {6, 3, 5}},
      {{2, 1, 3, 4}, {5, 4, 6}, {2, 5, 3, 6}},
      {{2, 1, 3, 4}, {1, 5, 4, 6}, {2, 5, 3, 6}},
      {{2, 3, 1, 7, 4}, {3, 2, 4, 6}, {2, 3, 2, 7, 6}},
      {{1, 1, 3, 4}, {1, 1, 4, 2}, {1, 1, 3, 2}},
      {{2, 3, 0}, {2, 0, 5}, {2, 3, 5}},
      {{0, 3, 4}, {0, 4, 5}, {0, 3, 5}},
      {{4, 33, 65}, {4, 65, 70}, {4, 33, 70}},
  };
  for (const auto& c : cases)
    for (const DType dtype : {DType::kF32, DType::kF64, DType::kI64}) {
      const Array a = dtype == DType::kI64 ? random.Integers(c.a, -9, 9) : random.Normal(c.a, 1, dtype);
      const Array b = dtype == DType::kI64 ? random.Integers(c.b, -9, 9) : random.Normal(c.b, 1, dtype);
      ExpectNear(RunOp(Op::kMatMul, {}, {a, b}), MatMulReference(a, b, c.y), kExact);
    }
}

}  // namespace
}  // namespace zo2
