#include "runtime/profile.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

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
#include "runtime/step_kernels.h"
#include "runtime/worker_pool.h"

namespace zo2 {
namespace {

using Json = nlohmann::ordered_json;
constexpr uint64_t kBeyondCaches = 96ull << 20;  // bytes of masters that are prepared in turn: they come from memory

double Clock() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

struct Timing {
  double seconds = 0;  // median
  double spread = 0;   // standard deviation / mean
};

// Repeats f for about `seconds`, at least 5 times after a warm-up of half as long: helpers that slept may have to find a
// core first. `between`, if any, runs before each time and is not
// timed.
Timing Time(double seconds, const std::function<void()>& f, const std::function<void()>& between = nullptr) {
  for (const double warm = Clock() + 0.5 * seconds; Clock() < warm;) {
    f();
    if (between) between();
  }
  std::vector<double> times;
  const double end = Clock() + seconds;
  while (times.size() < 5 || (Clock() < end && times.size() < 10000)) {
    if (between) between();
    const double begin = Clock();
    f();
    times.push_back(Clock() - begin);
  }
  double sum = 0, squares = 0;
  for (const double t : times) {
    sum += t;
    squares += t * t;
  }
  const double n = static_cast<double>(times.size()), mean = sum / n;
  std::nth_element(times.begin(), times.begin() + static_cast<int64_t>(times.size() / 2), times.end());
  return {times[times.size() / 2], std::sqrt(std::max(0.0, squares / n - mean * mean)) / mean};
}

// Memory that operands are taken from.
class Pool {
 public:
  static Result<Pool> Create(Device& device, uint64_t bytes) {
    Pool pool;
    ZO2_ASSIGN(pool.memory_, device.Allocate(Tier::kDevice, bytes));
    // Small positive numbers in every float dtype, zero in integers' eyes wherever ids are read (see Fill).
    return pool;
  }
  std::byte* data() const { return memory_->data(); }
  uint64_t bytes() const { return memory_->bytes(); }

 private:
  std::unique_ptr<ArenaMemory> memory_;
};

uint64_t Aligned(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

uint64_t ViewBytes(const TensorView& view) {
  int64_t last = 0;
  for (size_t d = 0; d < view.shape.size(); ++d) last += (view.shape[d] - 1) * view.strides[d];
  return static_cast<uint64_t>((last + 1) * SizeOf(view.dtype));
}

// Floats of moderate size; ids, labels and masks 0.
void Fill(const TensorView& view) {
  std::byte* to = static_cast<std::byte*>(view.data);
  const uint64_t n = ViewBytes(view) / static_cast<uint64_t>(SizeOf(view.dtype));
  for (uint64_t i = 0; i < n; ++i) {
    const float x = 0.01f * static_cast<float>(static_cast<int64_t>((i * 2654435761u >> 7) % 201) - 100);
    uint32_t bits;
    std::memcpy(&bits, &x, 4);
    if (view.dtype == DType::kF32) std::memcpy(to + 4 * i, &x, 4);
    if (view.dtype == DType::kBF16) {
      const uint16_t half = static_cast<uint16_t>(bits >> 16);
      std::memcpy(to + 2 * i, &half, 2);
    }
    if (view.dtype == DType::kF16) {
      const uint16_t half = 0x3000;  // 0.125
      std::memcpy(to + 2 * i, &half, 2);
    }
  }
  if (!IsFloat(view.dtype)) std::memset(to, 0, ViewBytes(view));
}

TensorView Dense(DType dtype, Shape shape) {
  TensorView view;
  view.dtype = dtype;
  view.shape = std::move(shape);
  view.strides.assign(view.shape.size(), 1);
  for (size_t d = view.shape.size(); d-- > 1;) view.strides[d - 1] = view.strides[d] * view.shape[d];
  static std::byte present;  // until OwnCall gives it an address
  view.data = &present;
  return view;
}

// Every thread gets cache lines of [data, data + bytes) to itself, in turn with the others.
void Touch(WorkerPool& workers, std::byte* data, uint64_t bytes) {
  constexpr uint64_t kLine = 64;
  const uint64_t pieces = 8 * static_cast<uint64_t>(workers.threads()), each = (bytes + pieces - 1) / pieces;
  workers.Run(static_cast<int64_t>(pieces), [&](int64_t piece) {
    volatile std::byte* const memory = data;
    const uint64_t begin = static_cast<uint64_t>(piece) * each, end = std::min(bytes, begin + each);
    for (uint64_t at = begin; at < end; at += kLine) memory[at] = memory[at];
  });
}

// A call with operands of its own.
class OwnCall {
 public:
  // Views whose data is null stay absent. An output that shares an input's address in the plan gets its own here. Ids of
  // an embedding are spread over `rows`.
  static Result<std::unique_ptr<OwnCall>> Create(const KernelCall& call, const Kernel kernel, int64_t state_bytes,
                                                 int64_t rows, Pool& pool) {
    auto own = std::make_unique<OwnCall>();
    own->kernel_ = kernel;
    own->data_ = pool.data();
    own->views_.assign(call.inputs.begin(), call.inputs.end());
    own->views_.insert(own->views_.end(), call.outputs.begin(), call.outputs.end());
    uint64_t bytes = Aligned(static_cast<uint64_t>(state_bytes)) + Aligned(static_cast<uint64_t>(call.workspace_bytes));
    for (const TensorView& v : own->views_) bytes += v.data == nullptr ? 0 : Aligned(ViewBytes(v));
    if (bytes == 0 || bytes > pool.bytes())
      return Error(Code::kDevice, "a call of ", Name(call.op), " needs ", PrintBytes(bytes), ", more than is set aside");
    std::byte* at = pool.data();
    const auto take = [&](uint64_t size) { return std::exchange(at, at + Aligned(size)); };
    for (TensorView& v : own->views_) {
      if (v.data == nullptr) continue;
      v.data = take(ViewBytes(v));
      Fill(v);
    }
    if (call.op == Op::kEmbedding && own->views_[0].dtype == DType::kI64)
      for (int64_t i = 0, n = NumElements(own->views_[0].shape); i < n; ++i)
        static_cast<int64_t*>(own->views_[0].data)[i] = i * rows / n;
    own->bytes_ = static_cast<uint64_t>(at - own->data_);
    own->call_ = call;
    own->call_.inputs = std::span<const TensorView>(own->views_).first(call.inputs.size());
    own->call_.outputs = std::span<const TensorView>(own->views_).subspan(call.inputs.size());
    own->call_.first_part = true;
    own->call_.last_part = call.op != Op::kEmbedding;  // its last part judges ids that no part has
    own->call_.state = state_bytes > 0 ? take(static_cast<uint64_t>(state_bytes)) : nullptr;
    own->call_.workspace = call.workspace_bytes > 0 ? take(static_cast<uint64_t>(call.workspace_bytes)) : nullptr;
    ZO2_TRY(kernel(own->call_));
    return own;
  }
  // As in a run, operands are in the caches of the cores that the call or prepare before them happened to use.
  Timing Run(double seconds, WorkerPool& workers) {
    return Time(seconds, [&] { (void)kernel_(call_).ok(); }, [&] { Touch(workers, data_, bytes_); });
  }

 private:
  Kernel kernel_ = nullptr;
  std::vector<TensorView> views_;
  KernelCall call_;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;  // of inputs and outputs
};

class Profiler {
 public:
  Profiler(Device& device, const KernelTable& kernels, const Schedule* plan, const ProfileOptions& options)
      : device_(device), kernels_(kernels), plan_(plan), options_(options), workers_(options.threads) {}

  Result<std::string> Run() {
    json_["name"] = options_.name;
    json_["kind"] = device_.name();
    json_["source"] = {{"all", "measured by zo2-run profile"}};
    if (!options_.link.empty()) json_["source"]["link"] = "measured, emulated: " + options_.link;
    json_["compute_threads"] = options_.threads;
    json_["device_bytes"] = device_.MemoryAvailable(Tier::kDevice).bytes;
    json_["host_bytes"] = device_.MemoryAvailable(Tier::kHost).bytes;
    json_["disk_bytes"] = device_.MemoryAvailable(Tier::kDisk).bytes;
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
    });
    lane.join();
    ZO2_TRY(status);
    ZO2_TRY(Link());
    if (!options_.disk_folder.empty()) ZO2_TRY(Disk());
    json_["spread"] = spread_;
    return json_.dump(1) + "\n";
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
                                        dtype == DType::kF32 ? &spread_ : nullptr);
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
    if (a.seconds > 0) json_["attention_flops"] = 2.0 * 4.0 * h * s * s * d / a.seconds;
    const std::vector<TensorView> wide(2, Dense(DType::kF32, {1, 1024, 1024}));
    const std::vector<TensorView> one_wide = {wide[0]};
    const Attrs none;
    ZO2_ASSIGN(const Timing e, TimeCall(Op::kGelu, none, one_wide, one_wide, Workspace(Op::kGelu, none, one_wide), options_.seconds_each));
    if (e.seconds > 0) json_["elementwise_ops"] = (1 << 20) / e.seconds;
    ZO2_ASSIGN(const Timing m, TimeCall(Op::kAdd, none, wide, one_wide, Workspace(Op::kAdd, none, wide), options_.seconds_each));
    if (m.seconds > 0) json_["memory_bytes_per_s"] = 12.0 * (1 << 20) / m.seconds;
    const std::vector<TensorView> tiny(2, Dense(DType::kF32, {1, 8}));
    ZO2_ASSIGN(const Timing o, TimeCall(Op::kAdd, none, tiny, {tiny[0]}, 0, options_.seconds_each));
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

  // The fused pass on a tile: read, one pending update, write, two branches. Masters come from memory, one after the other;
  // branches go where those of the tile before went, which all cores have read since, as in a run.
  Status Noise() {
    Say("noise and the fused update");
    const int64_t rows = 256, cols = 1024, n = rows * cols;
    Program train;
    train.branches = {{{{0, 1.0}}}, {{{0, -1.0}}}};
    const Branch* branches[2] = {&train.branches[0], &train.branches[1]};
    alignas(8) std::byte record[StepRecordBytes(1)] = {};  // of every step: the ring has one copy
    StepRecord& r = *reinterpret_cast<StepRecord*>(record);
    r.q = 1;
    r.lr = 1e-9;
    *r.g() = 1;
    const RunParameters parameters;
    for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
      Schedule schedule;
      PlanWeight weight;
      weight.name = "profile";
      weight.shape = {rows, cols};
      weight.role = WeightRole::kMatrix;
      weight.components = {{"profile", 1, dtype, PlainWire(dtype), dtype, weight.shape, true}};
      schedule.weights = {weight};
      const uint64_t bytes = static_cast<uint64_t>(n * SizeOf(dtype));
      Tile tile;
      tile.name = "profile";
      tile.segments = {{0, 0, 0, rows, 0, cols, 0, 0, 0}};
      tile.bytes = tile.wire_bytes = tile.branch_bytes = bytes;
      std::byte* outputs[2] = {pool_->data(), pool_->data() + bytes};
      std::byte* const masters = pool_->data() + 2 * bytes;
      const int64_t copies = static_cast<int64_t>(pool_->bytes() / bytes) - 2;
      Fill({masters, dtype, {copies * n}, {1}});
      PrepareJob job;
      job.schedule = &schedule;
      job.train = &train;
      job.tile = &tile;
      job.source_is_master = true;
      job.outputs = outputs;
      job.branches = branches;
      job.version = 0;
      job.step = 1;
      job.records = {record, 0, 1};
      job.parameters = &parameters;
      int64_t next = 0;
      const auto prepare = [&] {
        job.source = job.master_out = masters + next++ % copies * static_cast<int64_t>(bytes);
        return PrepareTile(job, workers_);
      };
      ZO2_TRY(prepare());
      const Timing fused = Time(options_.seconds_each, [&] { (void)prepare().ok(); },
                                [&] { Touch(workers_, pool_->data(), 2 * bytes); });
      json_["prepare_params_per_s"][std::string(Name(dtype))] = static_cast<double>(n) / fused.seconds;
      if (dtype != DType::kF32) continue;
      job.outputs = {};
      job.branches = {};
      job.step = 8;  // eight normals per element beside one read and one write
      const Timing noise = Time(options_.seconds_each, [&] { (void)prepare().ok(); });
      json_["noise_normals_per_s"] = 8.0 * static_cast<double>(n) / noise.seconds;
    }
    return Status();
  }

  // Every distinct call of the plan's programs, parts and all.
  Status PlannedCalls() {
    std::map<std::string, double> seconds;
    std::set<std::string> gemms;
    for (const Program& program : plan_->programs)
      for (const Lane& lane : program.lanes)
        for (const Instruction& i : lane.instructions)
          if (i.kind == InstrKind::kCall) ZO2_TRY(PlannedCall(i, &seconds));
    json_["calls"] = seconds;
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

  Status PlannedCall(const Instruction& i, std::map<std::string, double>* seconds) {
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
    if (seconds->count(signature) > 0) return Status();
    Say(signature);
    ZO2_ASSIGN(const std::unique_ptr<OwnCall> own,
               OwnCall::Create(call, kernel(node.op), state.buffer < 0 ? 0 : state.type.bytes(),
                               node.op == Op::kEmbedding ? RowsOf(i) : 1, *pool_));
    (*seconds)[signature] = own->Run(options_.seconds_each, workers_).seconds;
    return Status();
  }

  // Seconds per copy of `bytes` on a queue of this kind, from host to device memory or back.
  Result<double> TimeCopies(LaneKind kind, std::byte* from, std::byte* to, uint64_t bytes, double seconds) {
    ZO2_ASSIGN(std::unique_ptr<Queue> queue, device_.OpenQueue(kind));
    double result = 0;
    std::thread lane([&] {  // a thread of its own, as in a run
      queue->Bind();
      result = Time(seconds, [&] { queue->Copy(to, from, bytes); }).seconds;
      (void)queue->Synchronize().ok();
    });
    lane.join();
    return result;
  }

  Status Link() {
    Say("the link");
    const uint64_t bytes = 8 << 20;
    std::vector<std::byte> host_up(bytes, std::byte{1}), host_down(bytes, std::byte{2});
    std::byte *device_up = pool_->data(), *device_down = pool_->data() + bytes;
    const double each = 3 * options_.seconds_each;
    ZO2_ASSIGN(const double small, TimeCopies(LaneKind::kH2D, host_up.data(), device_up, 64, options_.seconds_each));
    ZO2_ASSIGN(const double up, TimeCopies(LaneKind::kH2D, host_up.data(), device_up, bytes, each));
    ZO2_ASSIGN(const double down, TimeCopies(LaneKind::kD2H, device_down, host_down.data(), bytes, each));
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
    const std::string path = options_.disk_folder + "/.zo2-profile.tmp";
    const int fd = open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) return Error(Code::kDevice, "cannot measure the disk: ", path, ": ", std::strerror(errno));
    unlink(path.c_str());
    std::vector<std::byte> block(4 << 20, std::byte{5});
    const int blocks = 16;
    bool ok = true;
    double begin = Clock();
    for (int i = 0; i < blocks && ok; ++i) ok = write(fd, block.data(), block.size()) == static_cast<ssize_t>(block.size());
    ok = ok && fsync(fd) == 0;
    const double written = Clock() - begin;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    begin = Clock();
    for (int i = 0; i < blocks && ok; ++i)
      ok = pread(fd, block.data(), block.size(), static_cast<off_t>(block.size()) * i) == static_cast<ssize_t>(block.size());
    const double read = Clock() - begin;
    close(fd);
    if (!ok) return Error(Code::kDevice, "cannot measure the disk: writing 64 MiB to ", path, " failed: ", std::strerror(errno));
    const double bytes = static_cast<double>(block.size()) * blocks;
    json_["disk_write_bytes_per_s"] = bytes / written;
    json_["disk_read_bytes_per_s"] = bytes / read;
    return Status();
  }

  Device& device_;
  const KernelTable& kernels_;
  const Schedule* plan_;
  const ProfileOptions& options_;
  WorkerPool workers_;
  Pool* pool_ = nullptr;
  Json json_;
  double spread_ = 0;
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
