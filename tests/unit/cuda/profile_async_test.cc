// zo2-run profile through queues, on the fake driver: every figure is there, and nothing is touched that is not the
// call's.
#include "runtime/profile_async.h"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "runtime/cuda/cuda_device.h"
#include "tests/tools/tiny_schedules.h"
#include "tests/unit/cuda/fake_driver.h"
#include "tests/unit/runtime/fake_kernels.h"

namespace zo2 {
namespace {

// Device memory that is allocated now, and what calls did that they must not.
class Watch {
 public:
  void Add(std::byte* data, uint64_t bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    ranges_[data] = bytes;
  }
  void Remove(std::byte* data) {
    std::lock_guard<std::mutex> lock(mutex_);
    ranges_.erase(data);
  }
  bool Has(const void* data, uint64_t bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    std::byte* const at = static_cast<std::byte*>(const_cast<void*>(data));
    auto it = ranges_.upper_bound(at);
    if (it == ranges_.begin()) return false;
    --it;
    return at >= it->first && at + bytes <= it->first + it->second;
  }
  void Fault(const std::string& what) {
    std::lock_guard<std::mutex> lock(mutex_);
    faults_.insert(what);
  }
  std::set<std::string> TakeFaults() {
    std::lock_guard<std::mutex> lock(mutex_);
    return std::exchange(faults_, {});
  }
  std::atomic<int64_t> calls{0}, most_id{-1};
  std::thread::id profiler;

 private:
  std::mutex mutex_;
  std::map<std::byte*, uint64_t> ranges_;
  std::set<std::string> faults_;
};
Watch g_watch;

uint64_t BytesOf(const TensorView& view) {
  int64_t last = 0;
  for (size_t d = 0; d < view.shape.size(); ++d) last += (view.shape[d] - 1) * view.strides[d];
  return static_cast<uint64_t>((last + 1) * SizeOf(view.dtype));
}

// A kernel that looks at its call and, unless it is small, only pretends to compute.
Status Checked(const KernelCall& call) {
  ++g_watch.calls;
  const std::string name(Name(call.op));
  if (std::this_thread::get_id() == g_watch.profiler) g_watch.Fault(name + " runs on the profiler's thread");
  std::vector<TensorType> types;
  for (const std::span<const TensorView> views : {call.inputs, call.outputs})
    for (const TensorView& view : views)
      if (view.data != nullptr && !g_watch.Has(view.data, BytesOf(view)))
        g_watch.Fault(name + " has an operand elsewhere");
  for (const TensorView& view : call.inputs) types.push_back({view.dtype, view.shape});
  std::vector<const TensorType*> pointers;
  for (size_t i = 0; i < types.size(); ++i) pointers.push_back(call.inputs[i].data == nullptr ? nullptr : &types[i]);
  const int64_t least = WorkspaceBytes(call.op, pointers, *call.attrs, 0, KernelFlavour::kDevice);
  if (call.part_end == call.part_begin && call.workspace_bytes < least && call.inputs[0].shape.back() > 16)
    g_watch.Fault(name + " has too little workspace");
  if (call.workspace_bytes > 0 && !g_watch.Has(call.workspace, static_cast<uint64_t>(call.workspace_bytes)))
    g_watch.Fault(name + " has its workspace elsewhere");
  for (const TensorView& view : call.inputs)  // weights and activations are floats that were written
    if (view.data != nullptr && view.dtype == DType::kF32 && NumElements(view.shape) > 1024 &&
        static_cast<const float*>(view.data)[7] == 0 && static_cast<const float*>(view.data)[8] == 0)
      g_watch.Fault(name + " has an operand that was not filled");
  if (call.op == Op::kEmbedding) {
    const auto* ids = static_cast<const int64_t*>(call.inputs[0].data);
    for (int64_t i = 0; i < NumElements(call.inputs[0].shape); ++i)
      g_watch.most_id = std::max(g_watch.most_id.load(), ids[i]);
    return Status();
  }
  const bool small = call.inputs[0].dtype == DType::kF32 && call.inputs[0].shape.back() <= 16;
  static const KernelTable plain = fake::Kernels();
  const Kernel kernel = plain.call[static_cast<size_t>(call.op)];
  return small && kernel != nullptr ? kernel(call) : Status();
}

const KernelTable& Kernels() {
  static const KernelTable table = [] {
    KernelTable all;
    for (const Op op : {Op::kLinear, Op::kRelu, Op::kAdd, Op::kGelu, Op::kAttention, Op::kEmbedding, Op::kClassifyLoss,
                        Op::kCausalLmLoss})
      all.call[static_cast<size_t>(op)] = Checked;
    return all;
  }();
  return table;
}

// A device whose device memory is watched.
class WatchedDevice : public Device {
 public:
  explicit WatchedDevice(std::unique_ptr<Device> device) : device_(std::move(device)) {}
  std::string_view name() const override { return device_->name(); }
  uint64_t alignment() const override { return device_->alignment(); }
  Result<std::unique_ptr<ArenaMemory>> Allocate(Tier tier, uint64_t bytes) override {
    ZO2_ASSIGN(std::unique_ptr<ArenaMemory> memory, device_->Allocate(tier, bytes));
    if (tier != Tier::kDevice) return memory;
    return std::unique_ptr<ArenaMemory>(std::make_unique<Watched>(std::move(memory)));
  }
  Result<std::unique_ptr<Queue>> OpenQueue(LaneKind kind) override { return device_->OpenQueue(kind); }
  const KernelTable* kernels() const override { return device_->kernels(); }
  Available MemoryAvailable(Tier tier) const override { return device_->MemoryAvailable(tier); }
  bool shares_host_memory() const override { return false; }
  std::map<std::string, std::string> facts() const override { return device_->facts(); }
  Status Write(void* to, const void* from, uint64_t bytes) override {
    if (!g_watch.Has(to, bytes)) g_watch.Fault("a write elsewhere");
    return device_->Write(to, from, bytes);
  }
  Status Read(void* to, const void* from, uint64_t bytes) override { return device_->Read(to, from, bytes); }

 private:
  class Watched : public ArenaMemory {
   public:
    explicit Watched(std::unique_ptr<ArenaMemory> memory) : memory_(std::move(memory)) {
      data_ = memory_->data();
      bytes_ = memory_->bytes();
      g_watch.Add(data_, bytes_);
    }
    ~Watched() override { g_watch.Remove(data_); }

   private:
    const std::unique_ptr<ArenaMemory> memory_;
  };
  const std::unique_ptr<Device> device_;
};

constexpr uint64_t kMemory = 512ull << 20;  // of the GPU: enough for every figure, and operands soon filled

ProfileOptions Short() {
  ProfileOptions options;
  options.seconds_each = 1e-4;
  options.disk_folder = ::testing::TempDir();
  options.progress = false;
  return options;
}

Result<std::string> Profile(cuda::FakeOptions fake, const Schedule* plan, const ProfileOptions& options = Short(),
                            cuda::FakeLog* log = nullptr) {
  fake.kernels = &Kernels();
  ZO2_ASSIGN(std::unique_ptr<Device> device, cuda::MakeCudaDevice(cuda::MakeFakeDriver(fake, log), {}));
  WatchedDevice watched(std::move(device));
  g_watch.profiler = std::this_thread::get_id();
  const KernelTable none;  // the device brings its own
  return ProfileMachine(watched, none, plan, options);
}

bool IsPositive(const nlohmann::json& number) {
  return number.is_number() && std::isfinite(number.get<double>()) && number.get<double>() > 0;
}

void ExpectEveryFigure(const nlohmann::json& json) {
  for (const char* key :
       {"compute_threads", "device_bytes", "host_bytes", "disk_bytes", "attention_flops", "elementwise_ops",
        "memory_bytes_per_s", "noise_normals_per_s", "link_up_bytes_per_s", "link_down_bytes_per_s", "link_duplex",
        "copy_latency_s", "call_overhead_s", "compute_share_while_uploading", "compute_share_while_downloading",
        "disk_read_bytes_per_s", "disk_write_bytes_per_s", "disk_latency_s", "host_threads", "host_update_params_per_s",
        "encode_bytes_per_s"}) {
    ASSERT_TRUE(json.contains(key)) << key;
    EXPECT_TRUE(IsPositive(json[key])) << key << ": " << json[key].dump();
  }
  for (const char* key : {"gemm_flops", "prepare_params_per_s"})
    for (const char* dtype : {"f32", "bf16", "f16"}) {
      ASSERT_TRUE(json[key].contains(dtype)) << key << " of " << dtype;
      EXPECT_TRUE(IsPositive(json[key][dtype])) << key << " of " << dtype << ": " << json[key][dtype].dump();
    }
  for (const char* key : {"link_duplex", "compute_share_while_uploading", "compute_share_while_downloading"})
    EXPECT_LE(json[key].get<double>(), 1) << key;
  for (const auto& [figure, spread] : json["spread"].items())
    EXPECT_TRUE(spread.is_number() && spread.get<double>() >= 0) << figure << ": " << spread.dump();
  EXPECT_EQ(json["kind"], "cuda");
  EXPECT_EQ(json["compute_threads"], 1);
  EXPECT_EQ(json["host_threads"], static_cast<int>(std::max(1u, std::thread::hardware_concurrency())));
  EXPECT_EQ(json["measured_on"]["gpu"], "a fake");
  EXPECT_EQ(json["measured_on"]["cores"], std::to_string(std::thread::hardware_concurrency()));
}

TEST(ProfileAsync, MeasuresEveryFigureWithoutAPlan) {
  for (const uint64_t seed : {0, 1}) {  // 1: nothing is done before somebody waits
    cuda::FakeLog log;
    auto text = Profile({.seed = seed, .lazy = seed == 1, .memory = kMemory}, nullptr, Short(), &log);
    ASSERT_TRUE(text.ok()) << text.status().message();
    const auto json = nlohmann::json::parse(*text);
    ExpectEveryFigure(json);
    EXPECT_FALSE(json["gemm_table"].empty());
    for (const auto& row : json["gemm_table"]) EXPECT_TRUE(IsPositive(row["flops"])) << row.dump();
    EXPECT_NE(json["source"]["gemm_flops"].get<std::string>().find("f32 activations"), std::string::npos);
    EXPECT_EQ(g_watch.TakeFaults(), std::set<std::string>());
    EXPECT_GT(log.graphs, 0);     // short calls, as runs repeat them
    EXPECT_GT(log.prepares, 20);  // through the queue
    EXPECT_GT(log.copies, 20);
  }
}

TEST(ProfileAsync, MeasuresEveryCallOfThePlan) {
  const Schedule plan = tiny::MakeSchedule({.bias = true, .cut = true, .embedding = true});
  g_watch.most_id = -1;
  cuda::FakeLog log;
  auto text = Profile({.seed = 2, .memory = kMemory}, &plan, Short(), &log);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto json = nlohmann::json::parse(*text);
  ExpectEveryFigure(json);
  EXPECT_TRUE(json["gemm_table"].empty());
  const auto& calls = json["calls"];
  std::set<Op> ops;
  int prepares = 0;
  for (const auto& [signature, seconds] : calls.items()) {
    EXPECT_TRUE(IsPositive(seconds)) << signature << ": " << seconds.dump();
    prepares += signature.rfind("prepare(f32>f32[", 0) == 0;
  }
  EXPECT_GT(prepares, 0) << calls.dump();  // of the plan's run
  EXPECT_GT(log.gradients, 2);             // which goes through the device's queues
  EXPECT_TRUE(json["spread"].contains("calls"));
  for (const Program& program : plan.programs)
    for (const Lane& lane : program.lanes)
      for (const Instruction& i : lane.instructions)
        if (i.kind == InstrKind::kCall) ops.insert(plan.nodes[static_cast<size_t>(i.node)].op);
  for (const Op op : ops) {
    bool found = false;
    for (const auto& [signature, seconds] : calls.items())
      found |= signature.rfind(std::string(Name(op)) + "(", 0) == 0;
    EXPECT_TRUE(found) << Name(op) << " is not in " << calls.dump();
  }
  EXPECT_LT(g_watch.most_id, 6);  // rows of the table
  EXPECT_GE(g_watch.most_id, 0);
  EXPECT_EQ(g_watch.TakeFaults(), std::set<std::string>());
}

// A plan that cannot run here is measured call by call.
TEST(ProfileAsync, CallsAreMeasuredAloneWhereThePlanDoesNotFit) {
  Schedule plan = tiny::MakeSchedule({.bias = true, .embedding = true});
  for (Arena& arena : plan.arenas)
    if (arena.tier == Tier::kDevice) arena.bytes = 1ull << 50;
  g_watch.most_id = -1;
  auto text = Profile({.seed = 3, .memory = kMemory}, &plan);
  ASSERT_TRUE(text.ok()) << text.status().message();
  const auto json = nlohmann::json::parse(*text);
  ExpectEveryFigure(json);
  EXPECT_FALSE(json["spread"].contains("calls"));
  EXPECT_GE(json["calls"].size(), 3u);
  for (const auto& [signature, seconds] : json["calls"].items()) {
    EXPECT_TRUE(IsPositive(seconds)) << signature;
    EXPECT_NE(signature.rfind("prepare(", 0), 0u) << signature;
  }
  EXPECT_GT(g_watch.most_id, 0);  // ids are spread over the table
  EXPECT_LT(g_watch.most_id, 6);
  EXPECT_EQ(g_watch.TakeFaults(), std::set<std::string>());
}

TEST(ProfileAsync, SmallMemoryIsMeasuredAtSmallSizes) {
  auto text = Profile({.seed = 4, .memory = 160ull << 20}, nullptr);
  ASSERT_TRUE(text.ok()) << text.status().message();
  ExpectEveryFigure(nlohmann::json::parse(*text));
  EXPECT_EQ(g_watch.TakeFaults(), std::set<std::string>());
}

TEST(ProfileAsync, SecondsOfNoTimeAreRefused) {
  const double infinite = std::numeric_limits<double>::infinity(), none = std::numeric_limits<double>::quiet_NaN();
  for (const double seconds : {0.0, -1.0, none, infinite, 1e7}) {
    ProfileOptions options = Short();
    options.seconds_each = seconds;
    auto text = Profile({}, nullptr, options);
    ASSERT_FALSE(text.ok()) << seconds;
    EXPECT_EQ(text.status().code(), Code::kInvalid);
    EXPECT_NE(text.status().message().find("--seconds"), std::string::npos) << text.status().message();
  }
}

TEST(ProfileAsync, ABrokenDeviceIsAnError) {
  for (const int64_t fail_at : {0, 60, 300, 700}) {
    auto text = Profile({.seed = 5, .lazy = fail_at % 2 == 1, .memory = kMemory, .fail_at = fail_at}, nullptr);
    ASSERT_FALSE(text.ok()) << fail_at;
    EXPECT_EQ(text.status().code(), Code::kDevice);
    EXPECT_NE(text.status().message().find("fallen off the bus"), std::string::npos) << text.status().message();
  }
  auto text = Profile({.memory = 4096}, nullptr);
  ASSERT_FALSE(text.ok());
  EXPECT_EQ(text.status().code(), Code::kDevice);
  EXPECT_NE(text.status().message().find("4.00 KiB"), std::string::npos) << text.status().message();
}

}  // namespace
}  // namespace zo2
