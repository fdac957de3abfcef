#include "runtime/plan_run.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>
#include <functional>

#include "ir/schedule/prepare_signature.h"
#include "runtime/evaluate.h"
#include "runtime/masters.h"
#include "runtime/profile.h"

namespace zo2 {
namespace {

constexpr uint64_t kSmallCopy = 4096;  // bytes: controls, records, losses; always copied
constexpr int64_t kMostIterations = 100;
constexpr int64_t kLargeTile = 64 << 10;  // weights

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Another device's memory and queues; copies of some size can be switched off.
class QuietLink : public Device {
 public:
  explicit QuietLink(Device& device) : device_(device) {}
  std::string_view name() const override { return device_.name(); }
  uint64_t alignment() const override { return device_.alignment(); }
  Result<std::unique_ptr<ArenaMemory>> Allocate(Tier tier, uint64_t bytes) override {
    return device_.Allocate(tier, bytes);
  }
  Result<std::unique_ptr<Queue>> OpenQueue(LaneKind kind) override {
    ZO2_ASSIGN(std::unique_ptr<Queue> queue, device_.OpenQueue(kind));
    return std::unique_ptr<Queue>(std::make_unique<QuietQueue>(std::move(queue), &copies_));
  }
  Available MemoryAvailable(Tier tier) const override { return device_.MemoryAvailable(tier); }
  bool shares_host_memory() const override { return device_.shares_host_memory(); }
  Status Write(void* to, const void* from, uint64_t bytes) override { return device_.Write(to, from, bytes); }
  Status Read(void* to, const void* from, uint64_t bytes) override { return device_.Read(to, from, bytes); }
  void StopCopies() { copies_.store(false); }

 private:
  class QuietQueue : public Queue {
   public:
    QuietQueue(std::unique_ptr<Queue> queue, const std::atomic<bool>* copies)
        : queue_(std::move(queue)), copies_(copies) {}
    Status Bind() override { return queue_->Bind(); }
    Status Copy(void* to, const void* from, uint64_t bytes) override {
      if (bytes > kSmallCopy && !copies_->load(std::memory_order_relaxed)) return Status();
      return queue_->Copy(to, from, bytes);
    }
    Status Synchronize() override { return queue_->Synchronize(); }

   private:
    const std::unique_ptr<Queue> queue_;
    const std::atomic<bool>* copies_;
  };

  Device& device_;
  std::atomic<bool> copies_{true};
};

// Every value 0.01, or as near as the storage dtype has it.
WeightReader MadeUpWeights(const Schedule& schedule) {
  return [&schedule](int32_t weight, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end,
                     std::byte* out) {
    const DType dtype = schedule.weights[static_cast<size_t>(weight)].components[0].storage;
    const int64_t n = (row_end - row_begin) * (col_end - col_begin);
    const float f32 = 0.01f;
    const uint16_t half = dtype == DType::kBF16 ? 0x3C24 : 0x211F;
    for (int64_t i = 0; i < n; ++i) {
      if (dtype == DType::kF32)
        std::memcpy(out + 4 * i, &f32, 4);
      else
        std::memcpy(out + 2 * i, &half, 2);
    }
    return Status();
  };
}

double Quantile(std::vector<double> x, double q) {
  std::sort(x.begin(), x.end());
  return x[static_cast<size_t>(q * static_cast<double>(x.size() - 1) + 0.5)];
}

// Iterations after the first, which touches what no iteration before has.
PlanTiming Summarise(const Program& program, const TracedRun& run) {
  PlanTiming timing;
  std::vector<int64_t> ends;  // of each iteration, nanoseconds
  int64_t first = -1;
  for (size_t l = 0; l < run.lanes.size(); ++l) {
    if (program.lanes[l].kind != LaneKind::kCompute) continue;
    for (const LaneEvent& e : run.lanes[l]) {
      if (first < 0) first = e.iteration;
      const auto at = static_cast<size_t>(e.iteration - first);
      if (ends.size() <= at) ends.resize(at + 1, 0);
      ends[at] = std::max(ends[at], e.end);
    }
  }
  timing.busy.resize(program.lanes.size());
  for (size_t l = 0; l < program.lanes.size(); ++l)
    timing.busy[l].assign(program.lanes[l].instructions.size(), 0);
  if (ends.size() < 2) return timing;
  std::vector<double> periods;
  for (size_t i = 1; i < ends.size(); ++i)
    periods.push_back(1e-9 * static_cast<double>(ends[i] - ends[i - 1]));
  timing.iterations = static_cast<int64_t>(periods.size());
  timing.seconds = 1e-9 * static_cast<double>(ends.back() - ends.front());
  timing.spread = (Quantile(periods, 0.9) - Quantile(periods, 0.1)) / 2 / Quantile(periods, 0.5);
  const double low = Quantile(periods, 0.25), high = Quantile(periods, 0.75);
  std::vector<bool> kept(periods.size());
  double n = 0;
  for (size_t i = 0; i < periods.size(); ++i) {
    kept[i] = periods[i] >= low && periods[i] <= high;
    if (kept[i]) timing.period += periods[i], ++n;
  }
  timing.period /= n;
  for (size_t l = 0; l < run.lanes.size(); ++l) {
    if (program.lanes[l].kind != LaneKind::kCompute) continue;
    for (const LaneEvent& e : run.lanes[l])
      if (e.iteration > first && kept[static_cast<size_t>(e.iteration - first - 1)])
        timing.busy[l][static_cast<size_t>(e.index)] += 1e-9 * static_cast<double>(e.end - e.start) / n;
  }
  return timing;
}

// Instructions of the compute lanes that ran, with their seconds.
void ForEachRun(const Program& program, const PlanTiming& timing,
                const std::function<void(const Instruction&, double)>& f) {
  for (size_t l = 0; l < program.lanes.size(); ++l)
    for (size_t k = 0; k < program.lanes[l].instructions.size(); ++k)
      if (timing.busy[l][k] > 0) f(program.lanes[l].instructions[k], timing.busy[l][k]);
}

bool IsTypicalPrepare(const Schedule& plan, const Program& program, const Instruction& i) {
  return i.kind == InstrKind::kPrepare && i.branches.size() == 2 && !i.source_after_write && !i.coded &&
         program.samples == 1 && program.period == 1 && plan.tiles[static_cast<size_t>(i.tile)].trainable;
}

std::string SignatureOf(const Schedule& plan, const Instruction& i) {
  const PlanNode& node = plan.nodes[static_cast<size_t>(i.node)];
  std::byte present;
  std::vector<TensorView> inputs(node.inputs.size());
  for (size_t k = 0; k < inputs.size(); ++k) {
    if (i.operands[k].buffer < 0) continue;
    inputs[k].dtype = i.operands[k].type.dtype;
    inputs[k].shape = i.operands[k].type.shape;
    inputs[k].data = &present;
  }
  KernelCall call;
  call.op = node.op;
  call.inputs = inputs;
  return CallSignature(call);
}

}  // namespace

void FillInputs(const Executor& executor, const Program& program, int64_t step) {
  const std::vector<std::byte*> inputs = InputAddresses(executor, program, step);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const TensorType& type = executor.schedule().values[static_cast<size_t>(program.inputs[i].value)].type;
    const int64_t n = type.elements() * program.micro_batches;
    for (int64_t k = 0; k < n; ++k) {
      if (type.dtype == DType::kI64)
        reinterpret_cast<int64_t*>(inputs[i])[k] = 1;
      else if (type.dtype == DType::kF32)
        reinterpret_cast<float*>(inputs[i])[k] = 0.5f;
      else
        std::memset(inputs[i] + k * SizeOf(type.dtype), SizeOf(type.dtype) == 1 ? 1 : 0, SizeOf(type.dtype));
    }
  }
}

PlanRun::~PlanRun() = default;

Result<std::unique_ptr<PlanRun>> PlanRun::Open(const Schedule& plan, Device& device,
                                               const KernelTable& kernels) {
  if (plan.Find(Purpose::kTrain) == nullptr) return Invalid("the plan has no program to train");
  std::unique_ptr<PlanRun> run(new PlanRun);
  // A device with queues of its own copies beside the compute lane without its help, and is used as it is.
  ZO2_ASSIGN(std::unique_ptr<Queue> compute, device.OpenQueue(LaneKind::kCompute));
  QuietLink* link = nullptr;
  if (compute->async() == nullptr) {
    auto quiet = std::make_unique<QuietLink>(device);
    link = quiet.get();
    run->device_ = std::move(quiet);
  }
  compute.reset();
  ExecutorOptions options;
  options.trace_iterations = kMostIterations;
  ZO2_ASSIGN(run->executor_, Executor::Prepare(plan, link != nullptr ? *link : device, options));
  RunParameters parameters;
  parameters.seed = 1;
  ZO2_TRY(run->executor_->Initialize(kernels, parameters, 0,
                                     [&](Executor& e) { return LoadMasters(MadeUpWeights(plan), e); }));
  ZO2_TRY(run->Run(0, 2).status());  // every tile and every page once
  if (link != nullptr) link->StopCopies();
  return run;
}

const Program& PlanRun::program() const { return *executor_->schedule().Find(Purpose::kTrain); }

Result<PlanTiming> PlanRun::Run(double seconds, int least) {
  Executor& executor = *executor_;
  const Program& train = program();
  ZO2_TRY(executor.Start(Purpose::kTrain));
  const int64_t first = executor.first();
  int64_t done = first, step = first;
  const double end = Seconds() + seconds;
  for (; step < first + kMostIterations && (step <= first + least || Seconds() < end); ++step) {
    if (step - done >= executor.depth()) ZO2_TRY(executor.Wait(done++));
    FillInputs(executor, train, step);
    const StepControl control{static_cast<uint64_t>(step), 1e-9};
    std::memcpy(executor.Host(train.control_staging, step), &control, sizeof control);
    executor.Submit();
  }
  while (done < step) ZO2_TRY(executor.Wait(done++));
  ZO2_TRY(executor.Drain());
  return Summarise(train, executor.traces().back());
}

std::map<std::string, double> CallsInPlace(const Schedule& plan, const Program& train,
                                           const PlanTiming& timing) {
  struct Sum {
    double seconds = 0, calls = 0;
  };
  std::map<std::string, Sum> sums;
  ForEachRun(train, timing, [&](const Instruction& i, double seconds) {
    if (i.kind == InstrKind::kCall) {
      Sum& sum = sums[SignatureOf(plan, i)];
      sum.seconds += seconds;
      sum.calls += static_cast<double>(std::max<size_t>(1, i.branches.size()));
    } else if (IsTypicalPrepare(plan, train, i)) {
      Sum& sum = sums[PrepareSignature(plan.tiles[static_cast<size_t>(i.tile)], plan.weights)];
      sum.seconds += seconds;
      sum.calls += 1;
    }
  });
  std::map<std::string, double> calls;
  for (const auto& [signature, sum] : sums) calls[signature] = sum.seconds / sum.calls;
  return calls;
}

std::map<DType, double> PrepareRatesInPlace(const Schedule& plan, const Program& train,
                                            const PlanTiming& timing) {
  std::map<DType, double> weights, seconds;
  ForEachRun(train, timing, [&](const Instruction& i, double time) {
    if (!IsTypicalPrepare(plan, train, i)) return;
    const Tile& tile = plan.tiles[static_cast<size_t>(i.tile)];
    const DType dtype = plan.weights[static_cast<size_t>(tile.segments[0].weight)].components[0].storage;
    int64_t n = 0;
    for (const Segment& s : tile.segments) n += s.elements();
    if (n < kLargeTile) return;
    weights[dtype] += static_cast<double>(n);
    seconds[dtype] += time;
  });
  for (auto& [dtype, n] : weights) n /= seconds[dtype];
  return weights;
}

}  // namespace zo2
