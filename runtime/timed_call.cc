#include "runtime/timed_call.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

namespace zo2 {
namespace {

uint64_t Aligned(uint64_t bytes) { return (bytes + 255) / 256 * 256; }

uint64_t ViewBytes(const TensorView& view) {
  int64_t last = 0;
  for (size_t d = 0; d < view.shape.size(); ++d) last += (view.shape[d] - 1) * view.strides[d];
  return static_cast<uint64_t>((last + 1) * SizeOf(view.dtype));
}

}  // namespace

double Clock() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Timing Time(double seconds, const std::function<void()>& f, const std::function<void()>& between) {
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
  return Summary(std::move(times));
}

Timing Summary(std::vector<double> times) {
  std::sort(times.begin(), times.end());
  const auto at = [&](double q) {
    return times[static_cast<size_t>(q * static_cast<double>(times.size() - 1) + 0.5)];
  };
  return {at(0.5), (at(0.9) - at(0.1)) / 2 / std::max(1e-12, at(0.5))};
}

Result<Pool> Pool::Create(Device& device, uint64_t bytes, Tier tier) {
  Pool pool;
  ZO2_ASSIGN(pool.memory_, device.Allocate(tier, bytes));
  return pool;
}

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

Status FillOnDevice(Device& device, const TensorView& view) {
  const uint64_t bytes = ViewBytes(view);
  const auto size = static_cast<uint64_t>(SizeOf(view.dtype));
  const uint64_t piece = std::min<uint64_t>(bytes / size, 1 << 20);  // elements, the same again and again
  std::vector<std::byte> values(piece * size);
  if (values.empty()) return Status();
  Fill({values.data(), view.dtype, {static_cast<int64_t>(piece)}, {1}});
  std::byte* const to = static_cast<std::byte*>(view.data);
  for (uint64_t at = 0; at < bytes; at += values.size())
    ZO2_TRY(device.Write(to + at, values.data(), std::min<uint64_t>(values.size(), bytes - at)));
  return Status();
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

void Touch(WorkerPool& workers, std::byte* data, uint64_t bytes) {
  constexpr uint64_t kLine = 64;
  const uint64_t pieces = 8 * static_cast<uint64_t>(workers.threads()), each = (bytes + pieces - 1) / pieces;
  workers.Run(static_cast<int64_t>(pieces), [&](int64_t piece) {
    volatile std::byte* const memory = data;
    const uint64_t begin = static_cast<uint64_t>(piece) * each, end = std::min(bytes, begin + each);
    for (uint64_t at = begin; at < end; at += kLine) memory[at] = memory[at];
  });
}

uint64_t OwnCall::Bytes(const KernelCall& call, int64_t state_bytes) {
  uint64_t bytes =
      Aligned(static_cast<uint64_t>(state_bytes)) + Aligned(static_cast<uint64_t>(call.workspace_bytes));
  for (const std::span<const TensorView> views : {call.inputs, call.outputs})
    for (const TensorView& v : views) bytes += v.data == nullptr ? 0 : Aligned(ViewBytes(v));
  return bytes;
}

Result<std::unique_ptr<OwnCall>> OwnCall::Create(const KernelCall& call, const Kernel kernel, int64_t state_bytes,
                                                 int64_t rows, Device& device, Pool& pool) {
  auto own = std::make_unique<OwnCall>();
  own->kernel_ = kernel;
  own->data_ = pool.data();
  own->views_.assign(call.inputs.begin(), call.inputs.end());
  own->views_.insert(own->views_.end(), call.outputs.begin(), call.outputs.end());
  const uint64_t bytes = Bytes(call, state_bytes);
  if (bytes == 0 || bytes > pool.bytes())
    return Error(Code::kDevice, "a call of ", Name(call.op), " needs ", PrintBytes(bytes),
                 ", more than is set aside");
  std::byte* at = pool.data();
  const auto take = [&](uint64_t size) { return std::exchange(at, at + Aligned(size)); };
  for (TensorView& v : own->views_) {
    if (v.data == nullptr) continue;
    v.data = take(ViewBytes(v));
    ZO2_TRY(FillOnDevice(device, v));
  }
  if (call.op == Op::kEmbedding && own->views_[0].dtype == DType::kI64) {
    std::vector<int64_t> ids(static_cast<size_t>(NumElements(own->views_[0].shape)));
    const auto n = static_cast<int64_t>(ids.size());
    for (int64_t i = 0; i < n; ++i) ids[static_cast<size_t>(i)] = i * rows / n;
    ZO2_TRY(device.Write(own->views_[0].data, ids.data(), ids.size() * sizeof(int64_t)));
  }
  own->bytes_ = static_cast<uint64_t>(at - own->data_);
  own->call_ = call;
  own->call_.inputs = std::span<const TensorView>(own->views_).first(call.inputs.size());
  own->call_.outputs = std::span<const TensorView>(own->views_).subspan(call.inputs.size());
  own->call_.first_part = true;
  own->call_.last_part = call.op != Op::kEmbedding;  // its last part judges ids that no part has
  own->call_.state = state_bytes > 0 ? take(static_cast<uint64_t>(state_bytes)) : nullptr;
  own->call_.workspace =
      call.workspace_bytes > 0 ? take(static_cast<uint64_t>(call.workspace_bytes)) : nullptr;
  return own;
}

Timing OwnCall::Run(double seconds, WorkerPool& workers) {
  return Time(
      seconds, [&] { Call(); }, [&] { Touch(workers, data_, bytes_); });
}

}  // namespace zo2
