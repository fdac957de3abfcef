#include "runtime/profile_async.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "runtime/copy_load.h"
#include "runtime/profiler.h"
#include "runtime/timed_call.h"
#include "runtime/timed_queue.h"

namespace zo2 {
namespace {

constexpr uint64_t kCopy = 8ull << 20, kCopies = 8;  // bytes of a large copy; so many places that they take turns in
constexpr int64_t kHeads = 16, kHeadSize = 128;

int Cores() { return static_cast<int>(std::max(1u, std::thread::hardware_concurrency())); }

class AsyncProfiler : public Profiler {
 public:
  AsyncProfiler(Device& device, AsyncQueue& compute, const KernelTable& kernels, const Schedule* plan,
                const ProfileOptions& options)
      : Profiler(device, kernels, plan, options, 1, Cores(), KernelFlavour::kDevice), compute_(compute) {}

 private:
  // ---- calls ----
  Result<Timing> TimeCall(const KernelCall& call, int64_t state_bytes, int64_t rows, double seconds) override {
    ZO2_ASSIGN(Pool pool, Pool::Create(device_, OwnCall::Bytes(call, state_bytes)));
    ZO2_ASSIGN(const std::unique_ptr<OwnCall> own,
               OwnCall::Create(call, kernel(call.op), state_bytes, rows, device_, pool));
    return TimeOnQueue(compute_, {[&](int64_t) { return compute_.Call(own->kernel(), own->call()); }}, seconds);
  }

  // The first of least, least * factor, ... up to `most` of which a piece takes long enough, or the last that fits.
  Result<int64_t> Grow(int64_t least, int64_t most, int64_t factor, const std::function<bool(int64_t)>& fits,
                       const std::function<Result<double>(int64_t)>& seconds_of) {
    for (int64_t size = least;; size *= factor) {
      if (size * factor > most || !fits(size * factor)) return size;
      ZO2_ASSIGN(const double seconds, seconds_of(size));
      if (seconds > options_.seconds_each / 100) return size;
    }
  }
  double Look() const { return 0.1 * options_.seconds_each; }
  // Half of what is free: the driver and libraries need some, too.
  uint64_t Room() const { return device_.MemoryAvailable(Tier::kDevice).bytes / 2; }

  // The dtype of the activations of such calls in the plan whose operand `operand` has this dtype; `otherwise` without.
  DType PlannedActivations(Op op, size_t operand, DType dtype, DType otherwise) const {
    if (plan_ == nullptr) return otherwise;
    for (const Program& program : plan_->programs)
      for (const Lane& lane : program.lanes)
        for (const Instruction& i : lane.instructions)
          if (i.kind == InstrKind::kCall && plan_->nodes[static_cast<size_t>(i.node)].op == op &&
              i.operands.size() > operand && i.operands[operand].type.dtype == dtype)
            return i.operands[0].type.dtype;
    return otherwise;
  }
  DType Around(DType dtype) const {
    return dtype == DType::kBF16 ? PlannedActivations(Op::kLinear, 1, dtype, DType::kF32) : dtype;
  }

  Result<Product> Square(DType dtype, DType around) {
    const auto fits = [&](int64_t side) { return 3 * static_cast<uint64_t>(side * side) * 4 < Room(); };
    ZO2_ASSIGN(const int64_t side, Grow(256, 4096, 2, fits, [&](int64_t n) -> Result<double> {
                 ZO2_ASSIGN(const Product product, Gemm(dtype, around, n, n, n, Look()));
                 return product.seconds;
               }));
    return Gemm(dtype, around, side, side, side, 2 * options_.seconds_each);
  }

  Status Products() override {
    if (kernel(Op::kLinear) == nullptr) return Status();
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      ZO2_ASSIGN(const Product product, Square(dtype, Around(dtype)));
      json_["gemm_flops"][std::string(Name(dtype))] = product.flops;
      if (dtype == DType::kF32) spread_["gemm_flops"] = product.spread;
      if (dtype == DType::kBF16) {
        const DType other = Around(dtype) == DType::kF32 ? DType::kBF16 : DType::kF32;
        ZO2_ASSIGN(const Product with_other, Square(dtype, other));
        char text[120];
        std::snprintf(text, sizeof text, "measured; bf16 by %s activations, and with %s ones %.3g",
                      std::string(Name(Around(dtype))).c_str(), std::string(Name(other)).c_str(), with_other.flops);
        json_["source"]["gemm_flops"] = text;
      }
      if (plan_ == nullptr) ZO2_TRY(Table(dtype, product.flops));
    }
    return Status();
  }
  // Shapes that would take longer than a figure may are left to the rate.
  Status Table(DType dtype, double flops) {
    struct Matrix {
      int64_t n, k;
    };
    for (const Matrix w : {Matrix{768, 768}, {3072, 768}, {768, 3072}, {4096, 4096}, {16384, 4096}, {4096, 16384}})
      for (const int64_t m : {16, 128, 512, 2048}) {
        const double flop = 2.0 * static_cast<double>(m) * static_cast<double>(w.n) * static_cast<double>(w.k);
        if (flop > 0.25 * options_.seconds_each * flops) continue;
        if (4 * static_cast<uint64_t>(m * w.k + w.n * w.k + m * w.n) > Room()) continue;
        ZO2_TRY(GemmPoint(dtype, Around(dtype), m, w.n, w.k));
      }
    return Status();
  }

  Status OtherCalls() override {
    if (kernel(Op::kAttention) != nullptr) {
      DType dtype = DType::kF32;  // as the plan calls it
      for (const DType narrow : {DType::kBF16, DType::kF16})
        dtype = PlannedActivations(Op::kAttention, 0, narrow, dtype);
      const auto fits = [&](int64_t tokens) {
        return 32 * static_cast<uint64_t>(kHeads * tokens * kHeadSize) < Room();
      };
      ZO2_ASSIGN(const int64_t tokens, Grow(256, 4096, 2, fits, [&](int64_t n) -> Result<double> {
                   ZO2_ASSIGN(const Timing timing, TimeAttention(dtype, 1, kHeads, n, kHeadSize, Look()));
                   return timing.seconds;
                 }));
      ZO2_ASSIGN(const Timing timing, TimeAttention(dtype, 1, kHeads, tokens, kHeadSize, options_.seconds_each));
      Put("attention_flops", AttentionFlop(1, kHeads, tokens, kHeadSize), timing);
      json_["source"]["attention_flops"] = "measured, of " + std::string(Name(dtype));
    }
    ZO2_TRY(Wide("elementwise_ops", Op::kGelu, 1, 1));
    ZO2_TRY(Wide("memory_bytes_per_s", Op::kAdd, 2, 12));
    // A call that does next to nothing, as part of a graph.
    const std::vector<TensorView> tiny(2, Dense(DType::kF32, {1, 8}));
    ZO2_ASSIGN(const Timing o, TimeOp(Op::kAdd, {}, tiny, {tiny[0]}, options_.seconds_each));
    Put("call_overhead_s", 0, o);
    return Status();
  }
  // An elementwise op on f32 operands beyond the caches; `amount` per element.
  Status Wide(const char* figure, Op op, size_t inputs, double amount) {
    const auto time = [&](int64_t rows, double seconds) {
      const std::vector<TensorView> views(inputs, Dense(DType::kF32, {1, rows, 4096}));
      return TimeOp(op, {}, views, {views[0]}, seconds);
    };
    const auto fits = [&](int64_t rows) { return static_cast<uint64_t>(rows) * 4096 * 4 * (inputs + 2) < Room(); };
    ZO2_ASSIGN(const int64_t rows, Grow(64, 4096, 4, fits, [&](int64_t n) -> Result<double> {
                 ZO2_ASSIGN(const Timing timing, time(n, Look()));
                 return timing.seconds;
               }));
    ZO2_ASSIGN(const Timing timing, time(rows, options_.seconds_each));
    Put(figure, amount * static_cast<double>(rows * 4096), timing);
    return Status();
  }

  // The calling thread gives all that the compute lane does.
  Status OnLane() override {
    ZO2_TRY(compute_.Bind());
    ZO2_TRY(Compute());
    ZO2_ASSIGN(Pool masters, Pool::Create(device_, kBeyondCaches, Tier::kHost));
    WarmUp();
    return HostMasters(masters);
  }

  // ---- prepares ----
  Result<int64_t> PrepareRows(DType dtype, int updates) {
    const auto fits = [&](int64_t rows) { return QueuePrepare::LeastBytes(dtype, rows) < Room(); };
    return Grow(64, 16384, 4, fits, [&](int64_t rows) -> Result<double> {
      ZO2_ASSIGN(const std::unique_ptr<QueuePrepare> prepare,
                 QueuePrepare::Create(device_, dtype, rows, updates, Room()));
      ZO2_ASSIGN(const Timing timing, TimeOnQueue(compute_, prepare->Work(compute_), Look()));
      return timing.seconds;
    });
  }
  // Rates go before those of the plan's run: its tiles are among `calls`, and may be so small that launches show.
  Status Prepares() override {
    spread_["prepare_params_per_s"] = 0;
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      ZO2_ASSIGN(const int64_t rows, PrepareRows(dtype, 0));
      ZO2_ASSIGN(const std::unique_ptr<QueuePrepare> fused, QueuePrepare::Create(device_, dtype, rows, 0, Room()));
      ZO2_ASSIGN(const Timing timing, TimeOnQueue(compute_, fused->Work(compute_), options_.seconds_each));
      json_["prepare_params_per_s"][std::string(Name(dtype))] = static_cast<double>(fused->elements()) / timing.seconds;
      spread_["prepare_params_per_s"] = std::max(spread_["prepare_params_per_s"], timing.spread);
    }
    constexpr int kNormals = 8;  // per element, beside one read and one write
    ZO2_ASSIGN(const int64_t rows, PrepareRows(DType::kF32, kNormals));
    ZO2_ASSIGN(const std::unique_ptr<QueuePrepare> updates,
               QueuePrepare::Create(device_, DType::kF32, rows, kNormals, Room()));
    ZO2_ASSIGN(const Timing timing, TimeOnQueue(compute_, updates->Work(compute_), options_.seconds_each));
    Put("noise_normals_per_s", kNormals * static_cast<double>(updates->elements()), timing);
    return Status();
  }

  // Products and prepares in turn, also with a plan: its run has copies of its own, which would wait for the others.
  Status TypicalWorkBesideCopies() override {
    if (kernel(Op::kLinear) == nullptr) return Status();
    ZO2_ASSIGN(const int64_t rows, PrepareRows(DType::kF32, 0));
    ZO2_ASSIGN(const std::unique_ptr<QueuePrepare> prepare,
               QueuePrepare::Create(device_, DType::kF32, rows, 0, Room()));
    constexpr int64_t kIn = 1024;
    const int64_t tokens = std::min<int64_t>(2048, rows);
    const Attrs attrs;
    const std::vector<TensorView> inputs = {Dense(DType::kF32, {1, tokens, kIn}), Dense(DType::kF32, {kIn, kIn})};
    const std::vector<TensorView> outputs = {Dense(DType::kF32, {1, tokens, kIn})};
    const KernelCall call = MakeCall(Op::kLinear, attrs, inputs, outputs);
    ZO2_ASSIGN(Pool pool, Pool::Create(device_, OwnCall::Bytes(call, 0)));
    ZO2_ASSIGN(const std::unique_ptr<OwnCall> product, OwnCall::Create(call, kernel(Op::kLinear), 0, 1, device_, pool));
    const QueueWork work = {[&](int64_t i) -> Status {
      ZO2_TRY(prepare->Give(compute_, i));
      ZO2_TRY(compute_.Call(product->kernel(), product->call()));
      return compute_.Call(product->kernel(), product->call());
    }};
    ZO2_ASSIGN(std::unique_ptr<CopyLoad> load, CopyLoad::Create(device_, kCopy, 0));
    return BesideCopies(*load, [&]() -> Result<double> {
      ZO2_ASSIGN(const Timing timing, TimeOnQueue(compute_, work, options_.seconds_each));
      return timing.seconds;
    });
  }

  // ---- the link ----
  // Memory of both sides that one direction's copies go through.
  struct Ways {
    std::unique_ptr<ArenaMemory> host, device;
  };
  Result<Ways> MakeWays() {
    Ways ways;
    ZO2_ASSIGN(ways.host, device_.Allocate(Tier::kHost, kCopies * kCopy));
    ZO2_ASSIGN(ways.device, device_.Allocate(Tier::kDevice, kCopies * kCopy));
    std::memset(ways.host->data(), 1, kCopies * kCopy);
    return ways;
  }
  // Of a copy of `bytes` in that direction, back to back on a queue and thread of its own.
  Result<Timing> TimeCopies(LaneKind kind, const Ways& ways, uint64_t bytes, double seconds) {
    ZO2_ASSIGN(const std::unique_ptr<Queue> queue, device_.OpenQueue(kind));
    if (queue->async() == nullptr) return Internal("a queue of kind ", Name(kind), " is not asynchronous");
    Result<Timing> timing = Timing{};
    std::thread lane([&] {
      if (Status bound = queue->Bind(); !bound.ok()) {
        timing = std::move(bound);
        return;
      }
      const auto give = [&](int64_t i) {
        std::byte* const host = ways.host->data() + static_cast<uint64_t>(i) % kCopies * kCopy;
        std::byte* const memory = ways.device->data() + static_cast<uint64_t>(i) % kCopies * kCopy;
        return kind == LaneKind::kH2D ? queue->Copy(memory, host, bytes) : queue->Copy(host, memory, bytes);
      };
      timing = TimeOnQueue(*queue->async(), {give, 0}, seconds);
    });
    lane.join();
    return timing;
  }

  Status Link() override {
    Say("the link");
    ZO2_ASSIGN(const Ways up_ways, MakeWays());
    ZO2_ASSIGN(const Ways down_ways, MakeWays());
    const double each = 3 * options_.seconds_each;
    ZO2_ASSIGN(const Timing small, TimeCopies(LaneKind::kH2D, up_ways, 64, options_.seconds_each));
    ZO2_ASSIGN(const Timing up, TimeCopies(LaneKind::kH2D, up_ways, kCopy, each));
    ZO2_ASSIGN(const Timing down, TimeCopies(LaneKind::kD2H, down_ways, kCopy, each));
    const double latency = std::min(small.seconds, 0.5 * std::min(up.seconds, down.seconds));
    Put("copy_latency_s", 0, {latency, small.spread});
    Put("link_up_bytes_per_s", kCopy, {up.seconds - latency, up.spread});
    Put("link_down_bytes_per_s", kCopy, {down.seconds - latency, down.spread});
    Result<Timing> up_both = Timing{}, down_both = Timing{};
    std::thread other([&] { up_both = TimeCopies(LaneKind::kH2D, up_ways, kCopy, each); });
    down_both = TimeCopies(LaneKind::kD2H, down_ways, kCopy, each);
    other.join();
    ZO2_TRY(up_both);
    ZO2_TRY(down_both);
    json_["link_duplex"] =
        std::clamp(0.5 * (up.seconds / up_both->seconds + down.seconds / down_both->seconds), 0.05, 1.0);
    return Status();
  }

  AsyncQueue& compute_;
};

}  // namespace

Result<std::string> ProfileAsync(Device& device, AsyncQueue& compute, const KernelTable& kernels, const Schedule* plan,
                                 const ProfileOptions& options) {
  return AsyncProfiler(device, compute, kernels, plan, options).Run();
}

}  // namespace zo2
