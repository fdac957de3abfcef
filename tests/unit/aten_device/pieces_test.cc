// What is larger than a piece (device::kPiece) is worked through some rows at a time: the seams must not show.
#include <gtest/gtest.h>

#include <cmath>

#include "ir/graph/device_workspace.h"
#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

Array Normed(const Array& x, const Array& scale, bool centre) {
  const int64_t d = x.shape.back(), rows = x.shape[0];
  Array y = x;
  for (int64_t r = 0; r < rows; ++r) {
    double mean = 0, square = 0;
    for (int64_t i = 0; centre && i < d; ++i) mean += x[r * d + i] / static_cast<double>(d);
    for (int64_t i = 0; i < d; ++i) square += std::pow(x[r * d + i] - mean, 2) / static_cast<double>(d);
    for (int64_t i = 0; i < d; ++i) y[r * d + i] = (x[r * d + i] - mean) / std::sqrt(square + 1e-5) * scale[i];
  }
  return y;
}

TEST(Pieces, Norms) {
  Random random(1);
  for (const DType weight : {DType::kF32, DType::kF64}) {
    const Array x = random.Normal({4200, 1024}), scale = random.Normal({1024}, 1, weight);
    for (const Op op : {Op::kLayerNorm, Op::kRmsNorm}) {
      ASSERT_LT(device::CutNorm(op, {x.dtype, x.shape}, {weight, {1024}}, nullptr).rows, 4200);
      ExpectNear(RunOp(op, {{"eps", 1e-5}}, {x, scale}), Normed(x, scale, op == Op::kLayerNorm), 1e-6);
    }
  }
}

// On a CPU, 16-bit matrices are widened block by block for a product in f32.
TEST(Pieces, BlocksOfAWideProduct) {
  Random random(7);
  for (const bool trans : {true, false}) {
    const Array x = random.Integers({40, 5000}, -8, 8, DType::kF32),
                w = random.Integers(trans ? Shape{70, 5000} : Shape{5000, 70}, -8, 8, DType::kBF16);
    const Array y = Make(DType::kF32, {40, 70}, [&](int64_t i) {
      double sum = 0;  // of whole numbers: exact in any order
      for (int64_t p = 0; p < 5000; ++p) sum += x[i / 70 * 5000 + p] * w[trans ? i % 70 * 5000 + p : p * 70 + i % 70];
      return sum;
    });
    ExpectNear(RunOp(Op::kLinear, {{"trans_w", int64_t{trans}}}, {x, w, std::nullopt}), y, 0);
  }
}

TEST(Pieces, RowsOfAnEmbedding) {
  Random random(2);
  const Array w = random.Normal({9, 2048}), ids = random.Integers({2500}, 0, 8);
  ASSERT_LT(device::RowsAtOnce(2500, 2048 * 4), 2500);
  const Array y = Make(DType::kF32, {2500, 2048}, [&](int64_t i) {
    return w[static_cast<int64_t>(ids[i / 2048]) * 2048 + i % 2048];
  });
  ExpectNear(RunOp(Op::kEmbedding, {}, {ids, w}, {{2, 7}}), y, 0);
}

double CrossEntropy(const double* x, int64_t n, int64_t label) {
  double max = -INFINITY, sum = 0;
  for (int64_t i = 0; i < n; ++i) max = std::max(max, x[i]);
  for (int64_t i = 0; i < n; ++i) sum += std::exp(x[i] - max);
  return std::log(sum) + max - x[label];
}

TEST(Pieces, LogitsOfALoss) {
  Random random(3);
  constexpr int64_t kClasses = 60000, kTokens = 40;
  ASSERT_LT(device::RowsAtOnce(2 * kTokens, kClasses * 8, device::kLogitsPiece), 2 * kTokens);
  const Array logits = random.Normal({2, kTokens, kClasses}, 3),
              labels = random.Integers({2, kTokens}, 0, kClasses - 1);
  const Array sum = Make(DType::kF64, {2}, [&](int64_t b) {
    double s = 0;
    for (int64_t t = b * kTokens; t < (b + 1) * kTokens; ++t)
      s += CrossEntropy(&logits.v[static_cast<size_t>(t * kClasses)], kClasses, static_cast<int64_t>(labels[t]));
    return s;
  });
  ExpectNear(RunOp(Op::kTokenLoss, {}, {logits, labels}), sum, 1e-13);
}

TEST(Pieces, ElementsOfAnExample) {
  Random random(4);
  constexpr int64_t kEach = 700000;
  ASSERT_LT(device::RowsAtOnce(kEach, 2 * 16), kEach);
  const Array pred = random.Normal({2, kEach}), target = random.Normal({2, kEach}, 1, DType::kBF16);
  const auto sum = [&](bool squared) {
    return Make(DType::kF64, {2}, [&](int64_t b) {
      long double s = 0;
      for (int64_t i = b * kEach; i < (b + 1) * kEach; ++i)
        s += squared ? std::pow(pred[i] - target[i], 2) : pred[i];
      return static_cast<double>(s);
    });
  };
  ExpectNear(RunOp(Op::kMseLoss, {}, {pred, target}), sum(true), 1e-13);
  ExpectNear(RunOp(Op::kOutputLoss, {}, {pred}), sum(false), 1e-11);  // the terms cancel
}

// q, k and v of [batch, heads, seq, size]; `added` is [batch, heads, queries, keys].
Array Attended(const Array& q, const Array& k, const Array& v, const Array& added, double scale) {
  const int64_t group = q.shape[1] / k.shape[1], queries = q.shape[2], keys = k.shape[2], d = q.shape[3],
                dv = v.shape[3];
  Array y = Make(q.dtype, {q.shape[0], q.shape[1], queries, dv}, [](int64_t) { return 0; });
  std::vector<double> weight(static_cast<size_t>(keys));
  for (int64_t i = 0; i < q.shape[0] * q.shape[1] * queries; ++i) {
    const int64_t head = i / queries / group;  // of keys, counted through the batch
    double max = -INFINITY, sum = 0;
    for (int64_t j = 0; j < keys; ++j) {
      double s = 0;
      for (int64_t p = 0; p < d; ++p) s += q[i * d + p] * k[(head * keys + j) * d + p];
      weight[static_cast<size_t>(j)] = s * scale + added[i * keys + j];
      max = std::max(max, weight[static_cast<size_t>(j)]);
    }
    for (double& w : weight) sum += w = std::exp(w - max);
    for (int64_t j = 0; j < keys; ++j)
      for (int64_t p = 0; p < dv; ++p)
        y[i * dv + p] += weight[static_cast<size_t>(j)] / sum * v[(head * keys + j) * dv + p];
  }
  return y;
}

TEST(Pieces, HeadsAndBatchEntriesOfAttention) {
  Random random(5);
  struct {
    int64_t batch, heads, kv_heads, queries, keys, size;
    DType dtype;
    double tolerance;
  } cases[] = {{7, 4, 2, 3000, 3, 64, DType::kF32, 2e-6},   // some batch entries at once
               {2, 12, 12, 3000, 3, 128, DType::kF32, 2e-6},  // some heads at once
               {1, 12, 6, 3000, 3, 128, DType::kF32, 2e-6},
               {2, 5, 5, 4000, 2, 60, DType::kF32, 2e-6},   // padded
               {3, 4, 1, 5000, 2, 160, DType::kBF16, 2e-2},
               {1, 2, 1, 3000, 700, 4, DType::kF64, 1e-13}};  // some queries at once
  for (const auto& c : cases) {
    const Array q = random.Normal({c.batch, c.heads, c.queries, c.size}, 1, c.dtype),
                k = random.Normal({c.batch, c.kv_heads, c.keys, c.size}, 1, c.dtype),
                v = random.Normal({c.batch, c.kv_heads, c.keys, c.dtype == DType::kF64 ? 1 : c.size}, 1, c.dtype);
    const Shape masked = {c.batch, c.heads, c.queries, c.keys};
    for (const Shape& shape : {Shape{c.batch, 1, 1, c.keys}, Shape{c.heads, 1, c.keys}}) {
      const Array mask = random.Normal(shape, 1, c.dtype);
      const TensorType mask_type = {c.dtype, shape};
      const device::AttentionCut cut =
          device::CutAttention({c.dtype, q.shape}, {c.dtype, k.shape}, {c.dtype, v.shape}, &mask_type, {});
      ASSERT_TRUE(cut.at_once_batch < c.batch || cut.at_once_kv_heads < c.kv_heads || cut.at_once_queries < c.queries);
      const Array added =
          Make(DType::kF64, masked, [&](int64_t i) { return mask[BroadcastIndex(masked, i, shape)]; });
      ExpectNear(RunOp(Op::kAttention, {}, {q, k, v, mask}),
                 Attended(q, k, v, added, 1 / std::sqrt(static_cast<double>(c.size))), c.tolerance);
    }
  }
}

// f64 has no fused kernel: a NaN reaches the rows that see it, and no others.
TEST(Pieces, NanInAttentionOfF64) {
  Random random(6);
  for (const bool zero : {false, true}) {
    Array q = random.Normal({1, 1, 5, 4}, 1, DType::kF64), k = random.Normal({1, 1, 5, 4}, 1, DType::kF64),
          v = random.Normal({1, 1, 5, 4}, 1, DType::kF64);
    q[2 * 4] = NAN;
    const Attrs attrs = {{"causal", int64_t{1}}, {"zero_masked_rows", int64_t{zero}}};
    const Outcome y = RunOp(Op::kAttention, attrs, {q, k, v, std::nullopt});
    for (int64_t i = 0; i < 20; ++i) EXPECT_EQ(std::isnan(y[0][0][i]), i / 4 == 2) << i;
  }
}

}  // namespace
}  // namespace zo2
