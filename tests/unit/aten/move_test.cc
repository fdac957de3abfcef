#include <gtest/gtest.h>

#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

using Ints = std::vector<int64_t>;
const DType kDtypes[] = {DType::kF32, DType::kF64, DType::kI64, DType::kBool, DType::kBF16, DType::kI16};

// Numbers that tell elements apart (bools cannot).
Array Numbers(Shape shape, DType dtype) {
  return Make(dtype, std::move(shape),
              [&](int64_t i) { return dtype == DType::kBool ? i % 3 == 0 : (i * 37) % 100; });
}

TEST(Move, Transpose) {
  for (const DType dtype : kDtypes)
    for (const auto& [shape, perm] : {std::pair<Shape, Ints>{{}, {}},
                                      {{5}, {0}},
                                      {{3, 4}, {1, 0}},
                                      {{70, 65}, {1, 0}},
                                      {{2, 3, 4, 5}, {0, 2, 1, 3}},
                                      {{2, 3, 4, 5}, {3, 1, 0, 2}},
                                      {{2, 0, 3}, {2, 0, 1}},
                                      {{1, 3, 1}, {2, 1, 0}}}) {
      const Array x = Numbers(shape, dtype);
      Shape to;
      for (const int64_t p : perm) to.push_back(shape[static_cast<size_t>(p)]);
      const Array y = Make(dtype, to, [&](int64_t i) {
        const Shape at = Coordinates(to, i);
        Shape from(at.size());
        for (size_t d = 0; d < at.size(); ++d) from[static_cast<size_t>(perm[d])] = at[d];
        return x[Flat(shape, from)];
      });
      ExpectNear(RunOp(Op::kTranspose, {{"perm", perm}}, {x}), y, 0);
    }
}

TEST(Move, SliceWithAnySteps) {
  const struct {
    Shape x;
    Ints starts, ends, axes, steps;
    Shape y;
  } cases[] = {{{10}, {2}, {7}, {0}, {1}, {5}},
               {{10}, {9}, {-1}, {0}, {-1}, {10}},
               {{10}, {8}, {1}, {0}, {-3}, {3}},
               {{4, 6}, {1, 0}, {4, 6}, {0, 1}, {1, 2}, {3, 3}},
               {{4, 6}, {3, 5}, {-1, 0}, {0, 1}, {-1, -2}, {4, 3}},
               {{4, 6, 3}, {2}, {5}, {1}, {}, {4, 3, 3}},
               {{4, 6}, {2}, {2}, {0}, {1}, {0, 6}},
               {{5, 5}, {4}, {3}, {1}, {-1}, {5, 1}}};
  for (const DType dtype : kDtypes)
    for (const auto& c : cases) {
      const Array x = Numbers(c.x, dtype);
      const Array y = Make(dtype, c.y, [&](int64_t i) {
        Shape at = Coordinates(c.y, i);
        for (size_t k = 0; k < c.axes.size(); ++k) {
          int64_t& d = at[static_cast<size_t>(c.axes[k])];
          d = c.starts[k] + d * (c.steps.empty() ? 1 : c.steps[k]);
        }
        return x[Flat(c.x, at)];
      });
      Attrs attrs = {{"starts", c.starts}, {"ends", c.ends}, {"axes", c.axes}};
      if (!c.steps.empty()) attrs["steps"] = c.steps;
      ExpectNear(RunOp(Op::kSlice, attrs, {x}), y, 0);
    }
}

TEST(Move, Concat) {
  for (const DType dtype : kDtypes)
    for (const auto& [shapes, axis] : {std::pair<std::vector<Shape>, int64_t>{{{3}}, 0},
                                       {{{2, 3}, {4, 3}, {0, 3}, {1, 3}}, 0},
                                       {{{2, 3}, {2, 5}}, 1},
                                       {{{2, 3, 4}, {2, 1, 4}, {2, 2, 4}}, -2}}) {
      std::vector<Operand> in;
      Shape to = shapes[0];
      const auto a = static_cast<size_t>(axis < 0 ? axis + static_cast<int64_t>(to.size()) : axis);
      to[a] = 0;
      for (const Shape& s : shapes) {
        in.push_back(Numbers(s, dtype));
        to[a] += s[a];
      }
      const Array y = Make(dtype, to, [&](int64_t i) {
        Shape at = Coordinates(to, i);
        size_t k = 0;
        while (at[a] >= shapes[k][a]) at[a] -= shapes[k++][a];
        return (*in[k])[Flat(shapes[k], at)];
      });
      ExpectNear(RunOp(Op::kConcat, {{"axis", axis}}, in), y, 0);
    }
}

TEST(Move, Expand) {
  for (const DType dtype : kDtypes)
    for (const auto& [from, to] : {std::pair<Shape, Shape>{{}, {2, 3}},
                                   {{3}, {2, 3}},
                                   {{2, 1, 3}, {2, 4, 3}},
                                   {{1, 1}, {1, 1}},
                                   {{1}, {0}},
                                   {{5, 1}, {2, 5, 40}}}) {
      const Array x = Numbers(from, dtype);
      const Shape target = to;
      ExpectNear(RunOp(Op::kExpand, {{"shape", target}}, {x}),
                 Make(dtype, to, [&](int64_t i) { return x[BroadcastIndex(target, i, x.shape)]; }), 0);
    }
}

TEST(Move, PadsMayCut) {
  for (const DType dtype : kDtypes)
    for (const auto& [shape, pads] : {std::pair<Shape, Ints>{{4}, {2, 3}},
                                      {{4}, {-1, -2}},
                                      {{3, 5}, {1, 0, 0, 2}},
                                      {{3, 5}, {-1, 2, 2, -3}},
                                      {{}, {}},
                                      {{2, 3, 4}, {0, 1, 0, 1, 0, 2}},
                                      {{3}, {-3, 4}},
                                      {{0}, {2, 1}},
                                      {{3}, {5, -4}}}) {
      const size_t rank = shape.size();
      Shape to = shape;
      for (size_t d = 0; d < rank; ++d) to[d] += pads[d] + pads[d + rank];
      const double value = dtype == DType::kBool ? 1 : 7;
      const Array x = Numbers(shape, dtype);
      const Array y = Make(dtype, to, [&](int64_t i) {
        Shape at = Coordinates(to, i);
        for (size_t d = 0; d < rank; ++d) {
          at[d] -= pads[d];
          if (at[d] < 0 || at[d] >= shape[d]) return value;
        }
        return x[Flat(shape, at)];
      });
      ExpectNear(RunOp(Op::kPad, {{"pads", pads}, {"value", value}}, {x}), y, 0);
    }
}

TEST(Move, Tile) {
  for (const DType dtype : kDtypes)
    for (const auto& [shape, repeats] : {std::pair<Shape, Ints>{{}, {}},
                                         {{3}, {4}},
                                         {{2, 3}, {2, 1}},
                                         {{2, 3}, {3, 2}},
                                         {{2, 3}, {0, 2}},
                                         {{1, 3, 2}, {4, 1, 3}}}) {
      Shape to = shape;
      for (size_t d = 0; d < to.size(); ++d) to[d] *= repeats[d];
      const Array x = Numbers(shape, dtype);
      const Array y = Make(dtype, to, [&](int64_t i) {
        Shape at = Coordinates(to, i);
        for (size_t d = 0; d < at.size(); ++d) at[d] %= shape[d];
        return x[Flat(shape, at)];
      });
      ExpectNear(RunOp(Op::kTile, {{"repeats", repeats}}, {x}), y, 0);
    }
}

TEST(Move, Trilu) {
  for (const DType dtype : kDtypes)
    for (const Shape& shape : {Shape{4, 4}, {3, 7}, {7, 3}, {2, 3, 5, 5}, {0, 4}, {4, 0}})
      for (const int64_t k :
           {int64_t{0}, int64_t{1}, int64_t{-2}, int64_t{100}, int64_t{-100}, INT64_MAX, INT64_MIN})
        for (const bool upper : {true, false}) {
          const Array x = Numbers(shape, dtype);
          const Array y = Make(dtype, shape, [&](int64_t i) {
            const Shape at = Coordinates(shape, i);
            const int64_t off = at[at.size() - 1] - at[at.size() - 2];
            return (upper ? off >= k : off <= k) ? x[i] : 0;
          });
          ExpectNear(RunOp(Op::kTrilu, {{"upper", int64_t{upper}}, {"k", k}}, {x}), y, 0);
        }
}

}  // namespace
}  // namespace zo2
