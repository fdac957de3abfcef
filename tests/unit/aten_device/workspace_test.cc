#include "runtime/aten/workspace.h"

#include <gtest/gtest.h>

#include "ir/graph/device_workspace.h"
#include "tests/unit/aten/harness.h"

namespace zo2 {
namespace {

TEST(Workspace, GrainsCountFromItsBeginning) {
  alignas(64) char memory[2048];
  const WorkspaceBinding binding(memory + 64, 1600, 512);
  EXPECT_EQ(TakeWorkspace(1), memory + 64);
  EXPECT_EQ(WorkspaceLeft(), 1600 - 512);
  EXPECT_EQ(TakeWorkspace(513), memory + 64 + 512);
  EXPECT_EQ(TakeWorkspace(65), nullptr);
  EXPECT_EQ(TakeWorkspace(64), memory + 64 + 1536);
  EXPECT_TRUE(InWorkspace(memory + 64));
  EXPECT_FALSE(InWorkspace(memory + 63));
  EXPECT_FALSE(InWorkspace(memory + 64 + 1600));
}

TEST(Workspace, FramesGiveBack) {
  alignas(64) char memory[4096];
  const WorkspaceBinding binding(memory, 4096, 512);
  EXPECT_EQ(TakeWorkspace(100), memory);
  {
    const WorkspaceFrame outer;
    EXPECT_EQ(TakeWorkspace(100), memory + 512);
    {
      const WorkspaceFrame inner;
      EXPECT_EQ(TakeWorkspace(3000), memory + 1024);
    }
    EXPECT_EQ(TakeWorkspace(3000), memory + 1024);
    EXPECT_EQ(TakeWorkspace(1), nullptr);
  }
  EXPECT_EQ(TakeWorkspace(1), memory + 512);
}

TEST(Workspace, IsOfAThreadWhileItIsBound) {
  EXPECT_FALSE(WorkspaceIsBound());
  EXPECT_EQ(TakeWorkspace(1), nullptr);
  {
    const WorkspaceBinding empty(nullptr, 0);
    EXPECT_TRUE(WorkspaceIsBound());
    EXPECT_EQ(TakeWorkspace(1), nullptr);
    EXPECT_EQ(WorkspaceLeft(), 0);
    EXPECT_FALSE(InWorkspace(nullptr));
  }
  EXPECT_FALSE(WorkspaceIsBound());
}

// What the planner is told grows with the work and stays small beside it: rows are worked through in pieces.
TEST(Workspace, IsBoundedByPieces) {
  const auto norm = [](int64_t rows) {
    const TensorType x = {DType::kBF16, {rows, 4096}}, scale = {DType::kBF16, {4096}};
    const TensorType* const in[] = {&x, &scale, nullptr};
    return WorkspaceBytes(Op::kLayerNorm, in, {}, 0, KernelFlavour::kDevice);
  };
  EXPECT_LT(norm(1), norm(100));
  EXPECT_LE(norm(1 << 20), device::kPiece + (8 << 20));
  // OPT-175B: 96 heads of 128, 2048 tokens.
  const TensorType q = {DType::kF16, {1, 2048, 96, 128}};
  const TensorType* const in[] = {&q, &q, &q, nullptr};
  const Attrs attrs = {{"layout", std::string("bshd")}, {"causal", int64_t{1}}};
  EXPECT_LE(WorkspaceBytes(Op::kAttention, in, attrs, 0, KernelFlavour::kDevice), 64 << 20);
  // Elementwise ops need none.
  const TensorType* const two[] = {&q, &q};
  EXPECT_EQ(WorkspaceBytes(Op::kAdd, two, {}, 0, KernelFlavour::kDevice), 0);
}

}  // namespace
}  // namespace zo2
