// Rates of the noise generator and of the fused prepare pass, per instruction set:
//   bench_prepare [millions of parameters per thread, default 32] [repetitions, default 5]
// The pass is the common one: fp32 master updated in place by one pending step with q = 1, branches +eps and -eps of
// one direction; then the same with a bf16 master and bf16 branches. Prints the best of the repetitions.
#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "runtime/kernels/prepare.h"

namespace {

using namespace zo2;
using namespace zo2::kernels;

double Seconds(const std::function<void()>& work) {
  const auto start = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double Best(int repetitions, const std::function<void()>& work) {
  work();  // touches the pages, raises the clock
  double best = 1e30;
  for (int i = 0; i < repetitions; ++i) best = std::min(best, Seconds(work));
  return best;
}

struct Arrays {
  std::vector<char> master, plus, minus;
};

// Parameters per second of all threads together.
double PrepareRate(Isa isa, DType dtype, int64_t count, int threads, int repetitions) {
  const int64_t cols = 4096, rows = std::max<int64_t>(1, count / cols) * threads;
  const size_t bytes = static_cast<size_t>(rows * cols * SizeOf(dtype));
  Arrays a{std::vector<char>(bytes), std::vector<char>(bytes), std::vector<char>(bytes)};
  const double g = 0.5;
  uint64_t step = 1;
  const auto pass = [&] {
    const PendingUpdate pending = {.step = step - 1, .lr = 1e-6, .q = 1, .g = &g};
    const BranchTerm plus = {step, BranchCoefficient(+1, 1e-3)}, minus = {step, BranchCoefficient(-1, 1e-3)};
    const BranchOut branches[2] = {{a.plus.data(), cols, dtype, {&plus, 1}}, {a.minus.data(), cols, dtype, {&minus, 1}}};
    PrepareArgs args;
    args.seed = 7;
    args.tensor_id = 0xa68ee8d2;
    args.cols_logical = cols;
    args.row_end = rows;
    args.col_end = cols;
    args.storage = dtype;
    args.source = args.master_out = a.master.data();
    args.source_row_stride = args.master_row_stride = cols;
    args.pending = {&pending, 1};
    args.branches = branches;
    std::vector<std::thread> others;
    for (int part = 1; part < threads; ++part) {
      others.emplace_back([&args, part, threads, isa] { PreparePart(args, part, threads, isa); });
    }
    PreparePart(args, 0, threads, isa);
    for (std::thread& thread : others) thread.join();
    ++step;
  };
  return static_cast<double>(rows * cols) / Best(repetitions, pass);
}

double NormalsRate(Isa isa, int repetitions) {
  const int64_t chunk = 8192, chunks = isa == Isa::kScalar ? 64 : 4096;  // in the first-level cache
  std::vector<float> z(chunk);
  uint64_t direction = 0;
  const double seconds = Best(repetitions, [&] {
    for (int64_t i = 0; i < chunks; ++i) {
      GaussianFill({7, 1}, direction, static_cast<uint64_t>(i * chunk), chunk, z.data(), isa);
    }
    ++direction;
  });
  return static_cast<double>(chunks * chunk) / seconds;
}

}  // namespace

int main(int argc, char** argv) {
  const int64_t millions = argc > 1 ? std::atoll(argv[1]) : 32;
  const int repetitions = argc > 2 ? std::atoi(argv[2]) : 5;
  std::printf("%-7s %14s %26s %26s\n", "isa", "normals/s/core", "fp32 params/s 1, 2 threads", "bf16 params/s 1, 2 threads");
  for (const Isa isa : {Isa::kScalar, Isa::kAvx2, Isa::kAvx512}) {
    if (isa > BestIsa()) continue;
    const int64_t count = isa == Isa::kScalar ? 1 << 18 : millions * 1'000'000;
    std::printf("%-7s %12.3f G", Name(isa).data(), NormalsRate(isa, repetitions) / 1e9);
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      const double one = PrepareRate(isa, dtype, count, 1, repetitions);
      const double two = PrepareRate(isa, dtype, count, 2, repetitions);
      std::printf("      %7.3f G  %7.3f G", one / 1e9, two / 1e9);
    }
    std::printf("\n");
    std::fflush(stdout);
  }
}
