// Kernels work in the memory that the plan gave them: what they take beside it, in the steady state, is
// small.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <thread>

#include "runtime/aten/workspace_allocator.h"
#include "runtime/kernel_table.h"
#include "tests/unit/aten/allocation_counter.h"

namespace zo2 {
namespace {

constexpr uint64_t kAllowed = 64 << 10;  // bytes per call

// A call with its memory, filled with small numbers, ids and labels 0.
class Prepared {
 public:
  Prepared(Op op, Attrs attrs, const std::vector<TensorType>& inputs, int threads)
      : attrs_(std::move(attrs)) {
    std::vector<const TensorType*> types;
    for (const TensorType& t : inputs) types.push_back(&t);
    types.resize(std::max<size_t>(types.size(), static_cast<size_t>(std::max(0, Row(op).max_inputs))),
                 nullptr);
    const auto outputs = Row(op).infer(types, attrs_);
    EXPECT_TRUE(outputs.ok()) << outputs.status().message();
    for (const TensorType& t : inputs) in_.push_back(View(t));
    for (const TensorType& t : *outputs) out_.push_back(View(t));
    call_.op = op;
    call_.attrs = &attrs_;
    call_.inputs = in_;
    call_.outputs = out_;
    call_.workspace_bytes = WorkspaceBytes(op, types, attrs_, 0);
    call_.workspace = Take(call_.workspace_bytes);
    call_.state = Take(StateBytes(op, types, attrs_));
    call_.threads = threads;
  }
  // Bytes taken from the system during one call.
  Allocations Run() {
    StartCounting();
    const Status status = AtenKernels().call[static_cast<size_t>(call_.op)](call_);
    const Allocations taken = StopCounting();
    EXPECT_TRUE(status.ok()) << status.message();
    return taken;
  }
  std::string Label() const {
    std::string text(Name(call_.op));
    for (const TensorView& v : in_) {
      text += std::string(" ") + std::string(Name(v.dtype));
      for (const int64_t d : v.shape) text += "," + std::to_string(d);
    }
    return text;
  }

 private:
  void* Take(int64_t bytes) {
    memory_.emplace_back(std::aligned_alloc(64, static_cast<size_t>((bytes + 64) / 64 * 64)), &std::free);
    std::memset(memory_.back().get(), 0, static_cast<size_t>(bytes));
    return memory_.back().get();
  }
  TensorView View(const TensorType& t) {
    TensorView v{Take(t.bytes()), t.dtype, t.shape, std::vector<int64_t>(t.shape.size(), 1)};
    for (size_t i = t.shape.size(); i-- > 1;) v.strides[i - 1] = v.strides[i] * t.shape[i];
    if (t.dtype == DType::kF32)
      for (int64_t i = 0; i < t.elements(); ++i)
        static_cast<float*>(v.data)[i] = 0.01f * static_cast<float>(i % 91 + 1);
    return v;
  }

  Attrs attrs_;
  std::vector<std::unique_ptr<void, decltype(&std::free)>> memory_;
  std::vector<TensorView> in_, out_;
  KernelCall call_;
};

TensorType F32(Shape shape) { return {DType::kF32, std::move(shape)}; }
TensorType I64(Shape shape) { return {DType::kI64, std::move(shape)}; }

// One call of every op, of the size that a small model has; a few more where code takes another way.
std::vector<std::unique_ptr<Prepared>> AllCalls(int threads) {
  std::vector<std::unique_ptr<Prepared>> calls;
  const auto add = [&](Op op, Attrs attrs, std::vector<TensorType> inputs) {
    calls.push_back(std::make_unique<Prepared>(op, std::move(attrs), inputs, threads));
  };
  const TensorType x = F32({4, 128, 384}), heads = F32({4, 12, 128, 32}), wide = F32({4, 128, 1536});
  const TensorType bits = {DType::kBool, {4, 128, 384}}, ids = I64({4, 128}), vector = F32({384});
  using Ints = std::vector<int64_t>;
  add(Op::kLinear, {}, {x, F32({1536, 384}), F32({1536})});
  add(Op::kLinear, {{"trans_w", int64_t{0}}}, {x, F32({384, 1536}), F32({1536})});
  add(Op::kEmbedding, {}, {ids, F32({3000, 384})});
  add(Op::kLayerNorm, {{"eps", 1e-5}}, {x, vector, vector});
  add(Op::kRmsNorm, {{"eps", 1e-5}}, {x, vector});
  add(Op::kGelu, {}, {wide});
  add(Op::kGelu, {{"tanh", int64_t{1}}}, {wide});
  add(Op::kSilu, {}, {wide});
  add(Op::kRotary, {}, {heads, F32({128, 32}), F32({128, 32})});
  add(Op::kAttention, {{"causal", int64_t{1}}}, {heads, heads, heads});
  add(Op::kAttention, {}, {heads, heads, heads, {DType::kBool, {4, 1, 128, 128}}});
  add(Op::kCausalLmLoss, {{"shift", int64_t{1}}}, {x, ids, F32({3000, 384})});
  add(Op::kTokenLoss, {}, {F32({4, 128, 3000}), ids});
  add(Op::kClassifyLoss, {}, {F32({64, 1000}), I64({64})});
  add(Op::kMseLoss, {}, {x, x});
  add(Op::kOutputLoss, {}, {x});
  add(Op::kMatMul, {}, {heads, F32({4, 12, 32, 128})});
  add(Op::kMatMul, {}, {x, F32({384, 384})});
  for (const Op op : {Op::kAdd, Op::kSub, Op::kMul, Op::kDiv, Op::kPow, Op::kMin, Op::kMax, Op::kMod,
                      Op::kEqual, Op::kLess, Op::kLessEqual, Op::kGreater, Op::kGreaterEqual}) {
    add(op, {}, {x, x});
    add(op, {}, {x, vector});
  }
  for (const Op op : {Op::kAnd, Op::kOr, Op::kXor}) add(op, {}, {bits, bits});
  for (const Op op : {Op::kNeg, Op::kAbs, Op::kSqrt, Op::kRsqrt, Op::kReciprocal, Op::kExp, Op::kLog,
                      Op::kTanh, Op::kErf, Op::kSigmoid, Op::kRelu, Op::kSin, Op::kCos, Op::kFloor, Op::kCeil,
                      Op::kRound, Op::kSign, Op::kIsNan})
    add(op, {}, {x});
  add(Op::kNot, {}, {bits});
  add(Op::kWhere, {}, {bits, x, F32({1})});
  add(Op::kCast, {{"to", static_cast<int64_t>(DType::kF64)}}, {x});
  add(Op::kCast, {{"to", static_cast<int64_t>(DType::kF32)}}, {bits});
  for (const Op op : {Op::kSoftmax, Op::kLogSoftmax})
    for (int64_t axis = 0; axis < 3; ++axis) add(op, {{"axis", axis}}, {x});
  for (const Op op : {Op::kReduceSum, Op::kReduceMean, Op::kReduceMax, Op::kReduceMin, Op::kReduceProd})
    for (const Ints& axes : {Ints{0}, Ints{2}, Ints{0, 2}, Ints{0, 1, 2}}) add(op, {{"axes", axes}}, {x});
  for (int64_t axis = 0; axis < 3; ++axis) add(Op::kArgMax, {{"axis", axis}}, {x});
  add(Op::kCumSum, {{"axis", int64_t{1}}}, {x});
  add(Op::kTranspose, {{"perm", Ints{2, 0, 1}}}, {x});
  add(Op::kTranspose, {{"perm", Ints{1, 0}}}, {F32({1024, 384})});
  add(Op::kSlice, {{"starts", Ints{100}}, {"ends", Ints{3}}, {"axes", Ints{1}}, {"steps", Ints{-2}}}, {x});
  add(Op::kConcat, {{"axis", int64_t{2}}}, {x, x});
  add(Op::kGather, {{"axis", int64_t{1}}}, {x, I64({300})});
  add(Op::kGatherNd, {}, {x, I64({500, 2})});
  add(Op::kGatherElements, {{"axis", int64_t{1}}}, {x, I64({4, 50, 384})});
  add(Op::kExpand, {{"shape", Ints{4, 128, 384}}}, {vector});
  add(Op::kPad, {{"pads", Ints{0, 1, 2, 0, 3, -4}}}, {x});
  add(Op::kTile, {{"repeats", Ints{1, 2, 3}}}, {x});
  add(Op::kTrilu, {}, {x});
  return calls;
}

TEST(Memory, SteadyStateTakesNothing) {
  if (!CanCountAllocations()) GTEST_SKIP() << "sanitizers replace malloc themselves";
  for (const int threads : {1, 2}) {
    // On a thread of its own, as a lane: helper threads and thread-local state begin with the first calls.
    std::thread lane([threads] {
      const auto calls = AllCalls(threads);
      std::vector<bool> seen(kNumOps, false);
      uint64_t most = 0;
      for (int round = 0; round < 4; ++round) {
        ResetEscapedAllocations();
        for (const auto& call : calls) {
          const Allocations taken = call->Run();
          if (round < 2) continue;
          most = std::max(most, taken.bytes);
          EXPECT_LE(taken.bytes, kAllowed)
              << call->Label() << ": " << taken.calls << " allocations, the largest of " << taken.largest;
        }
      }
      std::printf(
          "%d thread(s): at most %llu bytes taken in a call; %llu ATen temporaries beside workspaces, the "
          "largest of %llu bytes\n",
          threads, static_cast<unsigned long long>(most),
          static_cast<unsigned long long>(GetEscapedAllocations().calls),
          static_cast<unsigned long long>(GetEscapedAllocations().largest));
      EXPECT_LE(GetEscapedAllocations().largest, kAllowed);
    });
    lane.join();
  }
}

// Products of other dtypes than f32 are the libraries' own. What they keep is bounded, and shown.
TEST(Memory, LibraryCachesAreBounded) {
  if (!CanCountAllocations()) GTEST_SKIP() << "sanitizers replace malloc themselves";
  const struct {
    const char* cache;
    DType dtype;
    uint64_t first, steady;  // bytes allowed in the first call of a shape, and in later ones
  } caches[] = {{"MKL, f64", DType::kF64, 24 << 20, kAllowed},
                {"oneDNN, bf16", DType::kBF16, 24 << 20, 1 << 20}};
  for (const auto& c : caches)
    for (const int threads : {1, 2}) {
      std::thread lane([&c, threads] {
        Prepared call(Op::kLinear, {}, {{c.dtype, {4, 128, 384}}, {c.dtype, {1536, 384}}}, threads);
        const Allocations first = call.Run();
        Allocations steady;
        call.Run();
        for (int i = 0; i < 3; ++i) steady.bytes = std::max(steady.bytes, call.Run().bytes);
        std::printf("%s, %d thread(s): %llu bytes in the first call, then %llu a call\n", c.cache, threads,
                    static_cast<unsigned long long>(first.bytes),
                    static_cast<unsigned long long>(steady.bytes));
        EXPECT_LE(first.bytes, c.first);
        EXPECT_LE(steady.bytes, c.steady);
      });
      lane.join();
    }
}

TEST(Memory, WorkspaceGivesUntilItIsEmpty) {
  alignas(64) char memory[256];
  {
    WorkspaceScope scope(memory, 256);
    EXPECT_EQ(WorkspaceLeft(), 256);
    EXPECT_EQ(TakeWorkspace(10), memory);
    EXPECT_EQ(TakeWorkspace(100), memory + 64);  // 64-byte aligned
    EXPECT_EQ(TakeWorkspace(65), nullptr);
    EXPECT_EQ(TakeWorkspace(64), memory + 192);
    EXPECT_EQ(WorkspaceLeft(), 0);
    EXPECT_EQ(TakeWorkspace(1), nullptr);
    EXPECT_EQ(TakeWorkspace(-1), nullptr);
  }
  WorkspaceScope none(nullptr, 0);
  EXPECT_EQ(TakeWorkspace(1), nullptr);
  EXPECT_EQ(WorkspaceLeft(), 0);
}

}  // namespace
}  // namespace zo2
