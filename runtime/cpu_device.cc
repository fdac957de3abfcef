#include "runtime/cpu_device.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <map>
#include <string>
#include <thread>

namespace zo2 {
namespace {

constexpr uint64_t kHugePage = 2ull << 20;

double Now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// Yielding would be more exact on an idle core, but gives a busy one away for milliseconds; who wakes up soon gets it back.
void SleepUntil(double deadline) {
  deadline = std::min(deadline, 1e15);  // beyond all clocks, but a time_t
  timespec t;
  t.tv_sec = static_cast<time_t>(deadline);
  t.tv_nsec = static_cast<long>((deadline - static_cast<double>(t.tv_sec)) * 1e9);
  while (Now() < deadline && clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, nullptr) == EINTR) {
  }
}

class CpuMemory : public ArenaMemory {
 public:
  static Result<std::unique_ptr<ArenaMemory>> Create(Tier tier, uint64_t bytes, const std::string& folder) {
    auto memory = std::make_unique<CpuMemory>();
    memory->bytes_ = bytes;
    if (bytes == 0) return std::unique_ptr<ArenaMemory>(std::move(memory));
    if (bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) - kHugePage)
      return Error(Code::kDevice, "an arena of ", bytes, " bytes is more than any address space holds");
    int fd = -1, flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
    if (tier == Tier::kDisk) {
      // A file without a name: the space is given back however the process ends.
      fd = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
      if (fd < 0) return Error(Code::kDevice, "cannot make the disk arena's file in '", folder, "': ", std::strerror(errno));
      if (const int error = posix_fallocate(fd, 0, static_cast<off_t>(bytes)); error != 0) {
        close(fd);
        return Error(Code::kDevice, "cannot take ", PrintBytes(bytes), " of disk in '", folder, "' for the disk arena: ",
                     std::strerror(error));
      }
      flags = MAP_SHARED;
    }
    void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, fd, 0);
    const int error = errno;
    if (fd >= 0) close(fd);
    if (data == MAP_FAILED)
      return Error(Code::kDevice, "cannot allocate an arena of ", PrintBytes(bytes), " (", Name(tier), "): ",
                   std::strerror(error), "; plan again with a smaller budget");
    if (tier != Tier::kDisk && bytes >= 4 * kHugePage) madvise(data, bytes, MADV_HUGEPAGE);
    memory->data_ = static_cast<std::byte*>(data);
    return std::unique_ptr<ArenaMemory>(std::move(memory));
  }
  ~CpuMemory() override {
    if (data_ != nullptr) munmap(data_, bytes_);
  }
};

class CpuQueue : public Queue {
 public:
  CpuQueue(double rate, double latency) : rate_(rate), latency_(latency) {}

  Status Bind() override {
    prctl(PR_SET_TIMERSLACK, 1000);  // the default of 50 us would lengthen every emulated copy
    return Status();
  }

  Status Copy(void* to, const void* from, uint64_t bytes) override {
    if (rate_ <= 0 && latency_ <= 0) {
      std::memcpy(to, from, bytes);
      return Status();
    }
    // A copy asked for as soon as the one before it returned is back to back with it, however late that one woke up: the
    // link would not have waited.
    constexpr double kAtOnce = 50e-6;
    const double now = Now();
    const double start = now - returned_ < kAtOnce ? free_at_ : std::max(free_at_, now);
    free_at_ = start + latency_ + (rate_ > 0 ? static_cast<double>(bytes) / rate_ : 0);
    std::memcpy(to, from, bytes);
    SleepUntil(free_at_);
    returned_ = Now();
    return Status();
  }

  Status Synchronize() override { return Status(); }

 private:
  const double rate_, latency_;
  double free_at_ = 0;   // when the emulated link has carried everything so far
  double returned_ = 0;  // when the last copy returned
};

class CpuDevice : public Device {
 public:
  explicit CpuDevice(const DeviceOptions& options) : options_(options) {}
  std::string_view name() const override { return "cpu"; }
  uint64_t alignment() const override { return kCpuAlignment; }
  Result<std::unique_ptr<ArenaMemory>> Allocate(Tier tier, uint64_t bytes) override {
    return CpuMemory::Create(tier, bytes, options_.disk_folder);
  }
  Result<std::unique_ptr<Queue>> OpenQueue(LaneKind kind) override {
    double rate = 0, latency = 0;
    if (kind == LaneKind::kH2D || kind == LaneKind::kD2H) {
      rate = kind == LaneKind::kH2D ? options_.link.up : options_.link.down;
      latency = options_.link.latency;
    }
    return std::unique_ptr<Queue>(std::make_unique<CpuQueue>(rate, latency));
  }
  Available MemoryAvailable(Tier tier) const override {
    if (tier != Tier::kDisk) return HostMemoryAvailable();
    struct statvfs fs;
    if (statvfs(options_.disk_folder.c_str(), &fs) != 0) return {0, "the disk of '" + options_.disk_folder + "'"};
    return {static_cast<uint64_t>(fs.f_bavail) * fs.f_frsize, "free on the disk of '" + options_.disk_folder + "'"};
  }
  bool shares_host_memory() const override { return true; }
  Status Write(void* to, const void* from, uint64_t bytes) override {
    std::memcpy(to, from, bytes);
    return Status();
  }
  Status Read(void* to, const void* from, uint64_t bytes) override {
    std::memcpy(to, from, bytes);
    return Status();
  }

 private:
  DeviceOptions options_;
};

// The number in a one-line file; false when there is none ("max") or no such file.
bool ReadNumber(const std::string& path, uint64_t* number) {
  std::ifstream in(path);
  return static_cast<bool>(in >> *number);
}

// Page cache counts as used by a group but gives way, unless somebody has it mapped. Version 1 counts a group without its
// children and, with "total_", with them; version 2 only with them.
uint64_t CacheThatGivesWay(const std::string& stat_path) {
  std::map<std::string, uint64_t> stat;
  std::ifstream in(stat_path);
  std::string key;
  for (uint64_t value = 0; in >> key >> value;) stat[key] = value;
  const std::string total = stat.count("total_inactive_file") > 0 ? "total_" : "";
  const uint64_t cache = stat[total + "inactive_file"] + stat[total + "active_file"];
  return cache - std::min(cache, total.empty() ? stat["file_mapped"] : stat["total_mapped_file"]);
}

// What a process still takes when the arenas are there: blocks of weights on their way to files, stacks. Measured with two
// threads (limits.py does it again): 12 MiB of memory, and some 60 MiB of address space that is hardly touched. Each thread
// more has a block of its own, at most 8 MiB and mostly below one, and a stack of 8 MiB.
uint64_t Kept(uint64_t at_two_threads, uint64_t each) {
  return (at_two_threads + each * (std::max(2u, std::thread::hardware_concurrency()) - 2)) << 20;
}
uint64_t MemoryKept() { return Kept(16, 1); }
uint64_t AddressesKept() { return Kept(64, 16); }

void LimitTo(uint64_t limit, uint64_t used, uint64_t kept, const std::string& whose, Device::Available* available) {
  const uint64_t taken = used + kept, left = limit > taken ? limit - taken : 0;
  if (left < available->bytes)
    *available = {left, whose + " of " + PrintBytes(limit) + ", of which " + PrintBytes(used) + " are in use and " +
                            PrintBytes(kept) + " are kept for what is not in the plan"};
}

void LimitByGroup(const std::string& folder, const char* limit_file, const char* used_file,
                  Device::Available* available) {
  uint64_t limit = 0, used = 0;
  if (!ReadNumber(folder + "/" + limit_file, &limit) || !ReadNumber(folder + "/" + used_file, &used)) return;
  if (limit >= (1ull << 60)) return;  // version 1's way of saying "no limit"
  used -= std::min(used, CacheThatGivesWay(folder + "/memory.stat"));
  LimitTo(limit, used, MemoryKept(), "the container's limit", available);
}

// What `ulimit` leaves.
template <typename Kind>
void LimitByProcess(Kind kind, const std::string& used_field, const char* whose, Device::Available* available) {
  rlimit limit;
  if (getrlimit(kind, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return;
  uint64_t used = 0;
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.rfind(used_field, 0) == 0) used = std::strtoull(line.c_str() + used_field.size(), nullptr, 10) * 1024;
  LimitTo(limit.rlim_cur, used, AddressesKept(), whose, available);
}

}  // namespace

Device::Available HostMemoryAvailable() {
  Device::Available available{std::numeric_limits<uint64_t>::max(), "an unknown limit"};
  std::ifstream meminfo("/proc/meminfo");
  std::string line;
  while (std::getline(meminfo, line)) {
    if (line.rfind("MemAvailable:", 0) == 0)
      available = {std::strtoull(line.c_str() + 13, nullptr, 10) * 1024, "the machine's available memory"};
  }
  // Version 2 has one hierarchy, version 1 one per controller; every ancestor's limit counts.
  std::ifstream groups("/proc/self/cgroup");
  while (std::getline(groups, line)) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool v2 = controllers.empty();
    if (!v2 && controllers.find("memory") == std::string::npos) continue;
    const std::string root = v2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (std::string path = line.substr(second + 1);; path = path.substr(0, path.rfind('/'))) {
      const std::string folder = root + path;
      if (v2)
        LimitByGroup(folder, "memory.max", "memory.current", &available);
      else
        LimitByGroup(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", &available);
      if (path.empty() || path == "/" || path.rfind('/') == std::string::npos) break;
    }
    LimitByGroup(root, v2 ? "memory.max" : "memory.limit_in_bytes", v2 ? "memory.current" : "memory.usage_in_bytes",
                 &available);
  }
  LimitByProcess(RLIMIT_AS, "VmSize:", "the limit of address space (ulimit -v)", &available);
  LimitByProcess(RLIMIT_DATA, "VmData:", "the limit of writable memory (ulimit -d)", &available);
  return available;
}

Result<std::unique_ptr<Device>> OpenCpuDevice(const DeviceOptions& options) {
  return std::unique_ptr<Device>(std::make_unique<CpuDevice>(options));
}

}  // namespace zo2
