#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

const std::vector<std::pair<Shape, Shape>>& BroadcastShapes() {
  static const std::vector<std::pair<Shape, Shape>> shapes = {
      {{}, {}},         {{17}, {17}},        {{2, 3, 50}, {2, 3, 50}},  {{2, 3, 5}, {5}},
      {{5}, {2, 3, 5}}, {{2, 1, 5}, {3, 1}}, {{4, 1}, {1, 600}},        {{1, 1}, {3, 3}},
      {{}, {3, 7}},     {{0, 3}, {3}},       {{2, 1, 3, 1}, {4, 1, 5}},
  };
  return shapes;
}

Shape Broadcast(const Shape& a, const Shape& b) {
  Shape y(std::max(a.size(), b.size()));
  for (size_t i = 0; i < y.size(); ++i) {
    const int64_t da = i + a.size() < y.size() ? 1 : a[i + a.size() - y.size()],
                  db = i + b.size() < y.size() ? 1 : b[i + b.size() - y.size()];
    y[i] = da == 1 ? db : da;
  }
  return y;
}

using F2 = std::function<double(double, double)>;

Array Map2(const Array& a, const Array& b, DType dtype, const F2& f) {
  const Shape shape = Broadcast(a.shape, b.shape);
  return Make(dtype, shape, [&](int64_t i) {
    return f(a[BroadcastIndex(shape, i, a.shape)], b[BroadcastIndex(shape, i, b.shape)]);
  });
}

double PythonMod(double a, double b) {
  const double r = std::fmod(a, b);
  return r != 0 && (r < 0) != (b < 0) ? r + b : r;
}

TEST(Elementwise, BinaryFloats) {
  Random random(1);
  const struct {
    Op op;
    F2 f;
    double tolerance;
  } ops[] = {{Op::kAdd, [](double a, double b) { return a + b; }, 0},
             {Op::kSub, [](double a, double b) { return a - b; }, 0},
             {Op::kMul, [](double a, double b) { return a * b; }, 0},
             {Op::kDiv, [](double a, double b) { return a / b; }, 0},
             {Op::kMin, [](double a, double b) { return a < b ? a : b; }, 0},
             {Op::kMax, [](double a, double b) { return a > b ? a : b; }, 0},
             {Op::kPow, [](double a, double b) { return std::pow(a, b); }, 1e-6},
             {Op::kMod, PythonMod, 1e-6}};
  for (const auto& o : ops)
    for (const auto& [sa, sb] : BroadcastShapes())
      for (const DType dtype : {DType::kF32, DType::kF64}) {
        Array a = random.Normal(sa, 3, dtype), b = random.Normal(sb, 1, dtype);
        if (o.op == Op::kPow)
          for (double& x : a.v) x = std::abs(x);
        const Outcome y = RunOp(o.op, {}, {a, b});
        ExpectNear(y, Map2(a, b, dtype, o.f), o.tolerance);
        if (Broadcast(sa, sb) == sa) ExpectSame(y, RunOp(o.op, {}, {a, b}, {{}, true}));
      }
  const Array a = random.Normal({40}, 3), b = random.Normal({40});
  ExpectNear(RunOp(Op::kMod, {{"fmod", int64_t{1}}}, {a, b}),
             Map2(a, b, DType::kF32, [](double x, double y) { return std::fmod(x, y); }), 1e-6);
}

TEST(Elementwise, BinaryIntegers) {
  Random random(2);
  const struct {
    Op op;
    F2 f;
  } ops[] = {{Op::kAdd, [](double a, double b) { return a + b; }},
             {Op::kSub, [](double a, double b) { return a - b; }},
             {Op::kMul, [](double a, double b) { return a * b; }},
             {Op::kDiv, [](double a, double b) { return std::trunc(a / b); }},
             {Op::kMin, [](double a, double b) { return a < b ? a : b; }},
             {Op::kMax, [](double a, double b) { return a > b ? a : b; }},
             {Op::kMod, PythonMod},
             {Op::kAnd, [](double a, double b) { return a != 0 && b != 0; }},
             {Op::kOr, [](double a, double b) { return a != 0 || b != 0; }},
             {Op::kXor, [](double a, double b) { return (a != 0) != (b != 0); }}};
  for (const auto& o : ops)
    for (const auto& [sa, sb] : BroadcastShapes())
      for (const DType dtype : {DType::kI64, DType::kI32, DType::kI16, DType::kI8}) {
        const bool divides = o.op == Op::kDiv || o.op == Op::kMod;
        const Array a = random.Integers(sa, -11, 11, dtype);
        Array b = random.Integers(sb, divides ? 1 : -2, 3, dtype);
        for (double& x : b.v)
          if (divides && random.Integer(0, 1) == 0) x = -x;
        ExpectNear(RunOp(o.op, {}, {a, b}), Map2(a, b, dtype, o.f), 0);
      }
  const Array a = random.Integers({30}, -20, 20), b = random.Integers({30}, 1, 7);
  ExpectNear(RunOp(Op::kMod, {{"fmod", int64_t{1}}}, {a, b}),
             Map2(a, b, DType::kI64, [](double x, double y) { return std::fmod(x, y); }), 0);
  const Array base = random.Integers({30}, -5, 5), power = random.Integers({30}, 0, 6);
  ExpectNear(RunOp(Op::kPow, {}, {base, power}),
             Map2(base, power, DType::kI64, [](double x, double y) { return std::pow(x, y); }), 0);
  const Array u = random.Integers({30}, 0, 255, DType::kU8), v = random.Integers({30}, 1, 255, DType::kU8);
  ExpectNear(RunOp(Op::kDiv, {}, {u, v}),
             Map2(u, v, DType::kU8, [](double x, double y) { return std::trunc(x / y); }), 0);
}

TEST(Elementwise, IntegerDivisionCannotStopTheProcess) {
  const double lowest = static_cast<double>(std::numeric_limits<int64_t>::min());
  const Array a{DType::kI64, {2}, {lowest, 5}}, minus_one{DType::kI64, {}, {-1}},
      zero{DType::kI64, {2}, {1, 0}};
  for (const auto& run : RunOp(Op::kDiv, {}, {a, minus_one}))
    EXPECT_EQ(run[0].v, (std::vector<double>{lowest, -5}));
  for (const auto& run : RunOp(Op::kMod, {}, {a, minus_one}))
    EXPECT_EQ(run[0].v, (std::vector<double>{0, 0}));
  for (const Op op : {Op::kDiv, Op::kMod}) {
    const Status status = RunToError(op, {}, {a, zero});
    EXPECT_EQ(status.code(), Code::kInvalid);
    EXPECT_NE(status.message().find("position 1 is divided by zero"), std::string::npos) << status.message();
  }
}

TEST(Elementwise, CompareAndLogic) {
  Random random(3);
  const struct {
    Op op;
    F2 f;
  } ops[] = {{Op::kEqual, [](double a, double b) { return a == b; }},
             {Op::kLess, [](double a, double b) { return a < b; }},
             {Op::kLessEqual, [](double a, double b) { return a <= b; }},
             {Op::kGreater, [](double a, double b) { return a > b; }},
             {Op::kGreaterEqual, [](double a, double b) { return a >= b; }}};
  for (const auto& o : ops)
    for (const auto& [sa, sb] : BroadcastShapes())
      for (const DType dtype :
           {DType::kF32, DType::kF64, DType::kI64, DType::kI32, DType::kBool, DType::kBF16}) {
        Array a = random.Integers(sa, 0, dtype == DType::kBool ? 1 : 3, dtype),
              b = random.Integers(sb, 0, dtype == DType::kBool ? 1 : 3, dtype);
        if (dtype == DType::kF32 && !a.v.empty()) a[0] = NAN;
        ExpectNear(RunOp(o.op, {}, {a, b}), Map2(a, b, DType::kBool, o.f), 0);
      }
  for (const auto& [op, f] :
       {std::pair<Op, F2>{Op::kAnd, [](double a, double b) { return a != 0 && b != 0; }},
        {Op::kOr, [](double a, double b) { return a != 0 || b != 0; }},
        {Op::kXor, [](double a, double b) { return a != b; }}}) {
    const Array a = random.Integers({3, 40}, 0, 1, DType::kBool),
                b = random.Integers({40}, 0, 1, DType::kBool);
    ExpectNear(RunOp(op, {}, {a, b}), Map2(a, b, DType::kBool, f), 0);
  }
}

TEST(Elementwise, MinAndMaxKeepNan) {
  const Array a{DType::kF32, {3}, {NAN, 1, 2}}, b{DType::kF32, {3}, {5, NAN, 3}};
  for (const Op op : {Op::kMin, Op::kMax})
    for (const auto& run : RunOp(op, {}, {a, b})) {
      EXPECT_TRUE(std::isnan(run[0][0]) && std::isnan(run[0][1]));
      EXPECT_EQ(run[0][2], op == Op::kMin ? 2 : 3);
    }
}

TEST(Elementwise, UnaryFloats) {
  Random random(4);
  const struct {
    Op op;
    double (*f)(double);
    bool positive;
    double tolerance;
  } ops[] = {{Op::kNeg, [](double x) { return -x; }, false, 0},
             {Op::kAbs, [](double x) { return std::abs(x); }, false, 0},
             {Op::kSqrt, [](double x) { return std::sqrt(x); }, true, 3e-7},
             {Op::kRsqrt, [](double x) { return 1 / std::sqrt(x); }, true, 3e-7},
             {Op::kReciprocal, [](double x) { return 1 / x; }, true, 1e-7},
             {Op::kExp, [](double x) { return std::exp(x); }, false, 3e-7},
             {Op::kLog, [](double x) { return std::log(x); }, true, 3e-7},
             {Op::kTanh, [](double x) { return std::tanh(x); }, false, 3e-7},
             {Op::kErf, [](double x) { return std::erf(x); }, false, 3e-7},
             {Op::kSigmoid, [](double x) { return 1 / (1 + std::exp(-x)); }, false, 3e-7},
             {Op::kRelu, [](double x) { return x < 0 ? 0 : x; }, false, 0},
             {Op::kSin, [](double x) { return std::sin(x); }, false, 3e-7},
             {Op::kCos, [](double x) { return std::cos(x); }, false, 3e-7},
             {Op::kFloor, [](double x) { return std::floor(x); }, false, 0},
             {Op::kCeil, [](double x) { return std::ceil(x); }, false, 0},
             {Op::kRound, [](double x) { return std::nearbyint(x); }, false, 0},
             {Op::kSign, [](double x) { return x > 0   ? 1.0
                                               : x < 0 ? -1.0
                                                       : 0.0; }, false, 0}};
  for (const auto& o : ops)
    for (const Shape& shape : {Shape{}, {1}, {3, 7}, {2, 5, 301}})
      for (const auto& [dtype, floor] :
           {std::pair{DType::kF32, 0.0}, {DType::kF64, 0.0}, {DType::kBF16, 1e-2}, {DType::kF16, 1e-3}}) {
        Array x = random.Normal(shape, 2, dtype);
        for (double& v : x.v) {
          if (o.positive) v = Round(dtype, std::abs(v) + 0.1);
          if (o.op == Op::kRound && random.Integer(0, 3) == 0) v = std::floor(v) + 0.5;  // halves go to even
        }
        const Outcome y = RunOp(o.op, {}, {x});
        ExpectNear(y, Make(dtype, shape, [&](int64_t i) { return o.f(x[i]); }), std::max(o.tolerance, floor));
        ExpectSame(y, RunOp(o.op, {}, {x}, {{}, true}));
      }
}

TEST(Elementwise, UnaryIntegersAndBools) {
  Random random(5);
  for (const DType dtype : {DType::kI64, DType::kI32, DType::kI16, DType::kI8}) {
    const Array x = random.Integers({4, 33}, -100, 100, dtype);
    ExpectNear(RunOp(Op::kNeg, {}, {x}), Make(dtype, x.shape, [&](int64_t i) { return -x[i]; }), 0);
    ExpectNear(RunOp(Op::kAbs, {}, {x}), Make(dtype, x.shape, [&](int64_t i) { return std::abs(x[i]); }), 0);
    ExpectNear(RunOp(Op::kRelu, {}, {x}),
               Make(dtype, x.shape, [&](int64_t i) { return std::max(0.0, x[i]); }), 0);
    ExpectNear(RunOp(Op::kSign, {}, {x}),
               Make(dtype, x.shape, [&](int64_t i) { return (x[i] > 0) - (x[i] < 0); }), 0);
  }
  const Array b = random.Integers({3, 50}, 0, 1, DType::kBool);
  ExpectNear(RunOp(Op::kNot, {}, {b}), Make(DType::kBool, b.shape, [&](int64_t i) { return b[i] == 0; }), 0);
  Array x = random.Normal({50});
  x[3] = x[49] = NAN;
  x[7] = INFINITY;
  ExpectNear(RunOp(Op::kIsNan, {}, {x}),
             Make(DType::kBool, x.shape, [&](int64_t i) { return std::isnan(x[i]); }), 0);
}

TEST(Elementwise, Where) {
  Random random(6);
  const struct {
    Shape c, a, b;
  } cases[] = {{{3, 40}, {3, 40}, {3, 40}}, {{3, 1}, {40}, {}}, {{40}, {2, 3, 40}, {3, 1}}, {{}, {5}, {5}}};
  for (const auto& s : cases)
    for (const DType dtype : {DType::kF32, DType::kF64, DType::kI64, DType::kBool}) {
      const Array c = random.Integers(s.c, 0, 1, DType::kBool), a = random.Integers(s.a, 0, 1, dtype),
                  b = random.Integers(s.b, 0, 1, dtype);
      const Shape shape = Broadcast(s.c, Broadcast(s.a, s.b));
      const Array expected = Make(dtype, shape, [&](int64_t i) {
        return c[BroadcastIndex(shape, i, c.shape)] != 0 ? a[BroadcastIndex(shape, i, a.shape)]
                                                         : b[BroadcastIndex(shape, i, b.shape)];
      });
      ExpectNear(RunOp(Op::kWhere, {}, {c, a, b}), expected, 0);
      if (shape == s.a) ExpectNear(RunOp(Op::kWhere, {}, {c, a, b}, {{}, true}), expected, 0);
    }
}

TEST(Elementwise, Cast) {
  Random random(7);
  const DType all[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kF64, DType::kI64,
                       DType::kI32, DType::kI16,  DType::kI8,  DType::kU8,  DType::kBool};
  for (const DType from : all)
    for (const DType to : all) {
      Array x = random.Integers({3, 37}, from == DType::kU8 || to == DType::kU8 ? 0 : -9,
                                from == DType::kBool ? 1 : 9, from);
      if (from == DType::kBool) x = random.Integers({3, 37}, 0, 1, from);
      if (IsFloat(from))
        for (double& v : x.v) v = Round(from, v + (v < 0 ? -0.375 : 0.375));
      const Array expected = Make(to, x.shape, [&](int64_t i) {
        return IsFloat(to) ? x[i] : to == DType::kBool ? x[i] != 0 : std::trunc(x[i]);
      });
      ExpectNear(RunOp(Op::kCast, {{"to", static_cast<int64_t>(to)}}, {x}), expected, 0);
    }
}

}  // namespace
}  // namespace zo2
