// Rates of the noise generator and of the fused prepare pass, per instruction set:
//   bench_prepare [millions of parameters per thread, default 32] [repetitions, default 5]
// The pass is the common one: fp32 master updated in place by one pending step with q = 1, branches +eps and -eps of
// one direction; then the same with a bf16 master and bf16 branches. Prints the best of the repetitions.
// Then the wire formats, by the best instruction set, one thread, fp32 values from N(0, 0.02^2): error, encoding (bytes
// of values read), and the pass from each format (no master; branches fp32) beside the plain pass, interleaved; medians
// of the thread's own processor time, which other processes disturb less than the clock on the wall.
#include <time.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <thread>
#include <vector>

#include "runtime/kernels/codec.h"
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

double ProcessorSeconds(const std::function<void()>& work) {
  const auto now = [] {
    timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  const double start = now();
  work();
  return now() - start;
}

struct alignas(64) Line {
  char bytes[64];
};

// Medians of the repetitions; `plain` is taken anew in each.
struct WireRow {
  WireFormat format;
  std::vector<Line> coded;
  double error = 0;
  std::vector<double> encode, pass, ratio;  // seconds, seconds, seconds / those of the plain pass
};
double Median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

void WireFormats(int64_t count, int repetitions) {
  const int64_t cols = 4096, rows = std::max<int64_t>(1, count / cols), n = rows * cols;
  std::vector<float> values(static_cast<size_t>(n)), plus(values.size()), minus(values.size());
  GaussianFill({7, 1}, 0, 0, n, values.data());
  for (float& v : values) v *= 0.02f;
  const double g = 0.5;
  const PendingUpdate pending = {.step = 1, .lr = 0, .q = 1, .g = &g};  // the values stay what they are
  const BranchTerm up = {2, BranchCoefficient(+1, 1e-3)}, down = {2, BranchCoefficient(-1, 1e-3)};
  const BranchOut branches[2] = {{plus.data(), cols, DType::kF32, {&up, 1}},
                                 {minus.data(), cols, DType::kF32, {&down, 1}}};
  PrepareArgs args;
  args.seed = 7;
  args.cols_logical = args.col_end = args.source_row_stride = args.master_row_stride = args.wire_cols = cols;
  args.row_end = args.wire_rows = rows;
  args.pending = {&pending, 1};
  args.branches = branches;

  std::vector<WireRow> table;
  for (const WireFormat w : {WireFormat::kF32, WireFormat::kBF16, WireFormat::kF16, WireFormat::kE4M3, WireFormat::kI8,
                             WireFormat::kI4}) {
    table.push_back({w, std::vector<Line>(WireBytes(w, rows, cols) / sizeof(Line) + 1), 0, {}, {}, {}});
  }
  for (int i = -1; i < repetitions; ++i) {  // the first touches the pages
    args.coded = false;
    args.source = args.master_out = values.data();
    const double plain = ProcessorSeconds([&] { Prepare(args); });
    args.coded = true;
    args.master_out = nullptr;
    for (WireRow& row : table) {
      const EncodeArgs source = {row.format, rows, cols, 0, rows, DType::kF32, values.data(), cols, row.coded.data()};
      const double encode = ProcessorSeconds([&] { Encode(source); });
      args.wire = row.format;
      args.source = row.coded.data();
      const double pass = ProcessorSeconds([&] { Prepare(args); });
      if (i < 0) continue;
      row.encode.push_back(encode);
      row.pass.push_back(pass);
      row.ratio.push_back(pass / plain);
    }
  }
  std::printf("\n%-6s %12s %12s %14s %16s %22s\n", "wire", "bytes/value", "rms error", "encode GB/s", "prepare G/s",
              "time / plain fp32 pass");
  for (WireRow& row : table) {
    Decode({row.format, rows, cols, 0, rows, row.coded.data(), plus.data(), cols});
    double errors = 0, squares = 0;
    for (size_t i = 0; i < plus.size(); ++i) {
      errors += std::pow(double{plus[i]} - double{values[i]}, 2);
      squares += std::pow(double{values[i]}, 2);
    }
    std::printf("%-6s %12.3f %11.4f%% %14.2f %16.3f %22.2f\n", Name(row.format).data(),
                static_cast<double>(WireBytes(row.format, rows, cols)) / static_cast<double>(n),
                100 * std::sqrt(errors / squares), 4e-9 * static_cast<double>(n) / Median(row.encode),
                1e-9 * static_cast<double>(n) / Median(row.pass), Median(row.ratio));
  }
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
  WireFormats(millions * 1'000'000, repetitions);
}
