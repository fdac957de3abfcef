#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

// -log softmax(x)[label], in long double.
double CrossEntropy(const std::vector<double>& x, int64_t label) {
  long double max = -INFINITY, sum = 0;
  for (const double v : x) max = std::max<long double>(max, v);
  for (const double v : x) sum += std::exp(v - max);
  return static_cast<double>(std::log(sum) + max - x[static_cast<size_t>(label)]);
}

struct Pairs {
  Array sum, count;
};

// Per example, from the logits of a token.
Pairs Reference(int64_t batch, int64_t seq, const Array& labels, bool shift,
                const std::function<std::vector<double>(int64_t token)>& logits) {
  Pairs p{Make(DType::kF64, {batch}, [](int64_t) { return 0; }),
          Make(DType::kF64, {batch}, [](int64_t) { return 0; })};
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t t = 0; t + (shift ? 1 : 0) < seq; ++t) {
      const auto label = static_cast<int64_t>(labels[b * seq + t + (shift ? 1 : 0)]);
      if (label == -100) continue;
      p.sum[b] += CrossEntropy(logits(b * seq + t), label);
      p.count[b] += 1;
    }
  return p;
}

void ExpectPairs(const Outcome& outcome, const Pairs& expected, double tolerance) {
  ExpectNear(outcome, expected.sum, tolerance, 0);
  ExpectNear(outcome, expected.count, 0, 1);
}

struct LmCase {
  Array hidden, labels, w;
  Operand bias;
  bool trans;
  std::vector<double> Logits(int64_t token) const {
    const int64_t h = hidden.shape[2], v = w.shape[trans ? 0 : 1];
    std::vector<double> x(static_cast<size_t>(v));
    for (int64_t i = 0; i < v; ++i) {
      double sum = bias ? (*bias)[i] : 0;
      for (int64_t p = 0; p < h; ++p) sum += hidden[token * h + p] * w[trans ? i * h + p : p * v + i];
      x[static_cast<size_t>(i)] = sum;
    }
    return x;
  }
};

LmCase MakeLm(Random* random, int64_t batch, int64_t seq, int64_t h, int64_t v, bool with_bias, bool trans,
              DType dtype = DType::kF32) {
  LmCase c{random->Normal({batch, seq, h}, 1, dtype),
           random->Integers({batch, seq}, 0, v - 1),
           random->Normal(trans ? Shape{v, h} : Shape{h, v}, 1, dtype),
           {},
           trans};
  if (with_bias) c.bias = random->Normal({v}, 1, dtype);
  for (double& label : c.labels.v)
    if (random->Integer(0, 4) == 0) label = -100;
  return c;
}

TEST(CausalLmLoss, WholeAndByParts) {
  Random random(1);
  for (const bool trans : {true, false})
    for (const bool shift : {true, false})
      for (const bool with_bias : {false, true}) {
        const LmCase c = MakeLm(&random, 3, 9, 20, 101, with_bias, trans);
        const Attrs attrs = {{"trans_w", int64_t{trans}}, {"shift", int64_t{shift}}};
        const Pairs expected = Reference(3, 9, c.labels, shift, [&](int64_t t) { return c.Logits(t); });
        for (const std::vector<int64_t>& cuts :
             {std::vector<int64_t>{}, {50}, {1, 2, 100}, {16, 32, 48, 64, 80, 96}})
          ExpectPairs(RunOp(Op::kCausalLmLoss, attrs, {c.hidden, c.labels, c.w, c.bias}, {cuts}), expected,
                      3e-7);
      }
}

TEST(CausalLmLoss, AMatrixInBf16) {
  Random random(8);
  for (const bool trans : {true, false})
    for (const int64_t h : {20, 21}) {
      LmCase c = MakeLm(&random, 3, 9, h, 101, true, trans);
      c.w = random.Normal(c.w.shape, 1, DType::kBF16);
      const Attrs attrs = {{"trans_w", int64_t{trans}}, {"shift", int64_t{1}}};
      LmCase rounded = c;
      rounded.hidden = Make(DType::kF32, c.hidden.shape, [&](int64_t i) { return Round(DType::kBF16, c.hidden[i]); });
      const Pairs expected = Reference(3, 9, c.labels, true, [&](int64_t t) { return rounded.Logits(t); });
      for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {50}, {1, 2, 100}})
        ExpectPairs(RunOp(Op::kCausalLmLoss, attrs, {c.hidden, c.labels, c.w, c.bias}, {cuts}), expected, 3e-7);
    }
}

TEST(CausalLmLoss, SumsAreExactInBinary64) {
  // Logits that f32 holds exactly: what remains is the error of the loss itself.
  const int64_t v = 5000;
  LmCase c{Make(DType::kF32, {1, 2, 1}, [](int64_t) { return 1; }),
           Make(DType::kI64, {1, 2}, [](int64_t) { return 17; }),
           Make(DType::kF32, {v, 1}, [](int64_t i) { return static_cast<double>((i * 37) % 1000) / 64; }),
           {},
           true};
  const Pairs expected = Reference(1, 2, c.labels, false, [&](int64_t t) { return c.Logits(t); });
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {1000, 2048}})
    ExpectPairs(RunOp(Op::kCausalLmLoss, {}, {c.hidden, c.labels, c.w, c.bias}, {cuts}), expected, 2e-14);
}

TEST(CausalLmLoss, F64) {
  Random random(7);
  const LmCase c = MakeLm(&random, 2, 5, 12, 40, true, true, DType::kF64);
  const Pairs expected = Reference(2, 5, c.labels, true, [&](int64_t t) { return c.Logits(t); });
  // The registry sizes the workspace for f32 logits: those in f64 are made some tokens at a time.
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {20}})
    ExpectPairs(RunOp(Op::kCausalLmLoss, {{"shift", int64_t{1}}}, {c.hidden, c.labels, c.w, c.bias}, {cuts}),
                expected, 1e-13);
}

TEST(CausalLmLoss, IgnoredAndEmpty) {
  Random random(2);
  LmCase c = MakeLm(&random, 2, 1, 4, 10, false, true);
  const Pairs none =
      Reference(2, 1, c.labels, true, [&](int64_t t) { return c.Logits(t); });  // shift leaves no token
  ExpectPairs(RunOp(Op::kCausalLmLoss, {{"shift", int64_t{1}}}, {c.hidden, c.labels, c.w}), none, 0);
  for (const auto& run : RunOp(Op::kCausalLmLoss, {{"shift", int64_t{1}}}, {c.hidden, c.labels, c.w})) {
    EXPECT_EQ(run[0].v, std::vector<double>(2, 0.0));
    EXPECT_EQ(run[1].v, std::vector<double>(2, 0.0));
  }
}

TEST(CausalLmLoss, NanAndInfinityMakeTheExampleNan) {
  Random random(3);
  for (const double bad : {static_cast<double>(NAN), static_cast<double>(INFINITY)})
    for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {3}, {8}}) {
      LmCase c = MakeLm(&random, 2, 4, 6, 12, false, true);
      for (double& label : c.labels.v) label = 5;
      for (double& x : c.hidden.v) x = std::abs(x);
      c.w[7 * 6] = bad;  // vocabulary row 7: some logit of every token is not finite
      for (int64_t i = 0; i < 24; ++i)
        c.hidden[24 + i] = i == 3 ? 1 : 0;  // the second example has 0 * bad = NaN as well
      for (const auto& run : RunOp(Op::kCausalLmLoss, {}, {c.hidden, c.labels, c.w}, {cuts})) {
        EXPECT_TRUE(std::isnan(run[0][0]) && std::isnan(run[0][1]));
        EXPECT_EQ(run[1][0], 4);
      }
    }
}

TEST(CausalLmLoss, MinusInfinityLogitsCountAsAbsent) {
  Random random(4);
  LmCase c = MakeLm(&random, 1, 3, 2, 8, true, true);
  for (double& label : c.labels.v) label = 6;
  for (int64_t i = 0; i < 4; ++i) (*c.bias)[i] = -INFINITY;
  const Pairs expected = Reference(1, 3, c.labels, false, [&](int64_t t) { return c.Logits(t); });
  for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {4}, {2, 4}})
    ExpectPairs(RunOp(Op::kCausalLmLoss, {}, {c.hidden, c.labels, c.w, c.bias}, {cuts}), expected, 1e-6);
  for (double& label : c.labels.v) label = 2;  // a label that cannot be
  for (const auto& run : RunOp(Op::kCausalLmLoss, {}, {c.hidden, c.labels, c.w, c.bias}, {{4}}))
    EXPECT_EQ(run[0][0], INFINITY);
}

TEST(CausalLmLoss, BadLabelsAreNamed) {
  Random random(5);
  for (const int64_t bad : {int64_t{12}, int64_t{-1}, int64_t{-99}, int64_t{1} << 40}) {
    LmCase c = MakeLm(&random, 2, 4, 6, 12, false, true);
    c.labels[5] = static_cast<double>(bad);
    for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {7}}) {
      const Status status = RunToError(Op::kCausalLmLoss, {}, {c.hidden, c.labels, c.w}, {cuts});
      EXPECT_EQ(status.code(), Code::kInvalid);
      EXPECT_NE(status.message().find("label " + std::to_string(bad) + " at position 5"), std::string::npos)
          << status.message();
    }
  }
}

TEST(TokenLoss, MatchesScalarLoop) {
  Random random(6);
  for (const DType dtype : {DType::kF32, DType::kF64, DType::kBF16})
    for (const bool shift : {false, true}) {
      const Array logits = random.Normal({3, 7, 45}, 5, dtype);
      Array labels = random.Integers({3, 7}, 0, 44);
      labels[2] = labels[13] = -100;
      const auto row = [&](int64_t t) {
        return std::vector<double>(logits.v.begin() + t * 45, logits.v.begin() + (t + 1) * 45);
      };
      ExpectPairs(RunOp(Op::kTokenLoss, {{"shift", int64_t{shift}}}, {logits, labels}),
                  Reference(3, 7, labels, shift, row), 1e-13);
    }
}

TEST(ClassifyLoss, MatchesScalarLoop) {
  Random random(8);
  for (const Shape& shape : {Shape{1, 1}, {5, 3}, {33, 130}}) {
    const int64_t classes = shape[1];
    const Array logits = random.Normal(shape, 5);
    Array labels = random.Integers({shape[0]}, 0, classes - 1);
    if (shape[0] > 2) labels[1] = -100;
    const auto row = [&](int64_t t) {
      return std::vector<double>(logits.v.begin() + t * classes, logits.v.begin() + (t + 1) * classes);
    };
    ExpectPairs(RunOp(Op::kClassifyLoss, {}, {logits, labels}), Reference(shape[0], 1, labels, false, row),
                1e-13);
  }
}

TEST(ClassifyLoss, NanStaysInItsExampleAndBadLabelsAreNamed) {
  Random random(9);
  Array logits = random.Normal({3, 4}), labels = random.Integers({3}, 0, 3);
  logits[5] = NAN;
  for (const auto& run : RunOp(Op::kClassifyLoss, {}, {logits, labels}))
    for (int64_t b = 0; b < 3; ++b) EXPECT_EQ(std::isnan(run[0][b]), b == 1);
  labels[2] = 4;
  const Status status = RunToError(Op::kClassifyLoss, {}, {logits, labels});
  EXPECT_NE(status.message().find("label 4 at position 2 is neither -100 nor in [0, 4)"), std::string::npos)
      << status.message();
}

TEST(MseLoss, SumsSquaresPerExample) {
  Random random(10);
  for (const Shape& shape : {Shape{4}, {3, 1}, {2, 5, 7}, {0, 3}}) {
    const Array pred = random.Normal(shape), target = random.Normal(shape, 2, DType::kF64);
    const int64_t batch = shape[0], each = batch == 0 ? 3 : NumElements(shape) / batch;
    const Array sum = Make(DType::kF64, {batch}, [&](int64_t b) {
      double s = 0;
      for (int64_t i = 0; i < each; ++i) s += std::pow(pred[b * each + i] - target[b * each + i], 2);
      return s;
    });
    const Array count = Make(DType::kF64, {batch}, [&](int64_t) { return static_cast<double>(each); });
    ExpectPairs(RunOp(Op::kMseLoss, {}, {pred, target}), {sum, count}, 1e-14);
  }
}

TEST(OutputLoss, SumsValuesPerExample) {
  Random random(11);
  for (const Shape& shape : {Shape{}, {4}, {3, 5}}) {
    const Array value = random.Normal(shape);
    const int64_t batch = shape.empty() ? 1 : shape[0], each = NumElements(shape) / batch;
    const Array sum = Make(DType::kF64, {batch}, [&](int64_t b) {
      double s = 0;
      for (int64_t i = 0; i < each; ++i) s += value[b * each + i];
      return s;
    });
    const Array count = Make(DType::kF64, {batch}, [&](int64_t) { return static_cast<double>(each); });
    ExpectPairs(RunOp(Op::kOutputLoss, {}, {value}), {sum, count}, 1e-14);
  }
}

}  // namespace
}  // namespace zo2
