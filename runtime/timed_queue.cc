#include "runtime/timed_queue.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "runtime/cuda/prepare_launch.h"

namespace zo2 {
namespace {

constexpr double kLong = 1e-3;                    // seconds of a piece that hide what giving it costs
constexpr double kResolution = 1e-7;              // seconds; the events of GPUs are no finer
constexpr uint64_t kBeyondCaches = 256ull << 20;  // bytes of masters: GPUs cache some 50 to 130 MB
constexpr int64_t kMostCopies = 32;               // of the master

class Sampler {
 public:
  Sampler(AsyncQueue& queue, const QueueWork& work) : queue_(queue), work_(work) {}

  Status Prepare() {
    ZO2_ASSIGN(start_, queue_.MakeEvent(true));
    ZO2_ASSIGN(end_, queue_.MakeEvent(true));
    ZO2_TRY(Sample(1));  // libraries set themselves up
    ZO2_ASSIGN(const double piece, Sample(1));
    if (work_.captured == 0 || piece > kLong) return Status();
    ZO2_TRY(queue_.BeginCapture());
    Status given;
    for (int64_t i = 0; i < work_.captured && given.ok(); ++i) given = work_.give(i);
    Result<std::unique_ptr<CapturedWork>> graph = queue_.EndCapture();  // ends a capture that has failed, too
    if (!given.ok()) return given;
    if (!graph.ok()) return graph.status();
    graph_ = std::move(*graph);
    pieces_ = work_.captured;
    return Sample(1).status();
  }

  // Seconds of a piece, the mean of `repetitions` of the graph or of a piece alone.
  Result<double> Sample(int64_t repetitions) {
    ZO2_TRY(queue_.Record(*start_));
    for (int64_t i = 0; i < repetitions; ++i) ZO2_TRY(graph_ != nullptr ? queue_.Launch(*graph_) : work_.give(next_++));
    ZO2_TRY(queue_.Record(*end_));
    ZO2_TRY(start_->Synchronize());
    ZO2_TRY(end_->Synchronize());
    ZO2_ASSIGN(const double seconds, queue_.Seconds(*start_, *end_));
    return std::max(seconds, kResolution) / static_cast<double>(repetitions * pieces_);
  }
  int64_t pieces() const { return pieces_; }

 private:
  AsyncQueue& queue_;
  const QueueWork& work_;
  std::unique_ptr<Event> start_, end_;
  std::unique_ptr<CapturedWork> graph_;
  int64_t pieces_ = 1, next_ = 0;
};

Result<Timing> TimeWith(Sampler& sampler, double seconds) {
  ZO2_TRY(sampler.Prepare());
  ZO2_ASSIGN(const double piece, sampler.Sample(1));
  const double wanted = 0.1 * seconds / (piece * static_cast<double>(sampler.pieces()));
  const auto repetitions = static_cast<int64_t>(std::clamp(wanted, 1.0, 10000.0));
  for (const double warm = Clock() + 0.5 * seconds; Clock() < warm;) ZO2_TRY(sampler.Sample(repetitions));
  std::vector<double> times;
  const double end = Clock() + seconds;
  while (times.size() < 5 || (Clock() < end && times.size() < 10000)) {
    ZO2_ASSIGN(const double time, sampler.Sample(repetitions));
    times.push_back(time);
  }
  return Summary(std::move(times));
}

}  // namespace

Result<Timing> TimeOnQueue(AsyncQueue& queue, const QueueWork& work, double seconds) {
  Sampler sampler(queue, work);
  Result<Timing> timing = TimeWith(sampler, seconds);
  const Status idle = queue.Synchronize();  // also after an error: events and graphs stay until their work is done
  if (timing.ok() && !idle.ok()) return idle;
  return timing;
}

uint64_t QueuePrepare::LeastBytes(DType dtype, int64_t rows) {
  return 3 * static_cast<uint64_t>(rows * kCols * SizeOf(dtype)) + kGpuAlignment;
}

Result<std::unique_ptr<QueuePrepare>> QueuePrepare::Create(Device& device, DType dtype, int64_t rows, int updates,
                                                           uint64_t most_bytes) {
  std::unique_ptr<QueuePrepare> prepare(new QueuePrepare(dtype, rows));
  PrepareCase& c = prepare->case_;
  const uint64_t least = LeastBytes(dtype, rows), more = most_bytes > least ? (most_bytes - least) / c.bytes : 0;
  const auto wanted = static_cast<int64_t>((kBeyondCaches + c.bytes - 1) / c.bytes);
  prepare->copies_ = 1 + std::min<int64_t>(std::min(wanted, kMostCopies) - 1, static_cast<int64_t>(more));
  ZO2_ASSIGN(prepare->memory_,
             device.Allocate(Tier::kDevice, least + static_cast<uint64_t>(prepare->copies_ - 1) * c.bytes));
  ZO2_ASSIGN(prepare->scalars_, device.AllocateShared(sizeof(cuda::StepScalars)));
  std::byte* const data = prepare->memory_->data();
  for (int b = 0; b < 2; ++b) prepare->outputs_[b] = data + static_cast<uint64_t>(b) * c.bytes;
  prepare->masters_ = data + 2 * c.bytes;
  std::byte* const record = prepare->masters_ + static_cast<uint64_t>(prepare->copies_) * c.bytes;
  ZO2_TRY(FillOnDevice(device, {prepare->masters_, dtype, {prepare->copies_ * prepare->elements()}, {1}}));
  ZO2_TRY(device.Write(record, c.record, sizeof c.record));
  *reinterpret_cast<cuda::StepScalars*>(prepare->scalars_->data()) = {std::max(1, updates), 0};
  c.job.records = {record, 0, 1};
  c.job.step = std::max(1, updates);
  if (updates == 0)
    c.job.outputs = prepare->outputs_;
  else
    c.job.branches = {};
  return prepare;
}

Status QueuePrepare::Give(AsyncQueue& queue, int64_t i) {
  case_.job.source = case_.job.master_out = masters_ + static_cast<uint64_t>(i % copies_) * case_.bytes;
  return queue.Prepare(case_.job, reinterpret_cast<const cuda::StepScalars*>(scalars_->data()));
}

QueueWork QueuePrepare::Work(AsyncQueue& queue) {
  return {[this, &queue](int64_t i) { return Give(queue, i); }, kMostCopies};
}

}  // namespace zo2
