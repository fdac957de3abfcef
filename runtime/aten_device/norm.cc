// Layer and RMS normalisation of the last axis, some rows at a time.
#include <ATen/ops/mean.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/native_layer_norm.h>

#include "runtime/aten_device/call.h"
#include "runtime/aten_device/kernels.h"

namespace zo2::aten_device {
namespace {

struct Operands {
  at::Tensor x, scale, bias, y;  // x and y as [rows, columns]; bias undefined where absent
  int64_t rows, columns;
  device::NormCut cut;
  at::ScalarType wide;
  double eps;
};

Operands Prepare(const KernelCall& call) {
  const TensorView &x = call.inputs[0], &scale = call.inputs[1], *bias = aten::Optional(call, 2);
  Operands o;
  o.columns = x.shape.back();
  o.rows = o.columns == 0 ? 0 : NumElements(x.shape) / o.columns;
  o.x = Reshaped(x, {o.rows, o.columns});
  o.y = Reshaped(call.outputs[0], {o.rows, o.columns});
  o.scale = ToTensor(scale);
  TensorType bias_type;
  if (bias != nullptr) {
    o.bias = ToTensor(*bias);
    bias_type = TypeOf(*bias);
  }
  o.cut = device::CutNorm(call.op, TypeOf(x), TypeOf(scale), bias != nullptr ? &bias_type : nullptr);
  o.wide = x.dtype == DType::kF64 ? at::kDouble : at::kFloat;
  o.eps = AttrDouble(*call.attrs, "eps", 1e-5);
  return o;
}

at::Tensor Widened(const at::Tensor& t, at::ScalarType wide) {
  if (!t.defined()) return t;
  return Temporary(t.sizes().vec(), wide).copy_(t);
}

}  // namespace

Status LayerNorm(const KernelCall& call) {
  ZO2_TRY(aten::NeedDense(call));
  Operands o = Prepare(call);
  if (o.cut.mixed) {
    o.scale = Widened(o.scale, o.wide);
    o.bias = Widened(o.bias, o.wide);
  }
  for (int64_t at = 0; at < o.rows; at += o.cut.rows) {
    const WorkspaceFrame frame;
    const int64_t rows = std::min(o.cut.rows, o.rows - at);
    at::Tensor x = o.x.narrow(0, at, rows);
    if (o.cut.mixed) x = Widened(x, o.wide);
    const auto normed = at::native_layer_norm(x, {o.columns}, o.scale,
                                              o.bias.defined() ? std::optional(o.bias) : std::nullopt, o.eps);
    o.y.narrow(0, at, rows).copy_(std::get<0>(normed));
  }
  return Status();
}

Status RmsNorm(const KernelCall& call) {
  ZO2_TRY(aten::NeedDense(call));
  Operands o = Prepare(call);
  if (o.scale.scalar_type() != o.wide) o.scale = Widened(o.scale, o.wide);
  for (int64_t at = 0; at < o.rows; at += o.cut.rows) {
    const WorkspaceFrame frame;
    const int64_t rows = std::min(o.cut.rows, o.rows - at);
    const at::Tensor x = o.x.narrow(0, at, rows);
    at::Tensor y = o.y.narrow(0, at, rows), t = Temporary({rows, o.columns}, o.wide),
               factor = Temporary({rows, 1}, o.wide);
    t.copy_(x);
    at::mul_out(t, t, t);
    at::mean_out(factor, t, 1, /*keepdim=*/true);
    factor.add_(o.eps).rsqrt_();
    t.copy_(x);
    t.mul_(factor);
    if (kCuda || x.scalar_type() == o.wide) {
      at::mul_out(y, t, o.scale);
    } else {  // a CPU would make all of the result in the wider dtype
      t.mul_(o.scale);
      y.copy_(t);
    }
  }
  return Status();
}

}  // namespace zo2::aten_device
