#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

using Axes = std::vector<int64_t>;

// Values of x along the reduced axes, for every element of the output (with kept axes of size 1).
Array Fold(const Array& x, Axes axes, bool keep, DType dtype,
           const std::function<double(const std::vector<double>&)>& f) {
  const auto rank = static_cast<int64_t>(x.shape.size());
  std::vector<bool> reduced(x.shape.size(), axes.empty());
  for (const int64_t a : axes) reduced[static_cast<size_t>(a < 0 ? a + rank : a)] = true;
  Shape kept = x.shape, shape;
  for (size_t d = 0; d < kept.size(); ++d) {
    if (reduced[d]) kept[d] = 1;
    if (!reduced[d] || keep) shape.push_back(kept[d]);
  }
  std::vector<std::vector<double>> values(static_cast<size_t>(NumElements(kept)));
  for (int64_t i = 0; i < static_cast<int64_t>(x.v.size()); ++i) {
    Shape at = Coordinates(x.shape, i);
    for (size_t d = 0; d < at.size(); ++d)
      if (reduced[d]) at[d] = 0;
    values[static_cast<size_t>(Flat(kept, at))].push_back(x[i]);
  }
  return Make(dtype, shape, [&](int64_t i) { return f(values[static_cast<size_t>(i)]); });
}

double FoldBy(Op op, const std::vector<double>& v) {
  double r = op == Op::kReduceProd  ? 1
             : op == Op::kReduceMax ? -INFINITY
             : op == Op::kReduceMin ? INFINITY
                                    : 0;
  for (const double x : v) {
    if (op == Op::kReduceProd) r *= x;
    if (op == Op::kReduceSum || op == Op::kReduceMean) r += x;
    if (op == Op::kReduceMax) r = std::isnan(x) || std::isnan(r) ? NAN : std::max(r, x);
    if (op == Op::kReduceMin) r = std::isnan(x) || std::isnan(r) ? NAN : std::min(r, x);
  }
  return op == Op::kReduceMean ? r / static_cast<double>(v.size()) : r;
}

const std::pair<Shape, Axes> kReductions[] = {{{}, {}},
                                              {{7}, {0}},
                                              {{3, 40}, {1}},
                                              {{3, 40}, {0}},
                                              {{3, 40}, {}},
                                              {{2, 3, 5, 7}, {1, 3}},
                                              {{2, 3, 5, 7}, {-1, 0}},
                                              {{2, 3, 5, 7}, {0, 1, 2, 3}},
                                              {{1, 9, 1}, {0, 2}},
                                              {{40, 700}, {1}}};

TEST(Reduce, Floats) {
  Random random(1);
  for (const Op op : {Op::kReduceSum, Op::kReduceMean, Op::kReduceMax, Op::kReduceMin, Op::kReduceProd})
    for (const auto& [shape, axes] : kReductions)
      for (const bool keep : {true, false})
        for (const DType dtype : {DType::kF32, DType::kF64}) {
          SCOPED_TRACE(Name(op));
          const Array x = random.Normal(shape, 1, dtype);
          const Array y = Fold(x, axes, keep, dtype, [&](const auto& v) { return FoldBy(op, v); });
          ExpectNear(RunOp(op, {{"axes", axes}, {"keepdims", int64_t{keep}}}, {x}), y, 2e-6);
        }
}

TEST(Reduce, Integers) {
  Random random(2);
  for (const Op op : {Op::kReduceSum, Op::kReduceMean, Op::kReduceMax, Op::kReduceMin, Op::kReduceProd})
    for (const auto& [shape, axes] : kReductions)
      for (const DType dtype : {DType::kI64, DType::kI32}) {
        SCOPED_TRACE(Name(op));
        // products stay below 2^31: few numbers other than 1 and -1
        const Array x = op == Op::kReduceProd ? random.Integers(shape, 0, 1, dtype)
                                              : random.Integers(shape, -9, 9, dtype);
        Array with_ones = x;
        if (op == Op::kReduceProd)
          for (double& v : with_ones.v) v = v == 0 ? -1 : 1;
        const Array y =
            Fold(with_ones, axes, true, dtype, [&](const auto& v) { return std::trunc(FoldBy(op, v)); });
        ExpectNear(RunOp(op, {{"axes", axes}}, {with_ones}), y, 0);
      }
}

TEST(Reduce, NanShows) {
  Random random(3);
  Array x = random.Normal({4, 30});
  x[35] = NAN;
  for (const Op op : {Op::kReduceSum, Op::kReduceMean, Op::kReduceMax, Op::kReduceMin, Op::kReduceProd})
    for (const auto& run : RunOp(op, {{"axes", Axes{1}}, {"keepdims", int64_t{0}}}, {x}))
      for (int64_t i = 0; i < 4; ++i) EXPECT_EQ(std::isnan(run[0][i]), i == 1) << Name(op);
}

TEST(Reduce, OfNothing) {
  Random random(4);
  const Array x = random.Normal({2, 0, 3});
  ExpectNear(RunOp(Op::kReduceSum, {{"axes", Axes{1}}}, {x}),
             Make(DType::kF32, {2, 1, 3}, [](int64_t) { return 0; }), 0);
  ExpectNear(RunOp(Op::kReduceProd, {{"axes", Axes{1}}}, {x}),
             Make(DType::kF32, {2, 1, 3}, [](int64_t) { return 1; }), 0);
  EXPECT_NE(RunToError(Op::kReduceMax, {{"axes", Axes{1}}}, {x}).message().find("of no elements"),
            std::string::npos);
}

TEST(ArgMax, FirstOfTheLargest) {
  Random random(5);
  for (const Shape& shape : {Shape{9}, {3, 40}, {2, 5, 3}, {1, 1, 1}})
    for (int64_t axis = -static_cast<int64_t>(shape.size()); axis < static_cast<int64_t>(shape.size());
         ++axis)
      for (const DType dtype : {DType::kF32, DType::kI64})
        for (const bool keep : {true, false}) {
          const Array x = random.Integers(shape, 0, 4, dtype);  // many ties
          const Array y = Fold(x, {axis}, keep, DType::kI64, [](const auto& v) {
            return static_cast<double>(std::max_element(v.begin(), v.end()) - v.begin());
          });
          ExpectNear(RunOp(Op::kArgMax, {{"axis", axis}, {"keepdims", int64_t{keep}}}, {x}), y, 0);
        }
}

Array SoftmaxReference(const Array& x, size_t axis, bool log) {
  return Make(x.dtype, x.shape, [&](int64_t i) {
    Shape at = Coordinates(x.shape, i);
    double max = -INFINITY, sum = 0;
    for (at[axis] = 0; at[axis] < x.shape[axis]; ++at[axis]) max = std::max(max, x[Flat(x.shape, at)]);
    for (at[axis] = 0; at[axis] < x.shape[axis]; ++at[axis]) sum += std::exp(x[Flat(x.shape, at)] - max);
    return log ? x[i] - max - std::log(sum) : std::exp(x[i] - max) / sum;
  });
}

TEST(Softmax, EveryAxis) {
  Random random(6);
  for (const Shape& shape : {Shape{1}, {35}, {3, 40}, {2, 5, 33}, {65, 70}, {2, 3, 2, 19}, {3, 0}})
    for (size_t axis = 0; axis < shape.size(); ++axis)
      for (const auto& [dtype, tolerance] :
           {std::pair{DType::kF32, 5e-7}, {DType::kF64, 1e-14}, {DType::kBF16, 1e-2}})
        for (const Op op : {Op::kSoftmax, Op::kLogSoftmax}) {
          const Array x = random.Normal(shape, 6, dtype);
          const int64_t negative = static_cast<int64_t>(axis) - static_cast<int64_t>(shape.size());
          ExpectNear(RunOp(op, {{"axis", negative}}, {x}), SoftmaxReference(x, axis, op == Op::kLogSoftmax),
                     tolerance);
        }
}

TEST(Softmax, MaskedAndNan) {
  Array x{DType::kF32, {4, 3}, {-INFINITY, 1, 2, NAN, 1, 2, -INFINITY, -INFINITY, -INFINITY, 1e30, 0, -1e30}};
  for (const auto& run : RunOp(Op::kSoftmax, {{"axis", int64_t{1}}}, {x})) {
    EXPECT_EQ(run[0][0], 0);
    EXPECT_NEAR(run[0][2], 1 / (1 + std::exp(-1.0)), 1e-6);
    for (int64_t i = 3; i < 9; ++i) EXPECT_TRUE(std::isnan(run[0][i])) << i;
    EXPECT_EQ(run[0][9], 1);
  }
}

TEST(CumSum, DirectionsAndDtypes) {
  Random random(7);
  for (const Shape& shape : {Shape{9}, {3, 40}, {2, 5, 3}})
    for (size_t axis = 0; axis < shape.size(); ++axis)
      for (const bool exclusive : {false, true})
        for (const bool reverse : {false, true})
          for (const DType dtype : {DType::kF32, DType::kF64, DType::kI64, DType::kI32, DType::kI8}) {
            const Array x =
                IsFloat(dtype) ? random.Normal(shape, 1, dtype) : random.Integers(shape, -2, 2, dtype);
            const Array y = Make(dtype, shape, [&](int64_t i) {
              Shape at = Coordinates(shape, i);
              const int64_t here = at[axis];
              double sum = 0;
              for (at[axis] = 0; at[axis] < shape[axis]; ++at[axis])
                if ((reverse ? at[axis] > here : at[axis] < here) || (!exclusive && at[axis] == here))
                  sum += x[Flat(shape, at)];
              return sum;
            });
            const Attrs attrs = {{"axis", static_cast<int64_t>(axis)},
                                 {"exclusive", int64_t{exclusive}},
                                 {"reverse", int64_t{reverse}}};
            ExpectNear(RunOp(Op::kCumSum, attrs, {x}), y, IsFloat(dtype) ? 3e-7 : 0);
          }
}

}  // namespace
}  // namespace zo2
