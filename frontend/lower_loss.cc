// Losses that a model computes itself: NegativeLogLikelihoodLoss and SoftmaxCrossEntropyLoss.
#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

// log_probabilities [N,C,...], labels [N,...], weights of the classes (or -1) -> the loss of each label, or
// their mean (weighted) or sum. Labels that are `ignore_index` cost nothing.
ValueId Likelihood(Lowering& l, Build& b, ValueId log_p, ValueId labels, ValueId weights) {
  const int64_t rank = b.rank(log_p);
  if (b.ok() && (rank < 2 || b.rank(labels) != rank - 1))
    b.Fail("its labels have ", b.rank(labels), " axes, not ", rank - 1);
  labels = b.Cast(labels, DType::kI64);
  const DType t = b.dtype(log_p);
  ValueId ignored = -1;
  if (l.Attribute("ignore_index") != nullptr) {
    ignored = b.Equal(labels, b.Number(DType::kI64, static_cast<double>(l.Int("ignore_index", 0))));
    labels = b.Where(ignored, b.Number(DType::kI64, 0), labels);  // any class that there is
  }
  Shape one = b.shape(log_p);
  if (!b.ok()) return -1;
  one[1] = 1;
  const ValueId picked = b(Op::kGatherElements, {log_p, b.Reshape(labels, one)}, {{"axis", int64_t{1}}});
  ValueId loss = b.Unary(Op::kNeg, b.Reshape(picked, b.shape(labels)));
  ValueId weight = weights < 0 ? -1 : b.Gather(weights, labels, 0);
  if (ignored >= 0) {
    if (weight < 0) weight = b.Expand(b.Number(t, 1), b.shape(labels));
    weight = b.Where(ignored, b.Number(t, 0), weight);
    loss = b.Where(ignored, b.Number(t, 0), loss);
  }
  if (weight >= 0) loss = b.Mul(loss, weight);
  const std::string reduction = l.String("reduction", "mean");
  if (reduction == "none") return loss;
  if (reduction != "mean" && reduction != "sum") b.Fail("reduction ", reduction, " is not supported");
  List axes;
  for (int64_t i = 0; i < b.rank(loss); ++i) axes.push_back(i);
  if (reduction == "mean" && weight < 0) return b.Reduce(Op::kReduceMean, loss, axes, false);
  const ValueId sum = b.Reduce(Op::kReduceSum, loss, axes, false);
  return reduction == "sum" ? sum : b.Div(sum, b.Reduce(Op::kReduceSum, weight, axes, false));
}

Result<void> NegativeLogLikelihood(Lowering& l) {
  Build b(l);
  const ValueId log_p = b.In(0), labels = b.In(1), weights = b.Optional(2);
  return b.Done({Likelihood(l, b, log_p, labels, weights)});
}

Result<void> SoftmaxCrossEntropy(Lowering& l) {
  Build b(l);
  const ValueId labels = b.In(1), weights = b.Optional(2);
  const ValueId log_p = b(Op::kLogSoftmax, {b.In(0)}, {{"axis", int64_t{1}}});
  return b.Done({Likelihood(l, b, log_p, labels, weights), log_p});
}

}  // namespace

void AddLosses(LowerTable* table) {
  (*table)["NegativeLogLikelihoodLoss"] = NegativeLogLikelihood;
  (*table)["SoftmaxCrossEntropyLoss"] = SoftmaxCrossEntropy;
}

}  // namespace zo2::internal
