// The device's table: one row per op.
#include "runtime/aten_device/device_kernels.h"

#include <torch/headeronly/version.h>

#include "runtime/aten_device/call.h"
#include "runtime/aten_device/kernels.h"

namespace zo2 {
namespace aten_device {
namespace {

KernelTable MakeTable() {
  KernelTable table;
  // Another number whenever a kernel's bits change.
  table.library =
      kCuda ? "device kernels 1, ATen " TORCH_VERSION " cuda" : "device kernels 1, ATen " TORCH_VERSION " cpu";
  const auto set = [&](Kernel kernel, std::initializer_list<Op> ops) {
    for (const Op op : ops) table.call[static_cast<size_t>(op)] = kernel;
  };
  set(Guarded<Linear>, {Op::kLinear});
  set(Guarded<MatMul>, {Op::kMatMul});
  set(Guarded<Embedding>, {Op::kEmbedding});
  set(Guarded<LayerNorm>, {Op::kLayerNorm});
  set(Guarded<RmsNorm>, {Op::kRmsNorm});
  set(Guarded<Gelu>, {Op::kGelu});
  set(Guarded<Silu>, {Op::kSilu});
  set(Guarded<Rotary>, {Op::kRotary});
  set(Guarded<Attention>, {Op::kAttention});
  set(Guarded<CausalLmLoss>, {Op::kCausalLmLoss});
  set(Guarded<TokenLoss>, {Op::kTokenLoss});
  set(Guarded<ClassifyLoss>, {Op::kClassifyLoss});
  set(Guarded<MseLoss>, {Op::kMseLoss});
  set(Guarded<OutputLoss>, {Op::kOutputLoss});
  set(Guarded<Binary>,
      {Op::kAdd, Op::kSub, Op::kMul, Op::kDiv, Op::kPow, Op::kMin, Op::kMax, Op::kMod, Op::kAnd, Op::kOr,
       Op::kXor, Op::kEqual, Op::kLess, Op::kLessEqual, Op::kGreater, Op::kGreaterEqual});
  set(Guarded<Unary>, {Op::kNeg, Op::kAbs, Op::kSqrt, Op::kRsqrt, Op::kReciprocal, Op::kExp,
                                   Op::kLog, Op::kTanh, Op::kErf, Op::kSigmoid, Op::kRelu, Op::kSin, Op::kCos,
                                   Op::kFloor, Op::kCeil, Op::kRound, Op::kSign, Op::kNot, Op::kIsNan});
  set(Guarded<Where>, {Op::kWhere});
  set(Guarded<Cast>, {Op::kCast});
  set(Guarded<Softmax>, {Op::kSoftmax, Op::kLogSoftmax});
  set(Guarded<Reduce>,
      {Op::kReduceSum, Op::kReduceMean, Op::kReduceMax, Op::kReduceMin, Op::kReduceProd});
  set(Guarded<ArgMax>, {Op::kArgMax});
  set(Guarded<CumSum>, {Op::kCumSum});
  set(Guarded<Transpose>, {Op::kTranspose});
  set(Guarded<Slice>, {Op::kSlice});
  set(Guarded<Concat>, {Op::kConcat});
  set(Guarded<Gather>, {Op::kGather});
  set(Guarded<GatherNd>, {Op::kGatherNd});
  set(Guarded<GatherElements>, {Op::kGatherElements});
  set(Guarded<Expand>, {Op::kExpand});
  set(Guarded<Pad>, {Op::kPad});
  set(Guarded<Tile>, {Op::kTile});
  set(Guarded<Trilu>, {Op::kTrilu});
  return table;  // a reshape is the same bytes: it has no kernel
}

}  // namespace
}  // namespace aten_device

const KernelTable& DeviceKernels() {
  static const KernelTable table = aten_device::MakeTable();
  return table;
}

}  // namespace zo2
