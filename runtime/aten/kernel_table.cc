// The table backed by ATen: one row per op.
#include "runtime/kernel_table.h"

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"

namespace zo2 {
namespace {

KernelTable MakeTable() {
  KernelTable table;
  const auto set = [&](Kernel kernel, std::initializer_list<Op> ops) {
    for (const Op op : ops) table.call[static_cast<size_t>(op)] = kernel;
  };
  set(Guarded<aten::Linear>, {Op::kLinear});
  set(Guarded<aten::MatMul>, {Op::kMatMul});
  set(Guarded<aten::Embedding>, {Op::kEmbedding});
  set(Guarded<aten::LayerNorm>, {Op::kLayerNorm});
  set(Guarded<aten::RmsNorm>, {Op::kRmsNorm});
  set(Guarded<aten::Gelu>, {Op::kGelu});
  set(Guarded<aten::Silu>, {Op::kSilu});
  set(Guarded<aten::Rotary>, {Op::kRotary});
  set(Guarded<aten::Attention>, {Op::kAttention});
  set(Guarded<aten::CausalLmLoss>, {Op::kCausalLmLoss});
  set(Guarded<aten::TokenLoss>, {Op::kTokenLoss});
  set(Guarded<aten::ClassifyLoss>, {Op::kClassifyLoss});
  set(Guarded<aten::MseLoss>, {Op::kMseLoss});
  set(Guarded<aten::OutputLoss>, {Op::kOutputLoss});
  set(Guarded<aten::Binary>, {Op::kAdd, Op::kSub, Op::kMul, Op::kDiv, Op::kPow, Op::kMin, Op::kMax, Op::kMod, Op::kAnd,
                              Op::kOr, Op::kXor, Op::kEqual, Op::kLess, Op::kLessEqual, Op::kGreater,
                              Op::kGreaterEqual});
  set(Guarded<aten::Unary>,
      {Op::kNeg, Op::kAbs, Op::kSqrt, Op::kRsqrt, Op::kReciprocal, Op::kExp, Op::kLog, Op::kTanh, Op::kErf,
       Op::kSigmoid, Op::kRelu, Op::kSin, Op::kCos, Op::kFloor, Op::kCeil, Op::kRound, Op::kSign, Op::kNot, Op::kIsNan});
  set(Guarded<aten::Where>, {Op::kWhere});
  set(Guarded<aten::Cast>, {Op::kCast});
  set(Guarded<aten::Softmax>, {Op::kSoftmax, Op::kLogSoftmax});
  set(Guarded<aten::Reduce>,
      {Op::kReduceSum, Op::kReduceMean, Op::kReduceMax, Op::kReduceMin, Op::kReduceProd});
  set(Guarded<aten::ArgMax>, {Op::kArgMax});
  set(Guarded<aten::CumSum>, {Op::kCumSum});
  set(Guarded<aten::Transpose>, {Op::kTranspose});
  set(Guarded<aten::Slice>, {Op::kSlice});
  set(Guarded<aten::Concat>, {Op::kConcat});
  set(Guarded<aten::Gather>, {Op::kGather});
  set(Guarded<aten::GatherNd>, {Op::kGatherNd});
  set(Guarded<aten::GatherElements>, {Op::kGatherElements});
  set(Guarded<aten::Expand>, {Op::kExpand});
  set(Guarded<aten::Pad>, {Op::kPad});
  set(Guarded<aten::Tile>, {Op::kTile});
  set(Guarded<aten::Trilu>, {Op::kTrilu});
  return table;  // a reshape is the same bytes: it has no kernel
}

}  // namespace

const KernelTable& AtenKernels() {
  static const KernelTable table = MakeTable();
  return table;
}

}  // namespace zo2
