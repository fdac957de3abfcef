// Shape rules of the generic ops.
#include <algorithm>
#include <sstream>

#include "ir/graph/op_infer.h"

namespace zo2::internal {
namespace {

InferResult One(TensorType type) { return std::vector<TensorType>{std::move(type)}; }

// attr `name` as an axis in [0, rank); negative counts from the end.
Result<int64_t> Axis(const Attrs& attrs, const std::string& name, int64_t fallback, int64_t rank) {
  int64_t axis = AttrInt(attrs, name, fallback);
  if (axis < -rank || axis >= rank) return Invalid(name, " ", axis, " is outside of ", rank, " axes");
  return axis < 0 ? axis + rank : axis;
}

}  // namespace

bool Broadcast(const Shape& a, const Shape& b, Shape* out) {
  size_t rank = std::max(a.size(), b.size());
  Shape result(rank);
  for (size_t i = 0; i < rank; ++i) {
    int64_t x = i < rank - a.size() ? 1 : a[i - (rank - a.size())];
    int64_t y = i < rank - b.size() ? 1 : b[i - (rank - b.size())];
    if (x != y && x != 1 && y != 1) return false;
    result[i] = x == 1 ? y : x;
  }
  *out = std::move(result);
  return true;
}

bool BroadcastsTo(const Shape& from, const Shape& to) {
  Shape both;
  return Broadcast(from, to, &both) && both == to;
}

std::string ToString(const TensorType& type) {
  std::ostringstream out;
  out << Name(type.dtype) << "[";
  for (size_t i = 0; i < type.shape.size(); ++i) out << (i ? "," : "") << type.shape[i];
  out << "]";
  return out.str();
}

InferResult InferMatMul(Types in, const Attrs&) {
  TensorType a = *in[0], b = *in[1];
  if (a.dtype != b.dtype || a.dtype == DType::kBool || a.shape.empty() || b.shape.empty()) {
    return Invalid("cannot multiply ", ToString(*in[0]), " by ", ToString(*in[1]));
  }
  bool row = a.shape.size() == 1, column = b.shape.size() == 1;
  if (row) a.shape.insert(a.shape.begin(), 1);
  if (column) b.shape.push_back(1);
  int64_t m = a.shape[a.shape.size() - 2], n = b.shape.back();
  Shape batch;
  if (a.shape.back() != b.shape[b.shape.size() - 2] ||
      !Broadcast(Shape(a.shape.begin(), a.shape.end() - 2), Shape(b.shape.begin(), b.shape.end() - 2),
                 &batch)) {
    return Invalid("cannot multiply ", ToString(*in[0]), " by ", ToString(*in[1]));
  }
  if (!row) batch.push_back(m);
  if (!column) batch.push_back(n);
  return One({a.dtype, std::move(batch)});
}

static InferResult Binary(Types in, DType out) {
  if (in[0]->dtype != in[1]->dtype) {
    return Invalid("operands must have one dtype, not ", ToString(*in[0]), " and ", ToString(*in[1]));
  }
  TensorType y{out, {}};
  if (!Broadcast(in[0]->shape, in[1]->shape, &y.shape)) {
    return Invalid(ToString(*in[0]), " and ", ToString(*in[1]), " do not broadcast");
  }
  return One(std::move(y));
}

InferResult InferArithmetic(Types in, const Attrs&) {
  if (in[0]->dtype == DType::kBool) return Invalid("operands must be numbers, not bool");
  return Binary(in, in[0]->dtype);
}

InferResult InferLogic(Types in, const Attrs&) {
  if (IsFloat(in[0]->dtype)) return Invalid("operands must be bool or integer, not ", ToString(*in[0]));
  return Binary(in, in[0]->dtype);
}

InferResult InferCompare(Types in, const Attrs&) { return Binary(in, DType::kBool); }

InferResult InferUnary(Types in, const Attrs&) {
  if (in[0]->dtype == DType::kBool) return Invalid("operand must be a number, not bool");
  return One(*in[0]);
}

InferResult InferFloatUnary(Types in, const Attrs&) {
  if (!IsFloat(in[0]->dtype)) return Invalid("operand must be floating point, not ", ToString(*in[0]));
  return One(*in[0]);
}

InferResult InferNot(Types in, const Attrs&) {
  if (in[0]->dtype != DType::kBool) return Invalid("operand must be bool, not ", ToString(*in[0]));
  return One(*in[0]);
}

InferResult InferIsNan(Types in, const Attrs&) {
  if (!IsFloat(in[0]->dtype)) return Invalid("operand must be floating point, not ", ToString(*in[0]));
  return One({DType::kBool, in[0]->shape});
}

InferResult InferWhere(Types in, const Attrs&) {
  if (in[0]->dtype != DType::kBool) return Invalid("condition must be bool, not ", ToString(*in[0]));
  if (in[1]->dtype != in[2]->dtype) {
    return Invalid("choices must have one dtype, not ", ToString(*in[1]), " and ", ToString(*in[2]));
  }
  TensorType y{in[1]->dtype, {}};
  if (!Broadcast(in[1]->shape, in[2]->shape, &y.shape) ||
      !Broadcast(in[0]->shape, Shape(y.shape), &y.shape)) {
    return Invalid(ToString(*in[0]), ", ", ToString(*in[1]), " and ", ToString(*in[2]), " do not broadcast");
  }
  return One(std::move(y));
}

InferResult InferCast(Types in, const Attrs& attrs) {
  int64_t to = AttrInt(attrs, "to", -1);
  if (to < 0 || to > static_cast<int64_t>(DType::kBool)) return Invalid("to=", to, " is not a dtype");
  return One({static_cast<DType>(to), in[0]->shape});
}

InferResult InferSoftmax(Types in, const Attrs& attrs) {
  if (!IsFloat(in[0]->dtype)) return Invalid("operand must be floating point, not ", ToString(*in[0]));
  ZO2_TRY(Axis(attrs, "axis", -1, static_cast<int64_t>(in[0]->shape.size())));
  return One(*in[0]);
}

// Absent or empty axes: all of them.
InferResult InferReduce(Types in, const Attrs& attrs) {
  if (in[0]->dtype == DType::kBool) return Invalid("operand must be a number, not bool");
  const auto rank = static_cast<int64_t>(in[0]->shape.size());
  std::vector<int64_t> axes = AttrInts(attrs, "axes");
  std::vector<bool> reduced(in[0]->shape.size(), axes.empty());
  for (int64_t axis : axes) {
    if (axis < -rank || axis >= rank) return Invalid("axis ", axis, " is outside of ", rank, " axes");
    auto i = static_cast<size_t>(axis < 0 ? axis + rank : axis);
    if (reduced[i]) return Invalid("axis ", axis, " is given twice");
    reduced[i] = true;
  }
  bool keep = AttrInt(attrs, "keepdims", 1) != 0;
  TensorType y{in[0]->dtype, {}};
  for (size_t i = 0; i < reduced.size(); ++i) {
    if (!reduced[i]) {
      y.shape.push_back(in[0]->shape[i]);
    } else if (keep) {
      y.shape.push_back(1);
    }
  }
  return One(std::move(y));
}

InferResult InferArgMax(Types in, const Attrs& attrs) {
  if (in[0]->dtype == DType::kBool) return Invalid("operand must be a number, not bool");
  ZO2_ASSIGN(int64_t axis, Axis(attrs, "axis", 0, static_cast<int64_t>(in[0]->shape.size())));
  TensorType y{DType::kI64, in[0]->shape};
  if (y.shape[static_cast<size_t>(axis)] == 0) return Invalid("cannot take the largest of no elements");
  if (AttrInt(attrs, "keepdims", 1) != 0) {
    y.shape[static_cast<size_t>(axis)] = 1;
  } else {
    y.shape.erase(y.shape.begin() + axis);
  }
  return One(std::move(y));
}

InferResult InferCumSum(Types in, const Attrs& attrs) {
  if (in[0]->dtype == DType::kBool) return Invalid("operand must be a number, not bool");
  ZO2_TRY(Axis(attrs, "axis", 0, static_cast<int64_t>(in[0]->shape.size())));
  return One(*in[0]);
}

InferResult InferReshape(Types in, const Attrs& attrs) {
  TensorType y{in[0]->dtype, AttrInts(attrs, "shape")};
  for (int64_t d : y.shape) {
    if (d < 0) return Invalid("shape has a negative dimension ", d);
  }
  if (y.elements() != in[0]->elements())
    return Invalid("cannot reshape ", ToString(*in[0]), " to ", ToString(y));
  return One(std::move(y));
}

InferResult InferTranspose(Types in, const Attrs& attrs) {
  std::vector<int64_t> perm = AttrInts(attrs, "perm");
  const size_t rank = in[0]->shape.size();
  TensorType y{in[0]->dtype, Shape(rank)};
  std::vector<bool> seen(rank, false);
  bool good = perm.size() == rank;
  for (size_t i = 0; good && i < rank; ++i) {
    good = perm[i] >= 0 && perm[i] < static_cast<int64_t>(rank) && !seen[static_cast<size_t>(perm[i])];
    if (!good) break;
    seen[static_cast<size_t>(perm[i])] = true;
    y.shape[i] = in[0]->shape[static_cast<size_t>(perm[i])];
  }
  if (!good) return Invalid("perm is not a permutation of the ", rank, " axes of ", ToString(*in[0]));
  return One(std::move(y));
}

// Normalised: 0 <= start <= dim and start <= end <= dim for steps > 0; -1 <= end <= start < dim for steps <
// 0.
InferResult InferSlice(Types in, const Attrs& attrs) {
  auto starts = AttrInts(attrs, "starts"), ends = AttrInts(attrs, "ends"), axes = AttrInts(attrs, "axes"),
       steps = AttrInts(attrs, "steps");
  if (steps.empty()) steps.assign(starts.size(), 1);
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size()) {
    return Invalid("starts, ends, axes and steps must have one length");
  }
  TensorType y = *in[0];
  std::vector<bool> seen(y.shape.size(), false);
  for (size_t i = 0; i < starts.size(); ++i) {
    if (axes[i] < 0 || axes[i] >= static_cast<int64_t>(y.shape.size()) ||
        seen[static_cast<size_t>(axes[i])]) {
      return Invalid("axis ", axes[i], " is out of range or given twice");
    }
    auto axis = static_cast<size_t>(axes[i]);
    seen[axis] = true;
    int64_t dim = y.shape[axis], start = starts[i], end = ends[i], step = steps[i];
    bool good = step > 0 ? 0 <= start && start <= end && end <= dim
                         : step < 0 && -1 <= end && end <= start && start < std::max<int64_t>(dim, 1);
    if (step == INT64_MIN || !good) {
      return Invalid("slice ", start, ":", end, ":", step, " is not normalised for axis ", axes[i], " of ",
                     ToString(*in[0]));
    }
    int64_t span = step > 0 ? end - start : start - end, stride = step > 0 ? step : -step;
    y.shape[axis] = dim == 0 ? 0 : span / stride + (span % stride != 0);
  }
  return One(std::move(y));
}

InferResult InferConcat(Types in, const Attrs& attrs) {
  ZO2_ASSIGN(int64_t axis, Axis(attrs, "axis", 0, static_cast<int64_t>(in[0]->shape.size())));
  TensorType y = *in[0];
  for (size_t i = 1; i < in.size(); ++i) {
    Shape other = in[i]->shape;
    if (in[i]->dtype != y.dtype || other.size() != y.shape.size()) {
      return Invalid("cannot join ", ToString(*in[i]), " to ", ToString(*in[0]));
    }
    int64_t length = other[static_cast<size_t>(axis)];
    other[static_cast<size_t>(axis)] = y.shape[static_cast<size_t>(axis)];
    int64_t& total = y.shape[static_cast<size_t>(axis)];
    if (other != y.shape || __builtin_add_overflow(total, length, &total)) {
      return Invalid("cannot join ", ToString(*in[i]), " to ", ToString(*in[0]), " along axis ", axis);
    }
  }
  return One(std::move(y));
}

InferResult InferGather(Types in, const Attrs& attrs) {
  if (in[1]->dtype != DType::kI64) return Invalid("ids must be i64, not ", ToString(*in[1]));
  ZO2_ASSIGN(int64_t axis, Axis(attrs, "axis", 0, static_cast<int64_t>(in[0]->shape.size())));
  const Shape &x = in[0]->shape, &ids = in[1]->shape;
  TensorType y{in[0]->dtype, Shape(x.begin(), x.begin() + axis)};
  y.shape.insert(y.shape.end(), ids.begin(), ids.end());
  y.shape.insert(y.shape.end(), x.begin() + axis + 1, x.end());
  return One(std::move(y));
}

InferResult InferGatherNd(Types in, const Attrs& attrs) {
  const Shape &x = in[0]->shape, &ids = in[1]->shape;
  int64_t batch = AttrInt(attrs, "batch_dims", 0);
  bool good = in[1]->dtype == DType::kI64 && batch >= 0 && !ids.empty() &&
              batch < static_cast<int64_t>(std::min(x.size(), ids.size()));
  good = good && ids.back() >= 0 && ids.back() <= static_cast<int64_t>(x.size()) - batch &&
         std::equal(x.begin(), x.begin() + batch, ids.begin());
  if (!good) return Invalid("cannot gather from ", ToString(*in[0]), " by ids ", ToString(*in[1]));
  TensorType y{in[0]->dtype, Shape(ids.begin(), ids.end() - 1)};
  y.shape.insert(y.shape.end(), x.begin() + batch + ids.back(), x.end());
  return One(std::move(y));
}

InferResult InferGatherElements(Types in, const Attrs& attrs) {
  const Shape &x = in[0]->shape, &ids = in[1]->shape;
  if (in[1]->dtype != DType::kI64) return Invalid("ids must be i64, not ", ToString(*in[1]));
  ZO2_ASSIGN(int64_t axis, Axis(attrs, "axis", 0, static_cast<int64_t>(x.size())));
  bool good = ids.size() == x.size();
  for (size_t i = 0; good && i < x.size(); ++i) good = static_cast<int64_t>(i) == axis || ids[i] <= x[i];
  if (!good) return Invalid("cannot gather from ", ToString(*in[0]), " by ids ", ToString(*in[1]));
  return One({in[0]->dtype, ids});
}

InferResult InferExpand(Types in, const Attrs& attrs) {
  TensorType y{in[0]->dtype, AttrInts(attrs, "shape")};
  for (int64_t d : y.shape) {
    if (d < 0) return Invalid("shape has a negative dimension ", d);
  }
  if (!BroadcastsTo(in[0]->shape, y.shape))
    return Invalid("cannot expand ", ToString(*in[0]), " to ", ToString(y));
  return One(std::move(y));
}

InferResult InferPad(Types in, const Attrs& attrs) {
  auto pads = AttrInts(attrs, "pads");
  TensorType y = *in[0];
  const size_t rank = y.shape.size();
  if (pads.size() != 2 * rank) return Invalid("pads must have two numbers per axis of ", ToString(y));
  for (size_t i = 0; i < rank; ++i) {
    int64_t& d = y.shape[i];
    if (__builtin_add_overflow(d, pads[i], &d) || __builtin_add_overflow(d, pads[i + rank], &d) || d < 0) {
      return Invalid("pads of axis ", i, " do not fit ", ToString(*in[0]));
    }
  }
  return One(std::move(y));
}

InferResult InferTile(Types in, const Attrs& attrs) {
  auto repeats = AttrInts(attrs, "repeats");
  TensorType y = *in[0];
  if (repeats.size() != y.shape.size())
    return Invalid("repeats must have one number per axis of ", ToString(y));
  for (size_t i = 0; i < repeats.size(); ++i) {
    if (repeats[i] < 0 || __builtin_mul_overflow(y.shape[i], repeats[i], &y.shape[i])) {
      return Invalid("repeat ", repeats[i], " of axis ", i, " does not fit ", ToString(*in[0]));
    }
  }
  return One(std::move(y));
}

InferResult InferTrilu(Types in, const Attrs&) {
  if (in[0]->shape.size() < 2) return Invalid("operand must have two axes or more, not ", ToString(*in[0]));
  return One(*in[0]);
}

}  // namespace zo2::internal
