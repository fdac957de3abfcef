#include <gtest/gtest.h>

#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

const DType kDtypes[] = {DType::kF32, DType::kF64, DType::kI64, DType::kBool, DType::kF16};

Array Numbers(Random* random, Shape shape, DType dtype) {
  return random->Integers(std::move(shape), 0, dtype == DType::kBool ? 1 : 99, dtype);
}
int64_t Wrap(double id, int64_t size) { return static_cast<int64_t>(id) + (id < 0 ? size : 0); }

TEST(Gather, AnyAxisAndNegativeIds) {
  Random random(1);
  for (const DType dtype : kDtypes)
    for (const auto& [shape, ids_shape] :
         {std::pair<Shape, Shape>{{7}, {3}}, {{7}, {}}, {{4, 5}, {2, 3}}, {{2, 6, 3}, {4}}, {{3, 2}, {0}}})
      for (size_t axis = 0; axis < shape.size(); ++axis) {
        const Array x = Numbers(&random, shape, dtype),
                    ids = random.Integers(ids_shape, -shape[axis], shape[axis] - 1);
        Shape to(shape.begin(), shape.begin() + static_cast<int64_t>(axis));
        to.insert(to.end(), ids_shape.begin(), ids_shape.end());
        to.insert(to.end(), shape.begin() + static_cast<int64_t>(axis) + 1, shape.end());
        const Shape from = shape, of_ids = ids_shape;
        const Array y = Make(dtype, to, [&](int64_t i) {
          const Shape at = Coordinates(to, i);
          const Shape id_at(at.begin() + static_cast<int64_t>(axis),
                            at.begin() + static_cast<int64_t>(axis + of_ids.size()));
          Shape source(at.begin(), at.begin() + static_cast<int64_t>(axis));
          source.push_back(Wrap(ids[Flat(of_ids, id_at)], from[axis]));
          source.insert(source.end(), at.begin() + static_cast<int64_t>(axis + of_ids.size()), at.end());
          return x[Flat(from, source)];
        });
        ExpectNear(RunOp(Op::kGather, {{"axis", static_cast<int64_t>(axis)}}, {x, ids}), y, 0);
      }
}

TEST(Gather, NdWithBatchAxes) {
  Random random(2);
  const struct {
    Shape x, ids, y;
    int64_t batch;
  } cases[] = {{{4, 5}, {3, 2}, {3}, 0},
               {{4, 5}, {3, 1}, {3, 5}, 0},
               {{2, 4, 5}, {2, 3, 1}, {2, 3, 5}, 1},
               {{2, 4, 5}, {2, 2}, {2}, 1},
               {{2, 3, 4, 5}, {2, 3, 1}, {2, 3, 5}, 2},
               {{4, 5}, {2, 2, 2}, {2, 2}, 0}};
  for (const DType dtype : kDtypes)
    for (const auto& c : cases) {
      const Array x = Numbers(&random, c.x, dtype);
      const int64_t depth = c.ids.back();
      const auto batch = static_cast<size_t>(c.batch);
      const Array ids = Make(DType::kI64, c.ids, [&](int64_t i) {
        const int64_t size = c.x[batch + static_cast<size_t>(i % depth)];
        return static_cast<double>(random.Integer(-size, size - 1));
      });
      const Array y = Make(dtype, c.y, [&](int64_t i) {
        const Shape at = Coordinates(c.y, i);
        Shape id_at(at.begin(), at.begin() + static_cast<int64_t>(c.ids.size()) - 1),
            source(at.begin(), at.begin() + c.batch);
        id_at.push_back(0);
        for (int64_t k = 0; k < depth; ++k) {
          id_at.back() = k;
          source.push_back(Wrap(ids[Flat(c.ids, id_at)], c.x[batch + static_cast<size_t>(k)]));
        }
        source.insert(source.end(), at.begin() + static_cast<int64_t>(c.ids.size()) - 1, at.end());
        return x[Flat(c.x, source)];
      });
      ExpectNear(RunOp(Op::kGatherNd, {{"batch_dims", c.batch}}, {x, ids}), y, 0);
    }
}

TEST(Gather, Elements) {
  Random random(3);
  for (const DType dtype : kDtypes)
    for (const auto& [shape, ids_shape] :
         {std::pair<Shape, Shape>{{7}, {3}}, {{4, 5}, {4, 5}}, {{4, 5}, {2, 3}}, {{2, 3, 4}, {1, 2, 4}}})
      for (size_t axis = 0; axis < shape.size(); ++axis) {
        const Shape from = shape, to = ids_shape;
        const Array x = Numbers(&random, shape, dtype),
                    ids = random.Integers(ids_shape, -shape[axis], shape[axis] - 1);
        const Array y = Make(dtype, to, [&](int64_t i) {
          Shape at = Coordinates(to, i);
          at[axis] = Wrap(ids[i], from[axis]);
          return x[Flat(from, at)];
        });
        ExpectNear(RunOp(Op::kGatherElements, {{"axis", static_cast<int64_t>(axis)}}, {x, ids}), y, 0);
      }
}

TEST(Gather, IdsOutsideAreNamed) {
  Random random(4);
  const Array x = random.Normal({4, 5});
  for (const int64_t bad : {int64_t{5}, int64_t{-6}, int64_t{1} << 40}) {
    const Array ids{DType::kI64, {1, 3}, {0, static_cast<double>(bad), 1}};
    for (const Op op : {Op::kGather, Op::kGatherElements}) {
      const Status status = RunToError(op, {{"axis", int64_t{1}}}, {x, ids});
      EXPECT_EQ(status.code(), Code::kInvalid);
      EXPECT_NE(
          status.message().find("id " + std::to_string(bad) + " at position 1 is outside of an axis of 5"),
          std::string::npos)
          << status.message();
    }
    const Array pairs{DType::kI64, {2, 2}, {0, 1, 3, static_cast<double>(bad)}};
    const Status status = RunToError(Op::kGatherNd, {}, {x, pairs});
    EXPECT_NE(status.message().find("id " + std::to_string(bad) + " of row 1 is outside of an axis of 5"),
              std::string::npos)
        << status.message();
  }
}

}  // namespace
}  // namespace zo2
