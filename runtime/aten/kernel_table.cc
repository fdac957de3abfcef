// The table backed by ATen: one row per op.
#include "runtime/kernel_table.h"

#include <torch/headeronly/version.h>

#include "runtime/aten/call.h"
#include "runtime/aten/kernels.h"

namespace zo2 {
namespace {

KernelTable MakeTable() {
  KernelTable table;
  table.library = "zo2 kernels 2, LibTorch " TORCH_VERSION;  // another number whenever a kernel's bits change
  const auto set = [&](Kernel kernel, std::initializer_list<Op> ops) {
    for (const Op op : ops) table.call[static_cast<size_t>(op)] = kernel;
  };
  set(aten::Guarded<aten::Linear>, {Op::kLinear});
  set(aten::Guarded<aten::MatMul>, {Op::kMatMul});
  set(aten::Guarded<aten::Embedding>, {Op::kEmbedding});
  set(aten::Guarded<aten::LayerNorm>, {Op::kLayerNorm});
  set(aten::Guarded<aten::RmsNorm>, {Op::kRmsNorm});
  set(aten::Guarded<aten::Gelu>, {Op::kGelu});
  set(aten::Guarded<aten::Silu>, {Op::kSilu});
  set(aten::Guarded<aten::Rotary>, {Op::kRotary});
  set(aten::Guarded<aten::Attention>, {Op::kAttention});
  set(aten::Guarded<aten::CausalLmLoss>, {Op::kCausalLmLoss});
  set(aten::Guarded<aten::TokenLoss>, {Op::kTokenLoss});
  set(aten::Guarded<aten::ClassifyLoss>, {Op::kClassifyLoss});
  set(aten::Guarded<aten::MseLoss>, {Op::kMseLoss});
  set(aten::Guarded<aten::OutputLoss>, {Op::kOutputLoss});
  set(aten::Guarded<aten::Binary>,
      {Op::kAdd, Op::kSub, Op::kMul, Op::kDiv, Op::kPow, Op::kMin, Op::kMax, Op::kMod, Op::kAnd, Op::kOr,
       Op::kXor, Op::kEqual, Op::kLess, Op::kLessEqual, Op::kGreater, Op::kGreaterEqual});
  set(aten::Guarded<aten::Unary>, {Op::kNeg, Op::kAbs, Op::kSqrt, Op::kRsqrt, Op::kReciprocal, Op::kExp,
                                   Op::kLog, Op::kTanh, Op::kErf, Op::kSigmoid, Op::kRelu, Op::kSin, Op::kCos,
                                   Op::kFloor, Op::kCeil, Op::kRound, Op::kSign, Op::kNot, Op::kIsNan});
  set(aten::Guarded<aten::Where>, {Op::kWhere});
  set(aten::Guarded<aten::Cast>, {Op::kCast});
  set(aten::Guarded<aten::Softmax>, {Op::kSoftmax, Op::kLogSoftmax});
  set(aten::Guarded<aten::Reduce>,
      {Op::kReduceSum, Op::kReduceMean, Op::kReduceMax, Op::kReduceMin, Op::kReduceProd});
  set(aten::Guarded<aten::ArgMax>, {Op::kArgMax});
  set(aten::Guarded<aten::CumSum>, {Op::kCumSum});
  set(aten::Guarded<aten::Transpose>, {Op::kTranspose});
  set(aten::Guarded<aten::Slice>, {Op::kSlice});
  set(aten::Guarded<aten::Concat>, {Op::kConcat});
  set(aten::Guarded<aten::Gather>, {Op::kGather});
  set(aten::Guarded<aten::GatherNd>, {Op::kGatherNd});
  set(aten::Guarded<aten::GatherElements>, {Op::kGatherElements});
  set(aten::Guarded<aten::Expand>, {Op::kExpand});
  set(aten::Guarded<aten::Pad>, {Op::kPad});
  set(aten::Guarded<aten::Tile>, {Op::kTile});
  set(aten::Guarded<aten::Trilu>, {Op::kTrilu});
  return table;  // a reshape is the same bytes: it has no kernel
}

}  // namespace

const KernelTable& AtenKernels() {
  static const KernelTable table = MakeTable();
  return table;
}

}  // namespace zo2
