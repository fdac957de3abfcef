#include "frontend/lower_build.h"

#include <algorithm>
#include <numeric>

namespace zo2::internal {

ValueId Build::In(size_t i) {
  if (!ok()) return -1;
  return Take(l_.In(i), ValueId{-1});
}

bool Build::Wants(int i) const { return i < l_.node->output_size() && !l_.node->output(i).empty(); }

Result<void> Build::Done(std::vector<ValueId> results) {
  if (!ok()) return status_;
  l_.results = std::move(results);
  return {};
}

int64_t Build::Axis(int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) {
    Fail("axis ", axis, " is out of range for ", rank, " axes");
    return 0;
  }
  return axis < 0 ? axis + rank : axis;
}

std::optional<List> Build::Axes(const char* attribute, size_t operand, int64_t rank) {
  std::optional<List> axes = l_.IntList(attribute);
  if (l_.Has(operand)) axes = Take(l_.Ints(In(operand), attribute));
  if (!ok() || !axes) return std::nullopt;
  for (int64_t& a : *axes) a = Axis(a, rank);
  return axes;
}

ValueId Build::operator()(Op op, std::vector<ValueId> inputs, Attrs attrs) {
  if (!ok()) return -1;
  return Take(l_.Emit(op, std::move(inputs), std::move(attrs)), ValueId{-1});
}

ValueId Build::Number(DType dtype, double value) {
  if (!ok()) return -1;
  if (dtype == DType::kF32 || dtype == DType::kF64 || dtype == DType::kI32 || dtype == DType::kI64)
    return l_.Scalar(dtype, value);
  return Cast(l_.Scalar(DType::kI64, value), dtype);
}

bool Build::MayMake(std::initializer_list<int64_t> factors) {
  constexpr double kBytes = 8;  // of an element, at most
  double elements = 1;
  for (const int64_t f : factors) elements *= static_cast<double>(std::max<int64_t>(0, f));
  if (elements * kBytes > static_cast<double>(l_.max_fold_bytes()))
    Fail("it needs a constant of ", elements, " elements, which is not supported");
  return ok();
}

ValueId Build::Iota(int64_t n) {
  if (!MayMake({n})) return -1;
  List values(static_cast<size_t>(n));
  std::iota(values.begin(), values.end(), 0);
  return l_.Int64s(values);
}

ValueId Build::Concat(std::vector<ValueId> x, int64_t axis) {
  return (*this)(Op::kConcat, std::move(x), {{"axis", axis}});
}

ValueId Build::Slice(ValueId x, int64_t axis, int64_t begin, int64_t end, int64_t step) {
  return (*this)(Op::kSlice, {x},
                 {{"starts", List{begin}}, {"ends", List{end}}, {"axes", List{axis}}, {"steps", List{step}}});
}

ValueId Build::Pick(ValueId x, int64_t axis, int64_t i) {
  x = Slice(x, axis, i, i + 1);
  Shape to = shape(x);
  if (axis < static_cast<int64_t>(to.size())) to.erase(to.begin() + axis);
  return Reshape(x, std::move(to));
}

ValueId Build::Gather(ValueId x, const List& ids, Shape ids_shape, int64_t axis) {
  if (!ok()) return -1;
  return Gather(x, l_.Constant(HostTensor::Of<int64_t>(DType::kI64, std::move(ids_shape), ids)), axis);
}

ValueId Build::Reduce(Op op, ValueId x, List axes, bool keepdims) {
  if (axes.empty() && rank(x) > 0) return x;  // the registry reads no axes as all of them
  return (*this)(op, {x}, {{"axes", std::move(axes)}, {"keepdims", int64_t{keepdims}}});
}

ValueId Build::Pad(ValueId x, List pads, double value) {
  return (*this)(Op::kPad, {x}, {{"pads", std::move(pads)}, {"value", value}});
}

}  // namespace zo2::internal
