#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

struct Case {
  int64_t batch = 1, heads = 1, groups = 1, queries = 1, keys = 1, size = 4, v_size = 4;
  bool bshd = false, causal = false, zero_masked_rows = false;
  double scale = 0;  // 0: left to its default
  Shape Of(int64_t h, int64_t s, int64_t d) const {
    return bshd ? Shape{batch, s, h, d} : Shape{batch, h, s, d};
  }
  int64_t At(int64_t b, int64_t h, int64_t heads_of, int64_t s, int64_t seq, int64_t d, int64_t i) const {
    return bshd ? ((b * seq + s) * heads_of + h) * d + i : ((b * heads_of + h) * seq + s) * d + i;
  }
  Attrs attrs() const {
    Attrs a = {{"causal", int64_t{causal}}, {"zero_masked_rows", int64_t{zero_masked_rows}}};
    if (bshd) a["layout"] = std::string("bshd");
    if (scale != 0) a["scale"] = scale;
    return a;
  }
};

Array Reference(const Case& c, const Array& q, const Array& k, const Array& v, const Operand& mask) {
  const double scale = c.scale != 0 ? c.scale : 1 / std::sqrt(static_cast<double>(c.size));
  Array y = Make(q.dtype, c.Of(c.heads, c.queries, c.v_size), [](int64_t) { return 0; });
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t h = 0; h < c.heads; ++h)
      for (int64_t i = 0; i < c.queries; ++i) {
        const int64_t g = h / (c.heads / c.groups);
        std::vector<double> score(static_cast<size_t>(c.keys));
        double max = -INFINITY, sum = 0;
        for (int64_t j = 0; j < c.keys; ++j) {
          double s = 0;
          for (int64_t p = 0; p < c.size; ++p)
            s += q[c.At(b, h, c.heads, i, c.queries, c.size, p)] *
                 k[c.At(b, g, c.groups, j, c.keys, c.size, p)];
          s *= scale;
          if (mask) {
            const Shape full = {c.batch, c.heads, c.queries, c.keys};
            const double m = (*mask)[BroadcastIndex(full, Flat(full, {b, h, i, j}), mask->shape)];
            s = mask->dtype == DType::kBool ? (m != 0 ? s : -INFINITY) : s + m;
          }
          if (c.causal && j > i) s = -INFINITY;
          score[static_cast<size_t>(j)] = s;
          max = std::max(max, s);
        }
        const bool masked = max == -INFINITY;
        for (double& s : score) sum += s = std::exp(s - max);
        for (int64_t d = 0; d < c.v_size; ++d) {
          double out = 0;
          for (int64_t j = 0; j < c.keys; ++j)
            out += score[static_cast<size_t>(j)] / sum * v[c.At(b, g, c.groups, j, c.keys, c.v_size, d)];
          y[c.At(b, h, c.heads, i, c.queries, c.v_size, d)] = masked ? (c.zero_masked_rows ? 0 : NAN) : out;
        }
      }
  return y;
}

void Check(const Case& c, const Array& q, const Array& k, const Array& v, const Operand& mask,
           double tolerance = 2e-6) {
  SCOPED_TRACE(testing::Message() << "b" << c.batch << " h" << c.heads << "/" << c.groups << " " << c.queries
                                  << "x" << c.keys << " d" << c.size << "/" << c.v_size
                                  << (c.bshd ? " bshd" : " bhsd") << (c.causal ? " causal" : ""));
  ExpectNear(RunOp(Op::kAttention, c.attrs(), {q, k, v, mask}), Reference(c, q, k, v, mask), tolerance);
}

TEST(Attention, ShapesLayoutsGroupsCausal) {
  Random random(1);
  const Case cases[] = {{1, 1, 1, 1, 1, 1, 1},      {2, 3, 3, 7, 7, 5, 5},   {1, 4, 2, 65, 65, 16, 16},
                        {2, 6, 1, 9, 20, 8, 3},     {1, 2, 2, 33, 5, 4, 12}, {3, 2, 1, 130, 130, 8, 8},
                        {1, 12, 4, 24, 24, 32, 32}, {2, 2, 2, 0, 3, 4, 4},   {1, 1, 1, 70, 300, 200, 150},
                        {1, 2, 2, 200, 100, 24, 7}};
  for (Case c : cases)
    for (c.bshd = false;; c.bshd = true) {
      for (const bool causal : {false, true}) {
        c.causal = causal;
        c.scale = causal ? 0.3 : 0;
        Check(c, random.Normal(c.Of(c.heads, c.queries, c.size)),
              random.Normal(c.Of(c.groups, c.keys, c.size)), random.Normal(c.Of(c.groups, c.keys, c.v_size)),
              {});
      }
      if (c.bshd) break;
    }
}

TEST(Attention, MasksBroadcast) {
  Random random(2);
  Case c{2, 4, 2, 19, 21, 8, 8};
  for (c.bshd = false;; c.bshd = true) {
    const Array q = random.Normal(c.Of(4, 19, 8)), k = random.Normal(c.Of(2, 21, 8)),
                v = random.Normal(c.Of(2, 21, 8));
    for (const Shape& shape :
         {Shape{2, 4, 19, 21}, {2, 1, 1, 21}, {1, 1, 19, 21}, {19, 21}, {2, 1, 19, 1}, {1}, {4, 1, 21}})
      for (const bool causal : {false, true}) {
        c.causal = causal;
        Check(c, q, k, v, random.Normal(shape, 3));
        Array kept = random.Integers(shape, 0, 3, DType::kBool);
        Check(c, q, k, v, kept);
        c.zero_masked_rows = true;
        Check(c, q, k, v, kept);
        c.zero_masked_rows = false;
      }
    if (c.bshd) break;
  }
}

TEST(Attention, RowsWithEveryKeyMasked) {
  Random random(3);
  Case c{1, 2, 2, 70, 17, 4, 4};
  const Array q = random.Normal(c.Of(2, 70, 4)), k = random.Normal(c.Of(2, 17, 4)),
              v = random.Normal(c.Of(2, 17, 4));
  Array kept = random.Integers({1, 1, 70, 17}, 0, 1, DType::kBool), added = random.Normal({1, 1, 70, 17});
  Array lowest = added;
  for (const int64_t row : {0, 3, 69})
    for (int64_t j = 0; j < 17; ++j) {
      kept[row * 17 + j] = 0;
      added[row * 17 + j] = -INFINITY;
      lowest[row * 17 + j] = -3.4028234663852886e38;  // a finite mask gives the mean, nearly
    }
  for (const bool zero : {false, true}) {
    c.zero_masked_rows = zero;
    Check(c, q, k, v, kept);
    Check(c, q, k, v, added);
  }
  const Outcome y = RunOp(Op::kAttention, c.attrs(), {q, k, v, lowest});
  for (const auto& run : y) {
    double mean = 0;
    for (int64_t j = 0; j < 17; ++j) mean += v[j * 4] / 17;
    EXPECT_NEAR(run[0][0], mean, 1e-5);
  }
}

TEST(Attention, NanReachesTheRowsThatSeeIt) {
  Random random(4);
  for (const bool zero : {false, true}) {
    Case c{1, 1, 1, 5, 5, 4, 4};
    c.causal = true;
    c.zero_masked_rows = zero;
    Array q = random.Normal({1, 1, 5, 4}), k = random.Normal({1, 1, 5, 4}), v = random.Normal({1, 1, 5, 4});
    q[2 * 4] = NAN;
    k[4 * 4] = NAN;  // seen by the last query only
    for (const auto& run : RunOp(Op::kAttention, c.attrs(), {q, k, v, std::nullopt}))
      for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(std::isnan(run[0][i]), i / 4 == 2 || i / 4 == 4) << i;
    // every score NaN is not "every key masked"
    for (int64_t i = 0; i < 4; ++i) q[i] = NAN;
    for (const auto& run : RunOp(Op::kAttention, c.attrs(), {q, k, v, std::nullopt}))
      EXPECT_TRUE(std::isnan(run[0][0]));
  }
}

TEST(Attention, LargeScoresDoNotOverflow) {
  Random random(5);
  const Case c{1, 1, 1, 40, 40, 8, 8};
  const Array q = random.Normal({1, 1, 40, 8}, 100), k = random.Normal({1, 1, 40, 8}, 100),
              v = random.Normal({1, 1, 40, 8});
  Check(c, q, k, v, {}, 1e-3);  // scores of 1e5 carry an error of 1e-2 in f32
}

TEST(Attention, OtherDtypes) {
  Random random(6);
  const Case c{2, 4, 2, 9, 11, 8, 8};
  for (const auto& [dtype, tolerance] :
       {std::pair{DType::kF64, 1e-14}, {DType::kBF16, 2e-2}, {DType::kF16, 3e-3}}) {
    const Array q = random.Normal(c.Of(4, 9, 8), 1, dtype), k = random.Normal(c.Of(2, 11, 8), 1, dtype),
                v = random.Normal(c.Of(2, 11, 8), 1, dtype);
    Check(c, q, k, v, random.Normal({9, 11}, 1, dtype), tolerance);
    Check(c, q, k, v, random.Integers({2, 1, 1, 11}, 0, 5, DType::kBool), tolerance);
  }
}

}  // namespace
}  // namespace zo2
