// Expressions of several ops without a check after every step: after the first error every value is -1,
// nothing more is emitted, and Done() returns that error.
#ifndef ZO2_FRONTEND_LOWER_BUILD_H_
#define ZO2_FRONTEND_LOWER_BUILD_H_

#include <initializer_list>
#include <string>
#include <utility>
#include <vector>

#include "frontend/lower.h"

namespace zo2::internal {

using List = std::vector<int64_t>;

class Build {
 public:
  explicit Build(Lowering& l) : l_(l) {}

  // ---- operands and results of the node ----
  ValueId In(size_t i);
  // Operand `i`, or -1 where it is left out.
  ValueId Optional(size_t i) { return l_.Has(i) ? In(i) : -1; }
  // Whether output `i` is asked for.
  bool Wants(int i) const;
  Result<void> Done(std::vector<ValueId> results);
  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }
  template <typename... Args>
  void Fail(const Args&... args) {
    if (status_.ok()) status_ = Invalid(args...);
  }
  // Takes the value of a result, or its error.
  template <typename T>
  T Take(Result<T> result, T fallback = {}) {
    if (result.ok()) return std::move(*result);
    if (status_.ok()) status_ = result.status();
    return fallback;
  }

  // ---- asking; an empty shape and f32 after an error ----
  Shape shape(ValueId x) const { return x < 0 ? Shape() : l_.shape(x); }
  DType dtype(ValueId x) const { return x < 0 ? DType::kF32 : l_.type(x).dtype; }
  int64_t rank(ValueId x) const { return x < 0 ? 0 : static_cast<int64_t>(l_.shape(x).size()); }
  int64_t dim(ValueId x, int64_t axis) const {
    return axis < rank(x) ? l_.shape(x)[static_cast<size_t>(axis)] : 1;
  }
  // `axis` in [0, rank); negative counts from the end.
  int64_t Axis(int64_t axis, int64_t rank);
  // An axis list as an attribute (old opsets) or as operand `operand`; nullopt where there is neither.
  std::optional<List> Axes(const char* attribute, size_t operand, int64_t rank);

  // ---- ops ----
  ValueId operator()(Op op, std::vector<ValueId> inputs, Attrs attrs = {});
  // One number of a dtype.
  ValueId Number(DType dtype, double value);
  ValueId Constant(const HostTensor& tensor) { return ok() ? l_.Constant(tensor) : -1; }
  // Whether a constant of so many elements, a product, may be made while a node is lowered; fails where it may not. Shapes
  // are a few bytes of a file, so what is made from them alone has a limit: ImportOptions::max_fold_bytes.
  bool MayMake(std::initializer_list<int64_t> factors);
  // 0, 1, ..., n - 1 as i64.
  ValueId Iota(int64_t n);

  ValueId Add(ValueId a, ValueId b) { return (*this)(Op::kAdd, {a, b}); }
  ValueId Sub(ValueId a, ValueId b) { return (*this)(Op::kSub, {a, b}); }
  ValueId Mul(ValueId a, ValueId b) { return (*this)(Op::kMul, {a, b}); }
  ValueId Div(ValueId a, ValueId b) { return (*this)(Op::kDiv, {a, b}); }
  ValueId Max(ValueId a, ValueId b) { return (*this)(Op::kMax, {a, b}); }
  ValueId Min(ValueId a, ValueId b) { return (*this)(Op::kMin, {a, b}); }
  ValueId Less(ValueId a, ValueId b) { return (*this)(Op::kLess, {a, b}); }
  ValueId Equal(ValueId a, ValueId b) { return (*this)(Op::kEqual, {a, b}); }
  ValueId AddNumber(ValueId a, double b) { return b == 0 ? a : Add(a, Number(dtype(a), b)); }
  ValueId Scale(ValueId a, double b) { return b == 1 ? a : Mul(a, Number(dtype(a), b)); }
  ValueId Where(ValueId c, ValueId a, ValueId b) { return (*this)(Op::kWhere, {c, a, b}); }
  ValueId MatMul(ValueId a, ValueId b) { return (*this)(Op::kMatMul, {a, b}); }
  ValueId Unary(Op op, ValueId x) { return (*this)(op, {x}); }
  ValueId Cast(ValueId x, DType to) { return (*this)(Op::kCast, {x}, {{"to", static_cast<int64_t>(to)}}); }
  ValueId Reshape(ValueId x, Shape to) { return (*this)(Op::kReshape, {x}, {{"shape", std::move(to)}}); }
  ValueId Expand(ValueId x, Shape to) { return (*this)(Op::kExpand, {x}, {{"shape", std::move(to)}}); }
  ValueId Transpose(ValueId x, List perm) {
    return (*this)(Op::kTranspose, {x}, {{"perm", std::move(perm)}});
  }
  ValueId Concat(std::vector<ValueId> x, int64_t axis);
  // Elements [begin, end) of an axis, in steps; a step of -1 with begin = end - 1, end = -1 turns it round.
  ValueId Slice(ValueId x, int64_t axis, int64_t begin, int64_t end, int64_t step = 1);
  ValueId Flip(ValueId x, int64_t axis) { return Slice(x, axis, dim(x, axis) - 1, -1, -1); }
  // Element `i` of an axis, which goes away.
  ValueId Pick(ValueId x, int64_t axis, int64_t i);
  ValueId Gather(ValueId x, ValueId ids, int64_t axis) {
    return (*this)(Op::kGather, {x, ids}, {{"axis", axis}});
  }
  ValueId Gather(ValueId x, const List& ids, Shape ids_shape, int64_t axis);
  ValueId Reduce(Op op, ValueId x, List axes, bool keepdims = true);
  ValueId Mean(ValueId x, List axes) { return Reduce(Op::kReduceMean, x, std::move(axes)); }
  ValueId Pad(ValueId x, List pads, double value);

 private:
  Lowering& l_;
  Status status_;
};

// Narrow floats are computed as f32.
inline DType ComputeType(DType t) { return t == DType::kF16 || t == DType::kBF16 ? DType::kF32 : t; }

}  // namespace zo2::internal

#endif  // ZO2_FRONTEND_LOWER_BUILD_H_
