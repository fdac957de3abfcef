#include <gtest/gtest.h>

#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

Array Reference(const Array& ids, const Array& w) {
  const int64_t d = w.shape[1];
  Shape shape = ids.shape;
  shape.push_back(d);
  return Make(w.dtype, shape, [&](int64_t i) { return w[static_cast<int64_t>(ids[i / d]) * d + i % d]; });
}

TEST(Embedding, WholeAndByParts) {
  Random random(1);
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF64})
    for (const int64_t d : {1, 7, 64}) {
      const Array w = random.Normal({50, d}, 1, dtype), ids = random.Integers({3, 11}, 0, 49);
      ExpectNear(RunOp(Op::kEmbedding, {}, {ids, w}), Reference(ids, w), 0);
      for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{1}, {16, 32}, {10, 11, 49}})
        ExpectNear(RunOp(Op::kEmbedding, {}, {ids, w}, {cuts}), Reference(ids, w), 0);
    }
}

TEST(Embedding, ATableInBf16GivesF32WhereAsked) {
  Random random(3);
  const Attrs attrs = {{"to", static_cast<int64_t>(DType::kF32)}};
  const Array w = random.Normal({50, 7}, 1, DType::kBF16), ids = random.Integers({3, 11}, 0, 49);
  Array expected = Reference(ids, w);
  expected.dtype = DType::kF32;
  ExpectNear(RunOp(Op::kEmbedding, attrs, {ids, w}), expected, 0);
  ExpectNear(RunOp(Op::kEmbedding, attrs, {ids, w}, {{16, 32}}), expected, 0);
  const Status status = RunToError(Op::kEmbedding, attrs, {ids, random.Normal({50, 7}, 1, DType::kF64)});
  EXPECT_NE(status.message().find("no kernel from f64"), std::string::npos) << status.message();
}

TEST(Embedding, IdsOutsideOfTheTableAreNamed) {
  Random random(2);
  const Array w = random.Normal({50, 4});
  for (const int64_t bad : {int64_t{50}, int64_t{-1}, int64_t{1} << 40, int64_t{-1} << 50}) {
    Array ids = random.Integers({2, 5}, 0, 49);
    ids[7] = static_cast<double>(bad);
    for (const std::vector<int64_t>& cuts : {std::vector<int64_t>{}, {20}}) {
      const Status status = RunToError(Op::kEmbedding, {}, {ids, w}, {cuts});
      EXPECT_EQ(status.code(), Code::kInvalid);
      EXPECT_NE(status.message().find("id " + std::to_string(bad) + " at position 7"), std::string::npos)
          << status.message();
      const bool says_range = status.message().find("[0, 50)") != std::string::npos;
      EXPECT_TRUE(says_range || (bad < 0 && !cuts.empty())) << status.message();
    }
  }
}

}  // namespace
}  // namespace zo2
