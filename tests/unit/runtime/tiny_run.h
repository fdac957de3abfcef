// Runs a tiny schedule with made-up masters and batches and returns everything that has bits.
#ifndef ZO2_TESTS_UNIT_RUNTIME_TINY_RUN_H_
#define ZO2_TESTS_UNIT_RUNTIME_TINY_RUN_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "runtime/executor.h"
#include "tests/tools/scalar_wire.h"
#include "tests/tools/tiny_schedules.h"
#include "tests/unit/runtime/fake_kernels.h"

namespace zo2 {

class ExecutorTestPeer {
 public:
  static Result<std::unique_ptr<Executor>> Unverified(Schedule schedule, Device& device, const ExecutorOptions& options) {
    return Executor::Open(std::move(schedule), device, options);
  }
};

// Made-up but fixed: element n of weight w, input n of step t.
inline float MasterValue(size_t weight, int64_t n) { return 0.05f * static_cast<float>((7 * n + 13 * static_cast<int64_t>(weight)) % 23 - 11); }
inline float InputValue(int64_t step, int64_t n) { return 0.125f * static_cast<float>((5 * n + 3 * step) % 17 - 8); }
inline int64_t LabelValue(int64_t step, int64_t n) { return (n + step) % 3; }

struct TinyResult {
  std::vector<std::vector<double>> records;   // per step: loss+, loss-, g of every sample, skipped
  std::map<std::string, std::vector<float>> weights;  // by name, whole
  std::vector<double> eval;                   // mean losses of evaluations on the way
  bool operator==(const TinyResult&) const = default;
};

struct TinyRun {
  int64_t steps = 7;
  int64_t eval_every = 0, flush_every = 0;
  RunParameters parameters{.seed = 0x123456789abcdefull, .eps = 1e-2, .weight_decay = 0.1};
  double lr = 5e-2;
  ExecutorOptions options;
  DeviceOptions device;
  std::function<Result<std::unique_ptr<Device>>()> open;  // another device than the CPU
  std::function<void(Executor&)> at_end;  // before the executor goes
  bool verify = true;
  int64_t nan_step = -1;                  // whose first input is NaN
};

inline Status LoadTinyMasters(Executor& executor) {
  const Schedule& s = executor.schedule();
  for (const Tile& tile : s.tiles)
    for (const Segment& g : tile.segments) {
      const int64_t width = g.col_end - g.col_begin;
      std::vector<float> values;
      for (int64_t n = 0; n < g.elements(); ++n)
        values.push_back(MasterValue(static_cast<size_t>(s.weights[static_cast<size_t>(g.weight)].components[0].tensor_id),
                                     (g.row_begin + n / width) * s.weights[static_cast<size_t>(g.weight)].cols() + g.col_begin + n % width));
      if (tile.master >= 0) ZO2_TRY(executor.WriteBuffer(tile.master, g.offset, std::as_bytes(std::span(values))));
      if (tile.codes < 0) continue;
      uint64_t bad;
      const std::vector<uint8_t> codes =
          scalar::Encoded(s.weights[static_cast<size_t>(g.weight)].components[0].wire, g.row_end - g.row_begin, width, values, &bad);
      ZO2_TRY(executor.WriteBuffer(tile.codes, g.wire_offset, std::as_bytes(std::span(codes))));
    }
  return Status();
}

inline void FillTinyInputs(Executor& executor, const Program& program, int64_t iteration, int64_t step, int64_t nan_step) {
  const Schedule& s = executor.schedule();
  for (const ProgramInput& input : program.inputs) {
    std::byte* to = executor.Host(input.staging, iteration);
    const TensorType& type = s.values[static_cast<size_t>(input.value)].type;
    for (int64_t n = 0; n < type.elements() * program.micro_batches; ++n) {
      if (type.dtype == DType::kF32)
        reinterpret_cast<float*>(to)[n] = step == nan_step && n == 0 ? NAN : InputValue(step, n);
      else
        reinterpret_cast<int64_t*>(to)[n] = LabelValue(step, n);
    }
  }
}

inline Result<TinyResult> RunTiny(const Schedule& schedule, const TinyRun& run) {
  TinyResult result;
  ZO2_ASSIGN(std::unique_ptr<Device> device, run.open ? run.open() : OpenDevice("cpu", run.device));
  ZO2_ASSIGN(std::unique_ptr<Executor> executor, run.verify ? Executor::Prepare(schedule, *device, run.options)
                                                          : ExecutorTestPeer::Unverified(schedule, *device, run.options));
  const KernelTable kernels = fake::Kernels();
  ZO2_TRY(executor->Initialize(kernels, run.parameters, 0, LoadTinyMasters));
  const Program& train = *schedule.Find(Purpose::kTrain);
  const auto collect = [&](int64_t step) {
    const StepRecord& r = *reinterpret_cast<const StepRecord*>(executor->Host(train.record_host, step));
    if (run.verify) {
      EXPECT_EQ(r.step, static_cast<uint64_t>(step));
    }
    std::vector<double> row;
    for (uint32_t i = 0; i < r.q; ++i) row.insert(row.end(), {r.loss_plus()[i], r.loss_minus()[i], r.g()[i]});
    if (r.skipped) row = {-1};
    result.records.push_back(row);
  };
  int64_t next_read = 0;
  for (int64_t step = 0; step < run.steps;) {
    const auto next = [&](int64_t every) { return every > 0 ? step - step % every + every : run.steps; };
    const int64_t stop = std::min({run.steps, next(run.eval_every), next(run.flush_every)});
    ZO2_TRY(executor->Start(Purpose::kTrain));
    EXPECT_EQ(executor->first(), step);
    for (; step < stop; ++step) {
      if (step - next_read >= executor->depth()) {
        ZO2_TRY(executor->Wait(next_read));
        collect(next_read++);
      }
      FillTinyInputs(*executor, train, step, step, run.nan_step);
      *reinterpret_cast<StepControl*>(executor->Host(train.control_staging, step)) = {static_cast<uint64_t>(step), run.lr};
      executor->Submit();
    }
    for (; next_read < step; ++next_read) {
      ZO2_TRY(executor->Wait(next_read));
      collect(next_read);
    }
    ZO2_TRY(executor->Drain());
    if (run.flush_every > 0 && (step % run.flush_every == 0)) ZO2_TRY(executor->Flush());
    if (run.eval_every > 0 && (step % run.eval_every == 0 || step == run.steps)) {
      const Program& evaluate = *schedule.Find(Purpose::kEvaluate);
      ZO2_TRY(executor->Start(Purpose::kEvaluate));
      for (int64_t i = 0; i < 2; ++i) {
        FillTinyInputs(*executor, evaluate, i, 100 + i, -1);
        executor->Submit();
        ZO2_TRY(executor->Wait(i));
        const size_t n = schedule.buffers[static_cast<size_t>(evaluate.loss_sum[0])].bytes / 8;
        result.eval.push_back(MeanLoss({{reinterpret_cast<double*>(executor->Host(evaluate.loss_sum_host[0], i)), n},
                                        {reinterpret_cast<double*>(executor->Host(evaluate.loss_count_host[0], i)), n}}));
      }
      ZO2_TRY(executor->Drain());
    }
  }
  ZO2_TRY(executor->Flush());
  for (const Tile& tile : schedule.tiles)
    for (const Segment& g : tile.segments) {
      if (tile.master < 0) continue;  // only codes
      const PlanWeight& weight = schedule.weights[static_cast<size_t>(g.weight)];
      std::vector<float>& whole = result.weights[weight.name];
      whole.resize(static_cast<size_t>(NumElements(weight.shape)));
      std::vector<float> part(static_cast<size_t>(g.elements()));
      ZO2_TRY(executor->ReadBuffer(tile.master, g.offset, std::as_writable_bytes(std::span(part))));
      const int64_t width = g.col_end - g.col_begin;
      for (int64_t n = 0; n < g.elements(); ++n)
        whole[static_cast<size_t>((g.row_begin + n / width) * weight.cols() + g.col_begin + n % width)] = part[static_cast<size_t>(n)];
    }
  if (run.at_end) run.at_end(*executor);
  return result;
}

}  // namespace zo2

#endif  // ZO2_TESTS_UNIT_RUNTIME_TINY_RUN_H_
