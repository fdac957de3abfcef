#include "runtime/profile.h"

#include <algorithm>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/copy_load.h"
#include "runtime/profile_async.h"
#include "runtime/profiler.h"
#include "runtime/timed_call.h"
#include "runtime/timed_prepare.h"

namespace zo2 {
namespace {

// Of a device whose calls have done their work when they return, in memory that the host reads: a CPU.
class SyncProfiler : public Profiler {
 public:
  SyncProfiler(Device& device, const KernelTable& kernels, const Schedule* plan, const ProfileOptions& options)
      : Profiler(device, kernels, plan, options, options.threads, options.threads, KernelFlavour::kHost) {}

 private:
  Result<Timing> TimeCall(const KernelCall& call, int64_t state_bytes, int64_t rows, double seconds) override {
    ZO2_ASSIGN(const std::unique_ptr<OwnCall> own,
               OwnCall::Create(call, kernel(call.op), state_bytes, rows, device_, *pool_));
    ZO2_TRY(own->Try());
    return own->Run(seconds, workers_);
  }

  // One thread does all that the compute lane does: libraries keep threads and memory per calling thread.
  Status OnLane() override {
    ZO2_ASSIGN(Pool pool, Pool::Create(device_, std::max<uint64_t>(kBeyondCaches, DeviceArenaBytes() + (16ull << 20))));
    pool_ = &pool;
    Status status;
    std::thread lane([&] {
      WorkerPool::Adopt(&workers_);
      WarmUp();
      status = Compute();
      if (status.ok()) status = HostMasters(*pool_);
    });
    lane.join();
    return status;
  }

  Status Products() override {
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      const int64_t side = dtype == DType::kF16 ? 256 : 1024;  // half precision is hopeless on most CPUs
      const Result<Product> product = Gemm(dtype, Around(dtype), side, side, side, 2 * options_.seconds_each);
      // A dtype that the kernels refuse has no rate; the planner falls back to f32's.
      if (!product.ok() || !(product->flops > 0)) continue;
      json_["gemm_flops"][std::string(Name(dtype))] = product->flops;
      if (dtype == DType::kF32) spread_["gemm_flops"] = product->spread;
    }
    if (plan_ != nullptr) return Status();
    for (const int64_t m : {16, 128, 512})
      for (const int64_t n : {768, 3072})
        for (const DType dtype : {DType::kF32, DType::kBF16}) ZO2_TRY(GemmPoint(dtype, Around(dtype), m, n, 768));
    return Status();
  }
  // How --compute bf16 calls it.
  static DType Around(DType dtype) { return dtype == DType::kBF16 ? DType::kF32 : dtype; }

  Status OtherCalls() override {
    const int64_t h = 12, s = 256, d = 64;
    ZO2_ASSIGN(const Timing a, TimeAttention(DType::kF32, 2, h, s, d, options_.seconds_each));
    Put("attention_flops", AttentionFlop(2, h, s, d), a);
    const std::vector<TensorView> wide(2, Dense(DType::kF32, {1, 1024, 1024})), one_wide = {wide[0]};
    ZO2_ASSIGN(const Timing e, TimeOp(Op::kGelu, {}, one_wide, one_wide, options_.seconds_each));
    Put("elementwise_ops", 1 << 20, e);
    ZO2_ASSIGN(const Timing m, TimeOp(Op::kAdd, {}, wide, one_wide, options_.seconds_each));
    Put("memory_bytes_per_s", 12.0 * (1 << 20), m);
    const std::vector<TensorView> tiny(2, Dense(DType::kF32, {1, 8}));
    ZO2_ASSIGN(const Timing o, TimeOp(Op::kAdd, {}, tiny, {tiny[0]}, options_.seconds_each));
    Put("call_overhead_s", 0, o);
    return Status();
  }

  // What the plan's run has measured in its place stays.
  Status Prepares() override {
    const auto n = static_cast<double>(TimedPrepare::kElements);
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      TimedPrepare prepare(dtype, *pool_, workers_);
      const std::string name(Name(dtype));
      auto& rates = json_["prepare_params_per_s"];
      if (!rates.contains(name)) {
        const Timing fused = Time(options_.seconds_each, [&] { prepare.Fused(); }, [&] { prepare.ReadBranches(); });
        rates[name] = n / fused.seconds;
        spread_["prepare_params_per_s"] = std::max(spread_["prepare_params_per_s"], fused.spread);
      }
      if (dtype != DType::kF32) continue;
      // Eight normals per element beside one read and one write.
      Put("noise_normals_per_s", 8 * n, Time(options_.seconds_each, [&] { prepare.Update(8); }));
    }
    return Status();
  }

  Status BesideOwnCopies(PlanRun& run, const PlanTiming& alone, double seconds) override {
    uint64_t bytes = 0;
    for (const Tile& tile : plan_->tiles) bytes += tile.bytes;
    const uint64_t piece = bytes / std::max<size_t>(1, plan_->tiles.size());
    ZO2_ASSIGN(std::unique_ptr<CopyLoad> load,
               CopyLoad::Create(device_, piece, static_cast<double>(bytes) / alone.period));
    return BesideCopies(*load, [&]() -> Result<double> {
      ZO2_ASSIGN(const PlanTiming timing, run.Run(seconds));
      return timing.period;
    });
  }

  // Where no plan says what there is to compute: products and prepares in turn.
  Status TypicalWorkBesideCopies() override {
    constexpr int64_t kTokens = 128, kOut = 256, kIn = 1024;
    const Attrs attrs;
    const std::vector<TensorView> inputs = {Dense(DType::kF32, {1, kTokens, kIn}), Dense(DType::kF32, {kOut, kIn})};
    const std::vector<TensorView> outputs = {Dense(DType::kF32, {1, kTokens, kOut})};
    if (kernel(Op::kLinear) == nullptr) return Status();
    const KernelCall call = MakeCall(Op::kLinear, attrs, inputs, outputs);
    ZO2_ASSIGN(Pool operands, Pool::Create(device_, 16ull << 20));
    ZO2_ASSIGN(const std::unique_ptr<OwnCall> product,
               OwnCall::Create(call, kernel(Op::kLinear), 0, 1, device_, operands));
    ZO2_TRY(product->Try());
    TimedPrepare prepare(DType::kF32, *pool_, workers_);
    const auto work = [&] {
      prepare.Fused();
      product->Call();
      product->Call();
    };
    const double alone = Time(options_.seconds_each, work).seconds;
    const uint64_t piece = 4 * TimedPrepare::kElements;
    ZO2_ASSIGN(std::unique_ptr<CopyLoad> load, CopyLoad::Create(device_, piece, static_cast<double>(piece) / alone));
    return BesideCopies(*load, [&]() -> Result<double> { return Time(options_.seconds_each, work).seconds; });
  }

  // Seconds per copy of `bytes` on a queue of this kind, from host to device memory or back. Of small copies the mean
  // of many: an emulated link gives what one took too long back to the next, so that most seem to take nothing.
  Result<double> TimeCopies(LaneKind kind, std::byte* from, std::byte* to, uint64_t bytes, double seconds,
                            const char* figure = nullptr) {
    ZO2_ASSIGN(std::unique_ptr<Queue> queue, device_.OpenQueue(kind));
    Timing timing;
    Status status;
    std::thread lane([&] {  // a thread of its own, as in a run
      status = queue->Bind();
      int copies = 1;
      const auto sample = [&] {
        for (int i = 0; i < copies && status.ok(); ++i) status = queue->Copy(to, from, bytes);
        if (status.ok()) status = queue->Synchronize();
      };
      if (bytes <= kSmallCopy) {
        const double begin = Clock();
        sample();
        copies = static_cast<int>(std::clamp(0.1 * seconds / (Clock() - begin + 1e-9), 1.0, 100.0));
      }
      timing = Time(seconds, sample);
      timing.seconds /= copies;
    });
    lane.join();
    if (!status.ok()) return status;
    if (figure != nullptr) spread_[figure] = timing.spread;
    return timing.seconds;
  }

  Status Link() override {
    Say("the link");
    const uint64_t bytes = 8 << 20;
    ZO2_ASSIGN(Pool pool, Pool::Create(device_, kBeyondCaches));
    std::vector<std::byte> host_up(bytes, std::byte{1}), host_down(bytes, std::byte{2});
    std::byte *device_up = pool.data(), *device_down = pool.data() + bytes;
    const double each = 3 * options_.seconds_each;
    ZO2_ASSIGN(const double small, TimeCopies(LaneKind::kH2D, host_up.data(), device_up, 64, options_.seconds_each));
    ZO2_ASSIGN(const double up, TimeCopies(LaneKind::kH2D, host_up.data(), device_up, bytes, each,
                                           "link_up_bytes_per_s"));
    ZO2_ASSIGN(const double down, TimeCopies(LaneKind::kD2H, device_down, host_down.data(), bytes, each,
                                             "link_down_bytes_per_s"));
    const double latency = std::min(small, 0.5 * std::min(up, down));
    json_["copy_latency_s"] = latency;
    json_["link_up_bytes_per_s"] = static_cast<double>(bytes) / (up - latency);
    json_["link_down_bytes_per_s"] = static_cast<double>(bytes) / (down - latency);
    Result<double> up_both = 0.0, down_both = 0.0;
    std::thread other([&] { up_both = TimeCopies(LaneKind::kH2D, host_up.data(), device_up, bytes, each); });
    down_both = TimeCopies(LaneKind::kD2H, device_down, host_down.data(), bytes, each);
    other.join();
    ZO2_TRY(up_both);
    ZO2_TRY(down_both);
    json_["link_duplex"] = std::clamp(0.5 * (up / *up_both + down / *down_both), 0.05, 1.0);
    return Status();
  }

  Pool* pool_ = nullptr;
};

}  // namespace

std::string CallSignature(const KernelCall& call) {
  std::string text(Name(call.op));
  text += '(';
  for (size_t i = 0; i < call.inputs.size(); ++i) {
    const TensorView& view = call.inputs[i];
    if (i > 0) text += ',';
    if (view.data == nullptr) {
      text += '-';
      continue;
    }
    text += Name(view.dtype);
    text += '[';
    for (size_t a = 0; a < view.shape.size(); ++a) text += (a > 0 ? "," : "") + std::to_string(view.shape[a]);
    text += ']';
  }
  return text + ")";
}

Result<std::string> ProfileMachine(Device& device, const KernelTable& kernels, const Schedule* plan,
                                   const ProfileOptions& options) {
  ZO2_ASSIGN(const std::unique_ptr<Queue> compute, device.OpenQueue(LaneKind::kCompute));
  const KernelTable& own = device.kernels() != nullptr ? *device.kernels() : kernels;
  if (AsyncQueue* queue = compute->async(); queue != nullptr)
    return ProfileAsync(device, *queue, own, plan, options);
  return SyncProfiler(device, own, plan, options).Run();
}

}  // namespace zo2
