#include "frontend/attention_mask.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace zo2 {
namespace {

ValueId ThroughExpand(const Rewriter& rw, ValueId id) {
  while (const Node* expand = rw.Producer(id, Op::kExpand)) id = rw.Input(*expand, 0);
  return id;
}

// A constant whose last two axes are [queries, keys] and for which attends(number) says j <= i, in every
// leading index.
template <typename Attends>
bool IsTriangle(const Rewriter& rw, ValueId id, const Shape& scores, Attends attends) {
  const Shape& shape = rw.shape(id);
  const int64_t queries = scores[2], keys = scores[3];
  if (shape.size() < 2 || shape[shape.size() - 2] != queries || shape.back() != keys) return false;
  auto numbers = rw.Numbers(id);
  if (!numbers || numbers->empty()) return false;
  for (size_t i = 0; i < numbers->size(); ++i) {
    auto p = static_cast<int64_t>(i) % (queries * keys);
    if (attends((*numbers)[i]) != (p % keys <= p / keys ? 1 : 0)) return false;
  }
  return true;
}

// 1 = attends, 0 = excluded, 2 = neither.
int AddedMeaning(double x, DType dtype) { return x == 0 ? 1 : Excludes(x, dtype) ? 0 : 2; }

class Combiner {
 public:
  Combiner(Rewriter& rw, NodeId n, const Shape& scores, DType dtype)
      : rw_(rw), n_(n), scores_(scores), dtype_(dtype) {}

  void Added(ValueId id) {
    id = ThroughExpand(rw_, id);
    if (auto c = rw_.Scalar(id); c && *c == 0) return;
    if (rw_.IsConstant(id)) {
      auto meaning = [&](double x) { return AddedMeaning(x, dtype_); };
      if (IsTriangle(rw_, id, scores_, meaning)) {
        AddTriangle(id, HasInfinity(id));
      } else {
        added_.push_back(id);
        infinite_ = infinite_ || HasInfinity(id);
      }
      return;
    }
    if (const Node* sum = rw_.Producer(id, Op::kAdd)) {
      Added(rw_.Input(*sum, 0));
      Added(rw_.Input(*sum, 1));
      return;
    }
    const Node* where = rw_.Producer(id, Op::kWhere);
    auto yes = where == nullptr ? std::nullopt : rw_.Scalar(rw_.Input(*where, 1));
    auto no = where == nullptr ? std::nullopt : rw_.Scalar(rw_.Input(*where, 2));
    if (!yes || !no) {
      added_.push_back(id);
      infinite_ = true;  // not known
      return;
    }
    // where(c, 0, -inf) keeps c; where(c, -inf, 0) keeps not c.
    ValueId condition = ThroughExpand(rw_, rw_.Input(*where, 0));
    if (*yes == 0 && std::isinf(*no) && *no < 0) return Kept(condition);
    if (*no == 0 && std::isinf(*yes) && *yes < 0) return Kept(rw_.Emit(n_, Op::kNot, {condition}));
    if (*yes == 0 && Excludes(*no, dtype_) && IsKeptTriangle(condition)) return AddTriangle(id, false);
    if (condition != rw_.Input(*where, 0)) {
      ValueId smaller = rw_.Emit(n_, Op::kWhere, {condition, rw_.Input(*where, 1), rw_.Input(*where, 2)});
      if (smaller >= 0) id = smaller;
    }
    infinite_ = infinite_ || std::isinf(*yes) || std::isinf(*no);
    added_.push_back(id);
  }

  void Kept(ValueId id) {
    id = ThroughExpand(rw_, id);
    if (const Node* both = rw_.Producer(id, Op::kAnd)) {
      Kept(rw_.Input(*both, 0));
      Kept(rw_.Input(*both, 1));
    } else if (rw_.Scalar(id) == 1.0) {
      return;
    } else if (IsKeptTriangle(id)) {
      causal_ = true;
    } else {
      kept_.push_back(id);
    }
  }

  Mask Finish() {
    Mask mask;
    if (finite_triangle_ >= 0) {
      if (added_.empty() && kept_.empty()) {
        causal_ = true;
      } else {
        added_.push_back(finite_triangle_);
      }
    }
    for (ValueId kept : kept_) {
      mask.value = mask.value < 0 ? kept : rw_.Emit(n_, Op::kAnd, {mask.value, kept});
      if (mask.value < 0) return mask;
    }
    ValueId sum = -1;
    for (ValueId added : added_) {
      sum = sum < 0 ? added : rw_.Emit(n_, Op::kAdd, {sum, added});
      if (sum < 0) return mask;
    }
    if (sum >= 0 && mask.value >= 0) {
      mask.value = rw_.Emit(n_, Op::kWhere, {mask.value, sum, NegativeInfinity()});
    } else if (sum >= 0) {
      mask.value = sum;
    }
    mask.ok = mask.value >= 0 || (added_.empty() && kept_.empty());
    mask.causal = causal_;
    mask.may_be_infinite = infinite_ || !kept_.empty();
    return mask;
  }

 private:
  bool IsKeptTriangle(ValueId id) {
    return rw_.IsConstant(id) && rw_.type(id).dtype == DType::kBool &&
           IsTriangle(rw_, id, scores_, [](double x) { return x != 0 ? 1 : 0; });
  }
  bool HasInfinity(ValueId id) {
    auto numbers = rw_.Numbers(id);
    return !numbers || std::any_of(numbers->begin(), numbers->end(), [](double x) { return std::isinf(x); });
  }
  void AddTriangle(ValueId id, bool infinite) {
    if (infinite) {
      causal_ = true;
    } else if (finite_triangle_ < 0) {
      finite_triangle_ = id;
    } else {
      added_.push_back(id);
    }
  }
  ValueId NegativeInfinity() {
    std::vector<std::byte> data(static_cast<size_t>(SizeOf(dtype_)));
    uint64_t bits = dtype_ == DType::kF64    ? 0xfff0000000000000
                    : dtype_ == DType::kF32  ? 0xff800000
                    : dtype_ == DType::kBF16 ? 0xff80
                                             : 0xfc00;
    std::memcpy(data.data(), &bits, data.size());
    return rw_.Constant({dtype_, {}}, std::move(data), "-inf");
  }

  Rewriter& rw_;
  NodeId n_;
  const Shape& scores_;
  DType dtype_;
  std::vector<ValueId> added_, kept_;
  ValueId finite_triangle_ = -1;
  bool causal_ = false, infinite_ = false;
};

}  // namespace

bool Excludes(double number, DType dtype) {
  if (number > 0 || std::isnan(number)) return false;
  return number <= (dtype == DType::kF16 ? -60000 : -1e30);
}

Mask CombineMasks(Rewriter& rw, NodeId n, const MaskTerms& terms, const Shape& scores, DType dtype) {
  Combiner combiner(rw, n, scores, dtype);
  for (ValueId id : terms.added) combiner.Added(id);
  for (ValueId id : terms.kept) combiner.Kept(id);
  return combiner.Finish();
}

}  // namespace zo2
