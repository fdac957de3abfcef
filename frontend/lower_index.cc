// Ops that pick, place or rearrange elements by index.
#include <algorithm>

#include "frontend/lower_build.h"
#include "frontend/onnx_file.h"

namespace zo2::internal {
namespace {

// Ids that are known already (positions of the bound sequence) must be within the axis.
Result<void> CheckIds(const Lowering& l, ValueId ids, int64_t axis_size) {
  if (!l.IsConstant(ids)) return {};
  ZO2_ASSIGN(List known, l.Ints(ids, "ids"));
  for (int64_t id : known)
    if (id < -axis_size || id >= axis_size)
      return Invalid("it takes index ", id, " of an axis of ", axis_size,
                     "; are the dimensions bound to more than the model has positions for?");
  return {};
}

template <Op op>
Result<void> Gather(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0), ids = b.Cast(b.In(1), DType::kI64);
  if (op == Op::kGatherNd) return b.Done({b(op, {x, ids}, {{"batch_dims", l.Int("batch_dims", 0)}})});
  const int64_t axis = b.Axis(l.Int("axis", 0), b.rank(x));
  if (!b.ok()) return b.status();
  ZO2_TRY(CheckIds(l, ids, b.dim(x, axis)));
  return b.Done({b(op, {x, ids}, {{"axis", axis}})});
}

// The ids of an axis of n elements with `before` and `after` more around it, by pad mode.
List PaddedIds(Build& b, const std::string& mode, int64_t n, int64_t before, int64_t after) {
  List ids;
  for (int64_t i = -before; b.MayMake({n + before + after}) && i < n + after; ++i) {
    int64_t id = i;
    if (mode == "edge") {
      id = std::clamp<int64_t>(i, 0, n - 1);
    } else if (mode == "wrap") {
      id = (i % n + n) % n;
    } else {  // reflect: the border stands once
      const int64_t period = std::max<int64_t>(1, 2 * (n - 1)), at = (i % period + period) % period;
      id = at < n ? at : period - at;
    }
    ids.push_back(id);
  }
  return ids;
}

Result<void> Pad(Lowering& l) {
  Build b(l);
  const std::string mode = l.String("mode", "constant");
  if (mode != "constant" && mode != "edge" && mode != "reflect" && mode != "wrap")
    return Invalid("pad mode ", mode, " is not supported");
  ValueId x = b.In(0);
  const List given = b.Take(l.Ints(b.In(1), "pads"));
  const double value = l.Has(2) ? b.Take(l.Number(b.In(2), "value")) : 0;
  List axes;
  if (l.Has(3)) {
    axes = b.Take(l.Ints(b.In(3), "axes"));
  } else {
    for (int64_t i = 0; i < b.rank(x); ++i) axes.push_back(i);
  }
  if (b.ok() && given.size() != 2 * axes.size())
    return Invalid("it has ", given.size(), " pads for ", axes.size(), " axes");
  const auto rank = static_cast<size_t>(b.rank(x));
  List pads(2 * rank, 0);
  for (size_t i = 0; b.ok() && i < axes.size(); ++i) {
    const int64_t axis = b.Axis(axes[i], b.rank(x));
    if (!b.ok()) break;
    pads[static_cast<size_t>(axis)] = given[i];
    pads[static_cast<size_t>(axis) + rank] = given[axes.size() + i];
  }
  if (mode == "constant") return b.Done({b.Pad(x, pads, value)});
  for (size_t i = 0; b.ok() && i < rank; ++i) {
    if (pads[i] == 0 && pads[i + rank] == 0) continue;
    const int64_t n = b.dim(x, static_cast<int64_t>(i)), most = l.max_fold_bytes() / 8;
    if (n == 0 || pads[i] > most || pads[i + rank] > most || pads[i] < -n || pads[i + rank] < -n)
      return Invalid("pads of ", pads[i], " and ", pads[i + rank], " around an axis of ", n,
                     " are not supported");
    const List ids = PaddedIds(b, mode, n, pads[i], pads[i + rank]);
    x = b.Gather(x, ids, {static_cast<int64_t>(ids.size())}, static_cast<int64_t>(i));
  }
  return b.Done({x});
}

Result<void> Trilu(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const List k = l.Has(1) ? b.Take(l.Ints(b.In(1), "k")) : List{0};
  if (b.ok() && k.size() != 1) return Invalid("its k is not one number");
  if (!b.ok()) return b.status();
  return b.Done({b(Op::kTrilu, {x}, {{"upper", l.Int("upper", 1)}, {"k", k[0]}})});
}

// values[1] where an axis of `depth` counts to the index, values[0] elsewhere; indices may be negative.
Result<void> OneHot(Lowering& l) {
  Build b(l);
  const ValueId ids = b.Cast(b.In(0), DType::kI64), values = b.In(2);
  const auto depth = static_cast<int64_t>(b.Take(l.Number(b.In(1), "depth")));
  if (b.ok() && b.shape(values) != Shape{2}) return Invalid("its values are not two numbers");
  const int64_t rank = b.rank(ids) + 1, axis = b.Axis(l.Int("axis", -1), rank);
  if (!b.ok()) return b.status();
  Shape with = b.shape(ids), along(static_cast<size_t>(rank), 1);
  with.insert(with.begin() + axis, 1);
  along[static_cast<size_t>(axis)] = depth;
  const ValueId negative = b.Less(ids, b.Number(DType::kI64, 0));
  const ValueId wrapped = b.Where(negative, b.AddNumber(ids, static_cast<double>(depth)), ids);
  const ValueId hot = b.Equal(b.Reshape(wrapped, with), b.Reshape(b.Iota(depth), along));
  return b.Done({b.Where(hot, b.Pick(values, 0, 1), b.Pick(values, 0, 0))});
}

Result<void> EyeLike(Lowering& l) {
  Build b(l);
  if (!l.Has(0)) return Invalid("operand 0 is missing");
  const ValueId like = l.operands[0].id;
  std::optional<DType> dtype = b.dtype(like);
  if (l.Attribute("dtype") != nullptr) dtype = FromOnnxType(static_cast<int>(l.Int("dtype", 0)));
  if (!dtype) return Invalid("ONNX element type ", l.Int("dtype", 0), " is not supported");
  if (b.rank(like) != 2) return Invalid("its operand has ", b.rank(like), " axes, not two");
  const ValueId row =
      b.Reshape(b.AddNumber(b.Iota(b.dim(like, 0)), static_cast<double>(l.Int("k", 0))), {b.dim(like, 0), 1});
  return b.Done({b.Cast(b.Equal(row, b.Iota(b.dim(like, 1))), ComputeType(*dtype))});
}

// Blocks of channels to blocks of pixels, and back.
template <bool to_space>
Result<void> Blocks(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const Shape s = b.shape(x);
  const int64_t n = l.Int("blocksize", 0);
  if (!b.ok()) return b.status();
  if (s.size() != 4 || n <= 0 || n > 1 << 15 ||
      (to_space ? s[1] % (n * n) != 0 : s[2] % n != 0 || s[3] % n != 0))
    return Invalid("blocks of ", n, " do not divide its operand");
  if (!to_space)
    return b.Done(
        {b.Reshape(b.Transpose(b.Reshape(x, {s[0], s[1], s[2] / n, n, s[3] / n, n}), {0, 3, 5, 1, 2, 4}),
                   {s[0], s[1] * n * n, s[2] / n, s[3] / n})});
  const int64_t c = s[1] / (n * n);
  const ValueId y = l.String("mode", "DCR") == "CRD"
                        ? b.Transpose(b.Reshape(x, {s[0], c, n, n, s[2], s[3]}), {0, 1, 4, 2, 5, 3})
                        : b.Transpose(b.Reshape(x, {s[0], n, n, c, s[2], s[3]}), {0, 3, 4, 1, 5, 2});
  return b.Done({b.Reshape(y, {s[0], c, s[2] * n, s[3] * n})});
}

// Cut or filled up with zeros on both sides to the sizes given.
Result<void> CenterCropPad(Lowering& l) {
  Build b(l);
  ValueId x = b.In(0);
  const List to = b.Take(l.Ints(b.In(1), "shape"));
  List axes;
  if (auto list = l.IntList("axes")) axes = *list;
  for (int64_t i = 0; !l.IntList("axes") && i < b.rank(x); ++i) axes.push_back(i);
  if (b.ok() && axes.size() != to.size())
    return Invalid("it has ", to.size(), " sizes for ", axes.size(), " axes");
  List pads(static_cast<size_t>(2 * b.rank(x)), 0);
  for (size_t i = 0; b.ok() && i < axes.size(); ++i) {
    const int64_t axis = b.Axis(axes[i], b.rank(x)), n = b.dim(x, axis);
    if (to[i] < 0 || to[i] > int64_t{1} << 40) b.Fail("it asks for a size of ", to[i]);
    if (!b.ok()) break;
    if (to[i] <= n) {
      x = b.Slice(x, axis, (n - to[i]) / 2, (n - to[i]) / 2 + to[i]);
    } else {
      pads[static_cast<size_t>(axis)] = (to[i] - n) / 2;
      pads[static_cast<size_t>(axis + b.rank(x))] = to[i] - n - (to[i] - n) / 2;
    }
  }
  return b.Done({b.Pad(x, pads, 0)});
}

// The first `lengths` positions of each example in reverse order.
Result<void> ReverseSequence(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0), lengths = b.Cast(b.In(1), DType::kI64);
  const int64_t rank = b.rank(x), batch = b.Axis(l.Int("batch_axis", 1), rank),
                time = b.Axis(l.Int("time_axis", 0), rank);
  if (!b.ok()) return b.status();
  Shape by_batch(static_cast<size_t>(rank), 1), by_time = by_batch;
  by_batch[static_cast<size_t>(batch)] = b.dim(x, batch);
  by_time[static_cast<size_t>(time)] = b.dim(x, time);
  const ValueId length = b.Reshape(lengths, by_batch), t = b.Reshape(b.Iota(b.dim(x, time)), by_time);
  const ValueId ids = b.Where(b.Less(t, length), b.Sub(b.AddNumber(length, -1), t), t);
  return b.Done({b(Op::kGatherElements, {x, b.Expand(ids, b.shape(x))}, {{"axis", time}})});
}

// The k largest (or smallest) along an axis, in their order, equal ones by position. Every element is
// compared with every other: its rank is the number of those before it.
Result<void> TopK(Lowering& l) {
  constexpr int64_t kLongest = 1024;
  Build b(l);
  ValueId x = b.In(0);
  const List count = b.Take(l.Ints(b.In(1), "k"));
  const int64_t rank = b.rank(x), axis = b.Axis(l.Int("axis", -1), rank), n = b.dim(x, axis);
  if (b.ok() && (count.size() != 1 || count[0] < 0 || count[0] > n))
    return Invalid("its k is not within its axis of ", n);
  if (n > kLongest)
    return Invalid("the largest of an axis of ", n, " are not supported: more than ", kLongest);
  if (!b.ok()) return b.status();
  const int64_t k = count[0];
  List perm;  // the axis goes last, and back
  for (int64_t i = 0; i < rank; ++i)
    if (i != axis) perm.push_back(i);
  perm.push_back(axis);
  List back(static_cast<size_t>(rank));
  for (size_t i = 0; i < perm.size(); ++i) back[static_cast<size_t>(perm[i])] = static_cast<int64_t>(i);
  x = b.Transpose(x, perm);
  Shape self = b.shape(x), other = self;
  if (!b.ok()) return b.status();
  self.push_back(1);
  other.insert(other.end() - 1, 1);
  const ValueId mine = b.Reshape(x, self), others = b.Reshape(x, other);
  const ValueId i = b.Reshape(b.Iota(n), {n, 1}), j = b.Iota(n);
  const ValueId ahead = b(l.Int("largest", 1) != 0 ? Op::kGreater : Op::kLess, {others, mine});
  const ValueId tied = b(Op::kAnd, {b.Equal(others, mine), b.Less(j, i)});
  const ValueId place =
      b.Reduce(Op::kReduceSum, b.Cast(b(Op::kOr, {ahead, tied}), DType::kI64), {rank});  // [..., n, 1]
  const ValueId taken = b.Cast(b.Equal(place, b.Iota(k)), DType::kI32);                  // [..., n, k]
  const ValueId ids = b(Op::kArgMax, {taken}, {{"axis", rank - 1}, {"keepdims", int64_t{0}}});
  const ValueId values = b(Op::kGatherElements, {x, ids}, {{"axis", rank - 1}});
  return b.Done({b.Transpose(values, back), b.Transpose(ids, back)});
}

// The slices along an axis (or elements) that a known condition keeps.
Result<void> Compress(Lowering& l) {
  Build b(l);
  ValueId x = b.In(0);
  const ValueId condition = b.In(1);
  if (!b.ok()) return b.status();
  if (!l.IsConstant(condition) || b.dtype(condition) != DType::kBool)
    return Invalid("its condition depends on the values of the inputs, and with it its shape");
  const bool flat = l.Attribute("axis") == nullptr;
  if (flat) x = b.Reshape(x, {l.type(x).elements()});
  const int64_t axis = flat ? 0 : b.Axis(l.Int("axis", 0), b.rank(x));
  const HostTensor mask = l.Tensor(condition);
  List ids;
  for (int64_t i = 0; i < mask.type.elements(); ++i)
    if (mask.as<uint8_t>()[i] != 0) ids.push_back(i);
  if (b.ok() && mask.type.elements() > b.dim(x, axis))
    return Invalid("its condition is longer than its axis");
  return b.Done({b.Gather(x, ids, {static_cast<int64_t>(ids.size())}, axis)});
}

}  // namespace

void AddIndexing(LowerTable* table) {
  LowerTable& t = *table;
  t["CenterCropPad"] = CenterCropPad;
  t["Compress"] = Compress;
  t["DepthToSpace"] = Blocks<true>;
  t["EyeLike"] = EyeLike;
  t["Gather"] = Gather<Op::kGather>;
  t["GatherElements"] = Gather<Op::kGatherElements>;
  t["GatherND"] = Gather<Op::kGatherNd>;
  t["OneHot"] = OneHot;
  t["Pad"] = Pad;
  t["ReverseSequence"] = ReverseSequence;
  t["SpaceToDepth"] = Blocks<false>;
  t["TopK"] = TopK;
  t["Trilu"] = Trilu;
}

}  // namespace zo2::internal
