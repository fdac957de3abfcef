#include "runtime/profile.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ir/graph/op.h"
#include "runtime/copy_load.h"
#include "runtime/host_id.h"
#include "runtime/kernels/codec.h"
#include "runtime/plan_run.h"
#include "runtime/timed_call.h"
#include "runtime/timed_disk.h"
#include "runtime/timed_prepare.h"
#include "runtime/worker_pool.h"

namespace zo2 {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kRounds = 3;  // of measurements that are compared with each other
constexpr uint64_t kSmallCopy = 4096;  // bytes
constexpr uint64_t kBeyondCaches = 96ull << 20;  // bytes of masters that are prepared in turn: they come from memory

class Profiler {
 public:
  Profiler(Device& device, const KernelTable& kernels, const Schedule* plan, const ProfileOptions& options)
      : device_(device), kernels_(kernels), plan_(plan), options_(options), workers_(options.threads) {}

  Result<std::string> Run() {
    if (!(options_.seconds_each > 0 && options_.seconds_each <= 1e6))
      return Invalid("--seconds: ", options_.seconds_each, " is not a time above 0 and up to 1e6 seconds");
    json_["name"] = options_.name;
    json_["kind"] = device_.name();
    json_["source"] = {{"all", "measured by zo2-run profile"}};
    if (!options_.link.empty()) json_["source"]["link"] = "measured, emulated: " + options_.link;
    json_["measured_on"] = ThisMachine(options_.link, device_.facts());
    json_["compute_threads"] = options_.threads;
    json_["device_bytes"] = device_.MemoryAvailable(Tier::kDevice).bytes;
    json_["host_bytes"] = device_.MemoryAvailable(Tier::kHost).bytes;
    json_["disk_bytes"] = device_.MemoryAvailable(Tier::kDisk).bytes;
    {
      ZO2_ASSIGN(Pool pool, Pool::Create(device_, kBeyondCaches));
      pool_ = &pool;
      ZO2_TRY(Link());
    }
    if (plan_ != nullptr) ZO2_TRY(InPlace());
    uint64_t bytes = kBeyondCaches;
    if (plan_ != nullptr)
      for (const Arena& arena : plan_->arenas)
        if (arena.tier == Tier::kDevice) bytes = std::max<uint64_t>(bytes, arena.bytes + (16ull << 20));
    ZO2_ASSIGN(Pool pool, Pool::Create(device_, bytes));
    pool_ = &pool;
    // One thread does all that the compute lane does: libraries keep threads and memory per calling thread.
    Status status;
    std::thread lane([&] {
      WorkerPool::Adopt(&workers_);
      WarmUp();
      status = Compute();
      if (status.ok()) status = Host();
    });
    lane.join();
    ZO2_TRY(status);
    if (!options_.disk_folder.empty()) ZO2_TRY(Disk());
    json_["calls"] = calls_;
    json_["spread"] = spread_;
    return json_.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";  // a name is whatever bytes it is
  }

 private:
  void Say(const std::string& what) const {
    if (options_.progress) std::fprintf(stderr, "measuring %s\n", what.c_str());
  }
  Kernel kernel(Op op) const { return kernels_.call[static_cast<size_t>(op)]; }

  // Median seconds of a call; 0 where the table has no kernel for it.
  Result<Timing> TimeCall(Op op, const Attrs& attrs, const std::vector<TensorView>& inputs, const std::vector<TensorView>& outputs,
                          int64_t workspace, double seconds) {
    if (kernel(op) == nullptr) return Timing{};
    KernelCall call;
    call.op = op;
    call.attrs = &attrs;
    call.inputs = inputs;
    call.outputs = outputs;
    call.workspace_bytes = workspace;
    call.threads = options_.threads;
    ZO2_ASSIGN(const std::unique_ptr<OwnCall> own, OwnCall::Create(call, kernel(op), 0, 1, *pool_));
    return own->Run(seconds, workers_);
  }
  int64_t Workspace(Op op, const Attrs& attrs, const std::vector<TensorView>& inputs) const {
    std::vector<TensorType> types;
    for (const TensorView& v : inputs) types.push_back({v.dtype, v.shape});
    std::vector<const TensorType*> pointers;
    for (const TensorType& t : types) pointers.push_back(&t);
    pointers.resize(std::max<size_t>(pointers.size(), static_cast<size_t>(std::max(0, Row(op).max_inputs))), nullptr);
    return WorkspaceBytes(op, pointers, attrs, 0);
  }

  // FLOP/s of y[m,n] = x[m,k] W[n,k]^T with W of this dtype.
  Result<double> Gemm(DType dtype, int64_t m, int64_t n, int64_t k, double seconds, double* spread) {
    const Attrs attrs;
    const DType around = dtype == DType::kBF16 ? DType::kF32 : dtype;  // how --compute bf16 calls it
    const std::vector<TensorView> inputs = {Dense(around, {1, m, k}), Dense(dtype, {n, k})};
    const int64_t workspace = Workspace(Op::kLinear, attrs, inputs);
    ZO2_ASSIGN(const Timing t, TimeCall(Op::kLinear, attrs, inputs, {Dense(around, {1, m, n})}, workspace, seconds));
    if (spread != nullptr) *spread = t.spread;
    return t.seconds > 0 ? 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k) / t.seconds : 0.0;
  }

  // Until every thread has a core of its own and the cores are at their speed.
  void WarmUp() {
    const double end = Clock() + 0.3;
    while (Clock() < end)
      workers_.Run(8 * workers_.threads(), [](int64_t) {
        for (const double piece = Clock() + 1e-4; Clock() < piece;) {
        }
      });
  }

  Status Compute() {
    Say("matrix products");
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      const int64_t side = dtype == DType::kF16 ? 256 : 1024;  // half precision is hopeless on most CPUs
      const Result<double> flops = Gemm(dtype, side, side, side, 2 * options_.seconds_each,
                                        dtype == DType::kF32 ? &spread_["gemm_flops"] : nullptr);
      // A dtype that the kernels refuse has no rate; the planner falls back to f32's.
      if (flops.ok() && *flops > 0) json_["gemm_flops"][std::string(Name(dtype))] = *flops;
    }
    json_["gemm_table"] = Json::array();
    if (plan_ == nullptr)
      for (const int64_t m : {16, 128, 512})
        for (const int64_t n : {768, 3072})
          for (const DType dtype : {DType::kF32, DType::kBF16}) ZO2_TRY(GemmPoint(dtype, m, n, 768));

    Say("attention, elementwise, memory and call overhead");
    const int64_t h = 12, s = 256, d = 64;
    const Attrs attention = {{"layout", std::string("bhsd")}, {"scale", 0.125}, {"causal", int64_t{1}}};
    std::vector<TensorView> qkv(3, Dense(DType::kF32, {2, h, s, d}));
    const int64_t attention_work = Workspace(Op::kAttention, attention, qkv);
    ZO2_ASSIGN(const Timing a, TimeCall(Op::kAttention, attention, qkv, {qkv[0]}, attention_work, options_.seconds_each));
    if (a.seconds > 0) spread_["attention_flops"] = a.spread;
    if (a.seconds > 0) json_["attention_flops"] = 2.0 * 4.0 * h * s * s * d / a.seconds;
    const std::vector<TensorView> wide(2, Dense(DType::kF32, {1, 1024, 1024}));
    const std::vector<TensorView> one_wide = {wide[0]};
    const Attrs none;
    ZO2_ASSIGN(const Timing e, TimeCall(Op::kGelu, none, one_wide, one_wide, Workspace(Op::kGelu, none, one_wide), options_.seconds_each));
    if (e.seconds > 0) spread_["elementwise_ops"] = e.spread;
    if (e.seconds > 0) json_["elementwise_ops"] = (1 << 20) / e.seconds;
    ZO2_ASSIGN(const Timing m, TimeCall(Op::kAdd, none, wide, one_wide, Workspace(Op::kAdd, none, wide), options_.seconds_each));
    if (m.seconds > 0) spread_["memory_bytes_per_s"] = m.spread;
    if (m.seconds > 0) json_["memory_bytes_per_s"] = 12.0 * (1 << 20) / m.seconds;
    if (!json_.contains("compute_share_while_uploading")) ZO2_TRY(TypicalWorkBesideCopies());
    const std::vector<TensorView> tiny(2, Dense(DType::kF32, {1, 8}));
    ZO2_ASSIGN(const Timing o, TimeCall(Op::kAdd, none, tiny, {tiny[0]}, 0, options_.seconds_each));
    if (o.seconds > 0) spread_["call_overhead_s"] = o.spread;
    if (o.seconds > 0) json_["call_overhead_s"] = o.seconds;

    ZO2_TRY(Noise());
    if (plan_ != nullptr) ZO2_TRY(PlannedCalls());
    return Status();
  }

  Status GemmPoint(DType dtype, int64_t m, int64_t n, int64_t k) {
    ZO2_ASSIGN(const double flops, Gemm(dtype, m, n, k, options_.seconds_each, nullptr));
    if (flops > 0)
      json_["gemm_table"].push_back({{"dtype", Name(dtype)}, {"m", m}, {"n", n}, {"k", k}, {"flops", flops}});
    return Status();
  }

  // What the plan's run has measured in its place stays.
  Status Noise() {
    Say("noise and the fused update");
    const auto n = static_cast<double>(TimedPrepare::kElements);
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      TimedPrepare prepare(dtype, *pool_, workers_);
      const std::string name(Name(dtype));
      Json& rates = json_["prepare_params_per_s"];
      if (!rates.contains(name)) {
        const Timing fused = Time(options_.seconds_each, [&] { prepare.Fused(); }, [&] { prepare.ReadBranches(); });
        rates[name] = n / fused.seconds;
        spread_["prepare_params_per_s"] = std::max(spread_["prepare_params_per_s"], fused.spread);
      }
      if (dtype != DType::kF32) continue;
      // Eight normals per element beside one read and one write.
      const Timing noise = Time(options_.seconds_each, [&] { prepare.Update(8); });
      json_["noise_normals_per_s"] = 8 * n / noise.seconds;
      spread_["noise_normals_per_s"] = noise.spread;
    }
    return Status();
  }

  // Masters in host memory: updates without branches, and the encoder for the wire.
  Status Host() {
    Say("updates and encoders of the host");
    json_["host_threads"] = options_.threads;
    TimedPrepare prepare(DType::kF32, *pool_, workers_);
    const Timing update = Time(options_.seconds_each, [&] { prepare.Update(1); });
    json_["host_update_params_per_s"] = static_cast<double>(TimedPrepare::kElements) / update.seconds;
    spread_["host_update_params_per_s"] = update.spread;
    kernels::EncodeArgs args;
    args.format = WireFormat::kI8;
    args.rows = TimedPrepare::kRows;
    args.cols = args.value_stride = TimedPrepare::kCols;
    std::vector<std::byte> codes(WireBytes(args.format, args.rows, args.cols) + 64);
    args.coded = codes.data() + (64 - reinterpret_cast<uintptr_t>(codes.data()) % 64);
    const Timing encode = Time(options_.seconds_each, [&] {
      args.values = prepare.master();
      const int64_t parts = 4 * workers_.threads();
      workers_.Run(parts, [&](int64_t part) {
        kernels::EncodeArgs mine = args;
        mine.row_begin = args.rows * part / parts;
        mine.row_end = args.rows * (part + 1) / parts;
        (void)kernels::Encode(mine);
      });
      prepare.Skip();
    });
    json_["encode_bytes_per_s"] = 4.0 * static_cast<double>(TimedPrepare::kElements) / encode.seconds;
    spread_["encode_bytes_per_s"] = encode.spread;
    return Status();
  }

  // Every distinct call of the plan's programs, parts and all, that its run has not measured.
  Status PlannedCalls() {
    for (const Program& program : plan_->programs)
      for (const Lane& lane : program.lanes)
        for (const Instruction& i : lane.instructions)
          if (i.kind == InstrKind::kCall) ZO2_TRY(PlannedCall(i));
    return Status();
  }

  // Of the whole table of an embedding, whatever part of it the call has.
  int64_t RowsOf(const Instruction& call) const {
    int64_t rows = call.part_end > call.part_begin ? call.part_end : call.operands[1].type.shape[0];
    for (const Program& program : plan_->programs)
      for (const Lane& lane : program.lanes)
        for (const Instruction& i : lane.instructions)
          if (i.node == call.node) rows = std::max(rows, i.part_end);
    return rows;
  }

  Status PlannedCall(const Instruction& i) {
    const PlanNode& node = plan_->nodes[static_cast<size_t>(i.node)];
    if (kernel(node.op) == nullptr) return Status();
    const size_t inputs = node.inputs.size(), outputs = node.outputs.size();
    if (i.operands.size() < inputs + outputs + 2) return Status();
    std::vector<TensorView> in, out;
    for (size_t k = 0; k < inputs + outputs; ++k) {
      const Operand& o = i.operands[k];
      TensorView v = o.buffer < 0 ? TensorView() : Dense(o.type.dtype, o.type.shape);
      if (o.buffer >= 0 && !o.strides.empty()) v.strides = o.strides;
      (k < inputs ? in : out).push_back(v);
    }
    KernelCall call;
    call.op = node.op;
    call.attrs = &node.attrs;
    call.inputs = in;
    call.outputs = out;
    call.part_begin = i.part_begin;
    call.part_end = i.part_end;
    call.threads = options_.threads;
    const Operand &state = i.operands[inputs + outputs], &workspace = i.operands[inputs + outputs + 1];
    call.workspace_bytes = workspace.buffer < 0 ? 0 : workspace.type.bytes();
    const std::string signature = CallSignature(call);
    if (calls_.count(signature) > 0) return Status();
    Say(signature);
    ZO2_ASSIGN(const std::unique_ptr<OwnCall> own,
               OwnCall::Create(call, kernel(node.op), state.buffer < 0 ? 0 : state.type.bytes(),
                               node.op == Op::kEmbedding ? RowsOf(i) : 1, *pool_));
    calls_[signature] = own->Run(options_.seconds_each, workers_).seconds;
    return Status();
  }

  // The plan's own step: every call and prepare between its neighbours, alone and beside copies.
  Status InPlace() {
    Say("the plan's step");
    Schedule plan = *plan_;  // with our threads; outlives the run
    for (Program& program : plan.programs)
      for (Lane& lane : program.lanes)
        if (lane.kind == LaneKind::kCompute) lane.threads = options_.threads;
    auto opened = PlanRun::Open(plan, device_, kernels_);
    if (!opened.ok()) {
      Say("calls one by one, for the plan does not run here: " + opened.status().message());
      return Status();
    }
    PlanRun& run = **opened;
    const double seconds = 10 * options_.seconds_each;
    ZO2_ASSIGN(const PlanTiming alone, run.Run(seconds));
    calls_ = CallsInPlace(plan, run.program(), alone);
    spread_["calls"] = alone.spread;
    for (const auto& [dtype, rate] : PrepareRatesInPlace(plan, run.program(), alone)) {
      json_["prepare_params_per_s"][std::string(Name(dtype))] = rate;
      spread_["prepare_params_per_s"] = alone.spread;
    }
    uint64_t bytes = 0;
    for (const Tile& tile : plan.tiles) bytes += tile.bytes;
    const uint64_t piece = bytes / std::max<size_t>(1, plan.tiles.size());
    ZO2_ASSIGN(std::unique_ptr<CopyLoad> load,
               CopyLoad::Create(device_, piece, static_cast<double>(bytes) / alone.period));
    return BesideCopies(*load, [&]() -> Result<double> {
      ZO2_ASSIGN(const PlanTiming timing, run.Run(seconds));
      return timing.period;
    });
  }

  // Where no plan says what there is to compute: products and prepares in turn.
  Status TypicalWorkBesideCopies() {
    constexpr int64_t kTokens = 128, kOut = 256, kIn = 1024;
    const Attrs attrs;
    const std::vector<TensorView> inputs = {Dense(DType::kF32, {1, kTokens, kIn}), Dense(DType::kF32, {kOut, kIn})};
    std::vector<TensorView> outputs = {Dense(DType::kF32, {1, kTokens, kOut})};
    KernelCall call;
    call.op = Op::kLinear;
    call.attrs = &attrs;
    call.inputs = inputs;
    call.outputs = outputs;
    call.workspace_bytes = Workspace(Op::kLinear, attrs, inputs);
    call.threads = options_.threads;
    if (kernel(Op::kLinear) == nullptr) return Status();
    ZO2_ASSIGN(Pool operands, Pool::Create(device_, 16ull << 20));
    ZO2_ASSIGN(const std::unique_ptr<OwnCall> product, OwnCall::Create(call, kernel(Op::kLinear), 0, 1, operands));
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

  // What copies cost the compute lane: `period` measures the seconds of one piece of its work while copies go on.
  Status BesideCopies(CopyLoad& load, const std::function<Result<double>()>& period) {
    Say("computing beside copies");
    std::vector<double> up_tax, down_tax;  // seconds per byte
    for (int round = 0; round < kRounds; ++round) {
      ZO2_ASSIGN(const double alone, period());
      ZO2_TRY(load.Start(true, false));
      const auto with_up = period();
      const CopyLoad::Carried up = load.Stop();
      ZO2_TRY(with_up);
      ZO2_TRY(load.Start(true, true));
      const auto with_both = period();
      const CopyLoad::Carried both = load.Stop();
      ZO2_TRY(with_both);
      up_tax.push_back((1 - alone / *with_up) / std::max(1.0, up.up));
      down_tax.push_back((1 - alone / *with_both - up_tax.back() * both.up) / std::max(1.0, both.down));
    }
    const auto share = [&](std::vector<double> tax, const char* figure, double rate) {
      std::sort(tax.begin(), tax.end());
      json_[figure] = std::clamp(1 - tax[kRounds / 2] * rate, 0.05, 1.0);
      spread_[figure] = std::min(1.0, rate * (tax[kRounds - 1] - tax[0]) / 2 / json_[figure].get<double>());
    };
    share(up_tax, "compute_share_while_uploading", json_["link_up_bytes_per_s"]);
    share(down_tax, "compute_share_while_downloading", json_["link_down_bytes_per_s"]);
    return Status();
  }

  // Seconds per copy of `bytes` on a queue of this kind, from host to device memory or back. Of small copies the mean of
  // many: an emulated link gives what one took too long back to the next, so that most seem to take nothing.
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

  Status Link() {
    Say("the link");
    const uint64_t bytes = 8 << 20;
    std::vector<std::byte> host_up(bytes, std::byte{1}), host_down(bytes, std::byte{2});
    std::byte *device_up = pool_->data(), *device_down = pool_->data() + bytes;
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

  Status Disk() {
    Say("the disk");
    ZO2_ASSIGN(const DiskTiming disk, TimeDisk(options_.disk_folder));
    json_["disk_write_bytes_per_s"] = disk.write_bytes_per_s;
    json_["disk_read_bytes_per_s"] = disk.read_bytes_per_s;
    json_["disk_latency_s"] = disk.latency;
    return Status();
  }

  Device& device_;
  const KernelTable& kernels_;
  const Schedule* plan_;
  const ProfileOptions& options_;
  WorkerPool workers_;
  Pool* pool_ = nullptr;
  Json json_;
  std::map<std::string, double> calls_, spread_;
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
  return Profiler(device, kernels, plan, options).Run();
}

}  // namespace zo2
