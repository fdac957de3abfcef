#include "ir/graph/op.h"

#include <gtest/gtest.h>

#include <set>

namespace zo2 {
namespace {

constexpr DType F = DType::kF32, I = DType::kI64, B = DType::kBool;

// Infers from types given by value; {} type list entries of rank -1 stand for absent operands.
Result<std::vector<TensorType>> Infer(Op op, const std::vector<std::optional<TensorType>>& inputs,
                                      const Attrs& attrs) {
  std::vector<const TensorType*> types;
  for (const auto& t : inputs) types.push_back(t ? &*t : nullptr);
  return Row(op).infer(types, attrs);
}

struct Case {
  Op op;
  std::vector<std::optional<TensorType>> inputs;
  Attrs attrs;
  std::optional<TensorType> output;  // nullopt: an error
};

TensorType T(DType dtype, Shape shape) { return {dtype, std::move(shape)}; }

TEST(OpRegistry, EveryOpHasItsRowAndItsNameParsesBack) {
  ASSERT_EQ(AllRows().size(), static_cast<size_t>(kNumOps));
  int listed = 0;
  std::set<std::string_view> names;
#define CHECK_ROW(id, number, printed)          \
  EXPECT_EQ(static_cast<int>(Op::id), number);  \
  EXPECT_EQ(Row(Op::id).op, Op::id) << printed; \
  EXPECT_EQ(Row(Op::id).name, printed);         \
  EXPECT_EQ(ParseOp(printed), Op::id);          \
  names.insert(printed);                        \
  ++listed;
  ZO2_OPS(CHECK_ROW)
#undef CHECK_ROW
  EXPECT_EQ(listed, kNumOps);
  EXPECT_EQ(names.size(), static_cast<size_t>(kNumOps));
  EXPECT_EQ(ParseOp("no such op"), std::nullopt);
}

TEST(OpRegistry, RowsAreWellFormed) {
  for (const OpRow& row : AllRows()) {
    SCOPED_TRACE(row.name);
    EXPECT_NE(row.infer, nullptr);
    EXPECT_NE(row.flops, nullptr);
    EXPECT_GE(row.min_inputs, 1);
    EXPECT_TRUE(row.max_inputs == -1 || row.max_inputs >= row.min_inputs);
    EXPECT_GE(row.outputs, 1);
    EXPECT_LT(row.alias_input, row.min_inputs);
    EXPECT_TRUE(!row.reshape_only || row.alias_input == 0);
    std::set<std::string_view> attrs;
    for (const AttrSpec& spec : row.attrs) EXPECT_TRUE(attrs.insert(spec.name).second) << spec.name;
    for (const WeightUse& use : row.weights) EXPECT_LT(use.operand, row.max_inputs);
  }
  EXPECT_EQ(Row(Op::kCausalLmLoss).weights[0].mode, TileMode::kAccumulate);
  EXPECT_EQ(Row(Op::kLinear).weights[0].mode, TileMode::kOutputSlice);
}

TEST(OpRegistry, InfersShapes) {
  const Attrs perm = {{"perm", std::vector<int64_t>{0, 2, 1}}};
  auto slice = [](std::vector<int64_t> starts, std::vector<int64_t> ends, std::vector<int64_t> axes,
                  std::vector<int64_t> steps) {
    return Attrs{{"starts", starts}, {"ends", ends}, {"axes", axes}, {"steps", steps}};
  };
  auto shape = [](std::vector<int64_t> s) { return Attrs{{"shape", s}}; };
  auto axis = [](int64_t a) { return Attrs{{"axis", a}}; };
  const Attrs eps = {{"eps", 1e-5}}, bshd = {{"layout", std::string("bshd")}};
  const std::vector<Case> cases = {
      {Op::kLinear, {T(F, {2, 3, 8}), T(F, {5, 8})}, {}, T(F, {2, 3, 5})},
      {Op::kLinear, {T(F, {2, 3, 8}), T(F, {8, 5}), T(F, {5})}, {{"trans_w", int64_t{0}}}, T(F, {2, 3, 5})},
      {Op::kLinear, {T(F, {2, 3, 8}), T(F, {8, 5})}, {}, {}},
      {Op::kLinear, {T(F, {2, 8}), T(F, {5, 8}), T(F, {8})}, {}, {}},
      {Op::kLinear,
       {T(DType::kBF16, {2, 8}), T(DType::kBF16, {5, 8}), T(F, {5})},
       {},
       T(DType::kBF16, {2, 5})},
      {Op::kLinear, {T(F, {}), T(F, {5, 8})}, {}, {}},
      {Op::kEmbedding, {T(I, {2, 3}), T(F, {10, 4})}, {}, T(F, {2, 3, 4})},
      {Op::kEmbedding, {T(F, {2, 3}), T(F, {10, 4})}, {}, {}},
      {Op::kEmbedding, {T(I, {2, 3}), T(DType::kBF16, {10, 4})}, {{"to", int64_t{0}}}, T(F, {2, 3, 4})},
      {Op::kEmbedding, {T(I, {2, 3}), T(F, {10, 4})}, {{"to", static_cast<int64_t>(DType::kI64)}}, {}},
      {Op::kEmbedding, {T(I, {2, 3}), T(F, {10, 4})}, {{"to", int64_t{99}}}, {}},
      {Op::kLinear, {T(F, {2, 8}), T(DType::kBF16, {5, 8}), T(F, {5})}, {}, T(F, {2, 5})},
      {Op::kLayerNorm, {T(F, {2, 4}), T(F, {4}), T(F, {4})}, eps, T(F, {2, 4})},
      {Op::kLayerNorm, {T(F, {2, 4}), T(F, {4})}, eps, T(F, {2, 4})},
      {Op::kLayerNorm, {T(F, {2, 4}), T(F, {2})}, eps, {}},
      {Op::kRmsNorm, {T(F, {2, 4}), T(F, {4})}, eps, T(F, {2, 4})},
      {Op::kRotary, {T(F, {1, 2, 3, 4}), T(F, {1, 1, 3, 4}), T(F, {3, 4})}, {}, T(F, {1, 2, 3, 4})},
      {Op::kRotary, {T(F, {1, 2, 3, 4}), T(F, {1, 1, 5, 4}), T(F, {3, 4})}, {}, {}},
      {Op::kAttention, {T(F, {2, 4, 5, 8}), T(F, {2, 2, 7, 8}), T(F, {2, 2, 7, 6})}, {}, T(F, {2, 4, 5, 6})},
      {Op::kAttention,
       {T(F, {2, 5, 4, 8}), T(F, {2, 7, 2, 8}), T(F, {2, 7, 2, 8}), T(B, {2, 1, 5, 7})},
       bshd,
       T(F, {2, 5, 4, 8})},
      {Op::kAttention, {T(F, {2, 4, 5, 8}), T(F, {2, 3, 7, 8}), T(F, {2, 3, 7, 8})}, {}, {}},
      {Op::kAttention, {T(F, {2, 4, 5, 8}), T(F, {2, 2, 7, 8}), T(F, {2, 2, 7, 8}), T(F, {5, 5})}, {}, {}},
      {Op::kCausalLmLoss, {T(F, {2, 3, 8}), T(I, {2, 3}), T(F, {99, 8})}, {}, T(DType::kF64, {2})},
      {Op::kCausalLmLoss, {T(F, {2, 3, 8}), T(I, {2, 4}), T(F, {99, 8})}, {}, {}},
      {Op::kTokenLoss, {T(F, {2, 3, 99}), T(I, {2, 3})}, {}, T(DType::kF64, {2})},
      {Op::kClassifyLoss, {T(F, {2, 5}), T(I, {2})}, {}, T(DType::kF64, {2})},
      {Op::kMseLoss, {T(F, {2, 5}), T(F, {2, 5})}, {}, T(DType::kF64, {2})},
      {Op::kMseLoss, {T(F, {2, 5}), T(F, {2, 1})}, {}, {}},
      {Op::kOutputLoss, {T(F, {})}, {}, T(DType::kF64, {1})},
      {Op::kMatMul, {T(F, {2, 1, 3, 4}), T(F, {5, 4, 6})}, {}, T(F, {2, 5, 3, 6})},
      {Op::kMatMul, {T(F, {4}), T(F, {4, 6})}, {}, T(F, {6})},
      {Op::kMatMul, {T(F, {3, 4}), T(F, {3, 4})}, {}, {}},
      {Op::kAdd, {T(F, {2, 1, 4}), T(F, {3, 1})}, {}, T(F, {2, 3, 4})},
      {Op::kAdd, {T(F, {2}), T(I, {2})}, {}, {}},
      {Op::kAdd, {T(F, {2}), T(F, {3})}, {}, {}},
      {Op::kLess, {T(I, {2, 1}), T(I, {3})}, {}, T(B, {2, 3})},
      {Op::kAnd, {T(B, {2, 1}), T(B, {3})}, {}, T(B, {2, 3})},
      {Op::kAnd, {T(F, {2}), T(F, {2})}, {}, {}},
      {Op::kSqrt, {T(I, {2})}, {}, {}},
      {Op::kIsNan, {T(F, {2})}, {}, T(B, {2})},
      {Op::kWhere, {T(B, {2, 1}), T(F, {}), T(F, {3})}, {}, T(F, {2, 3})},
      {Op::kCast, {T(F, {2})}, {{"to", static_cast<int64_t>(I)}}, T(I, {2})},
      {Op::kCast, {T(F, {2})}, {{"to", int64_t{77}}}, {}},
      {Op::kSoftmax, {T(F, {2, 3})}, axis(2), {}},
      {Op::kReduceMean, {T(F, {2, 3, 4})}, {{"axes", std::vector<int64_t>{-1}}}, T(F, {2, 3, 1})},
      {Op::kReduceSum, {T(F, {2, 3})}, {{"keepdims", int64_t{0}}}, T(F, {})},
      {Op::kArgMax, {T(F, {2, 3})}, {{"axis", int64_t{1}}, {"keepdims", int64_t{0}}}, T(I, {2})},
      {Op::kReshape, {T(F, {2, 3})}, shape({6}), T(F, {6})},
      {Op::kReshape, {T(F, {2, 3})}, shape({5}), {}},
      {Op::kReshape, {T(F, {2, 3})}, shape({-1}), {}},
      {Op::kTranspose, {T(F, {2, 3, 4})}, perm, T(F, {2, 4, 3})},
      {Op::kTranspose, {T(F, {2, 3})}, perm, {}},
      {Op::kSlice, {T(F, {10, 3})}, slice({1}, {8}, {0}, {3}), T(F, {3, 3})},
      {Op::kSlice, {T(F, {10, 3})}, slice({9}, {-1}, {0}, {-1}), T(F, {10, 3})},
      {Op::kSlice, {T(F, {10, 3})}, slice({0}, {11}, {0}, {1}), {}},
      {Op::kSlice, {T(F, {10, 3})}, slice({0}, {1}, {0}, {0}), {}},
      {Op::kConcat, {T(F, {2, 3}), T(F, {2, 4})}, axis(1), T(F, {2, 7})},
      {Op::kConcat, {T(F, {2, 3}), T(F, {3, 4})}, axis(1), {}},
      {Op::kGather, {T(F, {5, 6, 7}), T(I, {2, 3})}, axis(1), T(F, {5, 2, 3, 7})},
      {Op::kGatherNd, {T(F, {5, 6, 7}), T(I, {4, 2})}, {}, T(F, {4, 7})},
      {Op::kGatherElements, {T(F, {5, 6}), T(I, {5, 2})}, axis(1), T(F, {5, 2})},
      {Op::kExpand, {T(F, {1, 3})}, shape({4, 2, 3}), T(F, {4, 2, 3})},
      {Op::kExpand, {T(F, {2, 3})}, shape({1, 3}), {}},
      {Op::kPad, {T(F, {2, 3})}, {{"pads", std::vector<int64_t>{1, 0, 0, -1}}}, T(F, {3, 2})},
      {Op::kTile, {T(F, {2, 3})}, {{"repeats", std::vector<int64_t>{2, 1}}}, T(F, {4, 3})},
      {Op::kTrilu, {T(F, {2})}, {}, {}},
  };
  for (const Case& c : cases) {
    auto got = Infer(c.op, c.inputs, c.attrs);
    ASSERT_EQ(got.ok(), c.output.has_value())
        << Name(c.op) << " case " << (&c - cases.data()) << " " << got.status().message();
    if (got.ok()) {
      EXPECT_EQ((*got)[0], *c.output) << Name(c.op) << " case " << (&c - cases.data());
    } else {
      EXPECT_FALSE(got.status().message().empty());
    }
  }
}

TEST(OpRegistry, CheckNodeFindsWhatIsWrong) {
  const TensorType x = T(F, {2, 8}), w = T(F, {4, 8}), y = T(F, {2, 4}), bad = T(F, {2, 5});
  auto check = [&](Op op, Attrs attrs, std::vector<const TensorType*> in, std::vector<TensorType> out) {
    auto result = CheckNode(op, attrs, in, out);
    return result.ok() ? std::string("ok") : result.status().message();
  };
  EXPECT_EQ(check(Op::kLinear, {}, {&x, &w}, {y}), "ok");
  EXPECT_NE(check(Op::kLinear, {}, {&x, &w}, {bad}).find("must be f32[2,4]"), std::string::npos);
  EXPECT_NE(check(Op::kLinear, {}, {&x, &w}, {}).find("outputs"), std::string::npos);
  EXPECT_NE(check(Op::kLinear, {}, {&x}, {y}).find("operands"), std::string::npos);
  EXPECT_NE(check(Op::kLinear, {}, {&x, nullptr}, {y}).find("absent"), std::string::npos);
  EXPECT_NE(check(Op::kLinear, {{"bias", int64_t{1}}}, {&x, &w}, {y}).find("no attribute bias"),
            std::string::npos);
  EXPECT_NE(check(Op::kLinear, {{"trans_w", 1.0}}, {&x, &w}, {y}).find("wrong type"), std::string::npos);
  EXPECT_NE(check(Op::kReshape, {}, {&x}, {x}).find("lacks"), std::string::npos);
  EXPECT_NE(check(static_cast<Op>(200), {}, {&x}, {x}).find("registry"), std::string::npos);
  const TensorType negative = T(F, {2, -8});
  EXPECT_NE(check(Op::kNeg, {}, {&negative}, {negative}).find("negative"), std::string::npos);
}

TEST(OpRegistry, HostileSizesSaturate) {
  constexpr int64_t kBig = int64_t{1} << 40;
  EXPECT_EQ(NumElements(Shape{kBig, kBig, 0}), 0);
  EXPECT_EQ(NumElements(Shape{kBig, kBig}), int64_t{1} << 59);
  EXPECT_GT(T(DType::kF64, {kBig, kBig}).bytes(), 0);
  EXPECT_FALSE(Infer(Op::kTile, {T(F, {kBig})}, {{"repeats", std::vector<int64_t>{kBig}}}).ok());
  EXPECT_FALSE(Infer(Op::kConcat, {T(F, {INT64_MAX}), T(F, {INT64_MAX})}, {{"axis", int64_t{0}}}).ok());
  const TensorType q = T(F, {kBig, 4, kBig, 8});
  const std::vector<const TensorType*> in = {&q, &q, &q, nullptr};
  EXPECT_GT(WorkspaceBytes(Op::kAttention, in, {}, 0), 0);
  EXPECT_EQ(WorkspaceBytes(Op::kAttention, in, {}, 0) % 64, 0);
}

TEST(OpRegistry, CountsWork) {
  const TensorType x = T(F, {2, 3, 8}), w = T(F, {5, 8}), b = T(F, {5}), labels = T(I, {2, 3});
  const std::vector<const TensorType*> linear = {&x, &w, &b};
  EXPECT_EQ(Row(Op::kLinear).flops(linear, {}), 2.0 * 6 * 8 * 5 + 6 * 5);
  const std::vector<const TensorType*> two = {&x, &w};
  EXPECT_EQ(Row(Op::kLinear).flops(two, {}), 2.0 * 6 * 8 * 5);
  const TensorType q = T(F, {1, 2, 3, 4}), k = T(F, {1, 2, 7, 4});
  const std::vector<const TensorType*> attention = {&q, &k, &k};
  EXPECT_EQ(Row(Op::kAttention).flops(attention, {}), 2.0 * 3 * 7 * (2 * 8 + 5));
  const std::vector<const TensorType*> loss = {&x, &labels, &w};
  EXPECT_EQ(StateBytes(Op::kCausalLmLoss, loss, {}), (6 * 24 + 63) / 64 * 64);
  EXPECT_EQ(StateBytes(Op::kLinear, linear, {}), 0);
  EXPECT_LT(WorkspaceBytes(Op::kCausalLmLoss, loss, {}, 1),
            WorkspaceBytes(Op::kCausalLmLoss, loss, {}, 0) + 1);
  EXPECT_EQ(TileAxis(Op::kLinear, 1, {}), 0);
  EXPECT_EQ(TileAxis(Op::kLinear, 1, {{"trans_w", int64_t{0}}}), 1);
  EXPECT_EQ(TileAxis(Op::kLinear, 2, {{"trans_w", int64_t{0}}}), 0);
  EXPECT_EQ(TileAxis(Op::kCausalLmLoss, 2, {{"trans_w", int64_t{0}}}), 1);
}

}  // namespace
}  // namespace zo2
