#include <gtest/gtest.h>

#include "runtime/aten_device/device_kernels.h"
#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

TEST(DeviceTable, EveryOpThatComputesHasAKernel) {
  for (const OpRow& row : AllRows())
    EXPECT_EQ(DeviceKernels().call[static_cast<size_t>(row.op)] == nullptr, row.reshape_only) << row.name;
}

TEST(DeviceTable, SaysWhoseKernelsAndWhere) {
  EXPECT_NE(DeviceKernels().library, AtenKernels().library);
  EXPECT_TRUE(DeviceKernels().library.ends_with(" cpu")) << DeviceKernels().library;
}

TEST(DeviceTable, WhatLibrariesThrowBecomesAStatus) {
  // An output of another shape than the op gives: ATen would have to resize arena memory, and throws.
  float in[4] = {1, 2, 3, 4}, out[4] = {};
  const TensorView x{in, DType::kF32, {2, 2}, {2, 1}}, y{out, DType::kF32, {3, 1}, {1, 1}};
  const Attrs attrs;
  KernelCall call;
  call.op = Op::kAdd;
  call.attrs = &attrs;
  const std::vector<TensorView> inputs = {x, x}, outputs = {y};
  call.inputs = inputs;
  call.outputs = outputs;
  const Status status = DeviceKernels().call[static_cast<size_t>(Op::kAdd)](call);
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_EQ(status.message().rfind("add: ", 0), 0u) << status.message();
}

TEST(DeviceTable, AWorkspaceThatIsTooSmallIsAnError) {
  float hidden[4] = {}, w[8] = {};
  int64_t label = 0;
  double state[3] = {}, sum = 0, count = 0;
  const Attrs attrs;
  const std::vector<TensorView> inputs = {{hidden, DType::kF32, {1, 1, 4}, {4, 4, 1}},
                                          {&label, DType::kI64, {1, 1}, {1, 1}},
                                          {w, DType::kF32, {2, 4}, {4, 1}}};
  const std::vector<TensorView> outputs = {{&sum, DType::kF64, {1}, {1}}, {&count, DType::kF64, {1}, {1}}};
  KernelCall call;
  call.op = Op::kCausalLmLoss;
  call.attrs = &attrs;
  call.inputs = inputs;
  call.outputs = outputs;
  call.state = state;
  const Status status = DeviceKernels().call[static_cast<size_t>(call.op)](call);
  EXPECT_EQ(status.code(), Code::kInternal);
  EXPECT_NE(status.message().find("causal_lm_loss: the workspace does not hold"), std::string::npos)
      << status.message();
}

}  // namespace
}  // namespace zo2
