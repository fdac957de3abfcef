#include "runtime/copy_load.h"

#include <algorithm>
#include <chrono>
#include <cstring>
#include <utility>

#include "runtime/async_queue.h"

namespace zo2 {
namespace {

constexpr uint64_t kBeyondCaches = 64ull << 20;
constexpr size_t kUnderWay = 4;  // copies of an asynchronous queue

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Result<std::unique_ptr<CopyLoad>> CopyLoad::Create(Device& device, uint64_t piece, double rate) {
  std::unique_ptr<CopyLoad> load(new CopyLoad);
  load->piece_ = std::clamp<uint64_t>(piece, 64, kBeyondCaches);
  load->rate_ = rate;
  for (int d = 0; d < 2; ++d) {
    ZO2_ASSIGN(load->host_[d], device.Allocate(Tier::kHost, kBeyondCaches));
    ZO2_ASSIGN(load->device_memory_[d], device.Allocate(Tier::kDevice, kBeyondCaches));
    std::memset(load->host_[d]->data(), 1 + d, kBeyondCaches);
    ZO2_TRY(device.Write(load->device_memory_[d]->data(), load->host_[d]->data(), kBeyondCaches));
    ZO2_ASSIGN(load->queue_[d], device.OpenQueue(d == 0 ? LaneKind::kH2D : LaneKind::kD2H));
  }
  return load;
}

Status CopyLoad::Start(bool up, bool down) {
  (void)Stop();
  stop_ = false;
  bytes_[0] = bytes_[1] = 0;
  begin_ = Seconds();
  if (up) threads_.emplace_back([this] { Carry(queue_[0].get(), true, &bytes_[0]); });
  if (down) threads_.emplace_back([this] { Carry(queue_[1].get(), false, &bytes_[1]); });
  return Status();
}

CopyLoad::Carried CopyLoad::Stop() {
  if (threads_.empty()) return {};
  stop_ = true;
  const double seconds = Seconds() - begin_;
  const Carried carried = {static_cast<double>(bytes_[0]) / seconds,
                           static_cast<double>(bytes_[1]) / seconds};
  for (std::thread& t : threads_) t.join();
  threads_.clear();
  return carried;
}

void CopyLoad::Carry(Queue* queue, bool up, std::atomic<uint64_t>* bytes) {
  if (!queue->Bind().ok()) return;
  std::byte *host = host_[up ? 0 : 1]->data(), *memory = device_memory_[up ? 0 : 1]->data();
  const uint64_t pieces = kBeyondCaches / piece_;
  AsyncQueue* const async = queue->async();
  std::unique_ptr<Event> done[kUnderWay];
  for (uint64_t i = 0; !stop_; ++i) {
    const uint64_t at = i % pieces * piece_;
    std::unique_ptr<Event>& mine = done[i % kUnderWay];
    if (async != nullptr) {
      if (mine == nullptr) {
        Result<std::unique_ptr<Event>> event = async->MakeEvent(false);
        if (!event.ok()) break;
        mine = std::move(*event);
      } else {
        if (!mine->Synchronize().ok()) break;
        *bytes += piece_;
      }
    }
    if (!queue->Copy(up ? memory + at : host + at, up ? host + at : memory + at, piece_).ok()) break;
    if (async == nullptr)
      *bytes += piece_;
    else if (!async->Record(*mine).ok())
      break;
    if (rate_ <= 0) continue;
    const double ahead = static_cast<double>(*bytes) / rate_ - (Seconds() - begin_);
    if (ahead > 0) std::this_thread::sleep_for(std::chrono::duration<double>(std::min(ahead, 0.1)));
  }
  (void)queue->Synchronize().ok();
}

}  // namespace zo2
