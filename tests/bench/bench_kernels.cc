// Rates of the kernels that models spend their time in, through the kernel table:
//   bench_kernels [seconds per call, default 0.5] [threads, default 1 and 2]
// Prints the median and the best of the repetitions. Weights do not rotate: they come from the third-level
// cache where they fit.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "runtime/kernel_table.h"

namespace {

using namespace zo2;

double Now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

class Bench {
 public:
  Bench(double seconds, int threads) : seconds_(seconds), threads_(threads) {}

  // `flops` 0: none to speak of.
  void Run(const char* label, Op op, const Attrs& attrs, const std::vector<TensorType>& inputs,
           double flops) {
    std::vector<const TensorType*> types;
    for (const TensorType& t : inputs) types.push_back(&t);
    types.resize(std::max<size_t>(types.size(), static_cast<size_t>(std::max(0, Row(op).max_inputs))),
                 nullptr);
    const auto outputs = Row(op).infer(types, attrs);
    if (!outputs.ok()) std::exit(70);
    std::vector<TensorView> in, out;
    for (const TensorType& t : inputs) in.push_back(View(t));
    for (const TensorType& t : *outputs) out.push_back(View(t));
    KernelCall call;
    call.op = op;
    call.attrs = &attrs;
    call.inputs = in;
    call.outputs = out;
    call.workspace_bytes = WorkspaceBytes(op, types, attrs, 0);
    call.workspace = Take(call.workspace_bytes);
    call.state = Take(StateBytes(op, types, attrs));
    call.threads = threads_;
    std::vector<double> times;
    for (const double end = Now() + seconds_; Now() < end || times.size() < 5;) {
      const double begin = Now();
      const Status status = AtenKernels().call[static_cast<size_t>(op)](call);
      times.push_back(Now() - begin);
      if (status.ok()) continue;
      std::fprintf(stderr, "%s: %s\n", label, status.message().c_str());
      std::exit(70);
    }
    std::sort(times.begin(), times.end());
    const double median = times[times.size() / 2], best = times[0];
    std::printf("%-36s %9.3f ms median %9.3f ms best", label, 1e3 * median, 1e3 * best);
    if (flops > 0) std::printf("  %6.1f GFLOP/s, best %6.1f", 1e-9 * flops / median, 1e-9 * flops / best);
    std::printf("\n");
    memory_.clear();
  }

 private:
  void* Take(int64_t bytes) {
    memory_.emplace_back(std::aligned_alloc(64, static_cast<size_t>((bytes + 64) / 64 * 64)), &std::free);
    return memory_.back().get();
  }
  TensorView View(const TensorType& t) {
    TensorView v{Take(t.bytes()), t.dtype, t.shape, std::vector<int64_t>(t.shape.size(), 1)};
    for (size_t i = t.shape.size(); i-- > 1;) v.strides[i - 1] = v.strides[i] * t.shape[i];
    for (int64_t i = 0; i < t.elements(); ++i) {
      if (t.dtype == DType::kF32)
        static_cast<float*>(v.data)[i] = 0.01f * static_cast<float>(i * 7919 % 201 - 100);
      if (t.dtype == DType::kBF16) static_cast<uint16_t*>(v.data)[i] = static_cast<uint16_t>(0x3F00 + i * 7919 % 128);
      if (t.dtype == DType::kI64) static_cast<int64_t*>(v.data)[i] = 0;
    }
    return v;
  }

  const double seconds_;
  const int threads_;
  std::vector<std::unique_ptr<void, decltype(&std::free)>> memory_;
};

void RunAll(double seconds, int threads) {
  Bench bench(seconds, threads);
  const auto f32 = [](Shape shape) { return TensorType{DType::kF32, std::move(shape)}; };
  std::printf("%d thread(s)\n", threads);
  const struct {
    int64_t m, n, k;
  } products[] = {{128, 3072, 768}, {128, 768, 3072}, {128, 768, 768}, {1024, 3072, 768},
                  {768, 1536, 384}, {768, 384, 1536}, {768, 384, 384}, {16, 768, 768}};
  for (const auto& p : products) {
    char label[64];
    std::snprintf(label, sizeof label, "linear [%d,%d]x[%d,%d]^T", static_cast<int>(p.m),
                  static_cast<int>(p.k), static_cast<int>(p.n), static_cast<int>(p.k));
    const double flops = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
    bench.Run(label, Op::kLinear, {}, {f32({1, p.m, p.k}), f32({p.n, p.k}), f32({p.n})}, flops);
    bench.Run("  the matrix in bf16", Op::kLinear, {}, {f32({1, p.m, p.k}), {DType::kBF16, {p.n, p.k}}, f32({p.n})}, flops);
  }
  bench.Run("linear [1024,768]x[768,3072]", Op::kLinear, {{"trans_w", int64_t{0}}},
            {f32({1, 1024, 768}), f32({768, 3072}), f32({3072})}, 2.0 * 1024 * 3072 * 768);
  bench.Run("  the matrix in bf16", Op::kLinear, {{"trans_w", int64_t{0}}},
            {f32({1, 1024, 768}), {DType::kBF16, {768, 3072}}, f32({3072})}, 2.0 * 1024 * 3072 * 768);
  const TensorType heads = f32({1, 12, 1024, 64}), small = f32({32, 24, 12, 32});
  const double scores = 12.0 * 1024 * 1024;
  bench.Run("attention 12 heads, 1024, 64", Op::kAttention, {}, {heads, heads, heads}, 4 * 64 * scores);
  bench.Run("the same, causal", Op::kAttention, {{"causal", int64_t{1}}}, {heads, heads, heads},
            2 * 64 * scores);
  bench.Run("attention 32 x 24 x 12 x 32, mask", Op::kAttention, {{"layout", std::string("bshd")}},
            {small, small, small, f32({32, 1, 1, 24})}, 4.0 * 32 * 12 * 24 * 24 * 32);
  bench.Run("causal_lm_loss [128,768], 50272", Op::kCausalLmLoss, {{"shift", int64_t{1}}},
            {f32({1, 128, 768}), {DType::kI64, {1, 128}}, f32({50272, 768})}, 2.0 * 128 * 50272 * 768);
  bench.Run("  the matrix in bf16", Op::kCausalLmLoss, {{"shift", int64_t{1}}},
            {f32({1, 128, 768}), {DType::kI64, {1, 128}}, {DType::kBF16, {50272, 768}}}, 2.0 * 128 * 50272 * 768);
  const TensorType million = f32({1024, 1024}), rows = f32({1024, 768}), vector = f32({768});
  bench.Run("gelu, 2^20", Op::kGelu, {}, {million}, 0);
  bench.Run("gelu tanh, 2^20", Op::kGelu, {{"tanh", int64_t{1}}}, {million}, 0);
  bench.Run("silu, 2^20", Op::kSilu, {}, {million}, 0);
  bench.Run("layer_norm [1024,768]", Op::kLayerNorm, {{"eps", 1e-5}}, {rows, vector, vector}, 0);
  bench.Run("rms_norm [1024,768]", Op::kRmsNorm, {{"eps", 1e-5}}, {rows, vector}, 0);
  bench.Run("rotary 12 x 1024 x 64", Op::kRotary, {}, {heads, f32({1024, 64}), f32({1024, 64})}, 0);
  bench.Run("add, 2^20", Op::kAdd, {}, {million, million}, 0);
  bench.Run("add, 8: a call's overhead", Op::kAdd, {}, {f32({8}), f32({8})}, 0);
  bench.Run("transpose heads, 1024 x 12 x 64", Op::kTranspose, {{"perm", std::vector<int64_t>{0, 2, 1, 3}}},
            {f32({1, 1024, 12, 64})}, 0);
}

}  // namespace

int main(int argc, char** argv) {
  const double seconds = argc > 1 ? std::atof(argv[1]) : 0.5;
  const std::vector<int> counts =
      argc > 2 ? std::vector<int>{std::max(1, std::atoi(argv[2]))} : std::vector<int>{1, 2};
  // On a thread of its own, as a lane.
  std::thread([&] {
    for (const int threads : counts) RunAll(seconds, threads);
  }).join();
  return 0;
}
