#include "runtime/executor.h"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "ir/schedule/verify.h"

namespace zo2 {
namespace {

void Add(const Program& program, const std::vector<LaneStats>& lanes, ExecutorStats* total) {
  for (size_t l = 0; l < lanes.size(); ++l) {
    switch (program.lanes[l].kind) {
      case LaneKind::kH2D: total->bytes_up += lanes[l].bytes_copied; break;
      case LaneKind::kD2H: total->bytes_down += lanes[l].bytes_copied; break;
      case LaneKind::kCompute:
        total->compute_busy += lanes[l].busy_seconds;
        total->compute_waiting += lanes[l].waiting_seconds;
        break;
      default: break;
    }
  }
}

}  // namespace

Status CheckMemory(const Schedule& schedule, const Device& device) {
  uint64_t need[3] = {0, 0, 0};
  for (const Arena& arena : schedule.arenas) {
    const Tier tier = arena.tier == Tier::kDevice && device.shares_host_memory() ? Tier::kHost : arena.tier;
    uint64_t& sum = need[static_cast<size_t>(tier)];
    if (__builtin_add_overflow(sum, arena.bytes, &sum))
      return Error(Code::kDevice, "the plan's arenas are larger than any memory");
  }
  for (const Tier tier : {Tier::kDevice, Tier::kHost, Tier::kDisk}) {
    const uint64_t bytes = need[static_cast<size_t>(tier)];
    if (bytes == 0) continue;
    const Device::Available available = device.MemoryAvailable(tier);
    if (bytes > available.bytes)
      return Error(Code::kDevice, "the plan takes ", PrintBytes(bytes), " of ", Name(tier), " memory but only ",
                   PrintBytes(available.bytes), " are left (", available.from,
                   "): free memory or plan again with smaller budgets");
  }
  return Status();
}

Executor::Executor(Schedule schedule, Device& device, const ExecutorOptions& options)
    : schedule_(std::move(schedule)), device_(device), options_(options) {}

Executor::~Executor() {
  run_.reset();      // before the threads it runs on
  async_.clear();    // events and graphs before their queues
  threads_.clear();  // before the arenas they use
}

Result<std::unique_ptr<Executor>> Executor::Prepare(Schedule schedule, Device& device, const ExecutorOptions& options) {
  Result<VerifyStats> verified = Verify(schedule);
  if (!verified.ok()) return verified.status();
  ZO2_ASSIGN(std::unique_ptr<Executor> executor, Open(std::move(schedule), device, options));
  executor->planned_peak_ = verified->peak;
  return executor;
}

Result<std::unique_ptr<Executor>> Executor::Open(Schedule schedule, Device& device, const ExecutorOptions& options) {
  ZO2_TRY(CheckMemory(schedule, device));
  std::unique_ptr<Executor> executor(new Executor(std::move(schedule), device, options));
  executor->peak_.assign(executor->schedule_.arenas.size(), 0);
  for (const Arena& arena : executor->schedule_.arenas) {
    ZO2_ASSIGN(std::unique_ptr<ArenaMemory> memory, device.Allocate(arena.tier, arena.bytes));
    executor->arena_data_.push_back(memory->data());
    executor->arenas_.push_back(std::move(memory));
  }
  std::map<std::tuple<int32_t, LaneKind, int>, int> threads;
  for (const Program& program : executor->schedule_.programs) {
    std::map<std::pair<int32_t, LaneKind>, int> seen;
    for (const Lane& lane : program.lanes) {
      int& count = threads[{lane.device, lane.kind, seen[{lane.device, lane.kind}]++}];
      count = std::max(count, lane.threads);
    }
  }
  for (const auto& [key, count] : threads) {
    const auto& [id, kind, n] = key;
    ZO2_ASSIGN(std::unique_ptr<Queue> queue, device.OpenQueue(kind));
    std::string name = std::string(Name(kind)) + std::to_string(id);
    if (n > 0) name += "." + std::to_string(n);
    executor->threads_[key] = std::make_unique<LaneThread>(name, std::move(queue), std::clamp(count, 1, 1024));
  }
  return executor;
}

Status Executor::Initialize(const KernelTable& kernels, const RunParameters& parameters, int64_t step,
                            const std::function<Status(Executor&)>& load) {
  if (parameters.eps <= 0 || !(parameters.eps < 1e30)) return Invalid("eps is ", parameters.eps, " but must be positive");
  parameters_ = parameters;
  step_ = step;
  version_.assign(schedule_.tiles.size(), step);
  codes_version_ = version_;
  bound_.clear();
  async_.clear();
  const KernelTable* own = device_.kernels();
  for (const Program& program : schedule_.programs) {
    ZO2_ASSIGN(BoundProgram bound, Bind(schedule_, program, arena_data_, own != nullptr ? *own : kernels));
    ZO2_ASSIGN(std::unique_ptr<AsyncProgram> async, MakeAsyncProgram(bound, device_, ThreadsOf(program)));
    bound_.push_back(std::move(bound));
    async_.push_back(std::move(async));
  }
  for (const PlanValue& value : schedule_.values)
    if (value.constant >= 0) ZO2_TRY(WriteBuffer(value.constant, 0, std::as_bytes(std::span(value.data))));
  return load ? load(*this) : Status();
}

void Executor::Touch(BufferId id, uint64_t end) {
  const Buffer& buffer = schedule_.buffers[static_cast<size_t>(id)];
  uint64_t& peak = peak_[static_cast<size_t>(buffer.arena)];
  peak = std::max(peak, buffer.offset + end);
}

Status Executor::WriteBuffer(BufferId id, uint64_t offset, std::span<const std::byte> bytes) {
  const Buffer& buffer = schedule_.buffers[static_cast<size_t>(id)];
  if (offset > buffer.bytes || bytes.size() > buffer.bytes - offset)
    return Internal("buffer ", buffer.name, " has ", buffer.bytes, " bytes: writing ", bytes.size(), " at ", offset);
  Touch(id, offset + bytes.size());
  return device_.Write(arena_data_[static_cast<size_t>(buffer.arena)] + buffer.offset + offset, bytes.data(), bytes.size());
}

Status Executor::WriteRecord(const StepRecord& record) {
  const Program* train = schedule_.Find(Purpose::kTrain);
  if (train == nullptr || record.q != static_cast<uint32_t>(train->samples))
    return Internal("a record of ", record.q, " samples does not fit the plan");
  const std::span<const std::byte> bytes(reinterpret_cast<const std::byte*>(&record), StepRecordBytes(train->samples));
  for (const BufferId id : {train->record, train->record_host}) {
    if (id < 0) continue;
    const uint64_t copy = BindBuffer(schedule_, id, arena_data_).Copy(0, static_cast<int64_t>(record.step));
    const Buffer& buffer = schedule_.buffers[static_cast<size_t>(id)];
    Touch(id, copy + bytes.size());
    ZO2_TRY(device_.Write(arena_data_[static_cast<size_t>(buffer.arena)] + buffer.offset + copy, bytes.data(), bytes.size()));
  }
  return Status();
}

Result<std::byte*> Executor::Fill(BufferId id, uint64_t offset, uint64_t bytes) {
  const Buffer& buffer = schedule_.buffers[static_cast<size_t>(id)];
  if (offset > buffer.bytes || bytes > buffer.bytes - offset)
    return Internal("buffer ", buffer.name, " has ", buffer.bytes, " bytes: filling ", bytes, " at ", offset);
  const Arena& arena = schedule_.arenas[static_cast<size_t>(buffer.arena)];
  if (arena.tier == Tier::kDevice && !device_.shares_host_memory()) return nullptr;
  Touch(id, offset + bytes);
  return arena_data_[static_cast<size_t>(buffer.arena)] + buffer.offset + offset;
}

Status Executor::ReadBuffer(BufferId id, uint64_t offset, std::span<std::byte> bytes) {
  const Buffer& buffer = schedule_.buffers[static_cast<size_t>(id)];
  if (offset > buffer.bytes || bytes.size() > buffer.bytes - offset)
    return Internal("buffer ", buffer.name, " has ", buffer.bytes, " bytes: reading ", bytes.size(), " at ", offset);
  return device_.Read(bytes.data(), arena_data_[static_cast<size_t>(buffer.arena)] + buffer.offset + offset, bytes.size());
}

std::byte* Executor::Host(BufferId id, int64_t iteration) const {
  return BindBuffer(schedule_, id, arena_data_).At(iteration, iteration);
}

RecordRing Executor::Ring(BufferId id) const {
  if (id < 0) return RecordRing();
  const BoundOperand bound = BindBuffer(schedule_, id, arena_data_);
  return {bound.base, bound.stride, bound.ring};
}

std::vector<LaneThread*> Executor::ThreadsOf(const Program& program) const {
  std::vector<LaneThread*> threads;
  std::map<std::pair<int32_t, LaneKind>, int> seen;
  for (const Lane& lane : program.lanes)
    threads.push_back(threads_.at({lane.device, lane.kind, seen[{lane.device, lane.kind}]++}).get());
  return threads;
}

Status Executor::Start(Purpose purpose) {
  if (run_) ZO2_TRY(Drain());
  const Program* program = schedule_.Find(purpose);
  if (program == nullptr) return Invalid("the plan has no program to ", Name(purpose));
  const Program* train = schedule_.Find(Purpose::kTrain);
  ProgramRun::Context context;
  context.schedule = &schedule_;
  context.train = train;
  context.bound = &bound_[static_cast<size_t>(program - schedule_.programs.data())];
  context.async = async_[static_cast<size_t>(program - schedule_.programs.data())].get();
  context.graphs = options_.graphs;
  context.threads = ThreadsOf(*program);
  context.parameters = &parameters_;
  context.records = Ring(program->record >= 0 || train == nullptr ? program->record : train->record);
  context.records_host = Ring(program->record_host >= 0 || train == nullptr ? program->record_host : train->record_host);
  context.entry_version = version_;
  context.entry_codes = codes_version_;
  context.first = purpose == Purpose::kTrain ? step_ : 0;
  context.step = step_;
  context.chaos = options_.chaos;
  context.saturated = &saturated_;
  context.trace_iterations = options_.trace_iterations;
  run_ = std::make_unique<ProgramRun>(std::move(context));
  return Status();
}

int Executor::depth() const { return run_->context().bound->depth; }
int64_t Executor::first() const { return run_->context().first; }
int64_t Executor::submitted() const { return run_->submitted(); }
void Executor::Submit() { run_->Submit(run_->submitted() + 1); }
Status Executor::Wait(int64_t iteration) { return run_->Wait(iteration); }

Status Executor::Drain() {
  if (!run_) return Status();
  Status status = run_->Close();
  const ProgramRun::Context& context = run_->context();
  const Program& program = *context.bound->program;
  const int64_t end = run_->submitted();
  const BoundProgram& bound = *context.bound;
  for (size_t tile = 0; tile < version_.size(); ++tile) {
    const auto at_end = [&](uint64_t writes, int64_t entry) {
      return bound.VersionAt(writes, end, context.first, entry, context.step);
    };
    version_[tile] = at_end(bound.master_writes[tile], version_[tile]);
    codes_version_[tile] = at_end(bound.codes_writes[tile], codes_version_[tile]);
  }
  if (context.async != nullptr) saturated_ += std::exchange(*context.async->saturated(), 0);
  if (program.purpose == Purpose::kTrain) step_ = end;
  Add(program, run_->stats(), &finished_);
  const std::vector<uint64_t> peak = run_->peak();
  for (size_t a = 0; a < peak.size(); ++a) peak_[a] = std::max(peak_[a], peak[a]);
  if (options_.trace_iterations > 0) traces_.push_back({program.purpose, run_->trace()});
  run_.reset();
  return status;
}

Status Executor::Execute(Purpose purpose, int64_t iterations) {
  ZO2_TRY(Start(purpose));
  for (int64_t i = 0; i < iterations; ++i) {
    if (i >= depth()) ZO2_TRY(Wait(first() + i - depth()));
    Submit();
  }
  return Drain();
}

Status Executor::Flush() {
  ZO2_TRY(Drain());
  bool pending = false;
  for (size_t tile = 0; tile < version_.size(); ++tile)
    pending |= schedule_.tiles[tile].trainable && version_[tile] < step_;
  if (!pending) return Status();
  return Execute(Purpose::kFlush, 1);
}

ExecutorStats Executor::stats() const {
  ExecutorStats total = finished_;
  if (run_) Add(*run_->context().bound->program, run_->stats(), &total);
  return total;
}

}  // namespace zo2
