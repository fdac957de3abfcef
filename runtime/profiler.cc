#include "runtime/profiler.h"

#include <algorithm>
#include <cstdio>
#include <utility>

#include "runtime/host_id.h"
#include "runtime/kernels/codec.h"
#include "runtime/timed_disk.h"
#include "runtime/timed_prepare.h"

namespace zo2 {
namespace {

using Json = nlohmann::ordered_json;
constexpr int kRounds = 3;  // of measurements that are compared with each other

}  // namespace

Profiler::Profiler(Device& device, const KernelTable& kernels, const Schedule* plan, const ProfileOptions& options,
                   int compute_threads, int host_threads, KernelFlavour flavour)
    : device_(device), kernels_(kernels), plan_(plan), options_(options), compute_threads_(compute_threads),
      workers_(host_threads), flavour_(flavour) {}

Result<std::string> Profiler::Run() {
  if (!(options_.seconds_each > 0 && options_.seconds_each <= 1e6))
    return Invalid("--seconds: ", options_.seconds_each, " is not a time above 0 and up to 1e6 seconds");
  json_["name"] = options_.name;
  json_["kind"] = device_.name();
  json_["source"] = {{"all", "measured by zo2-run profile"}};
  if (!options_.link.empty()) json_["source"]["link"] = "measured, emulated: " + options_.link;
  json_["measured_on"] = ThisMachine(options_.link, device_.facts());
  json_["compute_threads"] = compute_threads_;
  json_["device_bytes"] = device_.MemoryAvailable(Tier::kDevice).bytes;
  json_["host_bytes"] = device_.MemoryAvailable(Tier::kHost).bytes;
  json_["disk_bytes"] = device_.MemoryAvailable(Tier::kDisk).bytes;
  ZO2_TRY(Link());
  if (plan_ != nullptr) ZO2_TRY(InPlace());
  ZO2_TRY(OnLane());
  if (!options_.disk_folder.empty()) ZO2_TRY(Disk());
  json_["calls"] = calls_;
  json_["spread"] = spread_;
  return json_.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";  // a name is whatever bytes it is
}

void Profiler::Say(const std::string& what) const {
  if (options_.progress) std::fprintf(stderr, "measuring %s\n", what.c_str());
}

int64_t Profiler::Workspace(Op op, const Attrs& attrs, const std::vector<TensorView>& inputs) const {
  std::vector<TensorType> types;
  for (const TensorView& v : inputs) types.push_back({v.dtype, v.shape});
  std::vector<const TensorType*> pointers;
  for (const TensorType& t : types) pointers.push_back(&t);
  pointers.resize(std::max<size_t>(pointers.size(), static_cast<size_t>(std::max(0, Row(op).max_inputs))), nullptr);
  return WorkspaceBytes(op, pointers, attrs, 0, flavour_);
}

KernelCall Profiler::MakeCall(Op op, const Attrs& attrs, const std::vector<TensorView>& inputs,
                              const std::vector<TensorView>& outputs) const {
  KernelCall call;
  call.op = op;
  call.attrs = &attrs;
  call.inputs = inputs;
  call.outputs = outputs;
  call.workspace_bytes = Workspace(op, attrs, inputs);
  call.threads = compute_threads_;
  return call;
}

Result<Timing> Profiler::TimeOp(Op op, const Attrs& attrs, const std::vector<TensorView>& inputs,
                                const std::vector<TensorView>& outputs, double seconds) {
  if (kernel(op) == nullptr) return Timing{};
  return TimeCall(MakeCall(op, attrs, inputs, outputs), 0, 1, seconds);
}

Result<Profiler::Product> Profiler::Gemm(DType dtype, DType around, int64_t m, int64_t n, int64_t k, double seconds) {
  const std::vector<TensorView> inputs = {Dense(around, {1, m, k}), Dense(dtype, {n, k})};
  ZO2_ASSIGN(const Timing t, TimeOp(Op::kLinear, {}, inputs, {Dense(around, {1, m, n})}, seconds));
  const double flop = 2.0 * static_cast<double>(m) * static_cast<double>(n) * static_cast<double>(k);
  return Product{t.seconds > 0 ? flop / t.seconds : 0.0, t.seconds, t.spread};
}

Status Profiler::GemmPoint(DType dtype, DType around, int64_t m, int64_t n, int64_t k) {
  ZO2_ASSIGN(const Product product, Gemm(dtype, around, m, n, k, options_.seconds_each));
  if (product.flops > 0)
    json_["gemm_table"].push_back({{"dtype", Name(dtype)}, {"m", m}, {"n", n}, {"k", k}, {"flops", product.flops}});
  return Status();
}

void Profiler::Put(const char* figure, double amount, const Timing& timing) {
  if (!(timing.seconds > 0)) return;
  json_[figure] = amount > 0 ? amount / timing.seconds : timing.seconds;
  spread_[figure] = timing.spread;
}

Result<Timing> Profiler::TimeAttention(DType dtype, int64_t batch, int64_t heads, int64_t tokens, int64_t size,
                                       double seconds) {
  const Attrs attrs = {{"layout", std::string("bhsd")}, {"scale", 0.125}, {"causal", int64_t{1}}};
  const std::vector<TensorView> qkv(3, Dense(dtype, {batch, heads, tokens, size}));
  return TimeOp(Op::kAttention, attrs, qkv, {qkv[0]}, seconds);
}

double Profiler::AttentionFlop(int64_t batch, int64_t heads, int64_t tokens, int64_t size) {
  return 4.0 * static_cast<double>(batch * heads) * static_cast<double>(tokens * tokens) * static_cast<double>(size);
}

void Profiler::WarmUp() {
  const double end = Clock() + 0.3;
  while (Clock() < end)
    workers_.Run(8 * workers_.threads(), [](int64_t) {
      for (const double piece = Clock() + 1e-4; Clock() < piece;) {
      }
    });
}

Status Profiler::Compute() {
  Say("matrix products");
  json_["gemm_table"] = Json::array();
  ZO2_TRY(Products());
  Say("attention, elementwise, memory and call overhead");
  ZO2_TRY(OtherCalls());
  if (!json_.contains("compute_share_while_uploading")) ZO2_TRY(TypicalWorkBesideCopies());
  Say("noise and the fused update");
  ZO2_TRY(Prepares());
  return plan_ != nullptr ? PlannedCalls() : Status();
}

Status Profiler::HostMasters(Pool& pool) {
  Say("updates and encoders of the host");
  json_["host_threads"] = workers_.threads();
  TimedPrepare prepare(DType::kF32, pool, workers_);
  Put("host_update_params_per_s", static_cast<double>(TimedPrepare::kElements),
      Time(options_.seconds_each, [&] { prepare.Update(1); }));
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
  Put("encode_bytes_per_s", 4.0 * static_cast<double>(TimedPrepare::kElements), encode);
  return Status();
}

// Every distinct call of the plan's programs, parts and all, that its run has not measured.
Status Profiler::PlannedCalls() {
  for (const Program& program : plan_->programs)
    for (const Lane& lane : program.lanes)
      for (const Instruction& i : lane.instructions)
        if (i.kind == InstrKind::kCall) ZO2_TRY(PlannedCall(i));
  return Status();
}

// Of the whole table of an embedding, whatever part of it the call has.
int64_t Profiler::RowsOf(const Instruction& call) const {
  int64_t rows = call.part_end > call.part_begin ? call.part_end : call.operands[1].type.shape[0];
  for (const Program& program : plan_->programs)
    for (const Lane& lane : program.lanes)
      for (const Instruction& i : lane.instructions)
        if (i.node == call.node) rows = std::max(rows, i.part_end);
  return rows;
}

Status Profiler::PlannedCall(const Instruction& i) {
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
  call.threads = compute_threads_;
  const Operand &state = i.operands[inputs + outputs], &workspace = i.operands[inputs + outputs + 1];
  call.workspace_bytes = workspace.buffer < 0 ? 0 : workspace.type.bytes();
  const std::string signature = CallSignature(call);
  if (calls_.count(signature) > 0) return Status();
  Say(signature);
  ZO2_ASSIGN(const Timing timing,
             TimeCall(call, state.buffer < 0 ? 0 : state.type.bytes(), node.op == Op::kEmbedding ? RowsOf(i) : 1,
                      options_.seconds_each));
  calls_[signature] = timing.seconds;
  return Status();
}

// The plan's own step: every call and prepare between its neighbours, alone and beside copies.
Status Profiler::InPlace() {
  Say("the plan's step");
  Schedule plan = *plan_;  // with our threads; outlives the run
  for (Program& program : plan.programs)
    for (Lane& lane : program.lanes)
      if (lane.kind == LaneKind::kCompute) lane.threads = compute_threads_;
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
  return BesideOwnCopies(run, alone, seconds);
}

Status Profiler::BesideCopies(CopyLoad& load, const std::function<Result<double>()>& period) {
  Say("computing beside copies");
  std::vector<double> up_tax, down_tax;  // seconds per byte
  const auto tax = [](double lost, double rate) { return rate > 0 ? lost / std::max(1.0, rate) : 0; };
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
    up_tax.push_back(tax(1 - alone / *with_up, up.up));
    down_tax.push_back(tax(1 - alone / *with_both - up_tax.back() * both.up, both.down));
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

uint64_t Profiler::DeviceArenaBytes() const {
  uint64_t bytes = 0;
  if (plan_ != nullptr)
    for (const Arena& arena : plan_->arenas)
      if (arena.tier == Tier::kDevice) bytes = std::max<uint64_t>(bytes, arena.bytes);
  return bytes;
}

Status Profiler::Disk() {
  Say("the disk");
  ZO2_ASSIGN(const DiskTiming disk, TimeDisk(options_.disk_folder));
  json_["disk_write_bytes_per_s"] = disk.write_bytes_per_s;
  json_["disk_read_bytes_per_s"] = disk.read_bytes_per_s;
  json_["disk_latency_s"] = disk.latency;
  return Status();
}

}  // namespace zo2
