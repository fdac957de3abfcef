// Ops that make, move and reshape tensors; whatever only computes shapes folds away here.
#include <algorithm>
#include <array>
#include <cmath>
#include <type_traits>

#include "frontend/lower_build.h"
#include "frontend/onnx_file.h"

namespace zo2::internal {
namespace {

int64_t Rank(Lowering& l, ValueId x) { return static_cast<int64_t>(l.shape(x).size()); }

Result<int64_t> Normalize(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) return Invalid("axis ", axis, " is out of range for ", rank, " axes");
  return axis < 0 ? axis + rank : axis;
}

Result<void> ConstantNode(Lowering& l) {
  HostTensor tensor;
  if (const auto* a = l.Attribute("value")) {
    ZO2_ASSIGN(tensor, ReadProto(a->t()));
    if (IsFloat(tensor.type.dtype) && SizeOf(tensor.type.dtype) == 2) tensor = ToF32(tensor);
  } else if (const auto* f = l.Attribute("value_float")) {
    tensor = HostTensor::Of<float>(DType::kF32, {}, {f->f()});
  } else if (const auto* i = l.Attribute("value_int")) {
    tensor = HostTensor::Of<int64_t>(DType::kI64, {}, {i->i()});
  } else if (const auto* fs = l.Attribute("value_floats")) {
    tensor =
        HostTensor::Of<float>(DType::kF32, {fs->floats_size()}, {fs->floats().begin(), fs->floats().end()});
  } else if (const auto* is = l.Attribute("value_ints")) {
    tensor = HostTensor::Of<int64_t>(DType::kI64, {is->ints_size()}, {is->ints().begin(), is->ints().end()});
  } else {
    return Invalid("a constant that is neither a tensor nor numbers is not supported");
  }
  l.results = {l.Constant(tensor)};
  return {};
}

Result<void> ConstantOfShape(Lowering& l) {
  ZO2_ASSIGN(ValueId s, l.In(0));
  ZO2_ASSIGN(List shape, l.Ints(s, "shape"));
  ValueId value = l.Scalar(DType::kF32, 0);
  if (const auto* a = l.Attribute("value")) {
    ZO2_ASSIGN(HostTensor tensor, ReadProto(a->t()));
    if (tensor.type.elements() != 1)
      return Invalid("its value has ", tensor.type.elements(), " elements, not one");
    if (IsFloat(tensor.type.dtype) && SizeOf(tensor.type.dtype) == 2) tensor = ToF32(tensor);
    tensor.type.shape.clear();
    value = l.Constant(tensor);
  }
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kExpand, {value}, {{"shape", shape}}));
  l.results = {y};
  return {};
}

Result<void> ShapeOf(Lowering& l) {
  if (!l.Has(0)) return Invalid("operand 0 is missing");
  Shape shape = l.shape(l.operands[0].id);
  if (l.operands[0].transposed) std::swap(shape[0], shape[1]);
  const auto rank = static_cast<int64_t>(shape.size());
  auto clamp = [rank](int64_t v) { return std::clamp<int64_t>(v < 0 ? v + rank : v, 0, rank); };
  const int64_t start = clamp(l.Int("start", 0)), end = std::max(start, clamp(l.Int("end", rank)));
  l.results = {l.Int64s({shape.begin() + start, shape.begin() + end})};
  return {};
}

Result<void> SizeOfTensor(Lowering& l) {
  if (!l.Has(0)) return Invalid("operand 0 is missing");
  l.results = {l.Constant(HostTensor::Of<int64_t>(DType::kI64, {}, {l.type(l.operands[0].id).elements()}))};
  return {};
}

// start, start + delta, ... below (above, where delta is negative) limit.
template <typename T>
Result<ValueId> RangeOf(Lowering& l, const std::array<ValueId, 3>& operands) {
  T bounds[3];
  for (size_t i = 0; i < 3; ++i) bounds[i] = l.Tensor(operands[i]).as<T>()[0];
  if (bounds[2] == 0) return Invalid("a range with a delta of 0");
  double count;
  if constexpr (std::is_integral_v<T>) {
    __extension__ using Wide = __int128;
    const Wide span = Wide{bounds[1]} - bounds[0], delta = bounds[2];
    count = static_cast<double>(span / delta + (span % delta != 0 && (span < 0) == (delta < 0)));
  } else {
    count = std::ceil((double{bounds[1]} - double{bounds[0]}) / double{bounds[2]});
  }
  if (!(count <= static_cast<double>(l.max_fold_bytes() / 8)))
    return Invalid("a range of ", count, " elements is not supported");
  const auto n = static_cast<int64_t>(std::max(count, 0.0));
  using Sum = std::conditional_t<std::is_integral_v<T>, uint64_t, T>;  // steps may overflow on the way
  std::vector<T> values;
  for (int64_t i = 0; i < n; ++i)
    values.push_back(static_cast<T>(static_cast<Sum>(bounds[0]) + static_cast<Sum>(i) * static_cast<Sum>(bounds[2])));
  return l.Constant(HostTensor::Of<T>(l.type(operands[0]).dtype, {n}, values));
}

Result<void> Range(Lowering& l) {
  std::array<ValueId, 3> operands;
  for (size_t i = 0; i < 3; ++i) {
    ZO2_ASSIGN(operands[i], l.In(i));
    ZO2_TRY(l.Number(operands[i], "start, limit or delta"));
    if (l.type(operands[i]).dtype != l.type(operands[0]).dtype)
      return Invalid("its start, limit and delta are of different types");
  }
  ValueId y = -1;
  switch (l.type(operands[0]).dtype) {
    case DType::kF32: {
      ZO2_ASSIGN(y, RangeOf<float>(l, operands));
      break;
    }
    case DType::kF64: {
      ZO2_ASSIGN(y, RangeOf<double>(l, operands));
      break;
    }
    case DType::kI64: {
      ZO2_ASSIGN(y, RangeOf<int64_t>(l, operands));
      break;
    }
    case DType::kI32: {
      ZO2_ASSIGN(y, RangeOf<int32_t>(l, operands));
      break;
    }
    default:
      return Invalid("a range of ", Name(l.type(operands[0]).dtype), " is not supported");
  }
  l.results = {y};
  return {};
}

Result<void> Same(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  l.results = {x};
  return {};
}

// The identity where nothing is dropped; the mask then keeps everything.
Result<void> Dropout(Lowering& l) {
  Build b(l);
  const ValueId x = b.In(0);
  const double ratio = l.Has(1) ? b.Take(l.Number(b.In(1), "ratio")) : 0.5;
  const double training = l.Has(2) ? b.Take(l.Number(b.In(2), "training_mode")) : 0;
  if (b.ok() && training != 0 && ratio != 0)
    return Invalid("dropout in training mode is random; export the model in evaluation mode");
  std::vector<ValueId> results = {x};
  if (b.Wants(1)) results.push_back(b.Expand(b.Cast(b.Number(DType::kI64, 1), DType::kBool), b.shape(x)));
  return b.Done(std::move(results));
}

Result<void> CastTo(Lowering& l, DType to) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(ValueId y, l.Cast(x, ComputeType(to)));
  l.results = {y};
  return {};
}

Result<void> CastOp(Lowering& l) {
  auto to = FromOnnxType(static_cast<int>(l.Int("to", 0)));
  if (!to) return Invalid("a cast to ONNX element type ", l.Int("to", 0), " is not supported");
  return CastTo(l, *to);
}

Result<void> CastLike(Lowering& l) {
  if (!l.Has(1)) return Invalid("operand 1 is missing");
  return CastTo(l, l.type(l.operands[1].id).dtype);
}

Result<void> ReshapeOp(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(ValueId s, l.In(1));
  ZO2_ASSIGN(List shape, l.Ints(s, "shape"));
  const Shape& from = l.shape(x);
  const bool allow_zero = l.Int("allowzero", 0) != 0;
  int64_t known = 1, guess = -1;
  for (size_t i = 0; i < shape.size(); ++i) {
    if (shape[i] == 0 && !allow_zero) {
      if (i >= from.size()) return Invalid("its shape copies axis ", i, " of ", from.size());
      shape[i] = from[i];
    }
    if (shape[i] == -1) {
      if (guess >= 0) return Invalid("its shape has two dimensions of -1");
      guess = static_cast<int64_t>(i);
    } else if (shape[i] < 0 || __builtin_mul_overflow(known, shape[i], &known)) {
      return Invalid("its shape has an impossible dimension ", shape[i]);
    }
  }
  const int64_t elements = l.type(x).elements();
  if (guess >= 0) {
    if (known == 0 || elements % known != 0)
      return Invalid("its shape does not divide the ", elements, " elements of its operand");
    shape[static_cast<size_t>(guess)] = elements / known;
  }
  ZO2_ASSIGN(ValueId y, l.Reshape(x, shape));
  l.results = {y};
  return {};
}

Result<void> Flatten(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  const int64_t rank = Rank(l, x);
  int64_t axis = l.Int("axis", 1);
  if (axis < 0) axis += rank;
  if (axis < 0 || axis > rank) return Invalid("axis ", axis, " is out of range for ", rank, " axes");
  const Shape from = l.shape(x);
  const Shape shape = {NumElements({from.data(), static_cast<size_t>(axis)}),
                       NumElements({from.data() + axis, static_cast<size_t>(rank - axis)})};
  ZO2_ASSIGN(ValueId y, l.Reshape(x, shape));
  l.results = {y};
  return {};
}

Result<void> Squeeze(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  List axes;
  if (l.Has(1)) {
    ZO2_ASSIGN(ValueId a, l.In(1));
    ZO2_ASSIGN(axes, l.Ints(a, "axes"));
  }
  const Shape from = l.shape(x);
  std::vector<bool> drop(from.size(), false);
  if (axes.empty())
    for (size_t i = 0; i < from.size(); ++i) drop[i] = from[i] == 1;
  for (int64_t a : axes) {
    ZO2_ASSIGN(int64_t axis, Normalize(a, Rank(l, x)));
    if (from[static_cast<size_t>(axis)] != 1)
      return Invalid("axis ", axis, " has size ", from[static_cast<size_t>(axis)], ", not 1");
    drop[static_cast<size_t>(axis)] = true;
  }
  Shape shape;
  for (size_t i = 0; i < from.size(); ++i)
    if (!drop[i]) shape.push_back(from[i]);
  ZO2_ASSIGN(ValueId y, l.Reshape(x, shape));
  l.results = {y};
  return {};
}

Result<void> Unsqueeze(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(ValueId a, l.In(1));
  ZO2_ASSIGN(List axes, l.Ints(a, "axes"));
  const Shape from = l.shape(x);
  const size_t rank = from.size() + axes.size();
  std::vector<bool> added(rank, false);
  for (int64_t axis : axes) {
    ZO2_ASSIGN(int64_t at, Normalize(axis, static_cast<int64_t>(rank)));
    if (added[static_cast<size_t>(at)]) return Invalid("axis ", axis, " is given twice");
    added[static_cast<size_t>(at)] = true;
  }
  Shape shape;
  size_t next = 0;
  for (size_t i = 0; i < rank; ++i) shape.push_back(added[i] ? 1 : from[next++]);
  ZO2_ASSIGN(ValueId y, l.Reshape(x, shape));
  l.results = {y};
  return {};
}

Result<void> Expand(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(ValueId s, l.In(1));
  ZO2_ASSIGN(List shape, l.Ints(s, "shape"));
  const Shape& from = l.shape(x);
  if (shape.size() < from.size()) shape.insert(shape.begin(), from.size() - shape.size(), 1);
  const size_t skip = shape.size() - from.size();  // the broadcast goes both ways
  for (size_t i = 0; i < from.size(); ++i)
    if (shape[skip + i] == 1) shape[skip + i] = from[i];
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kExpand, {x}, {{"shape", shape}}));
  l.results = {y};
  return {};
}

Result<void> Transpose(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  List perm;
  if (auto list = l.IntList("perm"))
    perm = *list;
  else
    for (int64_t i = Rank(l, x); i-- > 0;) perm.push_back(i);
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kTranspose, {x}, {{"perm", perm}}));
  l.results = {y};
  return {};
}

Result<void> Concat(Lowering& l) {
  std::vector<ValueId> inputs;
  for (size_t i = 0; i < l.operands.size(); ++i) {
    ZO2_ASSIGN(ValueId x, l.In(i));
    inputs.push_back(x);
  }
  if (inputs.empty()) return Invalid("operand 0 is missing");
  ZO2_ASSIGN(int64_t axis, Normalize(l.Int("axis", 0), Rank(l, inputs[0])));
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kConcat, inputs, {{"axis", axis}}));
  l.results = {y};
  return {};
}

Result<void> Split(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(int64_t axis, Normalize(l.Int("axis", 0), Rank(l, x)));
  const int64_t size = l.shape(x)[static_cast<size_t>(axis)], parts = l.node->output_size();
  List sizes;
  if (l.Has(1)) {
    ZO2_ASSIGN(ValueId s, l.In(1));
    ZO2_ASSIGN(sizes, l.Ints(s, "split"));
  } else {  // equal parts, the last one smaller
    const int64_t part = parts == 0 ? 0 : (size + parts - 1) / parts;
    for (int64_t i = 0; i < parts; ++i)
      sizes.push_back(std::max<int64_t>(0, std::min(part, size - i * part)));
  }
  int64_t at = 0;
  if (static_cast<int64_t>(sizes.size()) != parts)
    return Invalid("it has ", parts, " outputs but ", sizes.size(), " sizes");
  for (int64_t s : sizes) {
    if (s < 0 || s > size - at) return Invalid("its parts are larger than the axis of ", size);
    ZO2_ASSIGN(ValueId y, l.Slice(x, axis, at, at + s));
    l.results.push_back(y);
    at += s;
  }
  return {};
}

Result<void> SliceOp(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  List parts[4];  // starts, ends, axes, steps
  const char* names[] = {"starts", "ends", "axes", "steps"};
  for (size_t i = 0; i < 4; ++i) {
    if (i >= 2 && !l.Has(i + 1)) continue;
    ZO2_ASSIGN(ValueId id, l.In(i + 1));
    ZO2_ASSIGN(parts[i], l.Ints(id, names[i]));
  }
  auto& [starts, ends, axes, steps] = parts;
  if (axes.empty())
    for (size_t i = 0; i < starts.size(); ++i) axes.push_back(static_cast<int64_t>(i));
  if (steps.empty()) steps.assign(starts.size(), 1);
  if (ends.size() != starts.size() || axes.size() != starts.size() || steps.size() != starts.size())
    return Invalid("starts, ends, axes and steps have different lengths");
  for (size_t i = 0; i < starts.size(); ++i) {
    ZO2_ASSIGN(axes[i], Normalize(axes[i], Rank(l, x)));
    const int64_t dim = l.shape(x)[static_cast<size_t>(axes[i])], step = steps[i];
    if (step == 0 || step == INT64_MIN) return Invalid("its step ", step, " is impossible");
    const int64_t low = step > 0 ? 0 : -1, high = step > 0 ? dim : dim - 1;
    int64_t start = starts[i] < 0 ? starts[i] + dim : starts[i];
    int64_t end = ends[i] < 0 && ends[i] >= INT64_MIN + dim ? ends[i] + dim : ends[i];
    start = std::clamp<int64_t>(start, 0, std::max<int64_t>(high, 0));
    end = std::clamp(end, low, std::max(high, low));
    starts[i] = start;
    ends[i] = step > 0 ? std::max(start, end) : std::min(start, end);
  }
  ZO2_ASSIGN(ValueId y,
             l.Emit(Op::kSlice, {x}, {{"starts", starts}, {"ends", ends}, {"axes", axes}, {"steps", steps}}));
  l.results = {y};
  return {};
}

// `repeats` per axis.
Result<void> Tile(Lowering& l) {
  ZO2_ASSIGN(ValueId x, l.In(0));
  ZO2_ASSIGN(ValueId r, l.In(1));
  ZO2_ASSIGN(List repeats, l.Ints(r, "repeats"));
  ZO2_ASSIGN(ValueId y, l.Emit(Op::kTile, {x}, {{"repeats", repeats}}));
  l.results = {y};
  return {};
}

}  // namespace

void AddShapes(LowerTable* table) {
  LowerTable& t = *table;
  t["Constant"] = ConstantNode;
  t["ConstantOfShape"] = ConstantOfShape;
  t["Shape"] = ShapeOf;
  t["Size"] = SizeOfTensor;
  t["Range"] = Range;
  t["Identity"] = Same;
  t["Dropout"] = Dropout;
  t["Cast"] = CastOp;
  t["CastLike"] = CastLike;
  t["Reshape"] = ReshapeOp;
  t["Flatten"] = Flatten;
  t["Squeeze"] = Squeeze;
  t["Unsqueeze"] = Unsqueeze;
  t["Expand"] = Expand;
  t["Transpose"] = Transpose;
  t["Concat"] = Concat;
  t["Split"] = Split;
  t["Slice"] = SliceOp;
  t["Tile"] = Tile;
}

}  // namespace zo2::internal
